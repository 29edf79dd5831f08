"""The rows of a Stretch in few bytes: what each differs from what the one before lets expect.

    data = rows u32, losses u32 (bytes), then deflated: seven columns of int64, byte plane by byte plane;
           losses, each first_sample u64, length u16, payload as in `lost`

A steady Box gives zeros. Sums and products wrap like C's, the same on both sides, so that every value
whatever comes back as it was.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring import lost as losses
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import ROW, RecordColumns

MOST_ROWS = 1 << 20
MOST_LOSSES_BYTES = 1 << 24
_NO_FRAME = -zlib.MAX_WBITS
"""The chunk around it has a crc."""
_HEAD = struct.Struct("<II")
_LOSS = struct.Struct("<QH")
_NAMES = ("first_sample", "count", "t_ns", "uncertainty_ns", "rate_millihz", "source", "flags")


def to_bytes(part: RecordColumns) -> bytes:
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
    told = b"".join(_loss(one) for one in part.lost)
    deflate = zlib.compressobj(9, zlib.DEFLATED, _NO_FRAME)
    return _HEAD.pack(len(rows), len(told)) + deflate.compress(planes.tobytes() + told) + deflate.flush()


def from_bytes(data: bytes) -> tuple[NDArray[np.void], tuple[Lost, ...]]:
    """What `to_bytes` was given.

    Raises:
        ValueError: damaged.
    """
    try:
        count, told_bytes = _HEAD.unpack_from(data)
        if count > MOST_ROWS or told_bytes > MOST_LOSSES_BYTES:
            raise ValueError(f"{count} rows cannot be")
        size = 8 * len(_NAMES) * count
        plain = zlib.decompressobj(_NO_FRAME).decompress(data[_HEAD.size :], size + told_bytes + 1)
        if len(plain) != size + told_bytes:
            raise ValueError(f"{len(plain)} bytes for {count} rows")
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
    """The count of the row before; 0 for the first."""
    shifted = np.zeros(len(counts), np.int64)
    shifted[1:] = counts[:-1]
    return shifted


def _steps_ns(jumps: NDArray[np.int64], rates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Time from row to row as index and rate let expect; 0 for the first."""
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
