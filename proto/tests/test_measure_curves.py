"""Verdicts by the curves as contracts.md draws them: a point on a line counts as inside."""

import math

import pytest

from opq_measure.curves import ieee1159, itic, semi_f47


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


def test_a_point_that_is_no_number_has_no_verdict() -> None:
    for residual, duration in ((math.nan, 1.0), (-1.0, 1.0), (50.0, -0.1), (50.0, math.inf)):
        with pytest.raises(ValueError, match="want a number"):
            itic(residual, duration)
