"""Cycles that are not tracked yet: their edges go on as the tracked ones did, and are where those will be."""

import math

import numpy as np
import pytest

from opq_measure.signal import SignalPiece
from opq_measure.timebase.windows import Windows
from opq_sim.mains import MIX_3_PERCENT, mains

RATE_HZ = 12_000.0


@pytest.mark.parametrize(("nominal_hz", "frequency_hz"), [(60.0, 60.0), (60.0, 58.9), (50.0, 50.7)])
def test_early_edges_are_within_a_tenth_sample(nominal_hz: float, frequency_hz: float) -> None:
    volts, _ = mains(3.0, RATE_HZ, frequency_hz=frequency_hz, harmonics=MIX_3_PERCENT, noise_db=60, seed=1)
    cutter, foretold, edges, end = Windows(nominal_hz), [], [], 0.0
    for first in range(0, len(volts), 200):
        for window in cutter.push_samples(SignalPiece(volts[first : first + 200], first, RATE_HZ, first)):
            edges += (window.first_sample + window.edges[:-1]).tolist()
            end = window.first_sample + float(window.edges[-1])
        if end:
            cycles = math.floor((first + 200 - end) * frequency_hz / RATE_HZ)
            ahead = cutter.untracked(end, cycles) if cycles else None
            if ahead is not None:
                foretold.append(ahead.first_sample + ahead.edges)
                assert foretold[-1][-1] == pytest.approx(cutter.expected_end(end, cycles), abs=1e-6)
    edges = np.array(edges)
    assert len(foretold) > 100
    for each in foretold:
        if each[-1] < edges[-1]:
            nearest = edges[np.abs(edges[:, np.newaxis] - each).argmin(axis=0)]
            assert np.abs(nearest - each).max() < 0.1


def test_edges_need_their_samples() -> None:
    volts, _ = mains(1.5, RATE_HZ)
    cutter = Windows(60.0)
    assert cutter.expected_end(0.0, 1) is None and cutter.untracked(0.0, 1) is None
    cutter.push_samples(SignalPiece(volts, 0, RATE_HZ, 0))
    assert cutter.untracked(15_000.0, 14) is not None
    assert cutter.untracked(15_000.0, 16) is None  # later than the newest sample
    assert cutter.untracked(200.0, 3) is None  # let go of
    cutter.end()
    assert cutter.untracked(15_000.0, 1) is None
