"""Measurements as rows and blocks of bytes, exact both ways.

A row has columns for Box, time, sequence and the four averages, and a packed rest. Wire values are 32-bit
floats; the rest of a row with only such numbers packs to 54 bytes. Any other row (a double, NaN, an unknown
metric) has its whole document as JSON there. A block contains rows of one Box.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.fields import METRIC_NAMES, ORIGINAL_FIELDS, STORED
from opq_proto.messages import Measurement, Metric, TimeSource

METRIC_ORDER = [METRIC_NAMES.index(name) for name in ORIGINAL_FIELDS]
"""A batch's columns for the metrics, in the order of ORIGINAL_FIELDS."""

_KEYS = tuple(ORIGINAL_FIELDS)
_MORE = struct.Struct("<HiqII8f")  # flags, end offset, duration, uncertainty, back, 4 x (min, max)
_REST = struct.Struct("<HiqII")  # the same without its floats
_FLOATS = struct.Struct("<12f")  # 4 averages, then 4 x (min, max)
_PACKED = struct.Struct("<Iq4fHiqII8f")  # time and sequence minus the block's first; averages; more
_HEAD = struct.Struct("<BqqI")  # form, first time, first sequence, rows
_FLAGS = struct.Struct("<H")
_CLOCK_ID = struct.Struct("<Q")  # after a row's `more`, where _CLOCK says so
_CLOCKS = struct.Struct("<H")  # stretches of one clock in a block
_STRETCH = struct.Struct("<IQ")  # its first row, clock_id or 0
_FIXED, _FREE, _CLOCKED, _COLUMNS, _STEPS = 0, 1, 2, 3, 4
"""Forms of a block. _CLOCKED is _FIXED after the stretches of its clocks: mostly one, so 14 bytes a block.
_COLUMNS has CLOCKED_ROWs byte column by byte column, compressed: half of _FIXED, less where many bytes are
equal. _STEPS is the same with _RISING as differences from the row before, which are equal if values rise
evenly."""
_RISING = ("offset_ms", "sequence", "back")
FIXED_ROW = np.dtype(
    [
        ("offset_ms", "<u4"), ("sequence", "<i8"), ("averages", "<f4", (4,)), ("flags", "<u2"),
        ("end_offset_ns", "<i4"), ("duration_ns", "<i8"), ("uncertainty_ns", "<u4"), ("back", "<u4"),
        ("ends", "<f4", (8,)),
    ]
)  # fmt: skip
"""_PACKED as the element of an array; metrics in the order of ORIGINAL_FIELDS."""
CLOCKED_ROW = np.dtype([*((name, FIXED_ROW[name]) for name in FIXED_ROW.names or ()), ("clock_id", "<u8")])
"""FIXED_ROW with the id of its clock; 0 if the clock has no id."""
_CLOCKED_ROW = struct.Struct("<Iq4fHiqII8fQ")
_FRONT = struct.Struct("<Iq4f")  # of a CLOCKED_ROW: what `more` does not hold
_NO_CLOCK = bytes(8)
_WINDOW_BITS, _MEMORY = -12, 5
"""Settings of zlib: blocks are small, and clearing its default memory costs more than compressing them."""
_NOTHING = Metric(0.0, 0.0, 0.0)
_SOURCES = tuple(TimeSource)
_TIMES, _UNCERTAINTY, _OLDEST, _SEQUENCE, _CLOCK = 0x100, 0x200, 0x400, 0x800, 0x1000
_JSON = 0x8000
SEQUENCE_FLAG, OLDEST_FLAG, BACKFILLED_FLAG = _SEQUENCE, _OLDEST, 1 << 6
FIXED_FLAGS = 0x0F | _TIMES | _UNCERTAINTY
"""Flags of a row with all four metrics, exact times and no sequence number; its time source is added << 4."""


class MeasurementRow(NamedTuple):
    """One row of the table `measurements`, without its id; `box` is the number of `box_marks`."""

    timestamp_ms: int
    sequence: int | None
    voltage: float | None
    frequency: float | None
    thd: float | None
    transient: float | None
    more: bytes


