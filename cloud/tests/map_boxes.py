"""Boxes one by one, for what the map's figures are made of: columns."""

from collections.abc import Iterable, Sequence

import numpy as np

from opq_cloud.view.pages.map import grid_now, map_drawing
from opq_cloud.view.pages.map import map_marks as marks
from opq_cloud.view.pages.map.grid_now import BoxesNow, BoxNow, FixedBoxes, GroupNow
from opq_cloud.view.pages.map.map_frame import MapFrame


def columns_of(boxes: Sequence[BoxNow]) -> BoxesNow:
    return BoxesNow(
        FixedBoxes(boxes),
        np.array([each.u_percent for each in boxes], np.float64),  # None becomes NaN
        np.array([each.f_hz for each in boxes], np.float64),
        np.array([each.silent for each in boxes], bool),
        np.array([each.late_s for each in boxes], np.float64),
    )


def grids_now(boxes: Sequence[BoxNow]) -> tuple[GroupNow, ...]:
    return grid_now.grids_now(columns_of(boxes))


def regions_now(boxes: Sequence[BoxNow]) -> tuple[GroupNow, ...]:
    return grid_now.regions_now(columns_of(boxes))


def map_summary(boxes: Sequence[BoxNow]) -> str:
    return map_drawing.map_summary(columns_of(boxes))


def map_marks(
    boxes: Sequence[BoxNow], regions: Iterable[GroupNow], frame: MapFrame, radius_km: float
) -> tuple[marks.MapMark, ...]:
    return marks.map_marks(columns_of(boxes), regions, frame, radius_km)
