"""The ring's cost: writing as the reader writes, reading, sealing; and the codec."""

import lzma
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.compression import LZMA, as_sealed
from bench.result import cpu_of
from opq_gateway.blocks import SampleBlock
from opq_gateway.ring import codec
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealing import seal
from opq_proto.messages import TimeSource
from opq_sim.mains import MIX_3_PERCENT
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Wave, harmonics_of

RATE = 12_000
BLOCK = 200
START_NS = 1_800_000_000 * 10**9
V_PER_LSB = 0.0068


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """Figures of the codec for one signal."""

    ratio: float
    encode_mb_s: float
    """Raw megabytes per CPU second."""
    decode_mb_s: float
    lzma_ratio: float


@dataclass(frozen=True, slots=True)
class RingFigures:
    """Figures of one ring of one Box."""

    write_ms_per_s: float
    """CPU per second of signal, writing two blocks at a time."""
    write_mb_s: float
    read_mb_s: float
    """Reading ten seconds at once, warm, as one Waveform; raw megabytes per CPU second."""
    access_ms: list[float]
    """Wall time of reading one second anywhere."""
    sample_ms: list[float]
    """Wall time of reading the block around one sample anywhere."""
    sealed_read_mb_s: float
    sealed_access_ms: list[float]
    sealed_sample_ms: list[float]
    seal_ms_per_s: float
    """CPU of sealing per second of signal."""
    ratio: float
    """Raw bytes over bytes of the sealed file, with its heads and times."""


def noisy(seconds: int, noise_lsb: float) -> NDArray[np.int16]:
    """(n,) counts of mains with 3 % harmonics."""
    wave = Wave(120.0, harmonics_of(MIX_3_PERCENT))
    volts = Mains(wave=wave, noise_v=noise_lsb * V_PER_LSB, seed=7).volts(0, seconds * RATE)
    return np.rint(volts / V_PER_LSB).astype(np.int16)


def eight_bits(seconds: int) -> NDArray[np.int16]:
    """(n,) counts of the same mains from an 8-bit converter, as in the recordings."""
    return noisy(seconds, 70.0) | np.int16(0xFF)


def packed(counts: NDArray[np.int16]) -> CodecFigures:
    """Packs the counts in chunks, as the ring seals them."""
    parts = [part for part, _ in as_sealed(counts)]
    encode_s, coded = cpu_of(lambda: [codec.pack(part) for part in parts])
    decode_s, back = cpu_of(lambda: [codec.unpack(part) for part in coded])
    assert all(np.array_equal(one, two) for one, two in zip(parts, back, strict=True))
    raw = counts.nbytes
    squeezed = len(lzma.compress(counts.tobytes(), format=lzma.FORMAT_RAW, filters=LZMA))
    return CodecFigures(
        raw / sum(map(len, coded)), raw / encode_s / 1e6, raw / decode_s / 1e6, raw / squeezed
    )


def on_disk(counts: NDArray[np.int16], reads: int) -> RingFigures:
    """Measures a ring of these samples, at least 12 s, in a temporary folder."""
    seconds = len(counts) / RATE
    blocks = [_block(counts, first) for first in range(0, len(counts), BLOCK)]
    chance = np.random.default_rng(3)
    starts = [START_NS + int(at * 1e9) for at in chance.uniform(0, seconds - 11, reads)]
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        ring = Ring(Path(folder), "1", 24.0)
        write_s, _ = cpu_of(lambda: _write(ring, blocks))
        raw = _read(ring, starts)
        ring.close()
        segment = ring.unsealed()[0]
        before = segment.file_bytes
        seal_s, sealed = cpu_of(lambda: seal(segment.path))
        if sealed is None or not ring.replace(segment, sealed):
            raise RuntimeError("the ring took no sealed segment")
        ratio = before / segment.file_bytes
        closed = _read(ring, starts)
    return RingFigures(
        write_ms_per_s=write_s / seconds * 1e3,
        write_mb_s=counts.nbytes / write_s / 1e6,
        read_mb_s=raw[0],
        access_ms=raw[1],
        sample_ms=raw[2],
        sealed_read_mb_s=closed[0],
        sealed_access_ms=closed[1],
        sealed_sample_ms=closed[2],
        seal_ms_per_s=seal_s / seconds * 1e3,
        ratio=ratio,
    )


def _write(ring: Ring, blocks: list[SampleBlock]) -> None:
    for at in range(0, len(blocks), 2):
        ring.append_all(blocks[at : at + 2])


def _read(ring: Ring, starts: list[int]) -> tuple[float, list[float], list[float]]:
    """MB per CPU second of ten seconds at once; wall ms of one second each, and of one sample each."""
    ten_s, waves = cpu_of(lambda: [ring.read(start, start + 10 * 10**9) for start in starts[:10]])
    size = sum(wave.counts.nbytes for wave in waves if wave is not None)
    second_ms, sample_ms = ([_wall_ms(ring, start, lasting) for start in starts] for lasting in (10**9, 1))
    return size / ten_s / 1e6, second_ms, sample_ms


def _wall_ms(ring: Ring, start_ns: int, lasting_ns: int) -> float:
    began = time.perf_counter()
    ring.read(start_ns, start_ns + lasting_ns)
    return (time.perf_counter() - began) * 1e3


def _block(counts: NDArray[np.int16], first: int) -> SampleBlock:
    t_ns = START_NS + first * 10**9 // RATE
    return SampleBlock(
        1, V_PER_LSB, first, t_ns, 100, TimeSource.GPS, RATE * 1000, counts[first : first + BLOCK]
    )
