"""Disturbances: rectangular dips whose depth and length are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.events.disturbances import Disturbance, Limits, find_disturbances

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def mains_with(
    *steps: tuple[float, float, float],
    length_s: float = 2.0,
    hz: float = 60.0,
    phase: float = 0.0,
    rate_hz: float = RATE_HZ,
    noise_v: float = 0.0,
    seed: int = 1,
) -> Floats:
    """120 V; each step (from s, to s, share) multiplies what is between."""
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    volts = 120.0 * math.sqrt(2) * np.sin(2 * np.pi * hz * t + phase)
    for start_s, stop_s, share in steps:
        volts[(t >= start_s) & (t < stop_s)] *= share
    return volts + np.random.default_rng(seed).normal(scale=noise_v, size=len(t)) if noise_v else volts


def only(volts: Floats, **options: float) -> Disturbance:
    found = find_disturbances(volts, RATE_HZ, 120.0, 60.0, Limits(**options))
    assert len(found) == 1, [each.because for each in found]
    return found[0]


@settings(max_examples=50, deadline=None)
@given(
    nominal=st.sampled_from([50.0, 60.0]),
    deviation=st.floats(0.9, 1.1),
    share=st.floats(0.0, 0.88),
    cycles=st.floats(1.5, 40.0),
    start_s=st.floats(0.4, 0.6),
    phase=st.floats(0.0, 2 * math.pi),
)
def test_depth_and_duration_of_a_rectangular_dip(
    nominal: float, deviation: float, share: float, cycles: float, start_s: float, phase: float
) -> None:
    hz = nominal * deviation
    volts = mains_with((start_s, start_s + cycles / hz, share), hz=hz, phase=phase)
    found = find_disturbances(volts, RATE_HZ, 120.0, nominal)
    assert len(found) == 1
    dip = found[0]
    # a half-cycle grid of one-cycle windows has one wholly inside from 1.5 cycles on
    assert dip.residual_percent == pytest.approx(100 * share, abs=0.5 if cycles < 2.5 else 0.1)
    assert dip.end_s is not None and not dip.open and not dip.open_at_start
    assert abs(dip.duration_s - cycles / hz) < 0.5 / hz
    assert abs(dip.start_s - start_s) < 0.5 / hz
    assert dip.duration_cycles == pytest.approx(dip.duration_s * hz, abs=0.6)
    if abs(dip.residual_percent - 10) > 1e-3:  # the line's width
        assert dip.kind == ("interruption" if dip.residual_percent < 10 else "sag")


@settings(max_examples=30)
@given(
    share=st.sampled_from([0.3, 0.5, 0.7, 0.85]), decibels=st.floats(40.0, 80.0), seed=st.integers(0, 2**31)
)
def test_noise_splits_no_dip_and_moves_it_little(share: float, decibels: float, seed: int) -> None:
    noise_v = 120.0 * 10 ** (-decibels / 20)
    volts = mains_with((0.5, 0.5 + 10 / 60, share), noise_v=noise_v, seed=seed)
    dip = only(volts)
    assert dip.residual_percent == pytest.approx(100 * share, abs=0.5)
    assert abs(dip.duration_s - 10 / 60) < 0.5 / 60


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), hz=st.floats(58.0, 62.0))
def test_distorted_noisy_wandering_mains_have_no_events(seed: int, hz: float) -> None:
    random = np.random.default_rng(seed)
    t = np.arange(round(3 * RATE_HZ)) / RATE_HZ
    turn = 2 * np.pi * np.cumsum(hz + np.cumsum(random.normal(scale=2e-4, size=len(t)))) / RATE_HZ
    level = 120.0 * (1 + 0.03 * np.sin(2 * np.pi * 0.3 * t))
    volts = level * math.sqrt(2) * (np.sin(turn) + 0.04 * np.sin(3 * turn + 1) + 0.03 * np.sin(5 * turn))
    volts += random.normal(scale=1.2, size=len(t))  # 40 dB
    assert find_disturbances(volts, RATE_HZ) == ()


def test_a_swell_reports_its_maximum() -> None:
    swell = only(mains_with((0.5, 0.7, 1.15), (0.7, 0.8, 1.3)))
    assert swell.kind == "swell" and swell.ieee1159 == "instantaneous swell"
    assert swell.residual_percent == pytest.approx(130.0, abs=0.1)
    assert swell.residual_v == pytest.approx(156.0, abs=0.1)
    assert swell.duration_s == pytest.approx(0.3, abs=0.5 / 60)
    assert swell.itic == "prohibited" and swell.semi_f47 == "not_applicable"


def test_an_interruption_inside_a_sag_names_it() -> None:
    event = only(mains_with((0.5, 1.0, 0.6), (0.7, 0.8, 0.0)))
    assert event.kind == "interruption" and event.ieee1159 == "momentary interruption"
    assert event.residual_percent == pytest.approx(0.0, abs=0.01)
    assert event.duration_s == pytest.approx(0.5, abs=0.5 / 60)


def test_a_half_recovery_does_not_end_a_dip() -> None:
    found = find_disturbances(mains_with((0.4, 0.6, 0.7), (1.0, 1.3, 0.5)), RATE_HZ)
    assert [round(each.residual_percent) for each in found] == [70, 50]
    assert [each.duration_s for each in found] == pytest.approx([0.2, 0.3], abs=0.5 / 60)
    # to 91 %: above the threshold, below threshold + hysteresis, so the dip goes on
    assert only(mains_with((0.4, 0.6, 0.7), (0.6, 0.8, 0.91), (0.8, 1.0, 0.7))).duration_s > 0.59


def test_a_dip_and_swell_come_in_order() -> None:
    found = find_disturbances(mains_with((0.4, 0.6, 1.2), (1.0, 1.2, 0.5)), RATE_HZ)
    assert [each.kind for each in found] == ["swell", "sag"]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.2, 1.5])
def test_a_neighbouring_event_moves_no_end(share: float) -> None:
    """2.2 cycles apart: closer than the stretch in which DC and steps are looked for."""
    apart_s = 2.2 / 60
    for phase in np.arange(0.0, 6.2, 0.4):
        steps = ((0.5, 0.6, 0.0), (0.6 + apart_s, 0.7, share), (0.7 + apart_s, 0.9, 1.4))
        found = find_disturbances(mains_with(*steps, phase=phase, length_s=1.2), RATE_HZ)
        assert len(found) == 3
        for each, (start_s, end_s, _) in zip(found, steps, strict=True):
            assert each.start_s == pytest.approx(start_s, abs=0.3 / 60)
            assert each.end_s == pytest.approx(end_s, abs=0.3 / 60)


def test_a_dip_near_the_ends_has_true_ends() -> None:
    for phase in np.arange(0.0, 6.2, 0.4):
        early, late = (
            only(mains_with(step, phase=phase, length_s=1.0))
            for step in ((1.8 / 60, 0.2, 0.0), (0.8, 1.0 - 1.8 / 60, 0.0))
        )
        assert early.start_s == pytest.approx(1.8 / 60, abs=0.3 / 60)
        assert late.end_s == pytest.approx(1.0 - 1.8 / 60, abs=0.3 / 60)


def test_an_event_open_at_the_end_stays_open() -> None:
    event = only(mains_with((1.5, 9.0, 0.7)))
    assert event.open and event.end_s is None and not event.open_at_start
    assert event.duration_s == pytest.approx(0.5, abs=0.02)
    assert event.entry()["end_s"] is None and event.entry()["open"] is True


def test_an_event_open_at_the_start_begins_there() -> None:
    event = only(mains_with((-1.0, 0.5, 0.7)))
    assert event.open_at_start and not event.open
    assert event.start_s < 0.5 / 60 and event.end_s == pytest.approx(0.5, abs=0.5 / 60)


def test_a_signal_of_one_dip_is_open_twice() -> None:
    event = only(mains_with((-1.0, 9.0, 0.7)))
    assert event.open and event.open_at_start


@pytest.mark.parametrize(
    ("share", "kind", "name"),
    [
        (0.8, "undervoltage", "undervoltage"),
        (1.15, "overvoltage", "overvoltage"),
        (0.0, "interruption", "sustained interruption"),
    ],
)
def test_longer_than_a_minute_has_its_own_names(share: float, kind: str, name: str) -> None:
    slow = 2000.0
    volts = mains_with((1.0, 61.5, share), length_s=63.0, rate_hz=slow)
    found = find_disturbances(volts, slow, 120.0, 60.0)
    assert [(each.kind, each.ieee1159) for each in found] == [(kind, name)]
    short = find_disturbances(mains_with((1.0, 60.5, share), length_s=63.0, rate_hz=slow), slow, 120.0, 60.0)
    assert short[0].ieee1159 not in (None, name)


@pytest.mark.parametrize("hz", [50.0, 60.0, 57.3])
@pytest.mark.parametrize("share", [0.1, 0.9, 1.1])
def test_a_voltage_on_a_threshold_is_beyond_none(share: float, hz: float) -> None:
    found = find_disturbances(share * mains_with(hz=hz), RATE_HZ, 120.0, 50.0 if hz < 55 else 60.0)
    assert [each.kind for each in found] == (["sag"] if share == 0.1 else [])  # on 10 %: no interruption
    assert [each.ieee1159 for each in found] == (["momentary sag"] if share == 0.1 else [])
    beyond = (share + math.copysign(1e-4, share - 1)) * mains_with(hz=hz)
    assert len(find_disturbances(beyond, RATE_HZ, 120.0, 50.0 if hz < 55 else 60.0)) == 1


@pytest.mark.parametrize(
    ("share", "duration_s", "verdicts"),
    [
        (0.0, 0.02, ("no_interruption_in_function", "fail")),
        (0.5, 0.2, ("no_damage", "pass")),
        (0.7, 0.5, ("no_interruption_in_function", "pass")),
        (0.8, 1.0, ("no_interruption_in_function", "pass")),
        (1.2, 0.5, ("no_interruption_in_function", "not_applicable")),
    ],
)
def test_a_measured_point_on_a_line_is_inside(
    share: float, duration_s: float, verdicts: tuple[str, str]
) -> None:
    volts = mains_with((0.5, 0.5 + duration_s, share), hz=50.0)
    (event,) = find_disturbances(volts, RATE_HZ, 120.0, 50.0)
    assert event.duration_s == pytest.approx(duration_s, abs=2 / RATE_HZ)
    assert (event.itic, event.semi_f47) == verdicts


def test_a_shallow_event_has_no_ieee_1159_name() -> None:
    event = only(mains_with((0.5, 0.7, 0.93)), sag_percent=95.0)
    assert event.kind == "sag" and event.ieee1159 is None


def test_confidence_is_even_on_the_threshold() -> None:
    assert only(mains_with((0.5, 0.7, 0.7))).confidence > 0.999
    close = only(mains_with((0.5, 0.7, 0.8999)))
    assert 0.5 < close.confidence < 0.7


def test_a_signal_below_a_cycle_has_no_events() -> None:
    assert find_disturbances(np.zeros(300), RATE_HZ) == ()
    assert find_disturbances(np.zeros(0), RATE_HZ) == ()


def test_an_impulse_that_lifts_rms_is_a_swell() -> None:
    """A single impulse that lifts the rms is a swell of positive duration."""
    for at in range(6000, 6200, 7):
        volts = mains_with(length_s=1.0)
        volts[at] += 3000.0
        swell = only(volts)
        assert swell.kind == "swell" and 0 < swell.duration_cycles <= 2.0


def test_silence_is_an_interruption() -> None:
    event = only(np.zeros(12_000))
    assert event.kind == "interruption" and event.open and event.open_at_start


@pytest.mark.parametrize(
    "options",
    [
        {"sag_percent": 111.0},
        {"interruption_percent": 90.0},
        {"interruption_percent": 0.0},
        {"swell_percent": 90.0},
        {"hysteresis_percent": -0.1},
        {"hysteresis_percent": 10.0},
        {"sag_percent": math.nan},
        {"swell_percent": math.inf},
    ],
)
def test_limits_that_cannot_hold_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"want|must"):
        Limits(**options)


def test_a_nominal_that_is_no_voltage_is_refused() -> None:
    with pytest.raises(ValueError, match="nominal_v"):
        find_disturbances(mains_with(), RATE_HZ, 0.0)
