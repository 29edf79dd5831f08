"""Verdicts by the curves as docs/reference/contracts.md draws them: a point on a line counts as inside."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.events.curves import (
    beyond_itic,
    beyond_semi_f47,
    ieee1159,
    itic,
    lasting_words,
    semi_f47,
)

EDGE_PERCENTS = (0.0, 49.97, 49.99, 50.0, 69.98, 70.0, 79.99, 80.0, 90.0, 100.0, 110.0, 110.03, 120.0, 120.03)
EDGE_SECONDS = (0.0, 0.02, 0.0200001, 0.2, 0.1 + 0.1, 0.5, 0.1 + 0.2 + 0.2, 1.0, 1.0000001, 10.0, 10.01)


@pytest.mark.parametrize(
    ("residual", "duration", "verdict"),
    [
        (0.0, 0.020, "no_interruption_in_function"),
        (0.0, 0.0201, "no_damage"),
        (70.0, 0.5, "no_interruption_in_function"),
        (69.97, 0.5, "no_damage"),
        (70.0, 0.5001, "no_damage"),
        (75.0, 0.5, "no_interruption_in_function"),
        (80.0, 10.0, "no_interruption_in_function"),
        (80.0, 10.01, "no_damage"),
        (90.0, 1e6, "no_interruption_in_function"),
        (89.9, 11.0, "no_damage"),
        (120.0, 0.5, "no_interruption_in_function"),
        (120.03, 0.4, "prohibited"),
        (120.0, 0.5001, "prohibited"),
        (110.0, 100.0, "no_interruption_in_function"),
        (132.0 / 120.0 * 100.0, 100.0, "no_interruption_in_function"),  # 110.00000000000001
        (84.0 / 120.0 * 100.0, 0.1 + 0.2 + 0.2, "no_interruption_in_function"),
        (100.0 * 0.7, 30 * (1 / 60), "no_interruption_in_function"),
    ],
)
def test_itic(residual: float, duration: float, verdict: str) -> None:
    assert itic(residual, duration) == verdict


@pytest.mark.parametrize(
    ("residual", "duration", "verdict"),
    [
        (50.0, 0.2, "pass"),
        (49.9, 0.2, "fail"),
        (50.0, 0.21, "fail"),
        (70.0, 0.5, "pass"),
        (0.7 * 120.0 / 120.0 * 100.0, 0.1 * 5, "pass"),
        (69.9, 0.4, "fail"),
        (80.0, 1.0, "pass"),
        (79.9, 0.9, "fail"),
        (80.0, 1.01, "not_applicable"),
        (115.0, 0.1, "not_applicable"),
        (0.0, 0.01, "fail"),
    ],
)
def test_semi_f47(residual: float, duration: float, verdict: str) -> None:
    assert semi_f47(residual, duration) == verdict


@pytest.mark.parametrize(
    ("residual", "cycles", "name"),
    [
        (50.0, 0.4, None),
        (50.0, 0.5, "instantaneous sag"),
        (90.0, 30.0, "instantaneous sag"),
        (10.0, 30.1, "momentary sag"),
        (50.0, 180.0, "momentary sag"),
        (50.0, 181.0, "temporary sag"),
        (50.0, 3600.0, "temporary sag"),
        (85.0, 3601.0, "undervoltage"),
        (9.9, 0.5, "momentary interruption"),
        (9.9, 180.0, "momentary interruption"),
        (0.0, 3600.0, "temporary interruption"),
        (0.0, 3601.0, "sustained interruption"),
        (110.0, 10.0, "instantaneous swell"),
        (120.0, 100.0, "momentary swell"),
        (120.0, 1000.0, "temporary swell"),
        (115.0, 4000.0, "overvoltage"),
        (95.0, 10.0, None),
    ],
)
def test_ieee_1159(residual: float, cycles: float, name: str | None) -> None:
    for hz in (50.0, 60.0):
        if cycles <= 30.1 or hz == 60.0:
            assert ieee1159(residual, cycles / hz, hz) == name


EDGE = 1.0 + 1e-6
"""Just outside in time: a part in a million, a thousand times the width of a line."""
OFF_PERCENT = 0.03
"""Just outside in voltage; a line is 0.02 % of nominal wide."""

ITIC_STEPS = ((0.02, 0.0, 70.0), (0.5, 70.0, 80.0), (10.0, 80.0, 90.0))
"""Lower curve of 2000: (until s, level up to there, level behind)."""
F47_STEPS = ((0.2, 50.0, 70.0), (0.5, 70.0, 80.0))
"""F47-0706, table 1."""


@pytest.mark.parametrize(("until_s", "before", "behind"), ITIC_STEPS)
def test_each_itic_line_divides_exactly(until_s: float, before: float, behind: float) -> None:
    inside, outside = "no_interruption_in_function", "no_damage"
    for level, duration_s in ((before, until_s), (behind, until_s * EDGE), (behind, until_s * 1.5)):
        assert itic(level, duration_s) == inside
        assert itic(level + OFF_PERCENT, duration_s) == inside
        if level > OFF_PERCENT:
            assert itic(level - OFF_PERCENT, duration_s) == outside
    # on the riser and just right of it
    assert itic((before + behind) / 2, until_s) == inside
    assert itic((before + behind) / 2, until_s / EDGE) == inside
    assert itic((before + behind) / 2, until_s * EDGE) == outside


def test_the_upper_itic_curve_divides_exactly() -> None:
    inside, outside = "no_interruption_in_function", "prohibited"
    for level, duration_s in ((120.0, 0.001), (120.0, 0.5), (110.0, 0.5 * EDGE), (110.0, 1e5)):
        assert itic(level, duration_s) == inside
        assert itic(level - OFF_PERCENT, duration_s) == inside
        assert itic(level + OFF_PERCENT, duration_s) == outside
    assert itic(115.0, 0.5) == inside and itic(115.0, 0.5 * EDGE) == outside


@pytest.mark.parametrize(("until_s", "before", "behind"), F47_STEPS)
def test_each_semi_f47_line_divides_exactly(until_s: float, before: float, behind: float) -> None:
    for level, duration_s in ((before, until_s), (behind, until_s * EDGE)):
        assert semi_f47(level, duration_s) == "pass"
        assert semi_f47(level + OFF_PERCENT, duration_s) == "pass"
        assert semi_f47(level - OFF_PERCENT, duration_s) == "fail"
    assert semi_f47((before + behind) / 2, until_s) == "pass"
    assert semi_f47((before + behind) / 2, until_s * EDGE) == "fail"


def test_semi_f47_ends_at_one_second() -> None:
    assert semi_f47(80.0, 1.0) == "pass" and semi_f47(80.0 - OFF_PERCENT, 1.0) == "fail"
    assert semi_f47(0.0, 1.0 * EDGE) == "not_applicable"
    assert semi_f47(100.0, 0.5) == "pass" and semi_f47(100.1, 0.5) == "not_applicable"


@pytest.mark.parametrize("hz", [50.0, 60.0])
@pytest.mark.parametrize(
    ("percent", "names"),
    [
        (50.0, ("instantaneous sag", "momentary sag", "temporary sag", "undervoltage")),
        (115.0, ("instantaneous swell", "momentary swell", "temporary swell", "overvoltage")),
        (
            5.0,
            (
                "momentary interruption",
                "momentary interruption",
                "temporary interruption",
                "sustained interruption",
            ),
        ),
    ],
)
def test_each_ieee_1159_duration_divides_exactly(hz: float, percent: float, names: tuple[str, ...]) -> None:
    """Half a cycle, 30 cycles, 3 s and 60 s; a limit belongs to the shorter one."""
    assert ieee1159(percent, 0.5 / hz / EDGE, hz) is None
    for duration_s, on, behind in zip((30 / hz, 3.0, 60.0), names[:3], names[1:], strict=True):
        assert ieee1159(percent, duration_s, hz) == on
        assert ieee1159(percent, duration_s * EDGE, hz) == behind
    assert ieee1159(percent, 0.5 / hz, hz) == names[0]


def test_each_ieee_1159_magnitude_divides_exactly() -> None:
    """A width of 0.001 %: 10 % is a sag, 90 % one too, 110 % a swell."""
    beside = 0.0011
    assert ieee1159(10.0, 1.0, 60.0) == "momentary sag"
    assert ieee1159(10.0 - beside, 1.0, 60.0) == "momentary interruption"
    assert ieee1159(90.0, 1.0, 60.0) == "momentary sag" and ieee1159(90.0 + beside, 1.0, 60.0) is None
    assert ieee1159(110.0, 1.0, 60.0) == "momentary swell" and ieee1159(110.0 - beside, 1.0, 60.0) is None


def test_a_nan_point_has_no_verdict() -> None:
    for residual, duration in ((math.nan, 1.0), (-1.0, 1.0), (50.0, -0.1), (50.0, math.inf)):
        with pytest.raises(ValueError, match="want a number"):
            itic(residual, duration)


def test_an_instantaneous_length_is_in_cycles() -> None:
    said = [lasting_words(cycles, cycles / 50) for cycles in (0.5, 30.0, 30.1, 1242.3, 180_000.0)]
    assert said == ["0.5 cycles", "30 cycles", "0.602 s", "24.8 s", "3600 s"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(EDGE_PERCENTS), st.floats(0.0, 250.0)),
            st.one_of(st.sampled_from(EDGE_SECONDS), st.floats(0.0, 100.0)),
        ),
        max_size=30,
    )
)
def test_many_events_have_the_verdicts_of_each(events: list[tuple[float, float]]) -> None:
    percents, seconds = (np.array([each[at] for each in events], np.float64) for at in (0, 1))
    assert beyond_itic(percents, seconds).tolist() == [
        itic(*each) != "no_interruption_in_function" for each in events
    ]
    assert beyond_semi_f47(percents, seconds).tolist() == [semi_f47(*each) == "fail" for each in events]
