"""Steps of the level: placed where they are, and none where the level swings or is noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.analysis import level_steps
from opq_measure.analysis.level_steps import step_places

Floats = NDArray[np.float64]


@given(st.floats(0.0, 2 * math.pi), st.integers(3, 6), st.booleans())
def test_three_periods_are_no_steps(phase: float, periods: int, is_square: bool) -> None:
    swing = np.sin(2 * np.pi * periods * np.arange(240) / 240 + phase)
    assert step_places(np.sign(swing) if is_square else swing, 120.0) == ()


@pytest.mark.parametrize("level", [np.zeros(3), np.zeros(100), np.full(8, 3.0), np.linspace(1.0, 2.0, 50)])
def test_a_level_without_a_swing_has_no_steps(level: Floats) -> None:
    assert step_places(level, 120.0) == ()


def test_in_noise_four_steps_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    places, tried = level_steps._places, []
    monkeypatch.setattr(
        level_steps, "_places", lambda steps, *rest: tried.append(steps) or places(steps, *rest)
    )
    assert step_places(np.random.default_rng(1).standard_normal(700), 120.0) == ()
    assert tried == [4]


@pytest.mark.filterwarnings("error")
def test_few_values_bound_the_steps() -> None:
    levels = np.round(np.random.default_rng(1).uniform(0.0, 1.0, (200, 12)))
    assert all(len(step_places(each[: 8 + at % 5], 120.0)) <= 4 for at, each in enumerate(levels))


def test_steps_are_placed() -> None:
    level = np.concatenate((np.full(90, 1.0), np.full(40, 0.96), np.full(110, 1.0)))
    assert step_places(level, 120.0) == (90, 130)
    assert step_places(level[:130] + np.linspace(0.0, 0.02, 130), 120.0) == (90,)
    assert step_places(np.concatenate((level, level)), 120.0) == (90, 130, 330, 370)
