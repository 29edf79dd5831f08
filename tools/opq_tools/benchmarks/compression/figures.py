"""What a sample costs: the ring's codec beside FLAC, zstd, lzma and zlib, and beside what is possible.

Real bytes in one run. Synthetic mains wander and have Gaussian noise, whose entropy no code goes below
(`signals.py`); the limit of such a row is that plus 0.3 bit. The two recordings (`opq-tools recordings get`)
hold 8 bits: their limit is 19 times. The codec's chunks are 2 s, as the ring seals them.

The baseline is FLAC at 2 LSB of noise.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import click
import numpy as np

from opq_gateway.ring.codec import pack, unpack
from opq_tools.bench import Baseline, Case, Result, case
from opq_tools.benchmarks.compression.coders import Counts, peers
from opq_tools.benchmarks.compression.signals import as_sealed, noise_bits, wandering
from opq_tools.benchmarks.gateway.disk import recordings

OVER_NOISE_BITS = 0.3
RECORDED_RATIO = 19.0
ENCODE_S_PER_MB = 1.0
NO_LIMIT = "no limit told for noise below a count"
PEER = "FLAC, strongest"


@dataclass(frozen=True, slots=True)
class Signal:
    """What is coded, and the bits per sample that it may take; `noise` is the entropy of its noise."""

    name: str
    counts: Counts
    noise: float | None = None
    limit: float | None = None


def signals(quick: bool) -> list[Signal]:
    """The recordings that are here, and mains of each noise."""
    found = [Signal(name, counts, limit=16 / RECORDED_RATIO) for name, counts in recordings().items()]
    if not found:
        click.echo("the recordings are not here: opq-tools recordings get", err=True)
    seconds = 6 if quick else 30
    for noise_lsb, nominal_hz in ((0.3, 60.0), (2.0, 60.0), (2.0, 50.0), (30.0, 60.0)):
        noise = noise_bits(noise_lsb)
        limit = None if noise_lsb < 1 else noise + OVER_NOISE_BITS
        name = f"{nominal_hz:g} Hz, {noise_lsb:g} LSB noise"
        found.append(Signal(name, wandering(seconds, noise_lsb, nominal_hz), noise, limit))
    return found


def rows_of(signal: Signal, others: dict[str, Callable[[Counts], int]], runs: int) -> Iterator[Case]:
    """Bits of ours and of the others, ratio, CPU of packing and unpacking."""
    counts = signal.counts
    pieces = as_sealed(counts)
    parts, packed = [part for part, _ in pieces], [data for _, data in pieces]
    if not all(np.array_equal(unpack(one), part) for one, part in zip(packed, parts, strict=True)):
        raise RuntimeError(f"{signal.name}: what was unpacked is not what was packed")
    coded_bytes = sum(map(len, packed))
    bits = {name: 8 * size(counts) / len(counts) for name, size in others.items()}
    ours = case(f"{signal.name}: a sample", "bits", [8 * coded_bytes / len(counts)])
    because = NO_LIMIT if signal.limit is None else ""
    yield replace(ours, limit=signal.limit, peer=bits[PEER], because=because)
    if signal.noise is not None:
        over = case(f"{signal.name}: over the noise", "bits", [ours.value - signal.noise])
        peer = bits[PEER] - signal.noise
        most = None if signal.limit is None else OVER_NOISE_BITS
        yield replace(over, limit=most, peer=peer, because=because)
    yield replace(case(f"{signal.name}: ratio", "times", [16 / ours.value]), because="the higher the better")
    for name, value in bits.items():
        yield case(f"{signal.name}: {name}", "bits", [value])
    megabytes = counts.nbytes / 1e6
    encode = [_cpu_s(lambda: [pack(part) for part in parts]) / megabytes for _ in range(runs)]
    yield replace(case(f"{signal.name}: pack", "s/MB", encode), limit=ENCODE_S_PER_MB)
    decode = [1e3 * _cpu_s(lambda: unpack(packed[0])) for _ in range(5 * runs)]
    seconds = len(parts[0]) / 12_000
    yield case(f"{signal.name}: unpack a chunk of {seconds:.2f} s", "ms", decode)


def run(quick: bool) -> Result:
    """Every signal.

    Raises:
        NoCoderError: the extra is not installed.
    """
    others = peers()
    cases: list[Case] = []
    for signal in signals(quick):
        cases += rows_of(signal, others, 1 if quick else 5)
    by_name = {row.case: row for row in cases}
    ours = by_name["60 Hz, 2 LSB noise: a sample"]
    assert ours.peer is not None
    baseline = Baseline(f"{PEER}, 60 Hz, 2 LSB noise", ours.peer, "bits")
    return Result(tuple(cases), baseline, ours.peer / ours.value)


def _cpu_s(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began
