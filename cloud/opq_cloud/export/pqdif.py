"""PQDIF (IEEE 1159.3, version 1.5): recordings of power-quality monitors as a tree of tagged elements.

A file is a chain of records: the container, then for each Box a data source with one channel, its settings,
and an observation of each waveform (of each part, where samples are missing: no line is drawn over a gap).
The values are the converter's counts, their scale is volts per count, so nothing is rounded. Records after
the container are compressed with zlib. Times are UTC.

The numbers and GUIDs are those of `opq_recordings.pqdif_tags`, which its reader uses too.
"""

import json
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from opq_cloud.export.exported_records import NANOSECONDS, ExportError, WaveformRecord, software_name
from opq_proto.messages import Waveform
from opq_recordings.pqdif_tags import (
    BOOL4,
    CHANNEL_TRIGGER,
    CHAR1,
    COLLECTION,
    COMPRESSED_BY_RECORD,
    DAY_OF_1970,
    EMBEDDED_BYTES,
    ENTRY,
    EXTERNAL_TRIGGER,
    GUID,
    HEADER,
    INCREMENT,
    INT2,
    PHASES,
    REAL8,
    SCALAR,
    SCALED,
    SECONDS,
    SIGNATURE,
    TIMESTAMP,
    UINT4,
    VALUES,
    VECTOR,
    VOLTAGE,
    VOLTS,
    ZLIB,
    Meaning,
    Tag,
)

LONGEST_FILE = 2**31 - 1
"""Links between records are signed 32-bit numbers."""
ZLIB_LEVEL = 1
"""Samples of mains shrink by 2 to 7 % at every level, those of an interruption by 70 %."""


@dataclass(frozen=True, slots=True)
class Element:
    """A value, several values preceded by their count, or a collection of elements."""

    tag: UUID
    kind: int
    physical: int = 0
    data: bytes = b""
    members: tuple["Element", ...] = ()


def pqdif_pieces(records: Sequence[WaveformRecord], file_name: str) -> Iterator[bytes]:
    """Yields the file, one record at a time; at most two records are in memory.

    Raises:
        ExportError: the file would be longer than 2 GiB.
    """
    at = 0
    made = _file_records(records, file_name)
    tree: Element | None = next(made)
    while tree is not None:
        body = collection_bytes(tree.members)
        if at:
            body = zlib.compress(body, ZLIB_LEVEL)
        following = next(made, None)
        end = at + HEADER.size + len(body)
        if end > LONGEST_FILE:
            raise ExportError("a PQDIF file holds 2 GiB; export fewer Boxes, or as npy")
        names = SIGNATURE.bytes_le, tree.tag.bytes_le
        next_at = 0 if following is None else end
        yield HEADER.pack(*names, HEADER.size, len(body), next_at, zlib.adler32(body)) + body
        at, tree = end, following


def collection_bytes(members: Sequence[Element], at: int = 0) -> bytes:
    """A collection that begins at byte `at` of its record's body, and everything that its entries link to."""
    entries, linked = [], []
    end = at + _entries_bytes(members)
    for each in members:
        embedded = each.kind == SCALAR and len(each.data) <= EMBEDDED_BYTES
        if embedded:
            place = each.data
        elif each.kind == COLLECTION:
            linked.append(collection_bytes(each.members, end))
            place = struct.pack("<ii", end, _entries_bytes(each.members))
            end += len(linked[-1])
        else:
            linked.append(each.data + b"\0" * (-len(each.data) % 4))
            place = struct.pack("<ii", end, len(linked[-1]))
            end += len(linked[-1])
        entries.append(ENTRY.pack(each.tag.bytes_le, each.kind, each.physical, embedded, place))
    return b"".join((struct.pack("<i", len(members)), *entries, *linked))


def timestamp_bytes(t_ns: int) -> bytes:
    """Days, and seconds of the day: a double below 86,400 is off by 8 ps at most, so nanoseconds survive."""
    days, below_ns = divmod(t_ns, 86_400 * NANOSECONDS)
    return struct.pack("<Id", DAY_OF_1970 + days, below_ns / NANOSECONDS)


