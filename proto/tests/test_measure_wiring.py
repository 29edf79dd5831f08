"""Phases that are exchanged, Boxes that are turned round: by the angles between three fundamentals."""

import cmath
import math

import numpy as np
import pytest

from opq_measure.aggregation.wiring import Wiring, wiring_of, wiring_of_intervals

STATED = {"a": 0.0, "b": -120.0, "c": 120.0}
BOXES = {"a": "Box 1", "b": "Box 2", "c": "Box 3"}


def angles(phases: str, inverted: str = "", off_deg: float = 0.0) -> tuple[float, float]:
    """Angles of b and c against a, where the Boxes of a, b and c are on `phases`."""
    turned = [
        cmath.rect(1, math.radians(STATED[real])) * (-1 if box == inverted else 1)
        for box, real in zip("abc", phases, strict=True)
    ]
    first = turned[0].conjugate() * cmath.rect(1, math.radians(off_deg))
    b, c = (math.degrees(cmath.phase(each * first)) for each in turned[1:])
    return b, c


@pytest.mark.parametrize("off_deg", [-12.0, -3.0, 0.0, 3.0, 12.0])
@pytest.mark.parametrize(
    ("phases", "inverted", "wiring"),
    [
        ("abc", "", None),
        ("bca", "", None),  # a whole turn cannot be seen inside a site
        ("cab", "", None),
        ("acb", "", Wiring(exchanged=True)),
        ("bac", "", Wiring(exchanged=True)),
        ("cba", "", Wiring(exchanged=True)),
        ("abc", "a", Wiring(inverted="a")),
        ("abc", "b", Wiring(inverted="b")),
        ("abc", "c", Wiring(inverted="c")),
        ("acb", "b", Wiring(exchanged=True, inverted="b")),
        ("bac", "c", Wiring(exchanged=True, inverted="c")),
        ("aac", "", Wiring(same=("a", "b"))),
        ("aba", "", Wiring(same=("a", "c"))),
        ("abb", "", Wiring(same=("b", "c"))),
    ],
)
def test_a_wrong_connection_is_named(
    phases: str, inverted: str, wiring: Wiring | None, off_deg: float
) -> None:
    assert wiring_of(*angles(phases, inverted, off_deg)) == wiring


@pytest.mark.parametrize("pair", [(math.nan, 120.0), (-90.0, 90.0), (-150.0, 150.0)])
def test_unclear_angles_say_nothing(pair: tuple[float, float]) -> None:
    assert wiring_of(*pair) is None


def test_most_of_a_week_decides() -> None:
    right, wrong = angles("abc"), angles("acb")
    for count, found in ((0, None), (2, None), (12, (Wiring(exchanged=True), 12))):
        rows = np.array([wrong] * count + [right] * (1008 - count))
        assert wiring_of_intervals(rows[:, 0], rows[:, 1]) == found


def test_words_name_the_boxes() -> None:
    assert "L2 and L3 (Box 2 and Box 3) are exchanged" in Wiring(exchanged=True).words(BOXES)
    assert Wiring(inverted="c").words(BOXES) == "Box 3 on L3 is turned round by 180 degrees"
    assert Wiring(same=("a", "b")).words(BOXES).startswith("Box 1 and Box 2 measure one phase")
