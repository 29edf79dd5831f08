"""Packed block: Measurements as bytes on disk, exact both ways, in one form with a version.

    version u1 | flags u1 | rows u4 | sizes u1 of each number | bases | body

The body has the rows column by column, and each column byte by byte, so that equal values compress to hardly
any bytes: first the numbers less their base, in as few bytes as all rows need, then marks, what is known, and
metrics. The base of a number is its least value. Where RISING, that of times and sequence numbers is their
first value, and the rest are steps. The low half of a size is the length of the base, the high half the
number of byte columns. The body is deflated where DEFLATED. At its end, where EXTRA, are further metrics, and
rows that no column holds.

The columns are those of `fields.STORED` and `fields.METRIC_NAMES`. A later field names the version that has
it first: blocks before that are read without it.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import StoreError
from opq_proto.measurement.fields import FIELDS, METRIC_NAMES, STORED, USUAL, MeasurementField
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.time_units import NS_PER_MS

VERSION: Final = max(each.stored for each in STORED)
"""Version that is written."""
DEFLATED = 1
"""Flag of a block: its body is deflated."""
RISING = 2
"""Flag of a block: times and sequence numbers are stored as steps."""
EXTRA = 4
"""Flag of a block: it ends with further metrics, and rows that no column holds."""
RAISED: Final = ("timestamp_ms", "sequence", "oldest_sequence")
"""Numbers that rise from row to row of one Box, which are differences of neighbours where RISING."""
EXPECTED: Final = {
    "end_ns": ("timestamp_ms", NS_PER_MS),
    "start_ns": ("end_ns", 1),
    "oldest_sequence": ("sequence", 1),
}
"""Number -> what is subtracted from it: another number times a factor, which is near it."""
_HEAD: Final = struct.Struct("<BBI")
_EXTRA_HEAD: Final = struct.Struct("<I")
_LEVEL = 1
"""Of zlib: the fastest."""
_WINDOW_BITS = -13
"""Of zlib, without a header: blocks are small, and clearing 32 KiB costs more than compressing."""
_MEMORY = 6
"""Of zlib, smaller than its default for the same reason."""
_DOCUMENTED: Final = [each for each in STORED if each.kind != "text"]
_SOURCES: Final = tuple(TimeSource)
_METRICS: Final = 3 * len(METRIC_NAMES)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of one version, in the order of their bytes."""

    numbers: tuple[str, ...]
    marks: tuple[str, ...]
    """Each one byte: a source or a flag."""
    ahead: int
    """Bytes of the numbers in `dtype`, which has them first."""
    bits: Mapping[str, int]
    """Metric, or number that may be unknown -> its bit of `known`."""
    dtype: np.dtype[np.void]


def _columns(fields: Iterable[MeasurementField]) -> _Columns:
    kept = sorted(fields, key=lambda each: (each.stored, each.name not in RAISED))
    numbers = tuple(each.name for each in kept if each.kind in ("whole", "bound"))
    marks = tuple(each.name for each in kept if each.kind in ("source", "flag"))
    unknown = [name for name in numbers if name != "timestamp_ms"]
    dtype = [(name, "<i8") for name in numbers] + [(name, "u1") for name in marks]
    return _Columns(
        numbers,
        marks,
        8 * len(numbers),
        {name: 1 << bit for bit, name in enumerate((*METRIC_NAMES, *unknown))},
        np.dtype([*dtype, ("known", "<u2"), ("metrics", "<f4", (len(METRIC_NAMES), 3))]),
    )


@lru_cache
def _of_version(version: int) -> _Columns:
    return _columns(each for each in STORED if each.stored <= version)


