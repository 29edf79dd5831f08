"""Codec: whatever goes into a chunk comes out, and damage is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from opq_gateway.ring.codec import HEAD_BYTES, MOST_SAMPLES, pack, unpack

COUNTS = arrays.arrays(np.int16, st.integers(0, 700))
RNG = np.random.default_rng(7)


def mains(samples: int, noise_lsb: float = 2.0) -> np.ndarray:
    at = np.arange(samples) / 12_000
    wave = 18_000 * np.sin(2 * np.pi * 59.97 * at) + 500 * np.sin(2 * np.pi * 5 * 59.97 * at + 1)
    return np.rint(wave + RNG.normal(0, noise_lsb, samples)).astype(np.int16)


@settings(deadline=None)
@given(COUNTS)
def test_any_samples_come_back(counts: np.ndarray) -> None:
    data = pack(counts)
    assert len(data) <= 2 * len(counts) + HEAD_BYTES
    np.testing.assert_array_equal(unpack(data), counts)


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros(0, np.int16),
        np.array([-32768], np.int16),
        np.full(5000, 1234, np.int16),
        np.tile(np.array([-32768, 32767], np.int16), 3000),
        RNG.integers(-32768, 32768, 12_000).astype(np.int16),
        mains(1),
        mains(24_000),
        mains(24_000) | 0xFF,
    ],
    ids=["none", "one", "constant", "full scale", "noise", "one of mains", "mains", "8 bits"],
)
def test_samples_of_every_kind_come_back(counts: np.ndarray) -> None:
    data = pack(counts)
    assert len(data) <= 2 * len(counts) + HEAD_BYTES
    np.testing.assert_array_equal(unpack(data), counts)
    assert pack(counts) == data


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_is_told(at: int, change: int) -> None:
    data = bytearray(pack(mains(1000)))
    data[at % len(data)] ^= change
    with pytest.raises(ValueError):
        unpack(bytes(data))


def test_a_torn_chunk_is_told() -> None:
    data = pack(mains(400))
    for length in range(len(data)):
        with pytest.raises(ValueError):
            unpack(data[:length])


def test_more_samples_than_a_chunk_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        pack(np.zeros(MOST_SAMPLES + 1, np.int16))
