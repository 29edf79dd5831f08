"""Helpers for `is_quiet` and `note_quiet` of triggers with a memory per Box: Measurements in columns.

Separate from `MeasurementColumns`, which knows nothing of triggers. All triggers read those of one moment,
one after the other, so their common results are computed once and kept until the next.
"""

from collections.abc import Container, Hashable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.excursions import DEAD_PU, DIP_PU, STANDS_PU, SWELL_PU, backfilled_stream
from opq_proto.decision import Nominal
from opq_proto.wire.measurement_columns import METRIC_NAMES, MeasuredBoxes, MeasurementColumns

KEPT = 2
"""Moments whose columns are remembered."""


@lru_cache(maxsize=KEPT)
def ids_of(columns: MeasurementColumns) -> list[str]:
    """Returns (n,) the Box of each, as `excursions.stream_of` names it."""
    ids = columns.boxes.ids
    if columns.backfilled:
        return [backfilled_stream(ids[box]) for box in columns.which.tolist()]
    return [ids[box] for box in columns.which.tolist()]


@lru_cache(maxsize=KEPT * len(METRIC_NAMES))
def values_of(columns: MeasurementColumns, metric: str) -> NDArray[np.float64]:
    """Returns (3, n) least, most and mean of one metric."""
    return np.ascontiguousarray(columns.metrics[:, METRIC_NAMES.index(metric)].T, dtype=np.float64)


def nominals_of(columns: MeasurementColumns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (n,) volts and (n,) hertz."""
    volts, hz = _nominals(columns.boxes)
    return volts[columns.which], hz[columns.which]


@lru_cache(maxsize=KEPT)
def unflagged(columns: MeasurementColumns) -> NDArray[np.bool_]:
    """Returns (n,) whether no dip or swell lies in each, by the rule of `excursions.is_flagged`."""
    least_v, most_v, _ = values_of(columns, "rms")
    volts, _ = nominals_of(columns)
    within: NDArray[np.bool_] = (least_v >= DIP_PU * volts) & (most_v <= SWELL_PU * volts)
    stands: NDArray[np.bool_] = (least_v >= DEAD_PU * volts) & (most_v - least_v <= STANDS_PU * volts)
    return within | stands


def nominal_of(columns: MeasurementColumns, at: int) -> Nominal:
    """Returns the nominal values of the Box whose Measurement is at index `at`."""
    return columns.boxes.nominals[int(columns.which[at])]


def swings_by(columns: MeasurementColumns, percent: float) -> NDArray[np.bool_]:
    """Returns (n,) whether the rms of each swings by more than this share of its nominal."""
    least_v, most_v, _ = values_of(columns, "rms")
    volts, _ = nominals_of(columns)
    swings: NDArray[np.bool_] = most_v - least_v > volts * percent / 100
    return swings


def none_of(columns: MeasurementColumns, *busy: Container[Hashable]) -> NDArray[np.bool_]:
    """Returns (n,) whether the Box of each is in none of these, which are nearly always empty."""
    there = [each for each in busy if each]
    if not there:
        return np.ones(len(columns), np.bool_)
    return np.array([not any(box_id in each for each in there) for box_id in ids_of(columns)], np.bool_)


@lru_cache(maxsize=KEPT)
def _nominals(boxes: MeasuredBoxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([each.volts for each in boxes.nominals]), np.array([each.hz for each in boxes.nominals])
