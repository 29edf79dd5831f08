"""The figures that built-in triggers read in a batch of Measurements, at most one of each Box. Separate from
`Measurements`, which is independent of triggers. All triggers read a batch one after the other, so their
common results are computed once and kept until the next."""

from collections.abc import Container, Hashable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.excursions import DEAD_PU, DIP_PU, STEADY_PU, SWELL_PU, backfilled_stream
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.fields import METRIC_NAMES

_PLACES = {metric: place for place, metric in enumerate(METRIC_NAMES)}
BATCHES_REMEMBERED = 2
"""Batches whose results are remembered."""


@lru_cache(maxsize=BATCHES_REMEMBERED)
def streams_of(batch: Measurements) -> list[str]:
    """Returns (n,) the Box of each, as `excursions.stream_of` names it."""
    return list(map(backfilled_stream, batch.ids)) if batch.backfilled else batch.ids


def values_of(batch: Measurements, metric: str) -> NDArray[np.float64]:
    """Returns (3, n) least, most and mean of one metric; NaN where a Measurement does not have it."""
    values: NDArray[np.float64] = batch.values[_PLACES[metric]]
    return values


def windows_with(batch: Measurements, *metrics: str) -> NDArray[np.bool_]:
    """Returns (n,) whether each is a window, not a crossing, and has these metrics."""
    if batch.finite and not batch.extra:
        return ~none_of(batch)
    there = ~batch.crossing
    for metric in metrics:
        there &= ~np.isnan(values_of(batch, metric)[2])
    return there


@lru_cache(maxsize=BATCHES_REMEMBERED)
def unflagged(batch: Measurements) -> NDArray[np.bool_]:
    """Returns (n,) whether no dip or swell lies in each, by the rule of `excursions.is_flagged`."""
    least_v, most_v, _ = values_of(batch, "rms")
    volts, _ = batch.nominal_values
    within: NDArray[np.bool_] = (least_v >= DIP_PU * volts) & (most_v <= SWELL_PU * volts)
    if within.all():
        return within
    stands: NDArray[np.bool_] = (least_v >= DEAD_PU * volts) & (most_v - least_v <= STEADY_PU * volts)
    return within | stands


@lru_cache(maxsize=BATCHES_REMEMBERED)
def none_of(batch: Measurements) -> NDArray[np.bool_]:
    """Returns (n,) False; not to be changed."""
    none = np.zeros(len(batch), np.bool_)
    none.flags.writeable = False
    return none


def in_any(batch: Measurements, *busy: Container[Hashable]) -> NDArray[np.bool_]:
    """Returns (n,) whether the stream of each is in any of these, which are nearly always empty."""
    there = [each for each in busy if each]
    if not there:
        return none_of(batch)
    return np.array([any(stream in each for each in there) for stream in streams_of(batch)], np.bool_)


def may_show_dip(batch: Measurements, flagged: Container[str]) -> NDArray[np.bool_]:
    """Returns (n,) whether `FlaggedWindows.covers` has to be called though nothing else is unusual.

    It notes each flagged window of an original Box, and the one after it. `flagged`: its `ends_ns`.
    """
    if batch.all_stated:
        return none_of(batch)
    found: NDArray[np.bool_] = ~batch.stated & (~unflagged(batch) | in_any(batch, flagged))
    return found
