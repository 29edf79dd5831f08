"""A fit has no more orders than the rate carries, and says where it has no answer; under any BLAS kernel."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from opq_measure.classification.classifier import classify
from opq_measure.least_squares import FITTED_RATE_SHARE, fitted, orders_within, solved
from opq_measure.waveform.steady import steady_wave

CLEAN = """
import json, math, sys
import numpy as np
from opq_measure.classification.classifier import classify

def recording(rate_hz, level, phase, seconds, step_v):
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    size = np.where((at >= 0.1) & (at < 0.18), level, 1.0)
    volts = 230 * math.sqrt(2) * size * np.sin(2 * math.pi * 50 * at + phase)
    return np.round(volts / step_v) * step_v if step_v else volts

found = []
for rate_hz, seconds in ((800, 0.5), (1000, 0.25), (1200, 0.234), (1440, 0.25), (1600, 0.25), (2500, 0.25)):
    for name, level in (("sag", 0.6), ("swell", 1.2), ("none", 1.0)):
        for phase, step_v in ((0.0, 0.0), (0.7, 0.01), (1.5, 1.0)):
            kind = classify(recording(rate_hz, level, phase, seconds, step_v), rate_hz, 230.0, 50.0).kind
            found += [[rate_hz, phase, step_v, name, kind]] if kind != name else []
print(json.dumps(found))
"""


@pytest.mark.parametrize("kernel", ["Haswell", pytest.param("Prescott", marks=pytest.mark.slow)])
def test_clean_signals_have_their_class(kernel: str) -> None:
    """A new process for each: OpenBLAS chooses its kernels as it is loaded."""
    made = subprocess.run(
        [sys.executable, "-c", CLEAN],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == []


@pytest.mark.parametrize("samples", [8.0, 12.0, 20.0, 24.0, 28.8, 240.0])
def test_orders_stay_below_half_the_rate(samples: float) -> None:
    orders = orders_within(samples * 50, 50.0, 50)
    assert 1 <= orders <= FITTED_RATE_SHARE * samples
    assert orders_within(samples * 50, 50.0, 2) == 2


@pytest.mark.parametrize("samples", [8.0, 12.0, 20.0, 24.0, 28.8, 32.0])
@pytest.mark.parametrize("cycles", [1.06, 1.4, 2.5, 6.0])
def test_steady_waves_are_fitted_at_low_rates(samples: float, cycles: float) -> None:
    volts = 325 * np.sin(2 * math.pi * np.arange(1000) / samples + 0.7)
    size = math.ceil(samples * cycles)
    wave = steady_wave(volts, samples * 50, 0, size, 50.0)
    assert wave.amplitude == pytest.approx(325, rel=1e-9)
    assert wave.volts(0, size) == pytest.approx(volts[:size], abs=1e-6)


def test_alike_columns_are_not_fitted() -> None:
    at = np.arange(60)
    alike = np.stack([np.cos(2 * math.pi * order / 24 * at) for order in (1, 5, 19)], axis=1)  # 19 is 5
    assert np.isnan(fitted(alike, alike[:, 0])).all()
    assert fitted(alike[:, :2], alike[:, 0]) == pytest.approx([1, 0], abs=1e-12)


@pytest.mark.parametrize("size", [1.0, 1e-5, 1e-9])
def test_alike_columns_beside_large_ones_are_unfitted(size: float) -> None:
    """Their products are lost in the sum of the squares of the others."""
    basis = np.eye(6)[:, :4]
    basis[:, 2:] = size * np.array([[0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 1e-4, 0]]).T
    assert np.isnan(fitted(basis, np.ones(6))).all()
    basis[4, 3] = size
    assert np.isfinite(fitted(basis, np.ones(6))).all()


def test_one_unfitted_set_leaves_the_others() -> None:
    grams = np.stack([np.eye(2), np.ones((2, 2)), 2 * np.eye(2)])
    found = solved(grams, np.ones((3, 2, 1)))[:, :, 0]
    assert found[[0, 2]].tolist() == [[1, 1], [0.5, 0.5]]
    assert np.isnan(found[1]).all()


def test_a_supply_of_exactly_nothing_is_classified() -> None:
    """60 Hz at 800 Hz, rounded to 0.01 V, without voltage for four cycles."""
    at = np.arange(200) / 800
    volts = 230 * math.sqrt(2) * np.sin(2 * math.pi * 60 * at + 3.3878)
    volts = np.round(np.where((at >= 0.1) & (at < 1 / 6), 0.0, volts), 2)
    assert classify(volts, 800, 230.0, 60.0).kind == "interruption"
