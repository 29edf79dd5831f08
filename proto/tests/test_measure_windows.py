"""Windows of 10/12 cycles: where they begin and end, at ticks, gaps, ends and through an interruption."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.signal import SignalPiece
from opq_measure.timebase.windows import TICK_NS, Window, Windows, windows_of

RATE_HZ = 12_000.0
TICK = 2_833_334 * TICK_NS
Floats = NDArray[np.float64]


def mains(seconds: float, hz: float = 60.0, phase: float = 0.0, rate_hz: float = RATE_HZ) -> Floats:
    turns = hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return 170.0 * (np.sin(2 * np.pi * turns + phase) + 0.03 * np.sin(6 * np.pi * turns + 3 * phase))


def start(window: Window) -> float:
    return window.first_sample + float(window.edges[0])


def end(window: Window) -> float:
    return window.first_sample + float(window.edges[-1])


@pytest.mark.parametrize(
    ("nominal_hz", "hz", "cycles"), [(60.0, 60.0, 12), (60.0, 59.1, 12), (50.0, 50.7, 10), (16.7, 16.6, 3)]
)
def test_a_window_is_ten_or_twelve_cycles(nominal_hz: float, hz: float, cycles: int) -> None:
    found = list(windows_of(mains(3.0, hz, 0.5), RATE_HZ, nominal_hz))
    assert len(found) == math.floor((3.0 * hz + 0.5 / (2 * math.pi) - 1) / cycles)
    period = RATE_HZ / hz
    for index, window in enumerate(found):
        edges = window.first_sample + window.edges
        expected = (1 - 0.5 / (2 * math.pi) + index * cycles + np.arange(cycles + 1)) * period
        assert np.abs(edges - expected).max() < 0.01
        assert window.half_edges[::2].tolist() == window.edges.tolist()
        assert window.frequency_hz == pytest.approx(hz, abs=1e-4)
        assert window.known and not window.tick and not window.overlap
        assert window.start_ns is None and window.end_ns is None


def test_a_windows_frequency_is_exact() -> None:
    for window in list(windows_of(mains(2.0, 60.01), RATE_HZ))[1:-1]:
        assert window.frequency_hz == pytest.approx(60.01, abs=1e-6)


def test_one_second_between_crossings_has_five_windows() -> None:
    found = list(windows_of(mains(1.0), RATE_HZ))
    assert len(found) == 5
    assert start(found[0]) == pytest.approx(0.0, abs=1e-3)
    assert end(found[-1]) == pytest.approx(12_000.0, abs=1e-3)
    assert math.isnan(found[-1].next_half)
    assert not math.isnan(found[-2].next_half)


def test_a_window_carries_three_cycles_each_side() -> None:
    volts = mains(2.0, 60.0)
    for window in windows_of(volts, RATE_HZ):
        last = window.first_sample + len(window.volts)
        assert window.volts.tolist() == volts[window.first_sample : last].tolist()
        assert window.edges[0] >= 600 or window.first_sample == 0
        assert len(window.volts) - window.edges[-1] >= 600 or last == len(volts)
        assert len(window.track.edges(2)) >= 25 + 10 or window.first_sample == 0 or last == len(volts)
        inside = window.track.edges(2)
        nearest = inside[np.abs(inside[:, np.newaxis] - window.half_edges).argmin(axis=0)]
        assert np.abs(nearest - window.half_edges).max() < 1e-9


def test_times_follow_the_measured_rate_of_the_piece() -> None:
    rate_hz = 12_000.37
    volts = mains(2.0, 60.0, rate_hz=rate_hz)
    for window in windows_of(volts, rate_hz, 60.0, start_ns=TICK + 10**9):
        assert window.start_ns is not None and window.end_ns is not None
        assert abs(window.start_ns - (TICK + 10**9 + start(window) / rate_hz * 1e9)) < 2
        assert window.end_ns - window.start_ns == pytest.approx(0.2e9, abs=100)
        assert window.rate_hz == rate_hz


def test_a_tick_completes_the_window() -> None:
    """The next one begins at the first edge after it."""
    begin_ns = TICK - 1_234_567_890  # the tick is 14,814.8 samples in: in the seventh window, its 74th cycle
    found = list(windows_of(mains(3.0, 60.0), RATE_HZ, 60.0, start_ns=begin_ns))
    assert [window.index for window in found if window.overlap] == [6]
    assert [window.index for window in found if window.tick] == [7]
    assert start(found[6]) == pytest.approx(6 * 2400, abs=0.01)
    assert end(found[6]) == pytest.approx(7 * 2400, abs=0.01)
    assert start(found[7]) == pytest.approx(75 * 200, abs=0.01)  # 74.07 cycles to the tick
    assert end(found[7]) == pytest.approx(87 * 200, abs=0.01)
    assert start(found[8]) == pytest.approx(87 * 200, abs=0.01)
    assert found[7].start_ns is not None and 0 <= found[7].start_ns - TICK < 16_700_000


def test_a_tick_in_the_last_cycle_moves_nothing() -> None:
    begin_ns = TICK - 10**9 + 1_000_000  # 199.93 of 200 cycles ... the tick is 1 ms before a window's end
    found = list(windows_of(mains(2.0, 60.0), RATE_HZ, 60.0, start_ns=begin_ns))
    assert [window.index for window in found if window.overlap] == [4]
    assert [window.index for window in found if window.tick] == [5]
    assert start(found[5]) == pytest.approx(12_000, abs=0.01)


def test_a_tick_on_an_edge_overlaps_none() -> None:
    found = list(windows_of(mains(2.0, 60.0), RATE_HZ, 60.0, start_ns=TICK - 10**9))
    assert [window.index for window in found if window.tick] == [5]
    assert not any(window.overlap for window in found)
    assert start(found[5]) == pytest.approx(12_000, abs=0.01)


def test_a_run_on_a_tick_begins_after_it() -> None:
    volts = mains(1.0, 60.0, phase=1.0)
    assert [window.tick for window in windows_of(volts, RATE_HZ, 60.0, start_ns=TICK)][:2] == [True, False]
    assert not any(window.tick for window in windows_of(volts, RATE_HZ, 60.0, start_ns=TICK + 1_000_000))


def test_a_gap_drops_the_incomplete_window() -> None:
    volts = mains(3.0, 60.0)
    cutter = Windows(60.0)
    found = cutter.push_samples(
        SignalPiece(volts[:13_000], 100, RATE_HZ)
    )  # 65 cycles: five windows, five cycles
    found += cutter.push_samples(SignalPiece(volts[13_001:], 13_101, RATE_HZ))
    before, after = found[:5], found[5:] + cutter.end()
    assert [window.index for window in before] == [0, 1, 2, 3, 4]
    assert end(before[-1]) == pytest.approx(100 + 12_000, abs=0.01)
    assert after[0].index == 0
    assert start(after[0]) == pytest.approx(100 + 13_200, abs=0.01)
    assert after[0].first_sample == 13_101
    assert end(after[-1]) == pytest.approx(100 + 34_800, abs=0.01)
    assert cutter.runs == 2
    assert cutter.dropped_cycles == 5 + 6


@pytest.mark.parametrize(
    ("rate_hz", "v_per_lsb", "runs"),
    [(RATE_HZ * 1.0001, 1.0, 1), (RATE_HZ * 1.002, 1.0, 2), (RATE_HZ, 0.5, 2)],
)
def test_a_rate_jump_ends_a_run(rate_hz: float, v_per_lsb: float, runs: int) -> None:
    """So does a jump of the gain; a change of 1 ppm does not."""
    volts = mains(2.0, 60.0)
    cutter = Windows(60.0)
    found = cutter.push_samples(SignalPiece(volts[:12_000], 0, RATE_HZ))
    found += cutter.push_samples(
        SignalPiece(volts[12_000:] / v_per_lsb, 12_000, rate_hz, v_per_lsb=v_per_lsb)
    )
    found += cutter.end()
    assert cutter.runs == runs
    assert np.abs(found[-1].volts).max() == pytest.approx(170.0, rel=0.03)


def test_windows_continue_through_an_interruption() -> None:
    volts = mains(6.0, 59.9)
    volts[18_000:48_000] = 0.0  # 2.5 s
    found = list(windows_of(volts, RATE_HZ))
    unknown = [window for window in found if not window.known]
    assert len(unknown) in (12, 13)
    for window in unknown:
        assert math.isnan(window.frequency_hz)
        assert window.edges[-1] - window.edges[0] == pytest.approx(12 * RATE_HZ / 59.9, rel=0.05)
    known = [window for window in found if window.known and not 17_000 < start(window) < 49_000]
    assert all(window.frequency_hz == pytest.approx(59.9, abs=0.01) for window in known)


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
def test_initial_silence_has_nominal_windows(nominal_hz: float) -> None:
    found = list(windows_of(np.zeros(24_000), RATE_HZ, nominal_hz))
    assert len(found) == 10
    assert not any(window.known for window in found)
    for window in found:
        assert window.edges[-1] - window.edges[0] == pytest.approx(2400.0, abs=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 399, 2000])
def test_fewer_samples_than_a_window_have_none(samples: int) -> None:
    assert list(windows_of(mains(1.0)[:samples], RATE_HZ)) == []


def test_counts_become_volts_by_their_gain() -> None:
    counts = np.rint(mains(1.0) / 0.0068).astype(np.int16)
    cutter = Windows(60.0)
    found = cutter.push_samples(SignalPiece(counts, 0, RATE_HZ, v_per_lsb=0.0068)) + cutter.end()
    assert found[0].volts.dtype == np.float64
    assert np.abs(found[0].volts - mains(1.0)[: len(found[0].volts)]).max() <= 0.0034 + 1e-9


def test_a_sample_that_is_no_number_is_refused() -> None:
    volts = mains(1.0)
    volts[500] = np.inf
    with pytest.raises(ValueError, match="sample 500 is not a finite number"):
        Windows(60.0).push_samples(SignalPiece(volts, 0, RATE_HZ))
    with pytest.raises(ValueError, match="rate_hz"):
        Windows(60.0).push_samples(SignalPiece(volts[:100], 0, 400.0))
    with pytest.raises(ValueError, match="rate_hz is inf"):
        Windows(60.0).push_samples(SignalPiece(volts[:100], 0, math.inf))
    for nominal_hz in (0.0, -50.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"nominal_hz is .*, want a number from 10"):
            Windows(nominal_hz)


@pytest.mark.parametrize("refused", [0, 3])
def test_a_refused_piece_leaves_a_gap(refused: int) -> None:
    volts = mains(3.0)
    cutter, found = Windows(60.0), []
    for number, first in enumerate(range(0, len(volts), 4000)):
        piece = volts[first : first + 4000].copy()
        if number == refused:
            piece[77] = math.nan
            with pytest.raises(ValueError, match="sample 77"):
                cutter.push_samples(SignalPiece(piece, first, RATE_HZ, TICK + 10**9 + first * 10**6 // 12))
            continue
        found += cutter.push_samples(SignalPiece(piece, first, RATE_HZ, TICK + 10**9 + first * 10**6 // 12))
    found += cutter.end()
    assert cutter.runs == (1 if refused == 0 else 2)
    assert all(end(window) < 4000 * refused + 1 or start(window) > 4000 * refused + 3999 for window in found)
    for window in found:  # a rising zero crossing every 200 samples, and the time that belongs to it
        assert start(window) / 200 == pytest.approx(round(start(window) / 200), abs=1e-4)
        assert window.start_ns is not None
        assert abs(window.start_ns - (TICK + 10**9 + start(window) / 12e-6)) < 2


def test_a_refused_piece_may_return_mended() -> None:
    volts = mains(2.0)
    bad = volts[9000:15_000].copy()
    bad[0] = math.inf
    cutter = Windows(60.0)
    found = cutter.push_samples(SignalPiece(volts[:9000], 0, RATE_HZ))
    for wrong in (
        SignalPiece(bad, 9000, RATE_HZ),
        SignalPiece(bad, 9500, RATE_HZ),
        SignalPiece(bad, 9000, math.nan),
    ):
        with pytest.raises(ValueError, match=r"want|not a finite"):
            cutter.push_samples(wrong)
    found += cutter.push_samples(SignalPiece(volts[9000:], 9000, RATE_HZ)) + cutter.end()
    assert cutter.runs == 1
    assert [start(window) for window in found] == [start(window) for window in windows_of(volts, RATE_HZ)]


@pytest.mark.parametrize("set_ns", [500 * 10**9, 10**12, -500 * 10**9])
def test_a_clock_set_within_a_window_repeats_nothing(set_ns: int) -> None:
    volts = mains(4.0)
    cutter, cut, begin_ns = (
        Windows(60.0),
        13_200,
        TICK - 10**9 - 1_000_000,
    )  # sixth window: 1 ms before a tick
    found = cutter.push_samples(SignalPiece(volts[:cut], 0, RATE_HZ, begin_ns))
    found += cutter.push_samples(
        SignalPiece(volts[cut:], cut, RATE_HZ, begin_ns + cut * 10**6 // 12 + set_ns)
    )
    found += cutter.end()
    starts = [start(window) for window in found]
    assert all(later - earlier > 199.0 for earlier, later in pairwise(starts))
    assert len(found) <= 4 * 5 + 3
    assert end(found[-1]) > 48_000 - 2400
