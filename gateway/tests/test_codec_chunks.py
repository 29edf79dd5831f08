"""Codec: whatever goes into a chunk comes out, near the entropy of its noise, and damage is told."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from wandering_mains import noise_bits, wandering

from bench.gateway import as_sealed
from opq_gateway.ring.codec.chunk import CYCLES, HEAD_BYTES, MAX_SAMPLES, RAW, pack, unpack, unpack_all
from opq_gateway.ring.sealed import CHUNK_SAMPLES

CHUNKS = Path(__file__).parent / "codec_chunks"
RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "recordings"
Counts = NDArray[np.int16]

COUNTS = arrays.arrays(np.int16, st.integers(0, 700))
RNG = np.random.default_rng(7)


def mains(samples: int, noise_lsb: float = 2.0, hz: float = 59.97) -> Counts:
    at = np.arange(samples) / 12_000
    wave = 18_000 * np.sin(2 * np.pi * hz * at) + 500 * np.sin(2 * np.pi * 5 * hz * at + 1)
    return np.rint(wave + RNG.normal(0, noise_lsb, samples)).astype(np.int16)


def comes_back(counts: Counts) -> bytes:
    data = pack(counts)
    assert len(data) <= 2 * len(counts) + HEAD_BYTES
    back = unpack(data)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, counts)
    return data


def ratio(counts: Counts) -> float:
    return counts.nbytes / sum(len(comes_back(part)) for part, _ in as_sealed(counts))


@settings(deadline=None)
@given(COUNTS)
def test_any_samples_come_back(counts: Counts) -> None:
    comes_back(counts)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(500, 4000),
    hz=st.floats(16.0, 300.0),
    amplitude=st.floats(0.5, 60_000.0),  # of what clips, too
    noise=st.floats(0.0, 3000.0),
    step=st.sampled_from((1, 1, 3, 256)),
    jump=st.integers(0, 300),
    seed=st.integers(0, 1000),
)
def test_any_mains_come_back(
    samples: int, hz: float, amplitude: float, noise: float, step: int, jump: int, seed: int
) -> None:
    at = np.arange(samples)
    at[samples // 2 :] += jump  # what a lost block leaves
    wave = amplitude * np.sin(2 * np.pi * hz / 12_000 * at) + np.random.default_rng(seed).normal(
        0, noise, samples
    )
    comes_back((np.clip(np.rint(wave / step) * step, -32_768, 32_767)).astype(np.int16))


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros(0, np.int16),
        np.array([-32768], np.int16),
        np.full(5000, 1234, np.int16),
        np.tile(np.array([-32768, 32767], np.int16), 3000),
        np.where(np.arange(6000) % 200 < 100, -32768, 32767).astype(np.int16),
        RNG.integers(-32768, 32768, 12_000).astype(np.int16),
        mains(1),
        mains(24_000),
        mains(24_000, 0.0),
        mains(24_000) | 0xFF,
    ],
    ids=[
        "none",
        "one",
        "constant",
        "full scale",
        "square",
        "noise",
        "one of mains",
        "mains",
        "no noise",
        "8 bits",
    ],
)
def test_samples_of_every_kind_come_back(counts: Counts) -> None:
    assert comes_back(counts) == pack(counts)


@pytest.mark.parametrize("drift_lsb", [0, 40, 3000])
def test_noise_without_mains_costs_its_entropy(drift_lsb: int) -> None:
    drift = drift_lsb * np.sin(np.arange(CHUNK_SAMPLES) / CHUNK_SAMPLES)
    counts = np.rint(900 + drift + RNG.normal(0, 2, CHUNK_SAMPLES)).astype(np.int16)
    assert 16 / ratio(counts) < noise_bits(2.0) + (
        0.1 if not drift_lsb else 0.6
    )  # a difference has twice the noise


def test_an_interharmonic_tone_costs_two_bits() -> None:
    tone = 200 * np.sin(2 * np.pi * 183.3 * np.arange(CHUNK_SAMPLES) / 12_000)
    counts = np.rint(mains(CHUNK_SAMPLES, 0.0) + tone + RNG.normal(0, 2, CHUNK_SAMPLES)).astype(np.int16)
    assert 16 / ratio(counts) < noise_bits(2.0) + 2.1
    data = pack(counts)
    np.testing.assert_array_equal(unpack(data, 5000), counts[:5000])


@pytest.mark.parametrize("most", [0, 1, 100, 5000, 9000])
@pytest.mark.parametrize("kind", ["mains", "noise", "constant", "random"])
def test_the_front_of_a_chunk_is_had_alone(most: int, kind: str) -> None:
    counts = {
        "mains": mains(6000),
        "noise": RNG.integers(-5, 6, 6000).astype(np.int16),
        "constant": np.full(6000, 7, np.int16),
        "random": RNG.integers(-32768, 32768, 6000).astype(np.int16),
    }[kind]
    np.testing.assert_array_equal(unpack(pack(counts), most), counts[:most])


@settings(max_examples=40, deadline=None)
@given(
    chunks=st.lists(
        st.tuples(
            st.integers(0, 6000),
            st.sampled_from((0.0, 0.3, 2.0, 30.0)),
            st.sampled_from((45.0, 50.0, 59.97, 380.0)),
            st.sampled_from((1, 256)),
            st.none() | st.integers(0, 6000),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_parallel_chunks_decode_as_single_ones(
    chunks: list[tuple[int, float, float, int, int | None]],
) -> None:
    all_counts = [mains(samples, noise, hz) // step * step for samples, noise, hz, step, _ in chunks]
    most = [one[-1] for one in chunks]
    found = unpack_all([pack(counts.astype(np.int16)) for counts in all_counts], most)
    for one, counts, wanted in zip(found, all_counts, most, strict=True):
        np.testing.assert_array_equal(one, counts[:wanted])


@pytest.mark.parametrize("most", [1, 3000, 9000, 17_000])
def test_a_chunks_front_reads_within_its_end(most: int) -> None:
    wave = wandering(3, 60.0, 60.0) >> 8 << 8
    whole, front = wave[:18_000], wave[18_000:]
    found = unpack_all([pack(whole), pack(front)], [None, most])
    np.testing.assert_array_equal(found[0], whole)
    np.testing.assert_array_equal(found[1], front[:most])


def test_sixteen_chunks_of_many_runs_are_told_apart() -> None:
    counts = [(mains(4000, 0.3) + (np.arange(4000) // 1500 * RNG.integers(0, 3, 4000))).astype(np.int16)] * 16
    data = pack(counts[0])
    for one in unpack_all([data] * 16, [None] * 16):
        np.testing.assert_array_equal(one, counts[0])


def test_unpackable_blocks_are_kept_raw() -> None:
    assert pack(RNG.integers(-32768, 32768, 12_000).astype(np.int16))[4] == RAW


@pytest.mark.parametrize(("noise_lsb", "least"), [(2.0, 4.75), (30.0, 2.2)])
@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_wandering_mains_cost_little_more_than_their_noise(
    noise_lsb: float, least: float, nominal_hz: float
) -> None:
    reached = ratio(wandering(6, noise_lsb, nominal_hz))
    assert reached >= least
    assert 16 / reached <= noise_bits(noise_lsb) + 0.3


@pytest.mark.parametrize("name", ["event_9354_box1.i16", "event_9354_box4.i16"])
def test_recordings_of_8_bits_pack_to_a_nineteenth(name: str) -> None:
    if not (RECORDINGS / name).exists():
        pytest.skip(f"{RECORDINGS / name} is not here")
    assert ratio(np.fromfile(RECORDINGS / name, "<i2").astype(np.int16)) >= 19


@pytest.mark.parametrize("name", ["mains", "eight_bits", "dip"])
def test_a_chunk_of_another_machine_gives_its_samples(name: str) -> None:
    data = (CHUNKS / f"{name}.chunk").read_bytes()
    assert data[4] == CYCLES
    np.testing.assert_array_equal(unpack(data), np.fromfile(CHUNKS / f"{name}.i16", "<i2"))


SOUND = [
    pack(RNG.integers(-5, 6, 900).astype(np.int16)),
    pack(mains(3000)),
    pack(mains(3000, 0.3)),
    pack(mains(900) | 0xFF),
    pack(np.arange(900, dtype=np.int16)),
]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_is_reported(at: int, change: int) -> None:
    data = bytearray(SOUND[0])
    data[at % len(data)] ^= change
    with pytest.raises(ValueError):
        unpack(bytes(data))


@settings(max_examples=200, deadline=None)
@given(
    which=st.integers(0, len(SOUND) - 1),
    changes=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 255)), min_size=1, max_size=5),
    near=st.sampled_from((12, 40, 100, 10**9)),
    cut=st.integers(0, 40),
    more=st.binary(max_size=40),
)
def test_undetected_damage_gives_samples_or_a_value_error(
    which: int, changes: list[tuple[int, int]], near: int, cut: int, more: bytes
) -> None:
    """Damage that the checksum does not detect."""
    rest = bytearray(SOUND[which][4:])
    for at, byte in changes:
        rest[at % min(near, len(rest))] = byte
    rest = rest[: len(rest) - cut] + more
    try:
        found = unpack(struct.pack("<I", zlib.crc32(rest)) + rest)
    except ValueError:
        return
    assert found.dtype == np.int16 and len(found) <= MAX_SAMPLES


def test_a_torn_chunk_is_reported() -> None:
    data = SOUND[2]
    for length in range(len(data)):
        with pytest.raises(ValueError):
            unpack(data[:length])


def test_a_head_that_promises_too_much_is_reported() -> None:
    rest = struct.pack("<BI", RAW, MAX_SAMPLES + 1)
    with pytest.raises(ValueError, match="samples"):
        unpack(struct.pack("<I", zlib.crc32(rest)) + rest)


def test_more_samples_than_a_chunk_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        pack(np.zeros(MAX_SAMPLES + 1, np.int16))
