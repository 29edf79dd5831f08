"""Flags against the true places of dips, swells and interruptions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.aggregation.aggregate import Quantity
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.events.detector import Detector, Onset
from opq_measure.events.flagging import Flagging
from opq_measure.frequency.ten_seconds import TenSecondFrequency
from opq_measure.rms import cycle_rms_v
from opq_measure.signal import SignalPiece
from opq_measure.timebase.window import WindowTime
from opq_measure.timebase.windows import Window, Windows, windows_of
from opq_sim.mains import mains
from opq_sim.mains.disturbance import MainsDisturbance
from opq_sim.mains.profiles import Wander
from opq_sim.mains.rms_events import Interruption, RapidVoltageChange, Sag, Swell

RATE_HZ = 12_000.0


def flagged(
    disturbances: list[MainsDisturbance], seconds: float = 4.0, nominal_hz: float = 60.0, hz: float = 59.9
) -> tuple[list[tuple[Window, bool]], list[tuple[float, float]]]:
    volts, truth = mains(
        seconds, RATE_HZ, frequency_hz=hz, disturbances=disturbances, profiles=[Wander(0.01)], noise_db=60
    )
    cutter, detector, flagging = Windows(nominal_hz), Detector(RATE_HZ, 120.0, nominal_hz), Flagging()
    found = []
    for window in cutter.push_samples(SignalPiece(volts, 0, RATE_HZ)) + cutter.end():
        found += flagging.push_window(window, detector.push_window(window))
    found += flagging.end(detector.end())
    return found, [truth.span_samples(number) for number in range(len(truth.disturbances))]


def bounds(window: Window) -> tuple[float, float]:
    return window.first_sample + float(window.edges[0]), window.first_sample + float(window.edges[-1])


def test_a_dip_within_a_window_flags_it_alone() -> None:
    found, _ = flagged([Sag(depth=0.4, start_s=1.08, cycles=2)])
    marked = [window for window, flag in found if flag]
    assert len(marked) == 1 and bounds(marked[0])[0] < 1.08 * RATE_HZ < bounds(marked[0])[1]
    assert [window.index for window, _ in found] == list(range(len(found)))


@pytest.mark.parametrize("nominal_hz", [16.7, 50.0, 60.0])
def test_a_long_dip_flags_all_touched_windows(nominal_hz: float) -> None:
    found, spans = flagged(
        [Interruption(start_s=1.0, seconds=1.5), Swell(rise=0.3, start_s=3.3, seconds=0.3)],
        5.0,
        nominal_hz,
        nominal_hz,
    )
    cycle = RATE_HZ / nominal_hz
    for window, flag in found:
        begin, end = bounds(window)
        if any(start < end - cycle and stop > begin + cycle for start, stop in spans):
            assert flag
        if all(start > end + cycle or stop < begin - cycle for start, stop in spans):
            assert not flag


@pytest.mark.parametrize(("cycles", "first"), [(-0.5, 2), (0.5, 2), (1.5, 3)])
def test_an_onset_flags_its_possible_windows(cycles: float, first: int) -> None:
    """An onset is good to a cycle and flags the window that it may have begun in."""
    volts, _ = mains(1.5, RATE_HZ)
    windows = list(windows_of(volts, RATE_HZ))
    onset = Onset(1, "sag", bounds(windows[2])[1] + cycles * 200, 80.0)
    flagging, found = Flagging(), []
    for window in windows:
        found += flagging.push_window(window, [onset] if window.index == 3 else [])
    flags = [flag for _, flag in found + flagging.end()]
    assert flags == [index >= first for index in range(len(windows))]


def test_a_rapid_voltage_change_flags_nothing() -> None:
    found, _ = flagged([RapidVoltageChange(change=-0.06, start_s=1.0, seconds=1.0)])
    assert not any(flag for _, flag in found)


def test_an_open_event_flags_up_to_the_gap() -> None:
    volts, _ = mains(4.0, RATE_HZ, disturbances=[Sag(depth=0.5, start_s=1.5, seconds=9.0)])
    steady, _ = mains(2.0, RATE_HZ)
    cutter, detector, flagging = Windows(60.0), Detector(RATE_HZ, 120.0, 60.0), Flagging()
    found = []
    for piece in (SignalPiece(volts, 0, RATE_HZ), SignalPiece(steady, 60_000, RATE_HZ)):
        for window in cutter.push_samples(piece):
            found += flagging.push_window(window, detector.push_window(window))
    for window in cutter.end():
        found += flagging.push_window(window, detector.push_window(window))
    found += flagging.end(detector.end())
    for window, flag in found:
        begin, end = bounds(window)
        assert flag == (end > 18_000 and begin < 48_000), (window.index, begin)
    assert {window.index for window, _ in found if window.first_sample >= 60_000} == set(range(10))


def test_a_restarted_box_carries_no_event_over() -> None:
    sagging, _ = mains(4.0, RATE_HZ, disturbances=[Sag(depth=0.5, start_s=1.5, seconds=9.0)])
    early, _ = mains(6.0, RATE_HZ, disturbances=[Sag(depth=0.5, start_s=0.3, cycles=2)])
    cutter, detector, flagging = Windows(60.0), Detector(RATE_HZ, 120.0, 60.0), Flagging()
    runs: list[list[bool]] = []
    found = []
    for piece in (SignalPiece(sagging, 10_000, RATE_HZ), SignalPiece(early, 0, RATE_HZ)):
        for window in cutter.push_samples(piece):
            found += flagging.push_window(window, detector.push_window(window))
    for window in cutter.end():
        found += flagging.push_window(window, detector.push_window(window))
    for window, flag in found + flagging.end(detector.end()):
        if window.index == 0:
            runs.append([])
        runs[-1].append(flag)
    assert [index for index, flag in enumerate(runs[0]) if flag] == list(range(7, 20))
    assert [index for index, flag in enumerate(runs[1]) if flag] == [1]


def test_a_dip_flags_every_aggregate() -> None:
    """From samples to windows, events, flags, 3 s, 10 min, 2 h and 10 s; a tick after 12 s."""
    tick_ns = 1_800_000_000 * 10**9
    volts, truth = mains(
        25.0, RATE_HZ, frequency_hz=60.2, disturbances=[Sag(depth=0.5, start_s=4.1, cycles=6)], noise_db=70
    )
    cutter, detector, flagging = Windows(60.0), Detector(RATE_HZ, 120.0, 60.0), Flagging()
    aggregator, meter = Aggregator((Quantity("rms_v"),)), TenSecondFrequency()
    aggregates, frequencies, flags = [], [], 0
    samples = SignalPiece(volts, 0, RATE_HZ, tick_ns - 12 * 10**9)

    def take(decided: list[tuple[Window, bool]]) -> None:
        nonlocal aggregates, frequencies, flags
        for window, flag in decided:
            rms_v = float(cycle_rms_v(window.volts, window.edges[[0, -1]])[0])
            aggregates += aggregator.push_values(WindowTime.of(window), {"rms_v": rms_v}, flag)
            frequencies += meter.push_window(window, flag)
            flags += flag

    for window in cutter.push_samples(samples) + cutter.end():
        take(flagging.push_window(window, detector.push_window(window)))
    take(flagging.end(detector.end()))
    aggregates += aggregator.end()
    frequencies += meter.end()

    dip_ns = samples.time_ns(truth.span_samples(0)[0])
    assert dip_ns is not None and flags in (1, 2)
    for each in aggregates:
        holds = each.start_ns <= dip_ns < each.end_ns
        assert each.flagged == holds
        least = float(each.values()["rms_v"].min)
        assert (least < 119) == holds  # flagged values are in the numbers
    assert [each.kind for each in aggregates if each.flagged] == ["180_cycles", "10_min", "2_h"]
    assert [each.flagged for each in frequencies] == [
        each.start_ns <= dip_ns < each.end_ns for each in frequencies
    ]
    before, after = (each for each in aggregates if each.kind == "10_min")
    assert (before.end_ns, after.start_ns) == (tick_ns, tick_ns)
    assert before.count == 61 and after.coverage == pytest.approx(13 / 600, rel=0.03)


@settings(max_examples=15, deadline=None)
@given(
    start_s=st.floats(0.5, 2.5),
    cycles=st.floats(1.5, 40.0),
    depth=st.floats(0.2, 0.95),
    hz=st.floats(57.5, 62.5),
)
def test_every_touched_window_is_flagged(start_s: float, cycles: float, depth: float, hz: float) -> None:
    found, ((start, stop),) = flagged([Sag(depth=depth, start_s=start_s, cycles=cycles)], 4.0, 60.0, hz)
    cycle = 1.5 * RATE_HZ / hz
    assert len(found) == len({window.index for window, _ in found}) >= 18
    for window, flag in found:
        begin, end = bounds(window)
        if start < end - cycle and stop > begin + cycle:
            assert flag
        if start > end + cycle or stop < begin - cycle:
            assert not flag
    assert np.any([flag for _, flag in found])
