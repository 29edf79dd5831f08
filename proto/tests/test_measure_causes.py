"""Traits of an onset and types of dips against waves and phasors whose cause is put in by hand."""

import cmath
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.causes.dip_types import dip_type_of
from opq_measure.causes.onset_traits import OnsetTraits, onset_traits
from opq_measure.causes.phasor_series import phasor_series

RATE_HZ = 12_000.0
AT_S = 1.0
Floats = NDArray[np.float64]
T: Floats = np.arange(36_000) / RATE_HZ
SINCE: Floats = T - AT_S


def wave(size: Floats | float = 1.0, degrees: Floats | float = 0.0, hz: float = 49.93) -> Floats:
    """A sine of 325 V whose size and angle follow a course, with 0.1 % of noise."""
    noise = np.random.default_rng(5).normal(scale=0.33, size=len(T))
    return np.asarray(325 * size * np.sin(2 * np.pi * hz * T + np.radians(degrees)) + noise)


def traits(volts: Floats, hz: float = 50.0) -> OnsetTraits:
    found = onset_traits(volts, RATE_HZ, hz, AT_S * RATE_HZ)
    assert found is not None
    return found


def test_a_short_circuit_is_deep_and_sudden() -> None:
    """Deep from the first cycle, gone within one."""
    on = (SINCE >= 0) & (SINCE < 0.12)
    found = traits(wave(np.where(on, 0.6, 1.0), np.where(on, -20.0, 0.0)))
    assert found.before_hz == pytest.approx(49.93, abs=0.01)
    assert found.change_percent == pytest.approx(-40, abs=0.3)
    assert found.change_degrees == pytest.approx(-20, abs=0.3)
    assert found.lasting_s == pytest.approx(0.12, abs=0.003)
    assert found.recovery_cycles is not None and found.recovery_cycles < 1.2
    assert found.after_percent == pytest.approx(0, abs=0.2)
    assert found.second_percent == pytest.approx(0, abs=0.2)


def test_a_motor_start_recovers_slowly() -> None:
    left = np.clip(1 - np.maximum(SINCE - 0.6, 0) / 0.3, 0, 1)
    found = traits(wave(np.where(SINCE >= 0, 1 - 0.1 * left, 1.0)))
    assert found.change_percent == pytest.approx(-10, abs=0.2)
    assert found.fading_percent == pytest.approx(100, abs=2)
    assert found.recovery_cycles is not None and 5 < found.recovery_cycles < 11
    assert found.lasting_s == pytest.approx(0.75, abs=0.02)


def test_an_inrush_has_a_fading_second_harmonic() -> None:
    left = np.where(SINCE >= 0, np.exp(-np.maximum(SINCE, 0) / 0.15), 0.0)
    second = 0.04 * 325 * left * np.sin(4 * np.pi * 49.93 * T + 1.0)
    found = traits(wave(1 - 0.1 * left) + second)
    assert found.second_percent == pytest.approx(4 * math.exp(-0.052 / 0.15), rel=0.15)
    assert found.second_later_percent is not None and found.second_percent is not None
    assert found.second_later_percent < 0.4 * found.second_percent
    assert found.fading_percent is not None and found.fading_percent < 40


def test_a_lasting_step_stays_to_the_end() -> None:
    found = traits(wave(np.where(SINCE >= 0, 1.015, 1.0)))
    assert found.change_percent == pytest.approx(1.5, abs=0.1)
    assert found.after_percent == pytest.approx(1.5, abs=0.1)
    assert found.lasting_s is None and found.recovery_cycles is None


def test_a_frequency_change_is_seen_against_before() -> None:
    found = traits(wave(1.0, np.where(SINCE >= 0, 360 * 0.25 * SINCE, 0.0)))
    assert found.hz_change == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("at_s", [0.0, 0.05])
def test_without_three_steady_cycles_before_nothing_is_said(at_s: float) -> None:
    assert onset_traits(wave(), RATE_HZ, 50.0, at_s * RATE_HZ) is None
    assert onset_traits(np.zeros(24_000), RATE_HZ, 50.0, RATE_HZ) is None


def test_of_too_few_samples_nothing_is_said() -> None:
    assert phasor_series(wave(), 350.0, 50.0, 1_000.0, 1.0) is None
    assert phasor_series(wave(), RATE_HZ, 0.0, 1_000.0, 1.0) is None


@pytest.mark.parametrize("every", [12, 15])  # 20 and 16 samples a cycle
def test_low_rates_show_an_onset(every: int) -> None:
    volts = wave()
    volts[round(0.3 * RATE_HZ) :] *= 0.6
    found = onset_traits(volts[::every], RATE_HZ / every, 50.02, 0.3 * RATE_HZ / every)
    assert found is not None
    assert found.change_percent == pytest.approx(-40.0, abs=0.5)


def three_phases(a: complex, b: complex, c: complex) -> dict[str, complex]:
    """Phasors over those of before, from those of one frame."""
    turn = cmath.exp(2j * math.pi / 3)
    return {"a": a, "b": b / turn**2, "c": c / turn}


V = cmath.rect(0.5, math.radians(-12))
J3 = 1j * math.sqrt(3)
BY_HAND = {
    "A": three_phases(V, V * (-1 - J3) / 2, V * (-1 + J3) / 2),
    "B": three_phases(V, (-1 - J3) / 2, (-1 + J3) / 2),
    "C": three_phases(1, (-1 - J3 * V) / 2, (-1 + J3 * V) / 2),
    "D": three_phases(V, (-V - J3) / 2, (-V + J3) / 2),
    "E": three_phases(1, V * (-1 - J3) / 2, V * (-1 + J3) / 2),
    "F": three_phases(V, -V / 2 - J3 / 3 - V * J3 / 6, -V / 2 + J3 / 3 + V * J3 / 6),
    "G": three_phases((2 + V) / 3, -1 / 3 - V / 6 - J3 * V / 2, -1 / 3 - V / 6 + J3 * V / 2),
}
"""Bollen 2000, tables 4.9 to 4.12, written out."""


@pytest.mark.parametrize("letter", sorted(BY_HAND))
def test_three_phases_show_each_type(letter: str) -> None:
    for turned in range(3):
        seen = {"abc"[(i + turned) % 3]: BY_HAND[letter][phase] for i, phase in enumerate("abc")}
        found = dip_type_of(seen)
        assert found is not None and found.letter == letter and found.probability > 0.9
        assert found.characteristic_v == pytest.approx(V, abs=1e-6)
        assert letter == "A" or found.symmetrical == "abc"[turned]


def test_two_phases_leave_types_open() -> None:
    sure = dip_type_of({"a": BY_HAND["D"]["a"], "b": BY_HAND["D"]["b"]})
    assert sure is not None and (sure.letter, sure.probability > 0.9) == ("D", True)
    open_ = dip_type_of({"a": BY_HAND["E"]["a"], "b": BY_HAND["E"]["b"]})
    assert open_ is not None and open_.probability < 0.6
    assert dip_type_of({"a": 0.5 + 0j}) is None and dip_type_of({"a": 1 + 0j, "b": 0.99 + 0j}) is None
    with pytest.raises(ValueError, match="a, b and c"):
        dip_type_of({"L1": 1 + 0j, "b": 0.5 + 0j})
