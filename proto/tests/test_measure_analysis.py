"""The analysis of a whole signal: the same from any blocks, and every class of event where it is, alone."""

import dataclasses
import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import Analyser, analyze
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.signal import SignalPiece

RATE_HZ = 12_000.0
PEAK_V = 120.0 * math.sqrt(2)
Floats = NDArray[np.float64]


def mains(
    seconds: float, hz: float = 60.0, noise_db: float = 60.0, thd: float = 0.03, ahead: float = 0.0
) -> Floats:
    """120 V with a 5th and a 7th harmonic, `ahead` by so many degrees."""
    turn = 2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ + 0.4 + math.radians(ahead)
    wave = np.sin(turn) + thd / math.sqrt(2) * (np.sin(5 * turn + 1) + np.sin(7 * turn + 2))
    noise = np.random.default_rng(1).normal(size=len(turn))
    found: Floats = PEAK_V * wave + 120.0 * 10 ** (-noise_db / 20) * noise
    return found


def eventful() -> Floats:
    """6.5 s with a dip from 2 s on, a ringing at 4 s and a jump of 20 degrees at 5 s."""
    volts = mains(6.5)
    volts[60_000:] = mains(6.5, ahead=20.0)[60_000:]
    volts[24_000:26_000] *= 0.6
    at = np.arange(300)
    volts[48_050:48_350] += 0.3 * PEAK_V * np.exp(-at / 60) * np.sin(2 * np.pi * 900 * at / RATE_HZ)
    return volts


def in_blocks(volts: Floats, cuts: list[int], start_ns: int | None = None) -> SignalAnalysis:
    analyser = Analyser()
    for first, stop in pairwise([0, *sorted(cuts), len(volts)]):
        time_ns = None if start_ns is None else start_ns + round(first * 1e9 / RATE_HZ)
        analyser.push_samples(SignalPiece(volts[first:stop], first, RATE_HZ, time_ns))
    return analyser.end()


def assert_same(one: SignalAnalysis, other: SignalAnalysis) -> None:
    for field in dataclasses.fields(one):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, its, err_msg=field.name)
        elif field.name == "series":
            for part in dataclasses.fields(mine):
                np.testing.assert_array_equal(getattr(mine, part.name), getattr(its, part.name))
        elif field.name != "aggregates":  # which hold arrays; the contract below has them
            assert mine == its, field.name
    assert one.contract("x") == other.contract("x")


WHOLE = eventful()


@cache
def analysed() -> SignalAnalysis:
    """The analysis of WHOLE in one piece; not made where tests are only collected, by each worker."""
    return analyze(WHOLE, RATE_HZ)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_any_blocks_give_the_same_bits(cuts: list[int]) -> None:
    assert_same(in_blocks(WHOLE, cuts), analysed())


def test_small_blocks_give_the_same_bits() -> None:
    assert_same(in_blocks(WHOLE, list(range(0, len(WHOLE), 333))), analysed())


def test_a_dip_ringing_and_jump_are_three_events() -> None:
    """Each at its place."""
    dip, ringing, jump = analysed().contract("x")["events"]  # type: ignore[misc]
    assert (dip["class"], ringing["class"], jump["class"]) == ("sag", "oscillatory_transient", "phase_jump")
    assert dip["start_s"] == pytest.approx(2.0, abs=1e-3)
    assert ringing["start_s"] == pytest.approx(48_050 / RATE_HZ, abs=2e-4)
    assert ringing["principal_frequency_hz"] == pytest.approx(900.0, rel=0.01)
    assert jump["start_s"] == pytest.approx(5.0, abs=2e-3)
    assert jump["phase_jump_degrees"] == pytest.approx(20.0, abs=0.2)
    for other in (ringing, jump):
        assert [other[key] for key in ("ieee1159", "residual_v", "residual_percent", "itic", "semi_f47")] == [
            None
        ] * 5
        assert 0.5 <= other["confidence"] <= 1.0 and other["because"]


