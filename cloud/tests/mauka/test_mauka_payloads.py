"""`windowed_frequency`: what the fit of a sine to each 200 samples says, beside what it is."""

import numpy as np
import pytest

from opq_measure.original.cycles import fitted_cycles_hz

RATE_HZ = 12_000.0


def sine(hz, cycles=60, amplitude=170.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(200 * cycles) / RATE_HZ + 0.7)


@pytest.mark.parametrize("hz", [49.5, 50.0, 57.0, 59.75, 60.0, 60.25, 63.0])
def test_a_sine_has_its_frequency_in_every_cycle(hz):
    found = fitted_cycles_hz(sine(hz) + 3.0, RATE_HZ)
    assert found.shape == (60,)
    assert np.abs(found - hz).max() < 1e-6


def test_a_frequency_step_is_seen_in_its_cycle():
    volts = np.concatenate([sine(60.0, 30), sine(59.0, 30)])
    found = fitted_cycles_hz(volts, RATE_HZ)
    assert np.abs(found[:30] - 60).max() < 1e-6 and np.abs(found[30:] - 59).max() < 1e-6


def test_noise_of_30_db_stays_in_bounds():
    """Noise of 30 db spreads it by its bound."""
    rng = np.random.default_rng(1)
    volts = sine(60.0, 600) + rng.normal(0, 120 / 10**1.5, 120_000)
    found = fitted_cycles_hz(volts, RATE_HZ)
    assert 0.05 < found.std() < 0.15 and abs(found.mean() - 60) < 0.05


def test_an_interruption_is_unknown_there_alone():
    volts = sine(60.0)
    volts[20 * 200 : 30 * 200] = 0.0
    found = fitted_cycles_hz(volts, RATE_HZ)
    assert np.isnan(found[20:30]).all()
    assert np.abs(np.delete(found, range(20, 30)) - 60).max() < 1e-6


@pytest.mark.parametrize("samples", [0, 1, 199])
def test_less_than_a_cycle_has_no_value(samples):
    assert len(fitted_cycles_hz(np.zeros(samples), RATE_HZ)) == 0
    assert np.isnan(fitted_cycles_hz(np.zeros(400), RATE_HZ)).all()
