"""Sealed segment: the content of a raw one, its samples packed by `codec`, in chunks that can be unpacked
alone.

    file  = index, chunks, index once more, length u32 of the index, magic "OPQEND01"
    index = magic "OPQSEA01", chunks u32, records u32, start_id u64, v_per_lsb f64, nominal_v f32,
            nominal_hz f32 (0: not known), start_ns i64, end_ns i64, last_ns i64, first_sample i64,
            end_sample i64, box id str (24), one row per chunk, crc32 u32
    row   = offset u64, length u32, start_ns i64, end_ns i64
    chunk = crc32 u32 over the rest, length u32 of the records, records, samples

Records are the appended blocks' own times, indices and rates, as columns of deflated differences from the
values expected after the row before: a steady second costs some 20 bytes, and each stamp is restored bit for
bit.

    records = rows u32, losses u32 (bytes), then deflated: seven columns of int64, byte plane by byte plane;
              losses, each first_sample u64, length u16, payload as in `lost`

A steady Box gives zeros. Sums and products wrap like C's, on both sides. Damage costs only its chunk; there
are two copies of the index.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring import lost as losses
from opq_gateway.ring.codec import pack, unpack_all
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import ROW, UNKNOWN_FACTS, RecordColumns, Segment, StatedFacts

MAX_ROWS = 1 << 20
MAX_LOSSES_BYTES = 1 << 24
_NO_FRAME = -zlib.MAX_WBITS
"""No frame and no checksum: the chunk around it has a crc."""
_ROWS_HEAD = struct.Struct("<II")
_LOSS = struct.Struct("<QH")
_NAMES = ("first_sample", "count", "t_ns", "uncertainty_ns", "rate_millihz", "source", "flags")


def rows_to_bytes(part: RecordColumns) -> bytes:
    """Rows and losses of a stretch, without its samples."""
    rows = part.rows
    first = rows["first_sample"].astype(np.int64)
    rate = rows["rate_millihz"].astype(np.int64)
    jumps = np.diff(first, prepend=np.int64(0))
    table = np.zeros((len(_NAMES), len(rows)), np.int64)
    table[0] = jumps - _before(rows["count"])
    table[1] = np.diff(rows["count"].astype(np.int64), prepend=np.int64(0))
    table[2] = np.diff(rows["t_ns"], prepend=np.int64(0)) - _steps_ns(jumps, rate)
    for at, name in enumerate(_NAMES[3:], 3):
        table[at] = np.diff(rows[name].astype(np.int64), prepend=np.int64(0))
    planes = table.astype("<i8").view(np.uint8).reshape(-1, 8).T
    losses = b"".join(_loss(one) for one in part.lost)
    deflate = zlib.compressobj(9, zlib.DEFLATED, _NO_FRAME)
    return (
        _ROWS_HEAD.pack(len(rows), len(losses))
        + deflate.compress(planes.tobytes() + losses)
        + deflate.flush()
    )


def rows_of_bytes(data: bytes) -> tuple[NDArray[np.void], tuple[Lost, ...]]:
    """The reverse of `rows_to_bytes`.

    Raises:
        ValueError: damaged.
    """
    try:
        count, reasons_bytes = _ROWS_HEAD.unpack_from(data)
        if count > MAX_ROWS or reasons_bytes > MAX_LOSSES_BYTES:
            raise ValueError(f"rows are damaged: {count} rows, {reasons_bytes} bytes of reasons")
        size = 8 * len(_NAMES) * count
        plain = zlib.decompressobj(_NO_FRAME).decompress(data[_ROWS_HEAD.size :], size + reasons_bytes + 1)
        if len(plain) != size + reasons_bytes:
            raise ValueError(f"rows are damaged: {len(plain)} bytes for {count} rows")
        lost = tuple(_losses(plain[size:]))
    except (struct.error, zlib.error) as error:
        raise ValueError(f"rows are damaged: {error}") from error
    planes = np.frombuffer(plain, np.uint8, size).reshape(8, -1)
    table = np.ascontiguousarray(planes.T).view("<i8").reshape(len(_NAMES), count)
    rows = np.empty(count, ROW)
    for at, name in enumerate(_NAMES):
        if at not in (0, 2):
            rows[name] = np.cumsum(table[at])
    jumps = table[0] + _before(rows["count"])
    rows["first_sample"] = np.cumsum(jumps)
    rows["t_ns"] = np.cumsum(table[2] + _steps_ns(jumps, rows["rate_millihz"].astype(np.int64)))
    return rows, lost


def _before(counts: NDArray[np.void]) -> NDArray[np.int64]:
    """The sample count of the row before; 0 for the first row."""
    shifted = np.zeros(len(counts), np.int64)
    shifted[1:] = counts[:-1]
    return shifted


def _steps_ns(jumps: NDArray[np.int64], rates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Expected time from row to row, from index and rate; 0 for the first row."""
    steps = np.zeros(len(jumps), np.int64)
    steps[1:] = jumps[1:] * np.int64(10**12) // np.maximum(rates[:-1], 1)
    return steps


