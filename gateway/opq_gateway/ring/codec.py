"""Codec: a chunk of samples without loss, in fewer bytes.

    chunk = crc32 u32 over the rest, method u8, samples u32, body            all little endian

A chunk stands alone. `pack` tries the methods and keeps the shortest; raw int16 is one of them, so that
nothing gets longer than HEAD_BYTES over its samples. All arithmetic is of integers: a chunk packed on one
machine gives the same samples on every other.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_SAMPLES: Final = 1 << 20
"""Per chunk; bounds what a damaged head can make `unpack` allocate."""
_HEAD = struct.Struct("<IBI")
HEAD_BYTES: Final = _HEAD.size
RAW, DEFLATED = 0, 1


def pack(counts: NDArray[np.int16]) -> bytes:
    """A chunk that `unpack` turns back into exactly these samples.

    Args:
        counts: (n,) int16, n <= MOST_SAMPLES; of any content.
    Raises:
        ValueError: another shape or type, or too many samples.
    """
    if counts.dtype != np.int16 or counts.ndim != 1 or len(counts) > MOST_SAMPLES:
        raise ValueError(f"want at most {MOST_SAMPLES} int16 in a row, not {counts.dtype} {counts.shape}")
    bodies = {RAW: counts.astype("<i2").tobytes(), DEFLATED: _deflated(counts)}
    method = min(bodies, key=lambda key: (len(bodies[key]), key))
    rest = struct.pack("<BI", method, len(counts)) + bodies[method]
    return struct.pack("<I", zlib.crc32(rest)) + rest


def unpack(data: bytes) -> NDArray[np.int16]:
    """The samples of a chunk, (n,) int16.

    Raises:
        ValueError: not a chunk, or damaged.
    """
    if len(data) < HEAD_BYTES:
        raise ValueError(f"{len(data)} bytes are no chunk")
    crc, method, samples = _HEAD.unpack_from(data)
    if zlib.crc32(memoryview(data)[4:]) != crc or samples > MOST_SAMPLES or method not in (RAW, DEFLATED):
        raise ValueError("chunk is damaged: its crc does not fit")
    body = data[HEAD_BYTES:]
    if method == RAW:
        if len(body) != 2 * samples:
            raise ValueError(f"{samples} samples do not fit {len(body)} bytes")
        return np.frombuffer(body, "<i2").astype(np.int16)
    return _inflated(body, samples)


def _deflated(counts: NDArray[np.int16]) -> bytes:
    """Second differences (modulo 2**16, so that they always fit), high bytes before low ones."""
    padded = np.concatenate((np.zeros(2, np.uint16), counts.view(np.uint16)))
    words = padded[2:] - padded[1:-1] - padded[1:-1] + padded[:-2]
    folded = (words << np.uint16(1)) ^ (np.uint16(0) - (words >> np.uint16(15)))
    return zlib.compress(folded.astype(">u2").view(np.uint8).reshape(-1, 2).T.tobytes(), 6)


def _inflated(body: bytes, samples: int) -> NDArray[np.int16]:
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(body, 2 * samples + 1)
    except zlib.error as error:
        raise ValueError(f"chunk is damaged: {error}") from error
    if len(plain) != 2 * samples or not inflate.eof:
        raise ValueError(f"chunk is damaged: {len(plain)} bytes for {samples} samples")
    high, low = np.frombuffer(plain, np.uint8).reshape(2, -1).astype(np.uint16)
    folded = (high << np.uint16(8)) | low
    words = (folded >> np.uint16(1)) ^ (np.uint16(0) - (folded & np.uint16(1)))
    return np.cumsum(np.cumsum(words, dtype=np.uint16), dtype=np.uint16).view(np.int16)
