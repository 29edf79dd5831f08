"""Bits per sample: the ring's codec compared with FLAC, zstd, lzma and zlib, and with the entropy.

All codecs run on the same samples. Synthetic mains wander and have Gaussian noise, whose entropy is a bound
for every code (`noise_bits`); the limit of such a row is that plus 0.3 bit. The two recordings (`opq-tools
recordings get`) hold 8 bits; their limit is a ratio of 19. Chunks are 2 s, as the ring seals them.

The baseline is FLAC at 2 LSB of noise.
"""

import io
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import click
import numpy as np
from numpy.typing import NDArray

from bench.result import Baseline, BenchCase, BenchResult, case, cpu_of
from opq_gateway.ring.codec import pack, unpack
from opq_gateway.ring.sealed import CHUNK_SAMPLES, next_chunk_samples
from opq_measure.signal import FloatArray
from opq_proto.errors import OpqError

Counts = NDArray[np.int16]
RECORDED = ("event_9354_box1.i16", "event_9354_box4.i16")
FOLDERS = (Path("recordings"), Path(__file__).parents[2].parent / "shared" / "data" / "recordings")
"""Folders where `opq-tools recordings get` may have put the recordings."""
OVER_NOISE_BITS = 0.3
RECORDED_RATIO = 19.0
ENCODE_S_PER_MB = 1.0
NO_LIMIT = "no limit for noise below a count"
PEER = "FLAC, strongest"


@dataclass(frozen=True, slots=True)
class CodedSignal:
    """A signal and its limit in bits per sample; `noise` is the entropy of its noise."""

    name: str
    counts: Counts
    noise: float | None = None
    limit: float | None = None


def signals(quick: bool) -> list[CodedSignal]:
    """The available recordings, and synthetic mains of each noise."""
    found = [CodedSignal(name, counts, limit=16 / RECORDED_RATIO) for name, counts in recordings().items()]
    if not found:
        click.echo("the recordings are not here: opq-tools recordings get", err=True)
    seconds = 6 if quick else 30
    for noise_lsb, nominal_hz in ((0.3, 60.0), (2.0, 60.0), (2.0, 50.0), (30.0, 60.0)):
        noise = noise_bits(noise_lsb)
        limit = None if noise_lsb < 1 else noise + OVER_NOISE_BITS
        name = f"{nominal_hz:g} Hz, {noise_lsb:g} LSB noise"
        found.append(CodedSignal(name, wandering(seconds, noise_lsb, nominal_hz), noise, limit))
    return found


def rows_of(
    signal: CodedSignal, others: dict[str, Callable[[Counts], int]], runs: int
) -> Iterator[BenchCase]:
    """Rows of a signal: bits of our codec and of the others, ratio, CPU of packing and unpacking."""
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
    yield case(f"{signal.name}: ratio", "times", [16 / ours.value], because="the higher the better")
    for name, value in bits.items():
        yield case(f"{signal.name}: {name}", "bits", [value])
    megabytes = counts.nbytes / 1e6
    encode = [cpu_of(lambda: [pack(part) for part in parts])[0] / megabytes for _ in range(runs)]
    yield case(f"{signal.name}: pack", "s/MB", encode, limit=ENCODE_S_PER_MB)
    decode = [1e3 * cpu_of(lambda: unpack(packed[0]))[0] for _ in range(5 * runs)]
    seconds = len(parts[0]) / 12_000
    yield case(f"{signal.name}: unpack a chunk of {seconds:.2f} s", "ms", decode)


def run(quick: bool) -> BenchResult:
    """Measures every signal.

    Raises:
        NoCoderError: the extra is not installed.
    """
    others = peers()
    cases: list[BenchCase] = []
    for signal in signals(quick):
        cases += rows_of(signal, others, 1 if quick else 5)
    by_name = {row.case: row for row in cases}
    ours = by_name["60 Hz, 2 LSB noise: a sample"]
    assert ours.peer is not None
    baseline = Baseline(f"{PEER}, 60 Hz, 2 LSB noise", ours.peer, "bits")
    return BenchResult(tuple(cases), baseline, ours.peer / ours.value)


MISSING = "soundfile and zstandard are not installed: pip install 'opq-toolkit[bench]'"
RATE_HZ = 12_000
LZMA = [{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2, "preset": 9}]


class NoCoderError(OpqError):
    """A coder is not installed, so there is nothing to compare with."""


def peers() -> dict[str, Callable[[Counts], int]]:
    """Other coders: name -> function that returns the bytes they need.

    Raises:
        NoCoderError: the extra is not installed.
    """
    try:
        import soundfile
        import zstandard
    except (ImportError, OSError) as error:  # OSError: soundfile without its libsndfile
        raise NoCoderError(MISSING) from error
    return {
        "FLAC, strongest": lambda counts: flac_bytes(soundfile, counts),
        "zstd 19": lambda counts: zstd_bytes(zstandard, counts),
        "lzma 9": lambda counts: min(len(_lzma(data)) for data in layouts(counts)),
        "zlib 9": lambda counts: min(len(zlib.compress(data, 9)) for data in layouts(counts)),
    }


