"""The original project's own verdicts, by the facts of its plug-ins; where they deviate from the curves."""

import numpy as np
import pytest

from opq_measure.events.curves import itic, semi_f47
from opq_measure.original.curves import original_ieee1159, original_itic, original_semi_f47
from opq_measure.original.runs import change_points, constant_pieces, runs_within


@pytest.mark.parametrize(
    ("percent", "cycles", "verdict"),
    [
        (499.0, 0.005, "no_interruption_in_function"),  # no line before 0.01 cycles
        (500.0, 0.01, "no_interruption_in_function"),
        (500.1, 0.01, "prohibited"),
        (350.0, 0.035, "no_interruption_in_function"),  # half way from 500 % at 0.01 to 200 % at 1 ms
        (350.1, 0.035, "prohibited"),
        (170.1, 0.12, "prohibited"),  # half way from 200 % at 1 ms to 140 % at 3 ms
        (140.0, 0.18, "no_interruption_in_function"),
        (120.1, 0.2, "prohibited"),
        (120.0, 30.0, "no_interruption_in_function"),
        (110.1, 30.1, "prohibited"),
        (132.0 / 120.0 * 100.0, 60.0, "prohibited"),  # 110.00000000000001
        (0.0, 1.2, "no_interruption_in_function"),
        (0.0, 1.21, "no_damage"),
        (70.0, 30.0, "no_interruption_in_function"),
        (69.9, 30.0, "no_damage"),
        (79.9, 600.0, "no_damage"),
        (80.0, 600.0, "no_interruption_in_function"),
        (89.9, 1e9, "no_damage"),
    ],
)
def test_itic_as_the_original(percent: float, cycles: float, verdict: str) -> None:
    assert original_itic(percent, cycles) == verdict


@pytest.mark.parametrize(
    ("percent", "cycles", "violation"),
    [
        (0.0, 1.0, False),
        (50.0, 1.001, True),
        (50.1, 11.9, False),
        (70.0, 12.0, True),  # on the riser
        (70.1, 12.0, False),
        (80.0, 30.0, True),
        (90.0, 600.0, True),
        (80.1, 599.0, False),
        (89.0, 60_000.0, True),
        (0.0, 60_001.0, False),
    ],
)
def test_semi_f47_as_the_original(percent: float, cycles: float, violation: bool) -> None:
    assert original_semi_f47(percent, cycles) is violation


@pytest.mark.parametrize(
    ("per_unit", "cycles", "classes"),
    [
        (0.05, 0.4, ()),
        (0.05, 0.5, ("Momentary:Interruption",)),
        (0.05, 180.0, ("Momentary:Interruption",)),
        (0.05, 181.0, ("Temporary:Interruption",)),
        (0.1, 29.0, ("Instantaneous:Sag",)),
        (0.5, 30.0, ("Momentary:Sag",)),  # the last row that fits
        (0.5, 3600.0, ("Temporary:Sag",)),
        (0.5, 3601.0, ()),
        (0.85, 3601.0, ("Undervoltage",)),
        (1.15, 20.0, ("Instantaneous:Swell",)),
        (1.15, 30.0, ("Momentary:Swell", "Instantaneous:Swell")),
        (1.15, 181.0, ("Temporary:Swell",)),
        (1.15, 3601.0, ("Overvoltage",)),
        (1.5, 31.0, ()),
        (1.9, 10.0, ()),
        (1.0, 10.0, ()),
    ],
)
def test_ieee_1159_as_the_original(per_unit: float, cycles: float, classes: tuple[str, ...]) -> None:
    assert original_ieee1159(per_unit, cycles) == classes


def test_where_the_original_deviates_from_the_curves() -> None:
    assert (original_itic(132 / 120 * 100, 60), itic(132 / 120 * 100, 1.0)) == (
        "prohibited",
        "no_interruption_in_function",
    )
    assert original_semi_f47(50.0, 10.0) and semi_f47(50.0, 10 / 60) == "pass"
    assert original_semi_f47(85.0, 1200.0) and semi_f47(85.0, 20.0) == "not_applicable"


def test_change_points_are_those_of_the_least_squares() -> None:
    rms_v = np.concatenate([np.full(40, 120.0), np.full(25, 90.0), np.full(35, 120.0)])
    assert change_points(rms_v) == [40, 65, 100]
    noisy = rms_v + 0.1 * np.sin(np.arange(100.0))
    assert change_points(noisy) == [40, 65, 100]
    assert change_points(np.full(100, 120.0)) == [100]
    assert change_points(np.full(1, 120.0)) == [1]
    assert change_points(np.zeros(0)) == []


def test_change_points_lie_on_five_cycles() -> None:
    rms_v = np.concatenate([np.full(43, 120.0), np.full(57, 90.0)])
    assert all(end % 5 == 0 for end in change_points(rms_v))


def test_pieces_are_judged_by_their_mean() -> None:
    rms_v = np.concatenate([np.full(40, 120.0), np.full(20, 54.0), np.full(40, 120.0)])
    pieces = constant_pieces(rms_v)
    assert [(each.start, each.stop, each.itic, each.semi_f47) for each in pieces] == [
        (0, 40, "no_interruption_in_function", False),
        (40, 60, "no_damage", True),
        (60, 100, "no_interruption_in_function", False),
    ]


def test_runs_end_at_an_unknown_value() -> None:
    values = np.array([59.75, 59.7, np.nan, 59.0, 60.0])
    assert list(runs_within(values, 0.0, 59.75)) == [(0, 2), (3, 4)]
