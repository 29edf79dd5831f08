"""Frequency over UTC seconds and ten seconds: whole cycles, gaps, any cutting into pieces."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.seconds import Seconds
from opq_measure.signal import Samples
from opq_measure.ten_seconds import TenSecondFrequency, TenSeconds
from opq_measure.windows import Windows

RATE_HZ = 12_000.0
EPOCH_NS = 1_700_000_000 * 10**9  # a whole ten seconds, 200 s behind a tick


def mains(hz: float, length_s: float, decibels: float, start_ns: int, seed: int = 1) -> Samples:
    random = np.random.default_rng(seed)
    turns = hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + random.uniform()
    wave = np.cos(2 * np.pi * turns)
    for order, share in {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}.items():
        wave += share * np.cos(2 * np.pi * order * turns + random.uniform(0, 2 * np.pi))
    wave += random.normal(scale=10 ** (-decibels / 20) / math.sqrt(2), size=len(wave))
    return Samples(170.0 * wave, 5_000, RATE_HZ, start_ns)


def ten_seconds(*pieces: Samples, nominal_hz: float = 60.0) -> list[TenSecondFrequency]:
    windows, found = Windows(nominal_hz), TenSeconds()
    told = [each for piece in pieces for window in windows.push(piece) for each in found.push(window)]
    return told + [each for window in windows.end() for each in found.push(window)] + found.end()


@pytest.mark.parametrize("hz", [42.5, 49.98, 50.4, 57.5, 60.0, 69.0])
def test_ten_seconds_of_the_clock_have_their_whole_cycles(hz: float) -> None:
    told = ten_seconds(mains(hz, 24.0, 40.0, EPOCH_NS + 6_300_000_000), nominal_hz=50.0 if hz < 55 else 60.0)
    assert [each.start_ns - EPOCH_NS for each in told] == [0, 10 * 10**9, 20 * 10**9, 30 * 10**9]
    assert [each.whole for each in told] == [False, True, True, False]
    for each in told:
        assert each.hz == pytest.approx(hz, abs=2e-4 if each.whole else 20e-3)
    assert all(10 * hz - 2 <= each.cycles <= 10 * hz for each in told[1:3])


def test_a_tick_of_ten_minutes_counts_no_cycle_twice() -> None:
    tick_ns = -(-EPOCH_NS // (600 * 10**9)) * 600 * 10**9
    told = ten_seconds(mains(60.37, 24.0, 50.0, tick_ns - 12_000_000_000))
    whole = [each for each in told if each.whole]
    assert [each.start_ns - tick_ns for each in whole] == [-10 * 10**9, 0]
    assert all(602 <= each.cycles <= 603 for each in whole)
    assert all(each.hz == pytest.approx(60.37, abs=1e-4) for each in whole)


def test_an_interruption_and_a_gap_leave_the_cycles_that_were_seen() -> None:
    signal = mains(60.2, 10.5, 60.0, EPOCH_NS - 200_000_000)
    signal.volts[36_000:60_000] = 0.0
    told = next(each for each in ten_seconds(signal) if each.start_ns == EPOCH_NS)
    assert not told.whole and 470 < told.cycles < 490
    assert told.hz == pytest.approx(60.2, abs=2e-3)
    signal = mains(60.2, 10.5, 60.0, EPOCH_NS - 200_000_000)
    before = replace(signal, volts=signal.volts[:48_000])
    after = replace(signal, volts=signal.volts[72_000:], first_sample=77_000, start_ns=signal.time_ns(72_000))
    told = next(each for each in ten_seconds(before, after) if each.start_ns == EPOCH_NS)
    assert not told.whole and 440 < told.cycles < 485
    assert told.hz == pytest.approx(60.2, abs=2e-4)


def test_ten_seconds_without_mains_are_unknown() -> None:
    told = ten_seconds(Samples(np.zeros(130_000), 0, RATE_HZ, EPOCH_NS))
    assert all(math.isnan(each.hz) and each.cycles == 0 and not each.whole for each in told)


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
        found += seconds.push(piece)
    assert found == Seconds(60.0).push(signal)
    assert len(found) >= 2 and all(each.start_ns % 10**9 == 0 for each in found)
    assert [each.hz for each in found] == pytest.approx([59.7] * len(found), abs=3e-5)


def test_a_second_with_a_gap_is_left_out() -> None:
    signal = mains(60.0, 4.0, 60.0, EPOCH_NS)
    late = replace(signal, volts=signal.volts[18_500:], first_sample=23_500, start_ns=signal.time_ns(18_500))
    seconds = Seconds(60.0)
    found = seconds.push(replace(signal, volts=signal.volts[:18_000])) + seconds.push(late)
    assert [each.start_ns - EPOCH_NS for each in found] == [0, 2 * 10**9, 3 * 10**9]
    with pytest.raises(ValueError, match="start_ns"):
        Seconds(60.0).push(replace(signal, start_ns=None))