def test_a_phase_jump_with_a_dip_is_reported() -> None:
    volts = mains(3.0)
    volts[18_000:20_000] = 0.7 * mains(3.0, ahead=30.0)[18_000:20_000]
    (event,) = analyze(volts, RATE_HZ).contract("x")["events"]  # type: ignore[misc]
    assert event["class"] == "sag"
    jumps = [part["phase_jump_degrees"] for part in event["with"] if part["class"] == "phase_jump"]
    assert jumps == [pytest.approx(30.0, abs=0.5), pytest.approx(-30.0, abs=0.5)]


@pytest.mark.parametrize("noise_db", [40.0, 75.0])
@pytest.mark.parametrize("hz", [42.5, 57.3, 60.0, 69.0])
def test_clean_mains_have_no_event_of_any_class(hz: float, noise_db: float) -> None:
    """But for a frequency of 57.3 Hz throughout, which is a deviation; 42.5 and 69 are other nominals."""
    kinds = {each.kind for each in analyze(mains(8.0, hz, noise_db, 0.05), RATE_HZ).events}
    assert kinds == ({"frequency_deviation"} if hz == 57.3 else set())


def test_wandering_frequency_is_no_event() -> None:
    seconds = np.arange(round(20 * RATE_HZ)) / RATE_HZ
    turn = 2 * np.pi * (60.0 * seconds + 0.2 / (2 * np.pi * 0.2) * np.sin(2 * np.pi * 0.2 * seconds))
    wave = PEAK_V * (np.sin(turn) + 0.05 * np.sin(3 * turn))
    wave += np.random.default_rng(2).normal(scale=1.2, size=len(wave))
    assert analyze(wave, RATE_HZ).events == ()


def only(volts: Floats) -> dict[str, object]:
    events = analyze(volts, RATE_HZ).contract("x")["events"]
    assert isinstance(events, list) and len(events) == 1, events
    found: dict[str, object] = events[0]
    return found


def test_lasting_distortion_is_an_event() -> None:
    volts = mains(8.0)
    turn = 2 * np.pi * 60.0 * np.arange(36_000, 84_000) / RATE_HZ
    volts[36_000:84_000] += 0.10 * PEAK_V * np.sin(11 * turn)  # from 3 s to 7 s
    event = only(volts)
    assert event["class"] == "harmonics" and event["open"] is False
    assert event["thd_percent"] == pytest.approx(100 * math.hypot(0.1, 0.03), rel=0.03)
    assert event["start_s"] == pytest.approx(3.0, abs=0.2) and event["end_s"] == pytest.approx(7.0, abs=0.2)


@pytest.mark.parametrize(("more", "count"), [(0.10, 2), (0.05, 1)])
def test_distortion_that_rises_again_is_another_event(more: float, count: int) -> None:
    volts = mains(8.0)
    turn = 2 * np.pi * 60.0 * np.arange(len(volts)) / RATE_HZ
    volts[12_000:] += 0.10 * PEAK_V * np.sin(11 * turn)[12_000:]
    volts[48_500:60_000] += more * PEAK_V * np.sin(11 * turn)[48_500:60_000]
    found = [each for each in analyze(volts, RATE_HZ).occurrences if each.kind == "harmonics"]
    assert len(found) == count
    if count == 2:
        first, second = found
        assert not first.open and "thd_percent_before" not in first.figures
        assert second.start_sample == pytest.approx(48_500, abs=0.25 * RATE_HZ) and second.open
        assert second.start_sample - first.end_sample > 0.1 * RATE_HZ
        assert second.figures["thd_percent_before"] == pytest.approx(10.4, abs=0.3)
        assert "risen from 10" in second.because


def test_an_interharmonic_line_is_an_event() -> None:
    at_s = np.arange(round(6.0 * RATE_HZ)) / RATE_HZ
    event = only(mains(6.0) + 0.02 * PEAK_V * np.sin(2 * np.pi * 213.0 * at_s))
    assert event["class"] == "interharmonics" and event["open"] is True and event["end_s"] is None
    assert event["interharmonic_hz"] == pytest.approx(213.0, abs=0.1)
    assert event["interharmonic_percent"] == pytest.approx(2.0, rel=0.02)