Written = TypeVar("Written", Measurement, MeasurementRow)


def newest_written(rows: Iterable[Written]) -> Written:
    """Returns the row of a Box that was written last, from at least one, in the order of writing.

    The sequence numbers decide, and where no row has one, the order: after the Box's clock was set back the
    newest row is not the one with the latest time. Between rows with and without a number the time decides.
    """
    numbered = plain = None
    for row in rows:
        if row.sequence is None:
            plain = row
        elif numbered is None or numbered.sequence is None or row.sequence > numbered.sequence:
            numbered = row
    if numbered is None or (plain is not None and plain.timestamp_ms > numbered.timestamp_ms):
        numbered = plain
    assert numbered is not None, "no rows"
    return numbered


def row_from_measurement(m: Measurement) -> MeasurementRow:
    """Packs a Measurement; `measurement_from_row` returns it, except nominal values, which the Box has."""
    get = m.metrics.get
    rms, f, thd, trans = get("rms"), get("f"), get("thd"), get("trans")
    more = _more(m, rms, f, thd, trans)
    if more is None:
        more = _FLAGS.pack(_JSON) + json.dumps(_document(m), separators=(",", ":")).encode()
    return MeasurementRow(
        m.timestamp_ms,
        m.sequence,
        None if rms is None else rms.average,
        None if f is None else f.average,
        None if thd is None else thd.average,
        None if trans is None else trans.average,
        more,
    )


def _more(
    m: Measurement, rms: Metric | None, f: Metric | None, thd: Metric | None, trans: Metric | None
) -> bytes | None:
    """Returns the packed rest of a row, None where it does not fit. No loops: runs 60,000 times a second."""
    flags = m.source << 4 | m.backfilled << 6 | m.crossing << 7
    known = 0
    if rms is None:
        rms = _NOTHING
    else:
        flags, known = flags | 1, 1
    if f is None:
        f = _NOTHING
    else:
        flags, known = flags | 2, known + 1
    if thd is None:
        thd = _NOTHING
    else:
        flags, known = flags | 4, known + 1
    if trans is None:
        trans = _NOTHING
    else:
        flags, known = flags | 8, known + 1
    start_ns, end_ns, sequence = m.start_ns, m.end_ns, m.sequence
    if known != len(m.metrics) or (start_ns is None) != (end_ns is None):
        return None
    end_offset = duration = uncertainty = back = 0
    if start_ns is not None and end_ns is not None:
        flags |= _TIMES
        end_offset = end_ns - m.timestamp_ms * 1_000_000
        duration = end_ns - start_ns
    if m.uncertainty_ns is not None:
        flags |= _UNCERTAINTY
        uncertainty = m.uncertainty_ns
    if sequence is not None:
        flags |= _SEQUENCE
    if m.oldest_sequence is not None:
        if sequence is None:
            return None
        flags |= _OLDEST
        back = sequence - m.oldest_sequence
    clock = b""
    if m.clock_id is not None:
        if not 0 < m.clock_id < 1 << 64:
            return None
        flags |= _CLOCK
        clock = _CLOCK_ID.pack(m.clock_id)
    values = (
        rms.average, f.average, thd.average, trans.average,
        rms.min, rms.max, f.min, f.max, thd.min, thd.max, trans.min, trans.max,
    )  # fmt: skip
    try:
        packed = _FLOATS.pack(*values)
        if _FLOATS.unpack(packed) != values:  # also for NaN
            return None
        return _REST.pack(flags, end_offset, duration, uncertainty, back) + packed[16:] + clock
    except (struct.error, OverflowError):  # a number beyond its field
        return None


def measurement_from_row(box_id: str, row: MeasurementRow) -> Measurement:
    flags = _FLAGS.unpack_from(row.more)[0]
    if flags & _JSON:
        return _from_document(box_id, json.loads(row.more[_FLAGS.size :]))
    numbers = _MORE.unpack_from(row.more)
    return _measurement(box_id, row.timestamp_ms, row.sequence, _clock_id(row), row[2:6], *numbers)


