"""The start of a disturbance is the first sample that leaves the wave before it, whatever its class."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.analysis.analyser import analyze
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classifier import classify
from opq_measure.classification.first_sample import from_first_sample
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.events.disturbances import find_disturbances
from opq_measure.waveform.departure import departure_in

RATE_HZ, PEAK = 12_000.0, math.sqrt(2)
Floats = NDArray[np.float64]
T_S = np.arange(round(3.0 * RATE_HZ)) / RATE_HZ


def mains(cycles: Floats, decibels: float, seed: int = 3) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 10 ** (-decibels / 20), len(cycles))
    turns = 2 * np.pi * cycles
    return PEAK * (np.sin(turns + 0.7) + 0.03 * np.sin(5 * turns)) + noise


def since(begin_s: float) -> Floats:
    return np.maximum(T_S - begin_s, 0.0)


def pulses(begin_s: float, hz: float) -> Floats:
    """Inrush: a pulse in every cycle."""
    return (
        -0.3 * np.maximum(np.sin(2 * np.pi * hz * since(begin_s)), 0.0) ** 2 * np.exp(-since(begin_s) / 0.5)
    )


WHAT = {
    "step": lambda begin_s, hz: -0.3 * PEAK * np.sin(2 * np.pi * hz * T_S + 0.7) * (begin_s <= T_S),
    "ringing": lambda begin_s, hz: np.sin(2 * np.pi * 600 * since(begin_s)) * np.exp(-since(begin_s) / 0.01),
    "tone": lambda begin_s, hz: 0.08 * np.cos(2 * np.pi * 316.67 * since(begin_s)) * (begin_s <= T_S),
    "harmonic": lambda begin_s, hz: 0.15 * np.sin(2 * np.pi * 5 * hz * T_S) * (begin_s <= T_S),
    "inrush": pulses,
}


@pytest.mark.parametrize("hz", [50.0, 59.93])
@pytest.mark.parametrize(("decibels", "late_ms"), [(80.0, 0.3), (60.0, 0.5), (40.0, 1.0)])
@pytest.mark.parametrize("what", WHAT)
def test_the_first_sample_of_anything_is_found(what: str, decibels: float, late_ms: float, hz: float) -> None:
    late_ms *= 3.0 if what == "inrush" else 1.0  # it grows slowly
    for begin_s in (1.0002, 1.0047, 1.0093, 1.0149):
        volts = mains(hz * T_S, decibels) + WHAT[what](begin_s, hz)
        for early, late in ((0.01, 0.012), (0.2, 0.1)):
            near = begin_s * RATE_HZ
            found = departure_in(volts, RATE_HZ, hz + 0.2, near - early * RATE_HZ, near + late * RATE_HZ)
            assert found is not None
            assert -0.5 < (found / RATE_HZ - begin_s) * 1000 < late_ms


def test_a_slow_change_has_no_first_sample() -> None:
    steady = mains(50 * T_S, 60.0)
    slow = steady * np.interp(T_S, (1.0, 1.5), (1.0, 0.8))
    for volts in (steady, slow):
        assert departure_in(volts, RATE_HZ, 50.0, 11_900, 12_300) is None
    assert (
        departure_in(mains(50 * T_S, 20.0) + WHAT["tone"](1.0, 50.0), RATE_HZ, 50.0, 11_800, 12_200) is None
    )
    early = steady * np.where(T_S < 0.08, 1.0, 0.5)
    assert departure_in(early, RATE_HZ, 50.0, 900, 1_000) is None  # too little signal before it


@pytest.mark.parametrize("begin_s", [1.0002, 1.0031, 1.0064, 1.0093])
def test_a_swell_from_ringing_begins_with_it(begin_s: float) -> None:
    """Urms(1/2) passes 110 % up to half a cycle earlier, because its window reaches ahead."""
    ringing = (
        1.6 * np.cos(2 * np.pi * 400 * since(begin_s)) * np.exp(-since(begin_s) / 0.012) * (begin_s <= T_S)
    )
    (swell,) = find_disturbances(120 * (mains(50 * T_S, 70.0) + ringing), RATE_HZ, 120.0, 50.0)
    assert swell.kind == "swell"
    assert swell.start_s == pytest.approx(begin_s, abs=0.3e-3)


@pytest.mark.parametrize("begin_s", [1.0122, 1.0741, 1.1363])
@pytest.mark.parametrize(
    "kind", ["harmonics", "interharmonics", "mains_signalling", "flicker", "rapid_voltage_change"]
)
def test_a_condition_begins_with_a_sample(kind: str, begin_s: float) -> None:
    on = begin_s <= T_S
    volts = mains(50.03 * T_S, 60.0)
    if kind == "harmonics":
        volts += 0.15 * PEAK * np.sin(2 * np.pi * 5 * 50.03 * T_S) * on
    elif kind == "interharmonics":
        volts += 0.03 * PEAK * np.sin(2 * np.pi * 167 * since(begin_s))
    elif kind == "mains_signalling":
        volts += (
            0.03
            * PEAK
            * np.sin(2 * np.pi * 216.67 * since(begin_s))
            * (np.floor(since(begin_s) / 0.4) % 2 == 0)
        )
    elif kind == "flicker":
        volts *= 1 - on * (
            0.02
            + sum(0.003 * np.sin(2 * np.pi * hz * since(begin_s) + hz) for hz in (0.7, 1.9, 4.3, 8.8, 14.1))
        )
    else:  # inrush
        volts *= 1 - 0.08 * on * np.exp(-since(begin_s) / 0.1)
        volts -= 0.1 * PEAK * np.sin(2 * np.pi * 100.06 * since(begin_s)) * np.exp(-since(begin_s) / 0.1)
    (part,) = (each for each in classify(120 * volts, RATE_HZ, 120.0, 50.0).parts if each.kind == kind)
    assert not part.found.open_at_start
    assert part.found.start_s == pytest.approx(begin_s, abs=1e-3)


@pytest.mark.parametrize("off_s", [-0.5, 0.3])
def test_a_flicker_is_moved_to_its_first_sample(off_s: float) -> None:
    """A flicker that a second of envelope places is moved to its first sample."""
    on = T_S >= 1.2
    volts = 120 * mains(50 * T_S, 60.0) * (1 - on * (0.01 + 0.02 * np.sin(2 * np.pi * 3 * since(1.2)) ** 2))
    signal = MeasuredSignal(volts, analyze(volts, RATE_HZ, 120.0, 50.0))
    placed = Occurrence("flicker", (1.2 + off_s) * RATE_HZ, 36_000.0, RATE_HZ, 50.0, 1.0, "")
    moved = from_first_sample(placed, signal, ClassLimits())
    assert moved.start_sample == pytest.approx(1.2 * RATE_HZ, abs=6)


@pytest.mark.parametrize("begins_s", [None, 0.3])
def test_flicker_begins_while_the_meter_settles(begins_s: float | None) -> None:
    """Or it is there from the first sample on."""
    seconds = np.arange(round(7.0 * RATE_HZ)) / RATE_HZ
    swings = np.sin(2 * np.pi * 8.9 * np.maximum(seconds - (begins_s or -0.3), 0.0))
    volts = 230 * PEAK * np.sin(2 * np.pi * 50.02 * seconds + 0.7) * (1 - 0.012 * swings)
    volts += np.random.default_rng(3).normal(0, 0.023, len(volts))
    (part,) = classify(volts, RATE_HZ, 230.0, 50.0).parts
    assert part.kind == "flicker"
    assert part.found.open_at_start is (begins_s is None)
    assert part.found.start_sample / RATE_HZ == pytest.approx(begins_s or 0.0, abs=1e-3)


@pytest.mark.parametrize("begins_s", [1.35, 1.95, 2.3])
@pytest.mark.parametrize("noise_db", [80.0, 60.0, 45.0])
def test_flicker_does_not_begin_with_an_earlier_capacitor(noise_db: float, begins_s: float) -> None:
    """The flickermeter starts again after a step; what it then shows may begin later, or with the step."""
    t_s = np.arange(9 * RATE_HZ) / RATE_HZ
    switched, on = np.maximum(t_s - 1.35, 0.0), t_s >= begins_s
    swing = sum(0.02 * np.sin(2 * np.pi * hz * (t_s - begins_s) + hz) for hz in (4.3, 8.8, 14.1))
    volts = mains(50 * t_s, noise_db) * (1 + 0.01 * (t_s >= 1.35) - on * (0.03 + swing))
    volts += (t_s >= 1.35) * 0.4 * np.cos(2 * np.pi * 540 * switched) * np.exp(-switched / 0.004)
    found = classify(120 * volts, RATE_HZ, 120.0, 50.0)
    assert found.kind == "flicker+oscillatory_transient"
    (flicker,) = (each for each in found.parts if each.kind == "flicker")
    assert flicker.found.start_s == pytest.approx(begins_s, abs=1e-3)


@pytest.mark.parametrize(
    ("first_s", "last_s", "begins_s"), [(1.4, 3.0, 1.4035), (0.0, 3.0, None), (0.0, 2.0, None)]
)
def test_notches_of_the_mean_cycle_begin_exactly(
    first_s: float, last_s: float, begins_s: float | None
) -> None:
    """They are found in the mean of all cycles, as if they were in each."""
    volts = mains(50 * T_S, 60.0)
    is_notch = (T_S * 200 + 0.3) % 1 < 0.07  # the first one 3.5 ms after a multiple of 5 ms
    volts -= 0.2 * PEAK * np.sign(volts) * is_notch * ((first_s <= T_S) & (last_s > T_S))
    volts *= 120
    signal = MeasuredSignal(volts, analyze(volts, RATE_HZ, 120.0, 50.0))
    whole = Occurrence("periodic_notching", 0.0, 36_000.0, RATE_HZ, 50.0, 1.0, "", open_at_start=True)
    moved = from_first_sample(whole, signal, ClassLimits())
    assert moved.open_at_start is (begins_s is None)
    assert moved.start_s == pytest.approx(begins_s or 0.0, abs=1e-3)


def test_a_telegram_between_windows_begins_exactly() -> None:
    """A weak line is found in the whole signal, as if it were there from the beginning on."""
    on = (T_S >= 1.4) & (np.floor((T_S - 1.4) / 0.25) % 2 == 0)
    seen = mains(50 * T_S, 60.0) + 0.012 * PEAK * np.sin(2 * np.pi * 183.3 * T_S) * on
    (part,) = classify(120 * seen, RATE_HZ, 120.0, 50.0).parts
    assert part.kind == "mains_signalling" and not part.found.open_at_start
    assert part.found.start_s == pytest.approx(1.4, abs=1e-3)


@pytest.mark.parametrize("hz_per_s", [-6.0, -1.5, -0.6, 0.7])
def test_a_frequency_deviation_begins_at_its_limit(hz_per_s: float) -> None:
    ramp_s = since(1.0)
    off_s = max(0.8 / abs(hz_per_s), 0.3)
    ramped = np.minimum(ramp_s, off_s)
    cycles = 50 * T_S + hz_per_s * (ramped**2 / 2 + off_s * (ramp_s - ramped))
    (part,) = classify(120 * mains(cycles, 60.0), RATE_HZ, 120.0, 50.0).parts
    assert part.kind == "frequency_deviation"
    assert part.found.start_s == pytest.approx(1.0 + 0.5 / abs(hz_per_s), abs=1e-3)