def test_a_frequency_beyond_limits_is_an_event() -> None:
    """One that was never inside them is an event too."""
    hz = np.concatenate((np.full(36_000, 60.0), np.full(36_000, 61.0), np.full(36_000, 60.0)))
    event = only(PEAK_V * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ))
    assert event["class"] == "frequency_deviation"
    assert event["deviation_hz"] == pytest.approx(1.0, abs=0.02)
    assert event["start_s"] == pytest.approx(3.0, abs=0.25) and event["end_s"] == pytest.approx(6.0, abs=0.25)
    never_inside = analyze(mains(6.0, 57.0), RATE_HZ)
    (whole,) = never_inside.events
    assert isinstance(whole, Occurrence) and whole.start_s == 0.0 and whole.end_s is None
    assert whole.kind == "frequency_deviation" and whole.open and whole.open_at_start
    assert analyze(mains(6.0, 50.0), RATE_HZ).events == ()  # another nominal


def test_notches_in_every_cycle_are_an_event() -> None:
    volts = mains(4.0, thd=0.0)
    turn = 60.0 * np.arange(len(volts)) / RATE_HZ + 0.4 / (2 * np.pi)
    for middle in np.arange(6) / 6 + 0.08:
        volts[np.abs((turn - middle + 0.5) % 1 - 0.5) < 0.012] *= 0.85
    event = only(volts)
    assert event["class"] == "periodic_notching" and event["notches_per_cycle"] == 6.0


def test_a_step_between_levels_is_a_rapid_change() -> None:
    volts = mains(6.0)
    volts[36_000:] *= 0.94
    event = only(volts)
    assert event["class"] == "rapid_voltage_change"
    assert event["steady_change_percent"] == pytest.approx(-6.0 * math.sqrt(1 + 0.03**2), abs=0.05)
    assert event["start_s"] == pytest.approx(3.0, abs=1 / 60)


def test_a_gap_is_reported_and_kept_open() -> None:
    volts = mains(6.0)
    analyser = Analyser()
    analyser.push_samples(SignalPiece(volts[:30_000], 1_000_000, RATE_HZ))
    analyser.push_samples(SignalPiece(volts[36_100:], 1_036_100, RATE_HZ))
    found = analyser.end()
    assert [(gap.first_sample, gap.samples) for gap in found.gaps] == [(30_000, 6_100)]
    assert found.samples == 72_000 and found.events == ()
    assert not np.any((found.cycle_starts > 30_000 - 200) & (found.cycle_starts < 36_100))
    assert np.nanmax(np.abs(found.rms_v / (120.0 * math.sqrt(1 + 0.03**2)) - 1)) < 2e-3
    with pytest.raises(ValueError, match="sample 1000000 was pushed before"):
        again = Analyser()
        again.push_samples(SignalPiece(volts[:30_000], 1_000_000, RATE_HZ))
        again.push_samples(SignalPiece(volts[:30_000], 1_000_000, RATE_HZ))


def test_a_tick_resynchronises_without_counting_twice() -> None:
    """5 s before the tick and 5 s behind it, at 59.7 Hz: the window over the tick is overlapped."""
    found = in_blocks(mains(10.0, 59.7), [], start_ns=1_700_000_400 * 10**9 - 5 * 10**9)
    apart = np.diff(found.half_starts) / RATE_HZ * 59.7
    np.testing.assert_allclose(apart, 0.5, atol=2e-3)
    assert {each.utc for each in found.aggregates} == {True}
    assert sum(each.kind == "10_min" for each in found.aggregates) == 2
    assert np.min(np.diff(found.window_starts)) < 12 / 59.7 * RATE_HZ - 100  # the overlap


