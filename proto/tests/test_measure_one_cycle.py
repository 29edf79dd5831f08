"""One-cycle rms and the length of a cycle, against closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.cycle_starts import cycle_lengths, urms_half_v, usual_length
from opq_measure.rms import half_cycle_rms_v, one_cycle_rms
from opq_measure.timebase.cycles import half_cycle_edges

RATE_HZ = 12_000.0
ORDERS = ((3, 0.02), (5, 0.02), (7, 0.0088), (9, 0.005))


@settings(max_examples=50, deadline=None)
@given(hz=st.floats(42.5, 69.0), phase=st.floats(0, 6.28), angle=st.floats(0, 6.28), dc=st.floats(-5, 5))
def test_a_cycles_rms_is_independent_of_phase(hz: float, phase: float, angle: float, dc: float) -> None:
    t = np.arange(3000) / RATE_HZ
    turn = 2 * np.pi * hz * t + phase
    volts = dc + 100 * (np.sin(turn) + sum(part * np.sin(order * turn + angle) for order, part in ORDERS))
    starts = np.linspace(0, 2000, 77)
    found = one_cycle_rms(volts, starts, starts + RATE_HZ / hz)
    expected = math.sqrt(dc**2 + 5000 * (1 + sum(part**2 for _, part in ORDERS)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_value_depends_on_its_own_samples_alone() -> None:
    volts = np.random.default_rng(1).normal(size=5000)
    starts = np.arange(0, 4500, 100) + 0.37
    whole = one_cycle_rms(volts, starts, starts + 199.6)
    for first in (0, 3, 40):
        low = int(starts[first])
        part = one_cycle_rms(
            volts[low : low + 400], starts[first : first + 1] - low, starts[first : first + 1] + 199.6 - low
        )
        assert part[0] == whole[first]


def test_at_the_end_a_cycle_moves_back() -> None:
    volts = np.ones(300)
    assert one_cycle_rms(volts, np.array([150.0]), np.array([350.0])) == pytest.approx([1.0])
    assert one_cycle_rms(volts, np.empty(0), np.empty(0)).shape == (0,)


def test_a_ramp_moves_the_length() -> None:
    edges = np.arange(60) * 100.0
    edges[30:] += 25.0  # a jump of 45 degrees
    assert cycle_lengths(edges, 0, 58).tolist() == [200.0] * 58
    assert usual_length(edges) == 200.0
    ramp = np.cumsum(100 + 0.1 * np.arange(60))
    found = cycle_lengths(ramp, 8, 50)
    np.testing.assert_allclose(found, (ramp[2:] - ramp[:-2])[8:50], rtol=1e-12)
    assert len(cycle_lengths(edges[:3], 0, 1)) == 1


@pytest.mark.parametrize("degrees", [-60, -45, -30, -20, -10, 10, 20, 30, 45, 60])
@pytest.mark.parametrize(("rate_hz", "hz"), [(12_000.0, 50.0), (12_000.0, 60.0), (1600.0, 50.0)])
def test_a_phase_jump_stretches_no_cycle(rate_hz: float, hz: float, degrees: float) -> None:
    """A dip to 64.57 % with a jump: each cycle within it has that rms to 0.2 % of nominal, as in class A."""
    t = np.arange(round(0.8 * rate_hz)) / rate_hz
    low = (t >= 0.3) & (t < 0.5)
    turn = 2 * np.pi * hz * t + np.where(low, math.radians(degrees), 0.0)
    volts = math.sqrt(2) * np.where(low, 64.57, 100.0) * np.sin(turn)
    edges = half_cycle_edges(volts, rate_hz, hz)
    inside = (edges[:-2] >= 0.3 * rate_hz) & (edges[:-2] + rate_hz / hz <= 0.5 * rate_hz)
    found = urms_half_v(volts, edges)
    assert np.abs(found[inside] - 64.57).max() < 0.2
    far = (edges[2:] < 0.2 * rate_hz) | (edges[:-2] > 0.6 * rate_hz)
    np.testing.assert_array_equal(found[far], half_cycle_rms_v(volts, edges)[far])
