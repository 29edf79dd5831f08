"""Where one waveform becomes another: steps and ramps at known places."""

import math

import numpy as np
import pytest

from opq_measure.events.steps import change_at, dip_between

CYCLE = 200.0


def mixed(share: np.ndarray, jump_rad: float = 0.0, decibels: float = 60.0) -> np.ndarray:
    """1 V rms, 3,000 samples; `share` 0 is the waveform before, 1 that of 0.5 V and another phase."""
    t = np.arange(3000) / CYCLE
    before = math.sqrt(2) * (np.sin(2 * np.pi * t + 0.4) + 0.03 * np.sin(10 * np.pi * t))
    after = math.sqrt(0.5) * (np.sin(2 * np.pi * t + 0.4 + jump_rad) + 0.03 * np.sin(10 * np.pi * t))
    noise = np.random.default_rng(5).normal(scale=10 ** (-decibels / 20), size=len(t))
    return before + share * (after - before) + noise


@pytest.mark.parametrize("jump_rad", [0.0, -0.5, 1.0])
@pytest.mark.parametrize("at", [1000, 1025, 1050, 1075, 1101])
@pytest.mark.parametrize("decibels", [80.0, 40.0])
def test_a_step_is_found_between_its_samples(at: int, jump_rad: float, decibels: float) -> None:
    volts = mixed((np.arange(3000) >= at).astype(float), jump_rad, decibels)
    for near in (at - 60, at, at + 60):
        found = change_at(volts, near, CYCLE, 0.9)
        assert found == pytest.approx(at - 0.5, abs=1.0 if decibels > 60 else 4.0)


@pytest.mark.parametrize("at", [1000, 1025, 1050, 1075])
def test_a_lightning_impulse_does_not_hide_the_step(at: int) -> None:
    t = np.arange(3000)
    impulse = np.where(t < at, 0.0, 2.8 * np.exp(-np.maximum(t - at, 0) / 1.5))
    assert change_at(mixed((t >= at).astype(float)) + impulse, at - 40, CYCLE, 0.9) == pytest.approx(
        at - 0.5, abs=3.0
    )


@pytest.mark.parametrize("length", [20, 50, 90, 150, 220, 300])
def test_a_ramp_is_found_at_its_level(length: int) -> None:
    """From 1 V to 0.5 V: 0.9 V is a fifth of the way."""
    for begin in (1000, 1033, 1066):
        volts = mixed(np.clip((np.arange(3000) - begin) / length, 0, 1), decibels=70)
        assert change_at(volts, begin + length / 4, CYCLE, 0.9) == pytest.approx(begin + 0.2 * length, abs=12)


def test_a_steady_or_slow_signal_has_no_step() -> None:
    steady = mixed(np.zeros(3000))
    assert change_at(steady, 1000, CYCLE, 0.9) is None
    assert change_at(mixed(np.linspace(0, 1, 3000)), 1000, CYCLE, 0.75) is None
    step = mixed((np.arange(3000) >= 150).astype(float))
    assert change_at(step, 150, CYCLE, 0.9) is None  # less than 1.5 cycles before it


@pytest.mark.parametrize("cycles", [0.5, 0.75, 1.0, 1.5, 2.2])
def test_both_ends_of_a_short_dip_are_found(cycles: float) -> None:
    for begin in (1000, 1030, 1070):
        stop = begin + round(cycles * CYCLE)
        inside = (np.arange(3000) >= begin) & (np.arange(3000) < stop)
        volts = mixed(inside.astype(float), jump_rad=0.3)
        found = dip_between(volts, begin - 20, stop + 30, CYCLE)
        assert found == pytest.approx((begin - 0.5, stop - 0.5), abs=1.0)
    assert dip_between(mixed(np.zeros(3000)), 1000, 1100, CYCLE) is None
    assert dip_between(volts, 150, 250, CYCLE) is None  # no cycle before it