def test_of_nothing_there_is_nothing_to_say() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Analyser().end()
    short = analyze(mains(0.01), RATE_HZ)
    assert len(short.rms_v) == 0 and short.events == () and short.contract("x")["cycles"] == []
    assert analyze(mains(0.1), RATE_HZ).contract("x")["rms_v"]["median"] is not None  # type: ignore[index]


@pytest.mark.parametrize("hz", [0.0, 400.0])
def test_without_a_fundamental_percentages_are_absent(hz: float) -> None:
    at = np.arange(round(6 * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(1).normal(0, 0.1, len(at))
    found = analyze(PEAK_V * np.cos(2 * np.pi * hz * at) + noise, RATE_HZ)
    assert not {event.kind for event in found.occurrences} & {"harmonics", "interharmonics"}
    assert np.isnan(found.harmonics).all() and np.isnan(found.interharmonics).all()


def test_five_seconds_have_pinst_from_any_blocks() -> None:
    volts = mains(5.0)
    analyser = Analyser()
    for first in range(0, len(volts), 200):
        analyser.push_samples(SignalPiece(volts[first : first + 200], first, RATE_HZ))
    assert analyser.end().flicker == analyze(volts, RATE_HZ).flicker
    assert analyze(volts, RATE_HZ).flicker.pinst_max is not None


def test_a_rate_too_low_for_transients_has_none() -> None:
    volts = PEAK_V * np.sin(2 * np.pi * 16.7 * np.arange(1000) / 334.0)
    volts[500] += PEAK_V
    assert "impulsive_transient" not in {event.kind for event in analyze(volts, 334.0, 120.0, 16.7).events}


@pytest.mark.parametrize("hz", [59.7, 60.0, 60.4])
@pytest.mark.parametrize("phase", [0.0, -1e-9, 1e-9])
def test_an_event_at_the_start_begins_at_zero(phase: float, hz: float) -> None:
    at_s = np.arange(round(4.0 * RATE_HZ)) / RATE_HZ
    clean = PEAK_V * np.sin(2 * np.pi * hz * at_s + phase)
    dip = np.where(at_s < 0.5, 0.6, 1.0) * clean
    distorted = clean + 0.15 * PEAK_V * np.sin(2 * np.pi * 11 * hz * at_s)
    for volts, kind in ((dip, "sag"), (distorted, "harmonics")):
        event = only(volts)
        assert (event["class"], event["open_at_start"]) == (kind, True)
        assert str(event["start_s"]) == "0.0"  # nor -0.0
    assert only(dip)["duration_s"] == pytest.approx(0.5, abs=1e-3)


def test_nothing_begins_before_the_first_sample() -> None:
    early = Occurrence("impulsive_transient", -0.25, 3.0, RATE_HZ, 60.0, 1.0, "made")
    assert str(early.within().start_s) == "0.0" and early.within().end_sample == 3.0
    assert dataclasses.replace(early, start_sample=2.5).within().start_sample == 2.5


def test_a_utc_signal_ignores_its_blocks() -> None:
    start_ns = 1_793_808_597_000_000_000  # 3 s before a tick of ten minutes
    found = analyze(WHOLE, RATE_HZ, start_ns=start_ns)
    assert found.start_ns == start_ns and all(each.utc for each in found.aggregates)
    ticks = [each.start_ns for each in found.aggregates if each.kind == "10_min"]
    assert ticks == [1_793_808_000_000_000_000, 1_793_808_600_000_000_000]
    assert_same(in_blocks(WHOLE, list(range(0, len(WHOLE), 1111)), start_ns), found)


def test_a_mean_within_hysteresis_is_improbable() -> None:
    volts = np.where(np.arange(72_000) < 24_000, mains(6.0, thd=0.084), mains(6.0, thd=0.076))
    (found,) = (each for each in analyze(volts, RATE_HZ).events if each.kind == "harmonics")
    assert 7.2 < found.entry()["thd_percent"] < 8.0
    assert 0.01 < found.confidence < 0.4