def _entries_bytes(members: Sequence[Element]) -> int:
    return 4 + ENTRY.size * len(members)


def _file_records(records: Sequence[WaveformRecord], file_name: str) -> Iterator[Element]:
    by_box: dict[str, list[WaveformRecord]] = {}
    for record in sorted(records, key=lambda record: record.wave.start_ns):
        by_box.setdefault(record.wave.box_id, []).append(record)
    yield _container(records, file_name)
    for of_box in by_box.values():
        yield _data_source(of_box[0])
        yield _monitor_settings(of_box[0])
        for record in of_box:
            parts = list(record.wave.runs())
            for number, part in enumerate(parts, 1):
                yield _observation(record, part, f" ({number} of {len(parts)})" if len(parts) > 1 else "")


def _container(records: Sequence[WaveformRecord], file_name: str) -> Element:
    """Its time of creation is that of its newest sample, so that the same data give the same bytes."""
    facts = json.dumps([record.facts() for record in records], indent=1)
    because = dict.fromkeys(f"{each.title.partition(',')[0]}: {each.event.because}" for each in records)
    return _collection(
        Tag.CONTAINER,
        _vector(Tag.VERSION_INFO, UINT4, 4, struct.pack("<IIII", 1, 5, 1, 5)),
        _text(Tag.FILE_NAME, file_name),
        _time(Tag.CREATION, max(record.wave.end_ns for record in records)),
        _uint4(Tag.COMPRESSION_STYLE, COMPRESSED_BY_RECORD),
        _uint4(Tag.COMPRESSION_ALGORITHM, ZLIB),
        _text(Tag.TITLE, "; ".join(because)),
        _text(Tag.APPLICATION, software_name()),
        _text(Tag.COPYRIGHT, records[0].licence or "licence not stated"),
        _characters(Tag.COMMENTS, facts.replace("\n", "\r\n").encode()),
    )


def _data_source(record: WaveformRecord) -> Element:
    phase = (record.box.phase or "").strip()
    channel = _collection(
        Tag.CHANNEL_DEFINITION,
        _text(Tag.CHANNEL_NAME, f"Voltage {phase}".strip()),
        _uint4(Tag.PHASE, PHASES.get(phase.upper(), 0)),
        _guid(Tag.QUANTITY_TYPE, Meaning.WAVEFORM),
        _uint4(Tag.QUANTITY_MEASURED, VOLTAGE),
        _collection(
            Tag.SERIES_DEFINITIONS,
            _series(Meaning.TIME, SECONDS, Meaning.NO_CHARACTERISTIC, INCREMENT),
            _series(Meaning.VALUE, VOLTS, Meaning.INSTANTANEOUS, VALUES | SCALED),
        ),
    )
    return _collection(
        Tag.DATA_SOURCE,
        _guid(Tag.SOURCE_TYPE, Meaning.MEASURED_SOURCE),
        _text(Tag.SOURCE_NAME, record.box.name or f"Box {record.wave.box_id}"),
        _text(Tag.SERIAL_NUMBER, record.wave.box_id),
        _text(Tag.TIME_ZONE, "UTC"),
        _time(Tag.EFFECTIVE, record.wave.start_ns),
        _collection(Tag.CHANNEL_DEFINITIONS, channel),
    )


def _series(value_type: UUID, units: int, characteristic: UUID, method: int) -> Element:
    return _collection(
        Tag.SERIES_DEFINITION,
        _guid(Tag.VALUE_TYPE, value_type),
        _uint4(Tag.QUANTITY_UNITS, units),
        _guid(Tag.QUANTITY_CHARACTERISTIC, characteristic),
        _uint4(Tag.STORAGE_METHOD, method),
    )