_NOW: Final = _columns(STORED)
ROW: Final = _NOW.dtype
"""A Measurement as the element of an array. A number is meaningless where its bit of `known` is 0; metrics
are minimum, maximum and mean in the order of METRIC_NAMES, 0 where unknown."""
BITS: Final = _NOW.bits
ALL_KNOWN: Final = sum(_NOW.bits.values())
_RECORD: Final = struct.Struct(f"<{len(_NOW.numbers)}q{len(_NOW.marks)}BH{_METRICS}f")
_NUMBERS: Final = struct.Struct(f"<{len(_NOW.numbers)}q")
_FLOATS: Final = struct.Struct(f"<{_METRICS}f")
_THREE: Final = struct.Struct("<3f")
_PLACES: Final = [(name, METRIC_NAMES.index(name)) for name in USUAL]
_given = attrgetter(*_NOW.numbers, *_NOW.marks)
_three = attrgetter("min", "max", "average")
_ALL_METRICS: Final = sum(BITS[name] for name in METRIC_NAMES)
_ALL_NUMBERS: Final = ALL_KNOWN - _ALL_METRICS
_RAISED: Final = len(RAISED)
"""They are the first of the numbers."""
_NUMBER_BITS: Final = [BITS.get(name, 0) for name in _NOW.numbers]
_KNOWN_AT: Final = _NOW.ahead + len(_NOW.marks)
_EXPECTED: Final = [
    (_NOW.numbers.index(name), _NOW.numbers.index(base), by) for name, (base, by) in EXPECTED.items()
]
_BYTES: Final = np.dtype((np.void, ROW.itemsize))
assert _RECORD.size == ROW.itemsize