def flac_bytes(library: ModuleType, counts: Counts) -> int:
    """Bytes of FLAC, as 16 bits, or as 8 where the low byte never changes."""
    subtype = "PCM_S8" if len(np.unique(counts & 0xFF)) == 1 else "PCM_16"
    out = io.BytesIO()
    library.write(out, counts, RATE_HZ, format="FLAC", subtype=subtype, compression_level=1.0)
    return len(out.getvalue())


def zstd_bytes(library: ModuleType, counts: Counts) -> int:
    """Bytes of zstd with its best layout."""
    compressor = library.ZstdCompressor(level=19)
    return min(len(compressor.compress(data)) for data in layouts(counts))


def layouts(counts: Counts) -> list[bytes]:
    """The samples as they are; and differences of one and two steps and of a cycle, high bytes first."""
    wide = counts.astype(np.int64)
    laid = [counts.tobytes()]
    for change in (
        np.diff(wide, prepend=0),
        np.diff(wide, 2, prepend=[0, 0]),
        np.concatenate((wide[: RATE_HZ // 60], wide[RATE_HZ // 60 :] - wide[: -RATE_HZ // 60])),
        np.concatenate((wide[: RATE_HZ // 50], wide[RATE_HZ // 50 :] - wide[: -RATE_HZ // 50])),
    ):
        laid.append(change.astype(">i2").view(np.uint8).reshape(-1, 2).T.tobytes())
    return laid


def _lzma(data: bytes) -> bytes:
    return min(
        (lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters) for filters in (LZMA, LZMA[1:])),
        key=len,
    )


AMPLITUDE_LSB = 20_000.0
HARMONICS = (
    (1, 1.0, 0.3),
    (3, 0.02, 1.0),
    (5, 0.02, 2.0),
    (7, 0.009, 0.4),
    (9, 0.005, 2.2),
    (11, 0.003, 1.1),
)
"""Order, share of the fundamental, phase: six lines of 3 % THD."""
FREQUENCY_WANDER = (0.02, 10.0)
AMPLITUDE_WANDER = (0.002, 5.0)
"""Standard deviation (Hz; share) and time constant (s): a first-order Gauss-Markov walk at 100 per second."""


def wandering(seconds: int, noise_lsb: float, nominal_hz: float, seed: int = 1) -> NDArray[np.int16]:
    """(seconds * RATE_HZ,) counts of mains with Gaussian noise."""
    chance = np.random.default_rng(seed)
    hz = nominal_hz + _walk(seconds, *FREQUENCY_WANDER, chance)
    level = AMPLITUDE_LSB * (1 + _walk(seconds, *AMPLITUDE_WANDER, chance))
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    wave = sum(share * np.cos(order * phase + start) for order, share, start in HARMONICS)
    return np.rint(level * wave + chance.normal(0, noise_lsb, len(hz))).astype(np.int16)


def as_sealed(counts: NDArray[np.int16]) -> list[tuple[NDArray[np.int16], bytes]]:
    """The samples in pieces as the ring cuts them, each with its packed bytes."""
    pieces = []
    size = CHUNK_SAMPLES
    at = 0
    while at < len(counts):
        piece = counts[at : at + size]
        pieces.append((piece, pack(piece)))
        size = next_chunk_samples(len(pieces[-1][1]), len(piece))
        at += len(piece)
    return pieces


def noise_bits(noise_lsb: float) -> float:
    """Entropy in bits of Gaussian noise rounded to counts: no code needs less, even if it knows the wave."""

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf(edge / noise_lsb / math.sqrt(2)))

    reach = math.ceil(9 * noise_lsb) + 1
    shares = [below(k + 0.5) - below(k - 0.5) for k in range(-reach, reach + 1)]
    return -sum(share * math.log2(share) for share in shares if share > 0)


def _walk(seconds: int, spread: float, memory_s: float, chance: np.random.Generator) -> FloatArray:
    points = seconds * 100 + 1
    keep = math.exp(-0.01 / memory_s)
    kicks = chance.normal(0, spread * math.sqrt(1 - keep * keep), points)
    value = chance.normal(0, spread)
    values = np.empty(points)
    for k in range(points):
        values[k] = value
        value = keep * value + kicks[k]
    at = np.arange(seconds * RATE_HZ) / RATE_HZ
    return np.interp(at, np.arange(points) / 100, values)


def recordings() -> dict[str, NDArray[np.int16]]:
    """The available real recordings, by name."""
    found = {}
    for name in RECORDED:
        path = next((folder / name for folder in FOLDERS if (folder / name).exists()), None)
        if path is not None:
            found[path.stem] = np.fromfile(path, dtype="<i2").astype(np.int16)
    return found
