"""A chunk of samples in fewer bytes, without loss.

    chunk  = crc32 u32 over the rest, method u8, samples u32, body                          little endian
    body   = RAW: int16 each
             DEFLATED: zlib of second differences, high bytes before low ones
             CYCLES: step u16, offset i32, then `packed_cycles.py` of (sample - offset) / step
             DIFFERENCES: the same for other signals: order u8 (0 to 2), base i32, then one run
             (`entropy.py`), the order-th differences of value - base; noise has order 0, a drift 1

A chunk can be unpacked by itself. `pack` keeps the shortest form. Raw is one of the forms, so a chunk is at
most HEAD_BYTES longer than its samples. Decoding yields whole numbers by exact arithmetic (see
`predictor.py`): a chunk packed on one machine gives the same samples on every other. For mains at 12 kS/s and
chunks of 1.5 s or more, the size is within 0.3 bit a sample of the entropy of the noise; chunks of 1 s cost
0.05 bit more, because a cycle and tables are coded again.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import packed_cycles
from opq_gateway.ring.codec.entropy import CodedRuns, decode_runs, encode_runs

MAX_SAMPLES: Final = 1 << 20
"""Most samples per chunk; bounds what a damaged head can make `unpack` allocate."""
_HEAD = struct.Struct("<IBI")
_GRID = struct.Struct("<Hi")
HEAD_BYTES: Final = _HEAD.size
_ORDER: Final = struct.Struct("<Bi")
MAX_ORDER: Final = 2
Integers = NDArray[np.int64]
RAW = 0
"""Method of a chunk: the samples as they are."""
DEFLATED = 1
"""Method of a chunk: zlib."""
CYCLES = 4
"""Method of a chunk: differences from the cycle before."""
DIFFERENCES = 5
"""Method of a chunk: differences from the sample before."""
METHODS = RAW, DEFLATED, CYCLES, DIFFERENCES


def pack(counts: NDArray[np.int16]) -> bytes:
    """A chunk that `unpack` turns back into exactly these samples.

    Args:
        counts: (n,) int16, n <= MAX_SAMPLES; with any content.
    Raises:
        ValueError: a wrong shape or type, or too many samples.
    """
    if counts.dtype != np.int16 or counts.ndim != 1 or len(counts) > MAX_SAMPLES:
        raise ValueError(f"want at most {MAX_SAMPLES} int16 in a row, not {counts.dtype} {counts.shape}")
    bodies = {RAW: counts.astype("<i2").tobytes()}
    step, offset = _grid(counts)
    values = (counts.astype(np.int64) - offset) // step
    coded = packed_cycles.encode_cycles(values)
    if coded is not None:
        bodies[CYCLES] = _GRID.pack(step, offset) + coded
    # over 10 bits a sample: not mains
    if len(counts) and (coded is None or 4 * len(coded) > 5 * len(counts)):
        bodies[DIFFERENCES] = _GRID.pack(step, offset) + _encode_differences(values)
        bodies[DEFLATED] = _deflated(counts)
    method, body = min(bodies.items(), key=lambda one: (len(one[1]), one[0]))
    rest = struct.pack("<BI", method, len(counts)) + body
    return struct.pack("<I", zlib.crc32(rest)) + rest


def unpack(data: bytes, most: int | None = None) -> NDArray[np.int16]:
    """The samples of a chunk, (n,) int16; with `most` only the first `most`, which takes less time.

    Raises:
        ValueError: not a chunk, or damaged.
    """
    return unpack_all([data], [most])[0]


def unpack_all(chunks: Sequence[bytes], most: Sequence[int | None]) -> list[NDArray[np.int16]]:
    """`unpack` of each; chunks of mains are decoded together, so six take four times as long as one.

    Raises:
        ValueError: one of them is not a chunk, or damaged.
    """
    found: list[NDArray[np.int16]] = []
    mains: list[tuple[int, int, int]] = []
    coded: list[packed_cycles.CodedCycles] = []
    for data, wanted in zip(chunks, most, strict=True):
        method, samples, body = _parted(data)
        if method == CYCLES:
            step, offset = _GRID.unpack_from(body)
            mains.append((len(found), step, offset))
            coded.append(
                packed_cycles.CodedCycles(body[_GRID.size :], samples, samples if wanted is None else wanted)
            )
            found.append(np.zeros(0, np.int16))
        else:
            found.append(_samples_of(method, samples, body)[:wanted])
    for (at, step, offset), values in zip(mains, packed_cycles.decode_cycles(coded), strict=True):
        found[at] = _on_grid(values, step, offset)
    return found


def _parted(data: bytes) -> tuple[int, int, bytes]:
    """Method, number of samples, and body."""
    if len(data) < HEAD_BYTES:
        raise ValueError(f"{len(data)} bytes are not a chunk")
    crc, method, samples = _HEAD.unpack_from(data)
    if zlib.crc32(memoryview(data)[4:]) != crc:
        raise ValueError("chunk is damaged: its crc does not fit")
    body = data[HEAD_BYTES:]
    if samples > MAX_SAMPLES:
        raise ValueError(f"chunk is damaged: {samples} samples")
    if method not in METHODS or (method in (CYCLES, DIFFERENCES) and len(body) < _GRID.size):
        raise ValueError(f"chunk is damaged: no method {method}")
    return method, samples, body


def _samples_of(method: int, samples: int, body: bytes) -> NDArray[np.int16]:
    if method == DEFLATED:
        return _inflated(body, samples)
    if method == DIFFERENCES:
        return _on_grid(_decode_differences(body[_GRID.size :], samples), *_GRID.unpack_from(body))
    if len(body) != 2 * samples:
        raise ValueError(f"chunk is damaged: {samples} samples in {len(body)} bytes")
    return np.frombuffer(body, "<i2").astype(np.int16)


def _on_grid(values: NDArray[np.int64], step: int, offset: int) -> NDArray[np.int16]:
    return np.asarray(values * step + offset, np.int64).astype(np.int16)


def _grid(counts: NDArray[np.int16]) -> tuple[int, int]:
    """The largest step and an offset such that every sample is a whole number of steps from it.

    A converter of 8 bits leaves the low byte constant: for example steps of 256 from -1.
    """
    if not len(counts):
        return 1, 0
    moved = counts.astype(np.int64) - int(counts[0])
    step = int(np.gcd.reduce(moved[:256]))
    if step != 1:
        step = int(np.gcd.reduce(moved))
    step = max(1, step)
    return step, int(counts[0]) % step


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


def _encode_differences(values: Integers) -> bytes:
    """(n,) whole numbers in the range of int16, n at least 1."""
    base = int(np.median(values))
    runs = [np.diff(values - base, n=order, prepend=[0] * order) for order in range(MAX_ORDER + 1)]
    order = min(
        range(MAX_ORDER + 1), key=lambda k: float(np.median(np.abs(runs[k])) + 0.1 * np.abs(runs[k]).mean())
    )
    return _ORDER.pack(order, base) + encode_runs([_wrapped(runs[order])], [0])


def _decode_differences(body: bytes, samples: int) -> Integers:
    """The values of `_encode_differences`.

    Raises:
        ValueError: damaged.
    """
    if len(body) < _ORDER.size:
        raise ValueError("chunk is damaged: its head is torn")
    order, base = _ORDER.unpack_from(body)
    ((values,),) = decode_runs([CodedRuns(body[_ORDER.size :], [0], samples)])
    if len(values) != samples or order > MAX_ORDER:
        raise ValueError("chunk is damaged: its run does not fit its head")
    for _ in range(order):
        values = np.cumsum(values)
    return _wrapped(values + base)


def _wrapped(values: Integers) -> Integers:
    """Modulo 2**16 into int16's range."""
    return values.astype(np.int16).astype(np.int64)