def _monitor_settings(record: WaveformRecord) -> Element:
    """The required time of installation is not known: it is the time of the Box's first sample here."""
    nominal_hz = record.box.nominal_hz
    return _collection(
        Tag.MONITOR_SETTINGS,
        _time(Tag.EFFECTIVE, record.wave.start_ns),
        _time(Tag.TIME_INSTALLED, record.wave.start_ns),
        Element(Tag.USE_CALIBRATION, SCALAR, BOOL4, bytes(4)),
        Element(Tag.USE_TRANSDUCER, SCALAR, BOOL4, bytes(4)),
        *([] if nominal_hz is None else [_real8(Tag.NOMINAL_FREQUENCY, nominal_hz)]),
        _collection(Tag.CHANNEL_SETTINGS, _collection(Tag.CHANNEL_SETTING, _uint4(Tag.CHANNEL_INDEX, 0))),
    )


def _observation(record: WaveformRecord, part: Waveform, which: str) -> Element:
    event, onset_ns = record.event, record.event.onset_ns
    saw_it = onset_ns is not None and event.opened_by == part.box_id
    nominal_v = record.judged_v or record.box.nominal_v
    samples = len(part.counts)
    times = struct.pack("<ddd", 1, samples, 1000 / part.rate_millihz)
    values = _collection(
        Tag.SERIES_INSTANCE,
        *([] if nominal_v is None else [_real8(Tag.SERIES_BASE, nominal_v)]),
        _real8(Tag.SERIES_SCALE, part.v_per_lsb),
        _real8(Tag.SERIES_OFFSET, 0.0),
        _vector(Tag.SERIES_VALUES, INT2, samples, part.counts.astype("<i2").tobytes()),
    )
    channel = _collection(
        Tag.CHANNEL_INSTANCE,
        _uint4(Tag.CHANNEL_INDEX, 0),
        _collection(
            Tag.SERIES_INSTANCES,
            _collection(Tag.SERIES_INSTANCE, _vector(Tag.SERIES_VALUES, REAL8, 3, times)),
            values,
        ),
    )
    return _collection(
        Tag.OBSERVATION,
        _text(Tag.OBSERVATION_NAME, f"{record.title}{which}: {event.because}"),
        _time(Tag.TIME_CREATED, record.wave.end_ns),
        _time(Tag.TIME_START, part.start_ns),
        _uint4(Tag.TRIGGER_METHOD, CHANNEL_TRIGGER if saw_it else EXTERNAL_TRIGGER),
        *([] if onset_ns is None else [_time(Tag.TIME_TRIGGERED, onset_ns[0])]),
        *([_vector(Tag.TRIGGER_CHANNELS, UINT4, 1, bytes(4))] if saw_it else []),
        _collection(Tag.CHANNEL_INSTANCES, channel),
    )


def _collection(tag: UUID, *members: Element) -> Element:
    return Element(tag, COLLECTION, members=members)


def _vector(tag: UUID, physical: int, count: int, data: bytes) -> Element:
    return Element(tag, VECTOR, physical, struct.pack("<i", count) + data)


def _characters(tag: UUID, ascii_text: bytes) -> Element:
    return _vector(tag, CHAR1, len(ascii_text) + 1, ascii_text + b"\0")


def _text(tag: UUID, text: str) -> Element:
    """The text in ASCII, as PQDIF requires: letters lose their accents, others become question marks."""
    letters = (each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    plain = "".join(each if each.isprintable() else " " for each in letters).strip()
    return _characters(tag, plain.encode("ascii", "replace"))


def _uint4(tag: UUID, value: int) -> Element:
    return Element(tag, SCALAR, UINT4, struct.pack("<I", value))


def _real8(tag: UUID, value: float) -> Element:
    return Element(tag, SCALAR, REAL8, struct.pack("<d", value))


def _guid(tag: UUID, value: UUID) -> Element:
    return Element(tag, SCALAR, GUID, value.bytes_le)


def _time(tag: UUID, t_ns: int) -> Element:
    return Element(tag, SCALAR, TIMESTAMP, timestamp_bytes(t_ns))