def _clock_id(row: MeasurementRow) -> int | None:
    if len(row.more) == _MORE.size:
        return None
    (clock_id,) = _CLOCK_ID.unpack_from(row.more, _MORE.size)
    return int(clock_id)


def _measurement(
    box_id: str, timestamp_ms: int, sequence: int | None, clock_id: int | None,
    averages: Sequence[float | None],
    flags: int, end_offset: int, duration: int, uncertainty: int, back: int, *ends: float,
) -> Measurement:  # fmt: skip
    metrics = {
        key: Metric(ends[2 * place], ends[2 * place + 1], averages[place] or 0.0)
        for place, key in enumerate(_KEYS)
        if flags & 1 << place
    }
    end_ns = timestamp_ms * 1_000_000 + end_offset if flags & _TIMES else None
    return Measurement(
        box_id,
        timestamp_ms,
        metrics,
        None if end_ns is None else end_ns - duration,
        end_ns,
        uncertainty if flags & _UNCERTAINTY else None,
        _SOURCES[flags >> 4 & 3],
        sequence,
        sequence - back if flags & _OLDEST and sequence is not None else None,
        bool(flags & 0x40),
        bool(flags & 0x80),
        clock_id=clock_id,
    )


def pack_block(rows: Sequence[MeasurementRow]) -> bytes:
    """Packs rows of one Box, in time order, into one block."""
    first_ms = min(row.timestamp_ms for row in rows)
    first_sequence = next((row.sequence for row in rows if row.sequence is not None), 0)
    body = _fixed_body(rows, first_ms, first_sequence)
    if body is not None:
        clocks = _clock_stretches(rows)
        form = _CLOCKED if clocks else _FIXED
        return _HEAD.pack(form, first_ms, first_sequence, len(rows)) + clocks + body
    free = json.dumps([[*row[:6], row.more.hex()] for row in rows], separators=(",", ":"))
    return _HEAD.pack(_FREE, first_ms, first_sequence, len(rows)) + free.encode()


def _fixed_body(rows: Sequence[MeasurementRow], first_ms: int, first_sequence: int) -> bytes | None:
    """Returns the rows in the fixed form; None where a row has a JSON document or they span over 49 days."""
    if any(row.more[1] & 0x80 for row in rows):
        return None
    try:
        return b"".join(
            _PACKED.pack(
                row.timestamp_ms - first_ms,
                0 if row.sequence is None else row.sequence - first_sequence,
                row.voltage or 0.0, row.frequency or 0.0, row.thd or 0.0, row.transient or 0.0,
                *_MORE.unpack_from(row.more),
            )
            for row in rows
        )  # fmt: skip
    except struct.error:
        return None


def _clock_stretches(rows: Sequence[MeasurementRow]) -> bytes:
    """Returns the stretches of one clock each; empty where no row has a clock."""
    stretches: list[tuple[int, int]] = []
    for place, row in enumerate(rows):
        clock_id = _clock_id(row) or 0
        if not stretches or stretches[-1][1] != clock_id:
            stretches.append((place, clock_id))
    if stretches == [(0, 0)]:
        return b""
    return _CLOCKS.pack(len(stretches)) + b"".join(_STRETCH.pack(*each) for each in stretches)


def fixed_head(first_ms: int, rows: int) -> bytes:
    """Returns the head of a block of this many FIXED_ROWs without sequence numbers."""
    return _HEAD.pack(_FIXED, first_ms, 0, rows)


def packed_columns(first_ms: int, first_sequence: int, rows: NDArray[np.void]) -> bytes:
    """Packs rows of one Box into a block.

    Args:
        rows: (n,) CLOCKED_ROW in time order, time and sequence minus both firsts; the array is changed.
    """
    for name in _RISING:
        rows[name][1:] -= rows[name][:-1].copy()
    turned = np.ascontiguousarray(rows.view(np.uint8).reshape(len(rows), CLOCKED_ROW.itemsize).T)
    squeeze = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, _MEMORY)
    body = squeeze.compress(turned.tobytes()) + squeeze.flush()
    return _HEAD.pack(_STEPS, first_ms, first_sequence, len(rows)) + body


