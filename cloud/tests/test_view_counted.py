"""The one rule of figures that strangers see: which hidden Boxes count."""

from dataclasses import replace

import numpy as np
import pytest
from map_boxes import grids_now, map_summary

from opq_cloud.view.pages.map.grid_now import BoxNow, countable
from opq_cloud.view.pages.visible.counted import (
    HiddenBox,
    enough_owners,
    groups_with_enough,
    numbered_owners,
    usable_values,
)
from opq_cloud.view.pages.visible.shown_box import ShownBox

HIDDEN = BoxNow("1", "", "1", "oahu", None, False, True, 120.0, 60.0, 101.0, 60.01, False)


@pytest.mark.parametrize(
    ("owners", "counts"),
    [
        ("abc", True),
        ("aab", False),
        ("aabc", False),  # a has half
        ("aabbc", True),
        ("aaabcde", True),
        ("aaabcd", False),
        ("abcc ", True),  # a Box of the installation
        ("   ", False),  # which is one owner
        ("", False),
    ],
)
def test_a_figure_needs_three_owners(owners: str, counts: bool) -> None:
    """And none of them has half of the Boxes: in a group, and in a column of a table."""
    assert enough_owners(owners) is counts
    numbers, zeros = numbered_owners(list(owners)), np.zeros(len(owners), np.int64)
    assert groups_with_enough(zeros, numbers, 1).tolist() == [counts]
    hidden = [replace(HIDDEN, box_id=str(k), owner=owner) for k, owner in enumerate(owners)]
    assert bool(countable(hidden)) is counts
    boxes = [HiddenBox(ShownBox("1", "", None, 120.0, 60.0, False), owner, "oahu") for owner in owners]
    assert (
        usable_values(np.ones((len(boxes), 2), np.bool_), boxes).all(axis=0).tolist()
        == [counts or not owners] * 2
    )


def test_a_grid_shows_no_more_than_its_regions() -> None:
    """Where too few of one region report, the grid is the median of the other's: no difference shows them."""

    def of(region: str, volts: float) -> list[BoxNow]:
        return [
            replace(HIDDEN, box_id=f"{region}{k}", owner=f"{region}{k}", region=region, u_percent=volts)
            for k in range(3)
        ]

    near, far = of("oahu", 99.0), of("maui", 88.0)
    silent = replace(far[0], silent=True, u_percent=None, f_hz=None)
    (grid,) = grids_now(countable([*near, silent, *far[1:]]))
    assert (grid.u_percent, grid.boxes) == (99.0, 6)
    assert "more than 10 %" in map_summary(countable([*near, *far]))
    assert "more than 10 %" not in map_summary(countable([*near, silent, *far[1:]]))
