"""Entropy: codes runs of small integers as bytes, near the entropy of each run.

    coded  = runs u8, length of each run varint, then of each that is not empty: shape u8 (`shapes.py`), or
             DEFLATED + low bits u8 and bytes varint; words varint, lane states u32 each, words u16
             each, deflated runs in order, stash                                    little endian

A value is `symbol << low | low bits`. The low bits go to the stash unchanged. Values whose tuple has no
symbol (escapes) go there in 16 bits. Symbols go through one of two coders. A long run of over 2 bits a symbol
is Huffman coded by zlib (0.05 bit over its entropy, fast); the others go one after another, in tuples
(`tuples.py`), through `lanes.py`, whose states begin with the front of the stash. Where the stash is too
short for that, runs are made coarser, with more low bits.

Integers throughout. Decoding damaged bytes gives a result of bounded size, or a ValueError.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import lanes, shapes, tuples
from opq_gateway.ring.codec.shapes import (
    ESCAPE,
    FAMILIES,
    FINE_SIZES,
    PRECISION,
    SIZES,
    ZERO,
    Integers,
    frequencies,
    low_bits,
    symbols,
)
from opq_proto.wire.packed_counts import varint

DEFLATED: Final = shapes.COARSE
"""Written in the place of a shape, with the low bits; below the least coarse shape."""
_DEFLATED_FROM: Final = 4000


@dataclass(frozen=True, slots=True)
class SymbolRun:
    """The code of one run. Encoder and decoder know `centre`."""

    length: int
    centre: int = 0
    shape: int = 0
    stream_bytes: int = 0

    @property
    def laned(self) -> bool:
        return self.length > 0 and not self.deflated

    @property
    def deflated(self) -> bool:
        return DEFLATED <= self.shape < DEFLATED + shapes.COARSE_FROM

    @property
    def laid(self) -> tuples.TupleLayout:
        return tuples.SINGLE if self.deflated else tuples.tuple_layout(self.shape, self.centre)

    @property
    def symbols(self) -> int:
        """Number of symbols in its lanes, where it has some."""
        return -(-self.length // self.laid.size)

    @property
    def low(self) -> int:
        return self.shape - DEFLATED if self.deflated else shapes.low_bits(self.shape)


def encode_runs(runs: Sequence[Integers], centres: Sequence[int]) -> bytes:
    """Codes runs of int16 values, each (n,) int64, for `decode_runs`.

    Args:
        centres: expected middle of the values of each run, in 1/64, from -64 to 64.
    """
    heads = [
        SymbolRun(len(run), centre, _shape(run, centre)) if len(run) else SymbolRun(0)
        for run, centre in zip(runs, centres, strict=True)
    ]
    heads = _coarsened(heads)
    laned: list[Integers] = []
    streams, stash, escapes = bytearray(), bytearray(), bytearray()
    for index, (run, head) in enumerate(zip(runs, heads, strict=True)):
        if head.deflated:
            symbols = np.clip((run >> head.low) + shapes.ZERO, -1, shapes.ESCAPE)
            symbols[symbols < 0] = shapes.ESCAPE
            stream = _deflated(symbols)
            streams += stream
            heads[index] = replace(head, stream_bytes=len(stream))
        elif head.length:
            symbols = tuples.joined(run, head.shape, head.centre)
            laned.append(symbols)
        else:
            continue
        stash += _low_bits(run, head.low)
        escapes += run[tuples.escaped(symbols, head.laid, len(run))].astype("<i2").tobytes()
    stash += escapes
    out = _heads_bytes(heads)
    if laned:
        tables = [(head.shape, head.centre) for head in heads if head.laned]
        front = lanes.FRONT_BYTES * lanes.lanes_for(sum(map(len, laned)))
        states, words = lanes.encode_lanes(tables, laned, bytes(stash[:front].ljust(front, b"\0")))
        out += varint(len(words) // lanes.WORD_BYTES) + states + words
        del stash[:front]
    return out + bytes(streams) + bytes(stash)


def _shape(run: Integers, centre: int) -> int:
    shape = shape_of(run, centre)
    if len(run) >= _DEFLATED_FROM and shapes.sigma_64(shape) >= 64:
        return DEFLATED + shapes.low_bits(shape)
    return shape


def _coarsened(heads: list[SymbolRun]) -> list[SymbolRun]:
    """The heads, with coarser shapes for short runs until the stash fills the states of the lanes."""
    missing = 8 * lanes.FRONT_BYTES * lanes.lanes_for(sum(head.symbols for head in heads if head.laned))
    missing -= sum(head.length * head.low for head in heads if head.length)
    out = []
    for head in heads:
        size = head.shape % shapes.SIZES
        if missing > 0 and head.laned and head.length < _DEFLATED_FROM and size >= shapes.COARSE_FROM:
            coarse = replace(head, shape=shapes.COARSE + size)
            missing -= head.length * (coarse.low - head.low)
            head = coarse
        out.append(head)
    return out


@dataclass(frozen=True, slots=True)
class CodedRuns:
    """Result of `encode_runs`.

    `centres` as given to `encode_runs`; `most` values at most in all runs together.
    """

    data: bytes
    centres: Sequence[int]
    most: int


def decode_runs(coded: Sequence[CodedRuns]) -> list[list[Integers]]:
    """The runs of each `encode_runs`, unpacked together.

    Raises:
        ValueError: the bytes of one are damaged.
    """
    try:
        read = [_RunReader(one) for one in coded]
        found = iter(lanes.decode_lanes([one.laned for one in read if one.laned is not None]))
        return [one.runs(*(next(found) if one.laned is not None else ([], b""))) for one in read]
    except (IndexError, struct.error, zlib.error) as error:
        raise ValueError(f"coded runs are damaged: {error}") from error


class _RunReader:
    """Reads the heads of runs, and finds where the rest begins."""

    def __init__(self, coded: CodedRuns) -> None:
        self._data = coded.data
        self._heads, at = _read_heads(coded.data, coded.centres)
        if sum(head.length for head in self._heads) > coded.most:
            raise ValueError(f"coded runs are damaged: more than {coded.most} values")
        self.laned: lanes.CodedLanes | None = None
        heads = [head for head in self._heads if head.laned]
        if heads:
            lengths = [head.symbols for head in heads]
            count, at = _read_varint(coded.data, at)
            words_at = at + lanes.STATE_BYTES * lanes.lanes_for(sum(lengths))
            end = words_at + lanes.WORD_BYTES * count
            if end > len(coded.data):
                raise ValueError("coded runs are damaged: the words end early")
            tables = [(head.shape, head.centre) for head in heads]
            self.laned = lanes.CodedLanes(tables, lengths, coded.data[at:words_at], coded.data[words_at:end])
            at = end
        self._at = at

    def runs(self, laned: list[Integers], front: bytes) -> list[Integers]:
        at = self._at
        symbols: list[Integers] = []
        for head in self._heads:
            if not head.length:
                symbols.append(np.zeros(0, np.int64))
            elif head.laned:
                symbols.append(laned.pop(0))
            else:
                symbols.append(_inflated(self._data[at : at + head.stream_bytes], head))
                at += head.stream_bytes
        return _with_stash(self._heads, symbols, front + self._data[at:])


def _with_stash(heads: list[SymbolRun], symbols: list[Integers], stash: bytes) -> list[Integers]:
    """Joins symbols, low bits and escapes."""
    runs = []
    at = 0
    for head, coded in zip(heads, symbols, strict=True):
        run = tuples.parted(coded, head.laid, head.length)
        if head.length and head.low:
            size = (head.length * head.low + 7) // 8
            if at + size > len(stash):
                raise ValueError("coded runs are damaged: the stash ends early")
            bits = np.unpackbits(np.frombuffer(stash, np.uint8, size, at), bitorder="little")
            rows = bits[: head.length * head.low].reshape(head.length, head.low)
            run = (run << head.low) | (rows @ (1 << np.arange(head.low)))
            at += size
        runs.append(run)
    for head, coded, run in zip(heads, symbols, runs, strict=True):
        escaped = tuples.escaped(coded, head.laid, head.length)
        size = 2 * len(escaped)
        if at + size > len(stash):
            raise ValueError("coded runs are damaged: the stash ends early")
        run[escaped] = np.frombuffer(stash[at : at + size], "<i2")
        at += size
    return runs


def _low_bits(run: Integers, low: int) -> bytes:
    bits = (run[:, None] >> np.arange(low)) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def _deflated(symbols: Integers) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return compress.compress(symbols.astype(np.uint8).tobytes()) + compress.flush()


def _inflated(stream: bytes, head: SymbolRun) -> Integers:
    symbols = zlib.decompressobj(-15).decompress(stream, head.length + 1)
    if len(symbols) != head.length:
        raise ValueError(f"coded runs are damaged: {len(symbols)} of {head.length} values")
    return np.frombuffer(symbols, np.uint8).astype(np.int64)


def _heads_bytes(heads: list[SymbolRun]) -> bytes:
    out = bytearray([len(heads)])
    for head in heads:
        out += varint(head.length)
        if head.length:
            out.append(head.shape)
            out += varint(head.stream_bytes) if head.deflated else b""
    return bytes(out)


def _read_heads(data: bytes, centres: Sequence[int]) -> tuple[list[SymbolRun], int]:
    heads = []
    at = 1
    if data[0] != len(centres):
        raise ValueError(f"coded runs are damaged: {data[0]} runs, not {len(centres)}")
    for centre in centres:
        length, at = _read_varint(data, at)
        head = SymbolRun(length, centre, data[at]) if length else SymbolRun(0, centre)
        if length:
            at += 1
        if head.deflated:
            stream_bytes, at = _read_varint(data, at)
            head = replace(head, stream_bytes=stream_bytes)
        heads.append(head)
    return heads, at


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


_ESCAPED_BITS: Final = 16
"""Bits of a value whose tuple has no symbol."""


def shape_of(run: Integers, centre: int) -> int:
    """The best of the shapes near the size of a run, which has at least one value; `centre` as in
    `shapes.shares`."""
    size = np.abs(run)
    far = float(np.partition(size, len(run) * 4 // 5)[len(run) * 4 // 5]) / 1.28
    if far < 7.0:
        counts = np.bincount(np.where(size <= ZERO, run + ZERO, ESCAPE), minlength=256)
        best = int(np.argmin(_bits(centre) @ counts))
        return best // FINE_SIZES * SIZES + best % FINE_SIZES
    code = min(SIZES - 1, max(0, round(4 * math.log2(far * 16))))  # mantissas of 4 to 7 are close enough
    near = [
        family * SIZES + at
        for family in range(FAMILIES)
        for at in range(max(0, code - 4), min(SIZES, code + 4))
    ]
    return min(near, key=lambda shape: _cost_bits(run, shape, centre))


def _cost_bits(run: Integers, shape: int, centre: int) -> float:
    counts = np.bincount(symbols(run, shape, centre), minlength=256)
    used = counts > 0
    bits = PRECISION - np.log2(frequencies(shape, centre)[used])
    return float(counts[used] @ bits) + low_bits(shape) * len(run) + _ESCAPED_BITS * int(counts[ESCAPE])


@lru_cache(maxsize=32)
def _bits(centre: int) -> NDArray[np.float64]:
    """Bits that each value costs in each shape without low bits, (shapes, 256).

    A value that does not fit a tuple makes the whole tuple an escape.
    """
    rows = []
    for family in range(FAMILIES):
        for size in range(FINE_SIZES):
            shape = family * SIZES + size
            share = frequencies(shape, centre)
            laid = tuples.tuple_layout(shape, centre)
            bits = PRECISION - np.log2(np.maximum(share, 1))
            bits[ESCAPE] += _ESCAPED_BITS * laid.size
            places = np.arange(256) - ZERO - laid.least
            rows.append(np.where((share > 0) & (places >= 0) & (places < laid.span), bits, bits[ESCAPE]))
    return np.array(rows)
