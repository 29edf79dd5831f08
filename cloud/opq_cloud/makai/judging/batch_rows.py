"""What built-in triggers read in a batch of Measurements, at most one of each Box.

Separate from `MeasurementColumns`, which knows nothing of triggers. All triggers read a batch one after the
other, so their common results are computed once and kept until the next.
"""

from collections.abc import Container, Hashable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.excursions import DEAD_PU, DIP_PU, STANDS_PU, SWELL_PU, backfilled_stream
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.wire.measurement_columns import MeasurementColumns

_PLACES = {metric: place for place, metric in enumerate(METRIC_NAMES)}
KEPT = 2
"""Batches whose results are remembered."""


@lru_cache(maxsize=KEPT)
def streams_of(columns: MeasurementColumns) -> list[str]:
    """Returns (n,) the Box of each, as `excursions.stream_of` names it."""
    return list(map(backfilled_stream, columns.ids)) if columns.backfilled else columns.ids


def values_of(columns: MeasurementColumns, metric: str) -> NDArray[np.float64]:
    """Returns (3, n) least, most and mean of one metric; NaN where a Measurement does not have it."""
    values: NDArray[np.float64] = columns.values[_PLACES[metric]]
    return values


def windows_with(columns: MeasurementColumns, *metrics: str) -> NDArray[np.bool_]:
    """Returns (n,) whether each is a window, not a crossing, and has these metrics."""
    if columns.finite and not columns.others:
        return ~none_of(columns)
    there = ~columns.crossing
    for metric in metrics:
        there &= ~np.isnan(values_of(columns, metric)[2])
    return there


@lru_cache(maxsize=KEPT)
def nominals_of(columns: MeasurementColumns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (n,) volts and (n,) hertz."""
    nominals = [columns.boxes.nominals[box] for box in columns.which.tolist()]
    return np.array([each.volts for each in nominals]), np.array([each.hz for each in nominals])


@lru_cache(maxsize=KEPT)
def unflagged(columns: MeasurementColumns) -> NDArray[np.bool_]:
    """Returns (n,) whether no dip or swell lies in each, by the rule of `excursions.is_flagged`."""
    least_v, most_v, _ = values_of(columns, "rms")
    volts, _ = nominals_of(columns)
    within: NDArray[np.bool_] = (least_v >= DIP_PU * volts) & (most_v <= SWELL_PU * volts)
    if within.all():
        return within
    stands: NDArray[np.bool_] = (least_v >= DEAD_PU * volts) & (most_v - least_v <= STANDS_PU * volts)
    return within | stands


@lru_cache(maxsize=KEPT)
def none_of(columns: MeasurementColumns) -> NDArray[np.bool_]:
    """Returns (n,) False; not to be changed."""
    none = np.zeros(len(columns), np.bool_)
    none.flags.writeable = False
    return none


def in_any(columns: MeasurementColumns, *busy: Container[Hashable]) -> NDArray[np.bool_]:
    """Returns (n,) whether the stream of each is in any of these, which are nearly always empty."""
    there = [each for each in busy if each]
    if not there:
        return none_of(columns)
    return np.array([any(stream in each for each in there) for stream in streams_of(columns)], np.bool_)


def may_show_dip(columns: MeasurementColumns, flagged: Container[str]) -> NDArray[np.bool_]:
    """Returns (n,) whether `FlaggedWindows.covers` has to be called though nothing else is unusual.

    It notes each flagged window of an original Box, and the one after it. `flagged`: its `ends_ns`.
    """
    if columns.all_stated:
        return none_of(columns)
    found: NDArray[np.bool_] = ~columns.stated & (~unflagged(columns) | in_any(columns, flagged))
    return found