def _loss(one: Lost) -> bytes:
    payload = losses.loss_to_bytes(one, 1000)
    return _LOSS.pack(one.first_sample, len(payload)) + payload


def _losses(data: bytes) -> list[Lost]:
    found = []
    at = 0
    while at < len(data):
        first_sample, length = _LOSS.unpack_from(data, at)
        at += _LOSS.size
        found.append(losses.loss_from_bytes(data[at : at + length], first_sample))
        at += length
    return found


MAGIC: Final = b"OPQSEA01"
END_MAGIC: Final = b"OPQEND01"
CHUNK_SAMPLES: Final = 24_000
"""Samples that have to be unpacked to read one sample. 20,000 would cost 0.8 % more bytes and take 15 % less
time."""
SMALL_CHUNK_SAMPLES: Final = 18_000
SMALL_DIVISOR: Final = 10
"""A chunk that was packed to less than 1/10 of its size is followed by a small one: samples of 8 bits take
nearly twice the time of others to unpack, and a small chunk costs them little compression (4 % of 17)."""
CHUNKS_AT_ONCE: Final = 16
"""Most chunks unpacked together: the memory for that stays below 20 MB."""
MAX_INDEX_BYTES: Final = 1 << 24
_HEAD = struct.Struct("<8sIIQdffqqqqq24s")
_END = struct.Struct("<I8s")
_CHUNK = struct.Struct("<II")
_ROW = np.dtype([("offset", "<u8"), ("length", "<u4"), ("start_ns", "<i8"), ("end_ns", "<i8")])


@dataclass(frozen=True, slots=True)
class SealedIndex:
    """Head and table of a sealed file."""

    table: NDArray[np.void]
    records: int
    facts: StatedFacts
    start_ns: int
    end_ns: int
    last_ns: int
    first_sample: int
    end_sample: int


def next_chunk_samples(chunk_bytes: int, samples: int) -> int:
    """Samples of the next chunk, given the bytes and samples of the one before."""
    return SMALL_CHUNK_SAMPLES if SMALL_DIVISOR * chunk_bytes < 2 * samples else CHUNK_SAMPLES


def chunk(part: RecordColumns) -> bytes:
    """A piece of a segment as a chunk that can be unpacked alone.

    Raises:
        ValueError: unpacking does not restore the piece; the segment must stay raw.
    """
    facts = rows_to_bytes(part)
    rest = struct.pack("<I", len(facts)) + facts + pack(part.counts)
    data = struct.pack("<I", zlib.crc32(rest)) + rest
    (again,) = _opened([data], part.facts, True)
    same = again is not None and np.array_equal(again.rows, part.rows) and again.lost == part.lost
    if again is None or not same or not np.array_equal(again.counts, part.counts):
        raise ValueError("unpacking the chunk does not restore its samples")
    return data


def sealed_file(segment: Segment, box_id: str, chunks: list[tuple[bytes, int, int]]) -> bytes:
    """The bytes of a file with these chunks, each with the [start_ns, end_ns) that it touches."""
    length = _HEAD.size + len(chunks) * _ROW.itemsize + 4
    table = np.zeros(len(chunks), _ROW)
    at = length
    for row, (data, start_ns, end_ns) in zip(table, chunks, strict=True):
        row["offset"], row["length"], row["start_ns"], row["end_ns"] = at, len(data), start_ns, end_ns
        at += len(data)
    index = _HEAD.pack(
        MAGIC,
        len(chunks),
        segment.records,
        segment.start_id,
        segment.facts.v_per_lsb,
        segment.facts.nominal_v or 0.0,
        segment.facts.nominal_hz or 0.0,
        segment.start_ns,
        segment.end_ns,
        segment.last_ns,
        segment.first_sample,
        segment.end_sample,
        box_id.encode()[:24],
    )
    index += table.tobytes()
    index += struct.pack("<I", zlib.crc32(index))
    return b"".join([index, *(data for data, _, _ in chunks), index, _END.pack(length, END_MAGIC)])


def describe_sealed(path: Path, fd: int) -> Segment | None:
    """The segment in a file; None when it is not a sealed segment, or neither index can be read."""
    index = _index(fd)
    if index is None:
        return None
    return Segment(
        path,
        index.facts,
        index.records,
        index.start_ns,
        index.end_ns,
        index.last_ns,
        index.first_sample,
        index.end_sample,
        os.fstat(fd).st_size,
    )


