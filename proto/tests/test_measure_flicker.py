"""Flicker against the tables of IEC 61000-4-15 and signals whose answer is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.flicker import flicker
from opq_measure.lamps import LAMP_120V, LAMP_230V, Lamp, lamp_for
from opq_measure.sensation import instantaneous
from opq_measure.severity import severity

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def mains(length_s: float, hz: float, harmonics: dict[int, float], phase: float = 0.3) -> Floats:
    """120 V and harmonics as shares of it."""
    turn = 2 * np.pi * hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + phase
    wave = np.sin(turn)
    for order, share in harmonics.items():
        wave = wave + share * np.sin(order * turn + 1.3 * order)
    return 120.0 * math.sqrt(2) * wave


def fluctuating(hz: float, swing_hz: float, swing_percent: float, length_s: float = 20.0) -> Floats:
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    return (1 + swing_percent / 200 * np.sin(2 * np.pi * swing_hz * t)) * np.sin(2 * np.pi * hz * t)


@pytest.mark.parametrize(
    ("lamp", "hz", "swing_hz", "swing_percent"),
    [
        (LAMP_230V, 50.0, 1.0, 1.397),
        (LAMP_230V, 50.0, 2.0, 0.882),
        (LAMP_230V, 50.0, 5.0, 0.398),
        (LAMP_230V, 50.0, 8.8, 0.250),
        (LAMP_230V, 50.0, 20.0, 0.704),
        (LAMP_120V, 60.0, 1.0, 1.463),
        (LAMP_120V, 60.0, 5.0, 0.465),
        (LAMP_120V, 60.0, 8.8, 0.321),
    ],
)
def test_a_fluctuation_that_is_just_felt_has_pinst_one(
    lamp: Lamp, hz: float, swing_hz: float, swing_percent: float
) -> None:
    """IEC 61000-4-15:2010, tables 1a and 1b; the standard allows 8 %."""
    felt, work_hz = instantaneous(fluctuating(hz, swing_hz, swing_percent), RATE_HZ, lamp)
    assert felt[round(10 * work_hz) :].max() == pytest.approx(1.0, abs=0.05)


def test_steady_mains_do_not_flicker_and_short_signals_have_no_value() -> None:
    assert flicker(mains(4.9, 60.0, {}), RATE_HZ, LAMP_120V).pinst_max is None
    steady = flicker(mains(10.0, 60.07, {5: 0.05}), RATE_HZ, LAMP_120V)
    assert steady.pinst_max is not None and steady.pinst_max < 0.01
    assert steady.pst is None
    silent = flicker(np.zeros(120_000), RATE_HZ, LAMP_120V)
    assert silent.pinst_max is not None and math.isfinite(silent.pinst_max)


def test_pst_of_a_constant_pinst_is_its_root_by_the_standards_weights() -> None:
    total = 0.0314 + 0.0525 + 0.0657 + 0.28 + 0.08
    assert severity(np.full(10_000, 2.0)) == pytest.approx(math.sqrt(2.0 * total))


def test_ten_minutes_have_a_pst() -> None:
    """A sine fluctuation of twice what is just felt: Pinst 4 throughout."""
    slow = 2000.0  # samples/s, to keep the test short
    t = np.arange(round(601 * slow)) / slow
    volts = (1 + 2 * 0.250 / 200 * np.sin(2 * np.pi * 8.8 * t)) * np.sin(2 * np.pi * 50 * t)
    found = flicker(volts, slow, LAMP_230V)
    assert found.pst == pytest.approx(math.sqrt(4.0 * 0.5096), rel=0.05)


def test_the_lamp_goes_by_the_nominal_voltage() -> None:
    assert lamp_for(120.0) is LAMP_120V and lamp_for(230.0) is LAMP_230V