def clocked_row(row: MeasurementRow) -> bytes | None:
    """Returns a row as the bytes of a CLOCKED_ROW; None where it has no sequence number or is a document."""
    if row.sequence is None or row.more[1] & 0x80:
        return None
    averages = row.voltage or 0.0, row.frequency or 0.0, row.thd or 0.0, row.transient or 0.0
    return _FRONT.pack(0, row.sequence, *averages) + row.more + _NO_CLOCK[len(row.more) - _MORE.size :]


def unpacked_rows(rows: NDArray[np.void]) -> Iterator[tuple[Any, ...]]:
    """Yields each CLOCKED_ROW as flat numbers for `unpacked_measurement`; time and sequence come first."""
    return _CLOCKED_ROW.iter_unpack(np.ascontiguousarray(rows).tobytes())


def unpacked_measurement(box_id: str, timestamp_ms: int, sequence: int, row: tuple[Any, ...]) -> Measurement:
    """Returns the Measurement of a row with this time and sequence number."""
    flags = row[6]
    return _measurement(
        box_id, timestamp_ms, sequence if flags & _SEQUENCE else None, row[-1] or None, row[2:6], *row[6:-1]
    )


def unpack_block(box_id: str, packed: bytes, start_ms: int, end_ms: int) -> Iterator[Measurement]:
    """Yields the Measurements of a block in [start_ms, end_ms)."""
    form, first_ms, first_sequence, _ = _HEAD.unpack_from(packed)
    body = memoryview(packed)[_HEAD.size :]
    if form == _FREE:
        for *columns, more in json.loads(bytes(body)):
            if start_ms <= columns[0] < end_ms:
                yield measurement_from_row(box_id, MeasurementRow._make((*columns, bytes.fromhex(more))))
        return
    low, high = start_ms - first_ms, end_ms - first_ms
    if form in (_COLUMNS, _STEPS):
        turned = np.frombuffer(zlib.decompress(body, _WINDOW_BITS), np.uint8)
        rows = np.array(turned.reshape(CLOCKED_ROW.itemsize, -1).T, order="C").view(CLOCKED_ROW).reshape(-1)
        if form == _STEPS:
            for name in _RISING:
                np.cumsum(rows[name], out=rows[name])
        for each in unpacked_rows(rows):
            if low <= each[0] < high:
                yield unpacked_measurement(box_id, first_ms + each[0], first_sequence + each[1], each)
        return
    clock_ids: dict[int, int | None] = {}
    if form == _CLOCKED:
        size = _CLOCKS.size + _CLOCKS.unpack_from(body)[0] * _STRETCH.size
        clock_ids = {place: clock or None for place, clock in _STRETCH.iter_unpack(body[_CLOCKS.size : size])}
        body = body[size:]
    clock_id: int | None = None
    for place, (offset, step, v, f, thd, trans, flags, *rest) in enumerate(_PACKED.iter_unpack(body)):
        if place in clock_ids:
            clock_id = clock_ids[place]
        if low <= offset < high:
            sequence = first_sequence + step if flags & _SEQUENCE else None
            yield _measurement(
                box_id, first_ms + offset, sequence, clock_id, (v, f, thd, trans), flags, *rest
            )


_OF_DOCUMENT = [each for each in STORED if each.name not in ("box_id", "timestamp_ms")]


def _document(m: Measurement) -> dict[str, object]:
    return {
        "timestamp_ms": m.timestamp_ms,
        "metrics": {key: [metric.min, metric.max, metric.average] for key, metric in m.metrics.items()},
        **{each.stored_name: getattr(m, each.name) for each in _OF_DOCUMENT},
    }


def _from_document(box_id: str, d: dict[str, Any]) -> Measurement:
    """Reads a document; one of an older version lacks newer fields."""
    metrics = {key: Metric(*three) for key, three in d["metrics"].items()}
    known: dict[str, Any] = {each.name: d.get(each.stored_name, each.unknown) for each in _OF_DOCUMENT}
    return Measurement(box_id, d["timestamp_ms"], metrics, **known | {"source": TimeSource(known["source"])})
