"""Three phases of one grid: sequences, unbalance, and what each phase has for itself."""

import cmath
import math

import numpy as np
import pytest

from opq_sim.mains.grid import Grid
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.three_phase import three_phase
from opq_sim.mains.truth import Truth
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

BASE = Mains(
    grid=Grid(50.0, phase_cycles=0.11), wave=Wave(230.0, (Harmonic(5, 3.0, 20.0),)), noise_v=0.1, seed=5
)


def phasors(group) -> list[complex]:
    return [complex(Truth(phase, 100).phasor_v(np.zeros(1), 50.0)[0]) for phase in group.phases]


def test_balanced_phases_are_a_third_apart() -> None:
    a, b, c = phasors(three_phase(BASE))
    assert b / a == pytest.approx(cmath.exp(-2j * math.pi / 3), abs=1e-12)
    assert c / a == pytest.approx(cmath.exp(2j * math.pi / 3), abs=1e-12)
    assert abs(a) == pytest.approx(230.0)
    assert sum(three_phase(BASE).phases[k].clean_v(np.array([0.013]))[0] for k in range(3)) == pytest.approx(
        0, abs=1e-9
    )


def test_unbalance_is_the_standards() -> None:
    negative = 0.03 * cmath.exp(1.2j)
    group = three_phase(BASE, negative, zero=0.02 * cmath.exp(-0.4j))
    a, b, c = phasors(group)
    lines = np.array([abs(a - b), abs(b - c), abs(c - a)])
    beta = np.sum(lines**4) / np.sum(lines**2) ** 2  # IEC 61000-4-30:2015, 5.7.1
    root = math.sqrt(3 - 6 * beta)
    assert 100 * math.sqrt((1 - root) / (1 + root)) == pytest.approx(3.0, rel=1e-9)
    assert (group.u2_percent, group.u0_percent) == pytest.approx((3.0, 2.0))
    turn = cmath.exp(2j * math.pi / 3)
    positive = (a + turn * b + turn**2 * c) / 3
    assert (a + turn**2 * b + turn * c) / 3 / positive == pytest.approx(negative, abs=1e-12)
    assert (a + b + c) / 3 / positive == pytest.approx(group.zero, abs=1e-12)


def test_a_phase_has_its_own_disturbances_and_noise() -> None:
    group = three_phase(BASE, disturbances=((), (Sag(depth=0.4, start_s=0.1, cycles=5),), ()))
    truths = [Truth(phase, 6000) for phase in group.phases]
    assert [truth.kind for truth in truths] == ["", "sag", ""]
    assert truths[1].residual_v() == pytest.approx(0.6 * truths[1].rms_v)
    noise = [phase.volts(0, 6000) - phase.clean_v(np.arange(6000) / 12_000) for phase in group.phases]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.06


def test_what_is_no_group_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match="want three"):
        three_phase(BASE, disturbances=((), ()))
    with pytest.raises(ValueError, match="at most 1"):
        three_phase(BASE, negative=2.0)