def read_sealed(fd: int, start_ns: int, end_ns: int, counts: bool = True) -> RecordColumns:
    """The records that touch [start_ns, end_ns), in order. A damaged chunk counts as one bad record, and so
    does a file of which neither index can be read."""
    index = _index(fd)
    if index is None:  # the index has become unreadable since the ring opened the file
        return RecordColumns(UNKNOWN_FACTS, np.zeros(0, ROW), np.zeros(0, np.int16), bad=1)
    wanted = np.flatnonzero((index.table["start_ns"] < end_ns) & (index.table["end_ns"] > start_ns))
    opened: list[RecordColumns | None] = []
    for at in range(0, len(wanted), CHUNKS_AT_ONCE):
        rows = index.table[wanted[at : at + CHUNKS_AT_ONCE]]
        chunks = [os.pread(fd, int(row["length"]), int(row["offset"])) for row in rows]
        opened += _opened(chunks, index.facts, counts, end_ns)
    parts = [part for part in opened if part is not None]
    empty = np.zeros(0, np.int16)
    found = RecordColumns(
        index.facts,
        np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, ROW),
        np.concatenate([part.counts for part in parts]) if counts and parts else empty,
        tuple(one for part in parts for one in part.lost),
        len(opened) - len(parts),
    )
    return found.touching(start_ns, end_ns)


def _opened(
    chunks: Sequence[bytes], facts: StatedFacts, counts: bool, end_ns: int | None = None
) -> list[RecordColumns | None]:
    """The chunks, unpacked together, only up to `end_ns` where it is given; None for a damaged one."""
    readable = [_read_chunk(data, end_ns) for data in chunks]
    unpacked = iter(_unpacked([one for one in readable if one is not None and one.samples]) if counts else ())
    opened: list[RecordColumns | None] = []
    for one in readable:
        if one is None:
            opened.append(None)
            continue
        samples = next(unpacked) if counts and one.samples else np.zeros(0, np.int16)
        if samples is None or (counts and len(samples) != one.samples):
            opened.append(None)
        else:
            opened.append(RecordColumns(facts, one.rows, samples, one.lost))
    return opened


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk whose rows are unpacked and whose samples are still packed."""

    rows: NDArray[np.void]
    lost: tuple[Lost, ...]
    packed: bytes

    @property
    def samples(self) -> int:
        return int(self.rows["count"].sum(dtype=np.int64))


def _read_chunk(data: bytes, end_ns: int | None) -> _Chunk | None:
    if len(data) < _CHUNK.size:
        return None
    crc, length = _CHUNK.unpack_from(data)
    if zlib.crc32(memoryview(data)[4:]) != crc:
        return None
    try:
        rows, lost = rows_of_bytes(data[_CHUNK.size : _CHUNK.size + length])
    except ValueError:
        return None  # the content is wrong although the crc is right; the caller counts it
    if end_ns is not None:
        rows = rows[: int(np.searchsorted(rows["t_ns"], end_ns))]  # times rise within a segment
    return _Chunk(rows, lost, data[_CHUNK.size + length :])


def _unpacked(chunks: Sequence[_Chunk]) -> list[NDArray[np.int16] | None]:
    """The samples of each; None for damaged ones."""
    try:
        return list(unpack_all([one.packed for one in chunks], [one.samples for one in chunks]))
    except ValueError:
        return [None] if len(chunks) == 1 else [found for one in chunks for found in _unpacked([one])]


def _index(fd: int) -> SealedIndex | None:
    head = os.pread(fd, _HEAD.size, 0)
    if head.startswith(MAGIC) and len(head) == _HEAD.size:
        length = _HEAD.size + _HEAD.unpack_from(head)[1] * _ROW.itemsize + 4
        found = _parsed(os.pread(fd, min(length, MAX_INDEX_BYTES), 0))
        if found is not None:
            return found
    size = os.fstat(fd).st_size
    if size < _END.size + _HEAD.size:
        return None
    length, magic = _END.unpack(os.pread(fd, _END.size, size - _END.size))
    if magic != END_MAGIC or not _HEAD.size + 4 <= length <= min(size - _END.size, MAX_INDEX_BYTES):
        return None
    return _parsed(os.pread(fd, length, size - _END.size - length))


def _parsed(data: bytes) -> SealedIndex | None:
    if not data.startswith(MAGIC) or len(data) < _HEAD.size + 4:
        return None
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return None
    _, chunks, records, start_id, v_per_lsb, *rest, _ = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + chunks * _ROW.itemsize + 4:
        return None
    *nominal, start_ns, end_ns, last_ns, first_sample, end_sample = rest
    facts = StatedFacts(start_id, v_per_lsb, *(each or None for each in nominal))
    table = np.frombuffer(data, _ROW, chunks, _HEAD.size)
    return SealedIndex(table, records, facts, start_ns, end_ns, last_ns, first_sample, end_sample)
