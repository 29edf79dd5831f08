"""A block: the intervals of one length and UTC day of a Box, as columns of bytes. Pure.

    MAGIC u8 | length of the head u32 | head, msgpack: rows, sections | sections, zlib

A section has some quantities, so that a reader of one need not unpack the others: times and flags, quantities
with one value, one section for each quantity with many, and the numbers under which the rows were sent, as
steps from row to row. Values are single precision, column by column,
the first bytes of all of them, then the second ... : neighbours differ in their last bytes only. Nothing is
rounded.
"""

import struct
import zlib
from collections.abc import Collection

import msgspec
import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.intervals.interval_rows import UNKNOWN, WIDE
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import IntervalColumns

MAGIC = 0xA1
_HEAD = struct.Struct("<BII")
"""Magic, CRC-32 of what follows, length of the head."""
_LEVEL = 1
"""Of zlib: 2 % larger than level 6, in half the time."""
_TIME = "time"
_SEQUENCES = "sequences"
"""Name of the section of a block with the first and last sequence numbers of each interval."""
_SEQUENCE_FLOATS = 4
"""Two numbers of 64 bits are as long as four values, so that a program from before them reads a block too."""


_Times = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]


class _Section(msgspec.Struct, array_like=True):
    names: list[str]
    widths: list[int]
    length: int


class _Head(msgspec.Struct, array_like=True):
    rows: int
    sections: list[_Section]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head).decode


def pack_block(columns: IntervalColumns) -> bytes:
    """Packs intervals in time order."""
    single = [name for name, value in columns.values.items() if value.ndim == 1]
    parts: list[tuple[list[str], list[int], bytes]] = [([_TIME], [0], _pack_times(columns))]
    if single:
        matrix = np.stack([columns.values[name] for name in single])
        parts.append((single, [1] * len(single), _shuffled(matrix)))
    for name, value in columns.values.items():
        if value.ndim > 1:
            parts.append(([name], [value.shape[1]], _shuffled(value.T)))
    if columns.sequences is not None and (columns.sequences != UNKNOWN).any():
        steps = np.diff(columns.sequences, axis=0, prepend=np.zeros((1, 2), np.int64)).astype("<i8")
        floats = np.ascontiguousarray(steps).view("<f4")
        parts.append(([_SEQUENCES], [_SEQUENCE_FLOATS], _shuffled(floats.T)))
    sections = [(names, widths, zlib.compress(data, _LEVEL)) for names, widths, data in parts]
    head = _encode(
        _Head(len(columns.start_ns), [_Section(names, widths, len(data)) for names, widths, data in sections])
    )
    body = head + b"".join(data for _, _, data in sections)
    return _HEAD.pack(MAGIC, zlib.crc32(body), len(head)) + body


def unpack_block(
    box_id: str, length_ms: int, packed: bytes, names: Collection[str] | None = None
) -> IntervalColumns:
    """Unpacks a block, or these quantities of it.

    Raises:
        StoreError: the bytes are not those that were packed.
    """
    try:
        return _unpack(box_id, length_ms, packed, names)
    except (*READ_ERRORS, struct.error, zlib.error, msgspec.MsgspecError) as error:
        raise StoreError(f"intervals of Box {box_id}: a block is damaged ({error})") from error


def _unpack(box_id: str, length_ms: int, packed: bytes, names: Collection[str] | None) -> IntervalColumns:
    magic, checksum, length = _HEAD.unpack_from(packed)
    body = memoryview(packed)[_HEAD.size :]
    if magic != MAGIC or zlib.crc32(body) != checksum:
        raise ValueError("its checksum differs")
    head = _decode(body[:length])
    at, count = length, head.rows
    times: _Times | None = None
    sequences: NDArray[np.int64] | None = None
    values: dict[str, NDArray[np.float32]] = {}
    for section in head.sections:
        data = body[at : at + section.length]
        at += section.length
        if section.names == [_TIME]:
            times = _unpack_times(zlib.decompress(data), count)
            continue
        if section.names == [_SEQUENCES]:
            if names is None and section.widths == [_SEQUENCE_FLOATS]:
                floats = _unshuffled(zlib.decompress(data), _SEQUENCE_FLOATS, count).T
                sequences = np.cumsum(np.ascontiguousarray(floats).view("<i8"), axis=0)
            continue
        if names is not None and not any(name in names for name in section.names):
            continue
        matrix = _unshuffled(zlib.decompress(data), sum(section.widths), count)
        row = 0
        for name, width in zip(section.names, section.widths, strict=True):
            if names is None or name in names:
                wide = width > 1 or name in WIDE
                values[name] = np.ascontiguousarray(matrix[row : row + width].T) if wide else matrix[row]
            row += width
    if times is None:
        raise ValueError("it has no times")
    return IntervalColumns(box_id, length_ms, *times, values, sequences)


def _pack_times(columns: IntervalColumns) -> bytes:
    steps = np.diff(columns.start_ns, prepend=np.int64(0))
    lasts = columns.end_ns - columns.start_ns
    return b"".join(
        (
            steps.astype("<i8").tobytes(),
            lasts.astype("<i8").tobytes(),
            columns.flagged.astype(np.uint8).tobytes(),
            columns.coverage.astype("<f4").tobytes(),
        )
    )


def _unpack_times(data: bytes, count: int) -> _Times:
    if len(data) != 21 * count:
        raise ValueError(f"{len(data)} bytes of times for {count} rows")
    start_ns = np.cumsum(np.frombuffer(data, "<i8", count))
    end_ns = start_ns + np.frombuffer(data, "<i8", count, 8 * count)
    flagged = np.frombuffer(data, np.uint8, count, 16 * count).astype(np.bool_)
    return start_ns, end_ns, flagged, np.frombuffer(data, "<f4", count, 17 * count)


def _shuffled(matrix: NDArray[np.float32]) -> bytes:
    """(columns, rows) -> bytes, by their place in a number."""
    plain = np.ascontiguousarray(matrix, "<f4")
    return plain.view(np.uint8).reshape(plain.size, 4).T.tobytes()


def _unshuffled(data: bytes, columns: int, rows: int) -> NDArray[np.float32]:
    if len(data) != 4 * columns * rows:
        raise ValueError(f"{len(data)} bytes of {columns} columns of {rows} rows")
    by_place = np.frombuffer(data, np.uint8).reshape(4, columns * rows)
    found: NDArray[np.float32] = np.ascontiguousarray(by_place.T).view("<f4").reshape(columns, rows)
    return found