Rows = NDArray[np.void]
Three = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """n Measurements of a Box, or of several that a caller keeps beside them.

    `Measurements` is another type, because its arrays are what is judged (with nominal values, float32), and
    these are the exact bytes of a block: a reader of history needs no copy and no conversion.
    """

    table: Rows
    """(n,) ROW."""
    further: Mapping[str, Three] = field(default_factory=dict)
    """Further metric -> (n, 3); NaN where a row has none."""
    others: Mapping[int, Measurement] = field(default_factory=dict)
    """Row -> Measurement, where the arrays cannot hold it: a double, NaN. `table` has its time and number."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def numbered(self) -> NDArray[np.bool_]:
        """(n,) whether each has a sequence number."""
        found: NDArray[np.bool_] = (self.table["known"] & BITS["sequence"]) != 0
        return found

    def part(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "PackedRows":
        """Returns these rows, in this order."""
        others: dict[int, Measurement] = {}
        if self.others:
            places = np.arange(len(self))[rows].tolist()
            others = {at: self.others[row] for at, row in enumerate(places) if row in self.others}
        return PackedRows(self.table[rows], {name: each[rows] for name, each in self.further.items()}, others)

    def within(self, start_ms: int, end_ms: int) -> "PackedRows":
        """Returns the rows in [start_ms, end_ms)."""
        inside = (self.table["timestamp_ms"] >= start_ms) & (self.table["timestamp_ms"] < end_ms)
        return self if inside.all() else self.part(inside)

    def run(self, first: int, stop: int) -> "PackedRows":
        """Returns the rows first to stop."""
        if not self.further and not self.others:
            return PackedRows(self.table[first:stop])
        return self.part(np.arange(first, min(stop, len(self))))

    def measurements(self, box_ids: str | Sequence[str]) -> list[Measurement]:
        """Returns the Measurements of one Box, or with a Box each."""
        table, known = self.table, self.table["known"]
        values: dict[str, Iterable[Any]] = {each.name: repeat(each.unknown) for each in FIELDS}
        values["box_id"] = repeat(box_ids) if isinstance(box_ids, str) else box_ids
        for each in STORED:
            if each.kind == "source":
                values[each.name] = map(_SOURCES.__getitem__, (table[each.name] % len(_SOURCES)).tolist())
            elif each.kind == "flag":
                values[each.name] = (table[each.name] != 0).tolist()
            elif each.kind != "text":
                values[each.name] = _or_none(table[each.name], known, BITS.get(each.name, 0))
        columns = list(values.values())
        columns.insert(2, self._metrics())  # the third of a Measurement
        found = list(map(Measurement, *columns))
        for at, row in self.others.items():
            found[at] = replace(row, box_id=found[at].box_id)
        return found

    def _metrics(self) -> list[dict[str, Metric]]:
        values = self.table["metrics"].astype(np.float64)
        known = self.table["known"]
        if ((known & _ALL_METRICS) == _ALL_METRICS).all():
            found = [{name: Metric(*row[at]) for name, at in _PLACES} for row in values.tolist()]
        else:
            found = [
                {name: Metric(*row[at]) for name, at in _PLACES if bits & BITS[name]}
                for row, bits in zip(values.tolist(), known.tolist(), strict=True)
            ]
        for name, three in self.further.items():
            for at in np.flatnonzero(~np.isnan(three[:, 0])).tolist():
                found[at][name] = Metric(*three[at].tolist())
        return found


def _or_none(values: NDArray[Any], known: NDArray[Any], bit: int) -> list[int | None]:
    found: list[int | None] = values.tolist()
    if bit and not ((known & bit) != 0).all():
        return [value if bits & bit else None for value, bits in zip(found, known.tolist(), strict=True)]
    return found


def packed_rows(rows: Sequence[Measurement]) -> PackedRows:
    """Returns Measurements as rows; without their nominal values and what else `fields.STORED` has not."""
    records, others = [], {}
    further: dict[str, dict[int, Metric]] = {}
    for at, row in enumerate(rows):
        record = _record(row, row.metrics)
        if record is None:
            more = {name: each for name, each in row.metrics.items() if name not in BITS}
            if more and all(map(_is_single, more.values())):
                record = _record(
                    row, {name: row.metrics[name] for name in METRIC_NAMES if name in row.metrics}
                )
            if record is None:
                others[at] = _stored_part(row)
                record = _bare_record(row)
            else:
                for name, each in more.items():
                    further.setdefault(name, {})[at] = each
        records.append(record)
    arrays = {name: _spread(values, len(rows)) for name, values in further.items()}
    return PackedRows(np.frombuffer(b"".join(records), ROW), arrays, others)


def _record(row: Measurement, metrics: Mapping[str, Metric]) -> bytes | None:
    """Returns the bytes of a ROW; None where it does not say everything exactly."""
    given: tuple[Any, ...] = _given(row)
    known = ALL_KNOWN
    if None in given:
        for name, value in zip(_NOW.numbers, given, strict=False):
            if value is None:
                known ^= BITS[name]
        given = tuple(0 if value is None else value for value in given)
    values: tuple[float, ...] = ()
    count = 0
    for name in METRIC_NAMES:
        metric = metrics.get(name)
        if metric is None:
            known ^= BITS[name]
            values += 0.0, 0.0, 0.0
        else:
            count += 1
            values += metric.min, metric.max, metric.average
    if count != len(metrics):
        return None
    try:
        packed = _FLOATS.pack(*values)
        if _FLOATS.unpack(packed) != values:  # also for NaN
            return None
        return _RECORD.pack(*given, known, *values)
    except (struct.error, OverflowError):  # a number beyond its column
        return None


def _bare_record(row: Measurement) -> bytes:
    """Returns a ROW with time and sequence number alone."""
    bare = Measurement(row.box_id, row.timestamp_ms, {}, sequence=row.sequence)
    record = _record(bare, {})
    if record is None:
        raise StoreError(
            f"Box {row.box_id}: time {row.timestamp_ms} ms or number {row.sequence} is beyond 64 bits"
        )
    return record


def _stored_part(row: Measurement) -> Measurement:
    kept: dict[str, Any] = {each.name: getattr(row, each.name) for each in STORED}
    return Measurement(metrics=dict(row.metrics), **kept)


def _is_single(metric: Metric) -> bool:
    """Whether all its numbers are singles, and not NaN."""
    values = _three(metric)
    try:
        return _THREE.unpack(_THREE.pack(*values)) == values
    except OverflowError:
        return False


def _spread(values: Mapping[int, Metric], count: int) -> Three:
    found = np.full((count, 3), np.nan, np.float32)
    found[list(values)] = [_three(each) for each in values.values()]
    return found


def joined(parts: Sequence[PackedRows]) -> PackedRows:
    """Returns all rows, one part after the other; at least one part."""
    parts = [each for each in parts if len(each)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    others: dict[int, Measurement] = {}
    begin = 0
    for each in parts:
        others |= {begin + at: row for at, row in each.others.items()}
        begin += len(each)
    names = dict.fromkeys(name for each in parts for name in each.further)
    further = {
        name: np.concatenate(
            [each.further.get(name, np.full((len(each), 3), np.nan, "f4")) for each in parts]
        )
        for name in names
    }
    plain = [each.table.view(_BYTES) for each in parts]  # else NumPy compares the dtypes field by field
    return PackedRows(np.concatenate(plain).view(ROW), further, others)


def pack(rows: PackedRows, rising: bool = True, deflated: bool = True) -> bytes:
    """Packs at least one row; `rising`: they are of one Box, and in time order."""
    count = len(rows)
    whole = np.ascontiguousarray(rows.table).view(np.uint8).reshape(count, ROW.itemsize)
    numbers = whole[:, : _NOW.ahead].T.reshape(-1, 8, count).transpose(0, 2, 1)
    lines = _lines(np.array(numbers, order="C"), rows.table["known"])
    bases = lines.min(axis=1)
    if rising:
        raised = lines[:_RAISED]
        bases[:_RAISED] = raised[:, 0]
        raised[:, 1:] -= raised[:, :-1].copy()
        raised[:, 0] = 0
        lines[_RAISED:] -= bases[_RAISED:, None]
    else:
        lines -= bases[:, None]
    head, parts = _shortened(bases.tolist(), lines)
    parts.append(whole[:, _NOW.ahead :].T.tobytes())
    flags = RISING if rising else 0
    if extra := _extra(rows):
        flags |= EXTRA
        parts.append(extra)
    body = b"".join(parts)
    if deflated and count > 1:
        flags |= DEFLATED
        squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY)
        body = squeeze.compress(body) + squeeze.flush()
    return _HEAD.pack(VERSION, flags, count) + head + body


def pack_one(row: Measurement) -> bytes:
    """Returns `pack` of one Measurement, in a quarter of the time."""
    record = _record(row, row.metrics)
    return pack(packed_rows([row])) if record is None else _packed_record(record)


def pack_row(rows: PackedRows, at: int) -> bytes:
    """Returns `pack` of one of these rows, in a quarter of the time."""
    if rows.further or rows.others:
        return pack(rows.part(np.array([at])))
    return _packed_record(rows.table[at].tobytes())


def _packed_record(record: bytes) -> bytes:
    numbers: list[int] = list(_NUMBERS.unpack_from(record))
    exact = numbers.copy()
    known = int.from_bytes(record[_KNOWN_AT : _KNOWN_AT + 2], "little")
    for at, base, factor in _EXPECTED:
        expected = exact[base] * factor
        if known & _NUMBER_BITS[at]:
            numbers[at] = _wrapped(exact[at] - expected)
        else:
            numbers[at], exact[at] = 0, _wrapped(expected)
    small = _small(numbers)
    return _HEAD.pack(VERSION, RISING, 1) + bytes(map(len, small)) + b"".join(small) + record[_NOW.ahead :]


def _wrapped(number: int) -> int:
    """Returns a number as 64 bits hold it."""
    return number if -(1 << 63) <= number < 1 << 63 else (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _small(numbers: Iterable[int]) -> list[bytes]:
    """Returns each in as few bytes as hold it."""
    return [each.to_bytes((each.bit_length() + 8) // 8, "little", signed=True) for each in numbers]


def _shortened(bases: list[int], lines: NDArray[np.int64]) -> tuple[bytes, list[bytes]]:
    """Returns the bases, each in as few bytes as hold it, and the lines by byte columns, as few as hold all.

    The bases begin with a byte each: its length, and 16 times the number of byte columns of its line.
    """
    small = _small(bases)
    widths, columns = [], []
    for line, low, high in zip(lines, lines.min(axis=1).tolist(), lines.max(axis=1).tolist(), strict=True):
        width = min(8, (max(low.bit_length(), high.bit_length()) + 8) // 8) if low or high else 0
        widths.append(width)
        if width:
            columns.append(line.view(np.uint8).reshape(-1, 8)[:, :width].T.tobytes())
    sizes = bytes(len(each) | width << 4 for each, width in zip(small, widths, strict=True))
    return sizes + b"".join(small), columns


def _lines(numbers: Rows, known: NDArray[Any]) -> NDArray[np.int64]:
    """Returns (numbers, n), each less what is expected of it; 0 where it is unknown."""
    lines = numbers.view(np.int64).reshape(len(_NOW.numbers), -1)
    if np.bitwise_and.reduce(known) & _ALL_NUMBERS == _ALL_NUMBERS:
        for at, base, factor in reversed(_EXPECTED):
            lines[at] -= lines[base] if factor == 1 else lines[base] * factor
        return lines
    for line, bit in zip(lines, _NUMBER_BITS, strict=True):
        if bit:
            line[(known & bit) == 0] = 0
    exact = lines.copy()
    for at, base, factor in _EXPECTED:
        expected = exact[base] * factor
        unknown = (known & _NUMBER_BITS[at]) == 0
        exact[at, unknown] = expected[unknown]
        lines[at] = exact[at] - expected
    return lines


def _extra(rows: PackedRows) -> bytes:
    """Returns further metrics and rows that no column holds; empty where there are none."""
    further = {name: each for name, each in rows.further.items() if not np.isnan(each[:, 0]).all()}
    if not further and not rows.others:
        return b""
    others = [
        [
            at,
            {"metrics": {key: _three(each) for key, each in row.metrics.items()}}
            | {each.stored_name: getattr(row, each.name) for each in _DOCUMENTED},
        ]
        for at, row in rows.others.items()
    ]
    text = json.dumps([list(further), others], separators=(",", ":")).encode()
    return _EXTRA_HEAD.pack(len(text)) + text + b"".join(_byte_columns(each) for each in further.values())


def _byte_columns(values: NDArray[Any]) -> bytes:
    """Returns the rows of an array byte column by byte column."""
    return np.ascontiguousarray(values).view(np.uint8).T.tobytes()


def unpack_all(blocks: Iterable[bytes]) -> PackedRows:
    """Returns the rows of blocks, one after the other; raises as `unpack` does. At least one block."""
    parts: list[PackedRows] = []
    records: list[bytes] = []
    for block in blocks:
        record = _record_of(block)
        if record is not None:
            records.append(record)
            continue
        if records:
            parts.append(PackedRows(np.frombuffer(b"".join(records), ROW)))
            records = []
        parts.append(unpack(block))
    if records:
        parts.append(PackedRows(np.frombuffer(b"".join(records), ROW)))
    return joined(parts)


def _record_of(block: bytes) -> bytes | None:
    """Returns a block of one row as the bytes of a ROW, faster than `unpack`; None: it is another."""
    version, flags, count = _HEAD.unpack_from(block)
    if count != 1 or version != VERSION or flags & ~RISING:
        return None
    at = _HEAD.size + len(_NUMBER_BITS)
    numbers = []
    for length in block[_HEAD.size : at]:
        numbers.append(int.from_bytes(block[at : at + length], "little", signed=True))
        at += length
    for place, base, factor in _EXPECTED:
        numbers[place] = _wrapped(numbers[place] + numbers[base] * factor)
    record = _NUMBERS.pack(*numbers) + block[at:]
    if len(record) != ROW.itemsize:
        raise ValueError(f"a block of one row has {len(block)} bytes")
    return record


def unpack(block: bytes, first: int = 0, stop: int | None = None) -> PackedRows:
    """Returns the rows of a block, or first to stop of them.

    Raises:
        StoreError: a later version wrote it.
        ValueError, struct.error, zlib.error, KeyError, TypeError: it is damaged.
    """
    version, flags, count = _HEAD.unpack_from(block)
    if not 1 <= version <= VERSION:
        raise StoreError(f"a block of Measurements has version {version}; this program reads 1 to {VERSION}")
    if flags & RISING and (first or stop is not None):
        return unpack(block).run(first, count if stop is None else stop)
    columns = _of_version(version)
    sizes = block[_HEAD.size : _HEAD.size + len(columns.numbers)]
    at = _HEAD.size + len(sizes)
    bases = []
    for size in sizes:
        bases.append(int.from_bytes(block[at : at + (size & 15)], "little", signed=True))
        at += size & 15
    body = zlib.decompress(memoryview(block)[at:], _WINDOW_BITS) if flags & DEFLATED else block[at:]
    behind = columns.dtype.itemsize - columns.ahead
    if len(body) < behind * count:
        raise ValueError(f"a block of {count} rows has {len(body)} bytes")
    wanted = slice(first, count if stop is None else stop)
    rows = wanted.stop - first
    table = np.empty(rows, columns.dtype)
    at = 0
    for number, base, size in zip(columns.numbers, bases, sizes, strict=True):
        width = size >> 4
        if not width:
            table[number] = base
            continue
        line = np.zeros((rows, 8), np.uint8)
        line[:, 8 - width :] = _byte_rows(body, at, width, count, wanted)
        values = line.view("<i8").reshape(rows) >> (64 - 8 * width)  # with its sign
        if flags & RISING and number in RAISED:
            np.cumsum(values, out=values)
        table[number] = values + base
        at += width * count
    whole = table.view(np.uint8).reshape(rows, columns.dtype.itemsize)
    whole[:, columns.ahead :] = _byte_rows(body, at, behind, count, wanted)
    at += behind * count
    for name, (near, factor) in EXPECTED.items():
        table[name] += table[near] * factor
    if version < VERSION:
        older, table = table, np.zeros(rows, ROW)
        for column in columns.dtype.names or ():
            table[column] = older[column]
    if not flags & EXTRA:
        return PackedRows(table)
    return PackedRows(table, *_read_extra(body, at, count, wanted))


def _byte_rows(body: bytes, at: int, width: int, count: int, wanted: slice) -> NDArray[np.uint8]:
    """Returns these rows, (rows, width), of bytes that are column by column."""
    return np.frombuffer(body, np.uint8, width * count, at).reshape(width, count)[:, wanted].T


def _read_extra(
    body: bytes, at: int, count: int, wanted: slice
) -> tuple[dict[str, Three], dict[int, Measurement]]:
    (length,) = _EXTRA_HEAD.unpack_from(body, at)
    at += _EXTRA_HEAD.size
    names, documents = json.loads(body[at : at + length])
    three = np.frombuffer(body, np.uint8, len(names) * 12 * count, at + length).reshape(len(names), 12, count)
    values = np.ascontiguousarray(three[:, :, wanted].transpose(0, 2, 1)).view("<f4")
    inside = range(count)[wanted]
    others = {row - inside.start: from_document(document) for row, document in documents if row in inside}
    return dict(zip(names, values, strict=True)), others


def from_document(document: Mapping[str, Any]) -> Measurement:
    """Reads the document of a row, which has no Box; what it lacks is unknown."""
    known = {each.name: document.get(each.stored_name, each.unknown) for each in _DOCUMENTED}
    metrics = {key: Metric(*three) for key, three in document["metrics"].items()}
    return Measurement("", metrics=metrics, **known | {"source": TimeSource(known["source"])})
