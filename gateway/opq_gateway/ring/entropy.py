"""Entropy: runs of small integers as bytes, near the entropy of each run.

    coded  = runs u8, head of each run, lanes u8, words varint, lane states u32 each, words u16 each,
             deflated runs in order, stash                                            little endian
    head   = length varint; when not 0: coder u8 << 4 | low u8, lowest symbol i8, symbols u8, then
             LANES: one weight u8 per symbol and one for escapes; DEFLATED: bytes of the stream, varint

A value is `symbol << low | low bits`: the low bits, nearly evenly spread when `low` is small beside the
spread of the run, go to the stash as they are; so do, in 16 bits, the values whose symbol is not in the
table (escapes). Symbols go through one of two coders. A long run of over 2 bits a symbol is Huffman coded
by zlib (0.03 bit over its entropy, fast); the others go one after another through interleaved rANS (Duda,
arXiv:1311.2540): N states take a symbol each per step, so that NumPy does a step at once. A state begins at
2**16 plus 16 bits of the stash, for otherwise each of them would cost two bytes for nothing.

Integers throughout. What comes from damaged bytes is of bounded size, or a ValueError.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

LANES, DEFLATED = 0, 1
_PRECISION: Final = 12
_TOTAL: Final = 1 << _PRECISION
_LEAST: Final = 1 << 16
"""A state stays in _LEAST .. 2**32 - 1 and gives or takes 16 bits at a time."""
_DEFLATED_FROM: Final = 4000


@dataclass(frozen=True, slots=True)
class Run:
    """How one run is coded. `weights`: of each symbol, then of escapes (LANES)."""

    length: int
    coder: int = LANES
    low: int = 0
    lowest: int = 0
    symbols: int = 0
    weights: bytes = b""
    stream_bytes: int = 0


def encode(runs: Sequence[Integers]) -> bytes:
    """Code runs of int16 values (each (n,) int64) so that `decode` gives them again."""
    heads: list[Run] = []
    symbols: list[Integers] = []
    streams = bytearray()
    stash, escapes = bytearray(), bytearray()
    for run in runs:
        head, coded = _described(run)
        if head.coder == DEFLATED:
            stream = _deflated(coded)
            head = Run(head.length, DEFLATED, head.low, head.lowest, head.symbols, b"", len(stream))
            streams += stream
        elif head.length:
            symbols.append(coded)
        heads.append(head)
        stash += _low_bits(run, head.low)
        escapes += run[coded == head.symbols].astype("<i2").tobytes()
    stash += escapes
    lane_heads = [head for head in heads if head.length and head.coder == LANES]
    lanes, rest = _to_lanes(lane_heads, symbols, bytes(stash))
    out = bytearray([len(heads)])
    for head in heads:
        out += _head_bytes(head)
    return bytes(out + lanes + streams + rest)


def decode(data: bytes, most: int) -> list[Integers]:
    """The runs of `encode`.

    Args:
        most: values that all runs may hold together.
    Raises:
        ValueError: the bytes are damaged.
    """
    try:
        return _decoded(data, most)
    except (IndexError, struct.error, zlib.error) as error:
        raise ValueError(f"coded runs are damaged: {error}") from error


def _decoded(data: bytes, most: int) -> list[Integers]:
    heads, at = _read_heads(data)
    if sum(head.length for head in heads) > most:
        raise ValueError(f"coded runs are damaged: more than {most} values")
    lane_heads = [head for head in heads if head.length and head.coder == LANES]
    laned, front, at = _from_lanes(data, at, lane_heads)
    symbols: list[Integers] = []
    for head in heads:
        if not head.length:
            symbols.append(np.zeros(0, np.int64))
        elif head.coder == LANES:
            symbols.append(laned.pop(0))
        else:
            symbols.append(_inflated(data[at : at + head.stream_bytes], head))
            at += head.stream_bytes
    return _with_stash(heads, symbols, front + data[at:])


def _with_stash(heads: list[Run], symbols: list[Integers], stash: bytes) -> list[Integers]:
    """Symbols, low bits and escapes put together."""
    runs = []
    at = 0
    for head, coded in zip(heads, symbols, strict=True):
        size = (head.length * head.low + 7) // 8
        run = (coded + head.lowest) << head.low
        if head.low:
            bits = np.unpackbits(
                np.frombuffer(stash[at : at + size], np.uint8),
                count=head.length * head.low,
                bitorder="little",
            )
            run |= bits.reshape(head.length, head.low).astype(np.int64) @ (1 << np.arange(head.low))
        at += size
        runs.append(run)
    for head, coded, run in zip(heads, symbols, runs, strict=True):
        escaped = np.flatnonzero(coded == head.symbols)
        size = 2 * len(escaped)
        if at + size > len(stash):
            raise ValueError("coded runs are damaged: the stash ends early")
        run[escaped] = np.frombuffer(stash[at : at + size], "<i2")
        at += size
    return runs


def _low_bits(run: Integers, low: int) -> bytes:
    bits = (run[:, None] >> np.arange(low)) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def _described(run: Integers) -> tuple[Run, Integers]:
    """How to code a run, and its symbols (`symbols` for an escape)."""
    if not len(run):
        return Run(0), run
    size = np.abs(run)
    spread = max(1.0, float(np.partition(size, len(run) * 4 // 5)[len(run) * 4 // 5]) / 1.28)
    # a bin of a quarter of the spread costs 0.01 bit a value; short runs rather have a short table
    low = max(0, int(np.log2(spread)) - (2 if len(run) >= _DEFLATED_FROM else 1))
    high = run >> low
    most = min(int(6 * spread) >> low, 126) + 1  # further out it is rarer than its entry in the table is dear
    lowest = min(max(int(high.min()), -most), most)
    symbols = max(min(int(high.max()), most) - lowest + 1, 1)
    coded = high - lowest
    coded[(coded < 0) | (coded >= symbols)] = symbols
    counts = np.bincount(coded, minlength=symbols + 1)
    shares = counts[counts > 0] / len(run)
    if len(run) >= _DEFLATED_FROM and -float(np.sum(shares * np.log2(shares))) > 2.0:
        return Run(len(run), DEFLATED, low, lowest, symbols), coded
    return Run(len(run), LANES, low, lowest, symbols, _weights(counts)), coded


def _weights(counts: Integers) -> bytes:
    """Counts as floats of a byte, 4 bits of mantissa, beginning at 0: 3 % of a count costs 0.001 bit."""
    out = bytearray()
    for count in (-(-counts * 4096 // int(counts.max()))).tolist():  # upwards: what occurs has a weight
        exponent = (count + 16).bit_length() - 5
        out.append(exponent << 4 | ((count + 16) >> exponent) & 15)
    return bytes(out)


def _frequencies(weights: bytes) -> Integers:
    """Weights scaled to a sum of _TOTAL, none that was above 0 falling to it."""
    codes = np.frombuffer(weights, np.uint8).astype(np.int64)
    values = ((16 + (codes & 15)) << (codes >> 4)) - 16
    total = int(values.sum())
    if not total:
        raise ValueError("coded runs are damaged: a table without weight")
    scaled = np.where(values > 0, np.maximum(1, values * _TOTAL // total), 0)
    scaled[int(np.argmax(scaled))] += _TOTAL - int(scaled.sum())
    return scaled


def _deflated(symbols: Integers) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return compress.compress(symbols.astype(np.uint8).tobytes()) + compress.flush()


def _inflated(stream: bytes, head: Run) -> Integers:
    symbols = zlib.decompressobj(-15).decompress(stream, head.length + 1)
    if len(symbols) != head.length:
        raise ValueError(f"coded runs are damaged: {len(symbols)} of {head.length} values")
    return np.frombuffer(symbols, np.uint8).astype(np.int64)


def _lanes_for(symbols: int) -> int:
    """Few enough that the states stay cheap, many enough that the steps stay few; a power of 2."""
    wanted = max(1, min(symbols // 32, 16 + symbols // 400, 255))
    return 1 << (wanted.bit_length() - 1)


def _to_lanes(heads: list[Run], symbols: list[Integers], stash: bytes) -> tuple[bytes, bytes]:
    """The lanes' part of the coded bytes, and the stash that did not fit in the states."""
    if not heads:
        return bytes([0]) + _varint(0), stash
    tables = [_frequencies(head.weights) for head in heads]
    own = np.concatenate([table[coded] for table, coded in zip(tables, symbols, strict=True)])
    below = np.concatenate(
        [(np.cumsum(table) - table)[coded] for table, coded in zip(tables, symbols, strict=True)]
    )
    lanes = _lanes_for(len(own))
    front = np.frombuffer(stash[: 2 * lanes].ljust(2 * lanes, b"\0"), "<u2")
    states = front.astype(np.int64) + _LEAST
    taken: list[Integers] = []
    for first in range((len(own) - 1) // lanes * lanes, -1, -lanes):
        share, start = own[first : first + lanes], below[first : first + lanes]
        state = states[: len(share)]
        full = state >= share << (32 - _PRECISION)
        taken.append(state[full] & 0xFFFF)
        state = np.where(full, state >> 16, state)
        whole = state // share
        states[: len(share)] = (whole << _PRECISION) + (state - whole * share) + start
    words = np.concatenate(taken[::-1]).astype("<u2")
    head = bytes([lanes.bit_length()]) + _varint(len(words))
    return head + states.astype("<u4").tobytes() + words.tobytes(), stash[2 * lanes :]


def _from_lanes(data: bytes, at: int, heads: list[Run]) -> tuple[list[Integers], bytes, int]:
    """Symbols of every run in the lanes, the front of the stash, and where the rest of `data` begins."""
    exponent, (count, at) = data[at], _read_varint(data, at + 1)
    if not heads or not exponent:
        if heads or exponent or count:
            raise ValueError("coded runs are damaged: lanes without runs")
        return [], b"", at
    lanes = 1 << (exponent - 1)
    if lanes > 256 or at + 4 * lanes + 2 * count > len(data):
        raise ValueError("coded runs are damaged: the words end early")
    states = np.frombuffer(data, "<u4", lanes, at).astype(np.int64)
    at += 4 * lanes
    # a damaged stream may ask for a word per lane and step; what is not there reads as 0 and is told below
    words = np.concatenate(
        (np.frombuffer(data, "<u2", count, at).astype(np.int64), np.zeros(lanes, np.int64))
    )
    at += 2 * count
    tables = [_frequencies(head.weights) for head in heads]
    share = np.concatenate([np.repeat(table, table) for table in tables])
    offset = np.concatenate(
        [np.arange(_TOTAL) - np.repeat(np.cumsum(table) - table, table) for table in tables]
    )
    symbol = np.concatenate([np.repeat(np.arange(len(table)), table) for table in tables])
    lengths = [head.length for head in heads]
    base = np.repeat(np.arange(len(heads)) << _PRECISION, lengths)
    slots = np.empty(len(base), np.int64)
    word = 0
    for first in range(0, len(base), lanes):
        rows = base[first : first + lanes]
        state = states[: len(rows)]
        slot = (state & (_TOTAL - 1)) + rows
        slots[first : first + lanes] = slot
        state >>= _PRECISION
        state *= share[slot]
        state += offset[slot]
        low = (state < _LEAST).nonzero()[0]
        if len(low):
            state[low] = (state[low] << 16) | words[word : word + len(low)]
            word += len(low)
            if word > count:
                break
    front = states - _LEAST
    if word != count or front.min() < 0 or front.max() > 0xFFFF:
        raise ValueError("coded runs are damaged: the lanes do not end where they began")
    ends = np.cumsum(lengths)[:-1]
    return list(np.split(symbol[slots], ends)), front.astype("<u2").tobytes(), at


def _head_bytes(head: Run) -> bytes:
    if not head.length:
        return _varint(0)
    fixed = struct.pack("<BbB", head.coder << 4 | head.low, head.lowest, head.symbols)
    table = _varint(head.stream_bytes) if head.coder == DEFLATED else head.weights
    return _varint(head.length) + fixed + table


def _read_heads(data: bytes) -> tuple[list[Run], int]:
    heads = []
    at = 1
    for _ in range(data[0]):
        length, at = _read_varint(data, at)
        if not length:
            heads.append(Run(0))
            continue
        kind, lowest, symbols = struct.unpack_from("<BbB", data, at)
        at += 3
        coder, low = kind >> 4, kind & 15
        if coder == DEFLATED:
            stream_bytes, at = _read_varint(data, at)
            heads.append(Run(length, coder, low, lowest, symbols, b"", stream_bytes))
        elif coder == LANES:
            heads.append(Run(length, coder, low, lowest, symbols, data[at : at + symbols + 1]))
            at += symbols + 1
        else:
            raise ValueError(f"coded runs are damaged: no coder {coder}")
    return heads, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 28:
            raise ValueError("coded runs are damaged: a number without an end")
