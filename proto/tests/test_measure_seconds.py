"""Frequency of UTC seconds: any cutting into pieces, gaps."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.frequency.seconds import Seconds
from opq_measure.signal import SignalPiece

RATE_HZ = 12_000.0
EPOCH_NS = 1_700_000_000 * 10**9


def mains(hz: float, length_s: float, decibels: float, start_ns: int, seed: int = 1) -> SignalPiece:
    random = np.random.default_rng(seed)
    turns = hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + random.uniform()
    wave = np.cos(2 * np.pi * turns)
    for order, share in {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}.items():
        wave += share * np.cos(2 * np.pi * order * turns + random.uniform(0, 2 * np.pi))
    wave += random.normal(scale=10 ** (-decibels / 20) / math.sqrt(2), size=len(wave))
    return SignalPiece(170.0 * wave, 5_000, RATE_HZ, start_ns)


@settings(max_examples=10, deadline=None)
@given(bounds=st.lists(st.integers(1, 40_000), max_size=20), offset_ns=st.integers(0, 10**9))
def test_seconds_of_a_stream_are_the_same_bits_for_any_cutting(bounds: list[int], offset_ns: int) -> None:
    signal = mains(59.7, 3.5, 60.0, EPOCH_NS + offset_ns)
    ends = sorted({0, len(signal.volts), *bounds})
    seconds = Seconds(60.0)
    found = []
    for first, last in pairwise(ends):
        piece = replace(
            signal, volts=signal.volts[first:last], first_sample=5_000 + first, start_ns=signal.time_ns(first)
        )
        found += seconds.push_samples(piece)
    assert found == Seconds(60.0).push_samples(signal)
    assert len(found) >= 2 and all(each.start_ns % 10**9 == 0 for each in found)
    assert [each.hz for each in found] == pytest.approx([59.7] * len(found), abs=3e-5)


def test_a_second_with_a_gap_is_left_out() -> None:
    signal = mains(60.0, 4.0, 60.0, EPOCH_NS)
    late = replace(signal, volts=signal.volts[18_500:], first_sample=23_500, start_ns=signal.time_ns(18_500))
    seconds = Seconds(60.0)
    found = seconds.push_samples(replace(signal, volts=signal.volts[:18_000])) + seconds.push_samples(late)
    assert [each.start_ns - EPOCH_NS for each in found] == [0, 2 * 10**9, 3 * 10**9]
    with pytest.raises(ValueError, match="start_ns"):
        Seconds(60.0).push_samples(replace(signal, start_ns=None))
