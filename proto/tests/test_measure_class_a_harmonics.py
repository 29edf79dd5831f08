"""Harmonics under the influence quantities of class A, against the standard's allowance.

Testing states 1 to 3 as IEC 61000-4-30:2015, 6.2 and IEC 62586-2 have them (from memory): harmonics,
interharmonics and a rectangular fluctuation at once, off the nominal frequency. Allowance: IEC 61000-4-7,
table 1, class I: 5 % of a harmonic from 1 % of nominal, below it 0.05 % of nominal.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.harmonics.interharmonics import strongest_interharmonic
from opq_measure.harmonics.spectrum import Spectrum, spectrum_of
from opq_measure.timebase.windows import windows_of

RATE_HZ = 12_000.0
STATES = {
    1: (0.3, {3: (0.02, 0.0), 5: (0.02, 0.0), 7: (0.01, 0.0)}, {2.5: 0.005}, 0.0, 1.0),
    2: (-1.0, {3: (0.10, 0.0), 5: (0.05, 0.0), 29: (0.05, 0.0)}, {7.5: 0.01}, 0.00894, 39.0),
    3: (1.0, {7: (0.10, math.pi), 13: (0.05, 0.0), 25: (0.05, 0.0)}, {3.5: 0.01}, 4 * 0.00722, 110.0),
}
"""Offset Hz, harmonics (share, phase), interharmonics (share, of nominal Hz), fluctuation and its changes per
minute for Pst of 0, 1 and 4 (230 V, 50 Hz; IEC 61000-4-15, table 5)."""
Floats = NDArray[np.float64]


def in_state(state: int, nominal_hz: float) -> tuple[Spectrum, Floats]:
    """Ten seconds of windows of a testing state; and its true orders."""
    offset_hz, harmonics, lines, swing, changes_per_min = STATES[state]
    t = np.arange(round(10.3 * RATE_HZ)) / RATE_HZ
    turn = 2 * np.pi * (nominal_hz + offset_hz) * t
    wave = np.sin(turn)
    true = np.zeros(50)
    true[0] = 1.0
    for order, (share, phase) in harmonics.items():
        wave = wave + share * np.sin(order * turn + phase)
        true[order - 1] = share
    for of_nominal, share in lines.items():
        wave = wave + share * np.sin(2 * np.pi * of_nominal * nominal_hz * t)
    level = 1 + swing / 2 * np.where(np.floor(t * changes_per_min / 60) % 2 == 0, 1, -1)
    volts = math.sqrt(2) * 230 * level * wave
    return spectrum_of(list(windows_of(volts, RATE_HZ, nominal_hz)), round(nominal_hz / 5)), true


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
@pytest.mark.parametrize("state", [1, 2, 3])
def test_harmonics_use_a_fifth_of_their_allowance(state: int, nominal_hz: float) -> None:
    found, true = in_state(state, nominal_hz)
    assert len(found) >= 48
    shares = found.subgroups() / found.subgroups()[:, :1]  # the fluctuation moves all orders alike
    asked = true >= 0.01
    off = np.abs(shares - true)[:, asked] / true[asked]
    assert off.max() < 0.01  # of 0.05; what is left is leakage of the interharmonic beside
    assert np.abs(found.thd() - math.sqrt(np.sum(true[1:] ** 2))).max() < 2.5e-4
    absent = np.abs(shares)[:, ~asked]
    assert absent.max() < 0.0025


@pytest.mark.parametrize("nominal_hz", [50.0, 60.0])
@pytest.mark.parametrize("state", [1, 2, 3])
def test_the_interharmonic_of_a_testing_state_is_found(state: int, nominal_hz: float) -> None:
    found, _ = in_state(state, nominal_hz)
    hz, rms = strongest_interharmonic(found)
    ((of_nominal, share),) = STATES[state][2].items()
    assert np.median(hz) == pytest.approx(of_nominal * nominal_hz, abs=0.05)
    assert np.median(rms) / 230 == pytest.approx(share, rel=0.05)  # the level itself moves by 1.4 %
