"""The ten minutes of a site's three phases together, also where its Boxes are at different gateways.

A gateway's group measures them in each window, and its intervals are stored under the site's name. Where
there are none, they follow from the fundamentals that each Box had at common instants of UTC. They are
computed when they are read, so that nothing has to be made again where a Box reports late.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.distribution import IntervalSummary, distribution_of, summed
from opq_cloud.store.intervals.interval_rows import joined
from opq_cloud.store.intervals.served_phases import (
    PLACE_FACTS,
    IntervalReader,
    chosen_rows,
    members_of_sites,
    phases_of,
    read_served,
    service_spans,
)
from opq_cloud.store.site_key import may_name_intervals
from opq_measure.aggregation.instants import (
    INSTANTS_PER_INTERVAL,
    MOST_CLOCK_PERCENT,
    PhasesTogether,
    together,
)
from opq_measure.aggregation.wiring import Wiring, wiring_of_intervals
from opq_measure.signal import FloatArray
from opq_proto.kit.plain_text import composed
from opq_proto.measurement.intervals import (
    AT_INSTANTS,
    TEN_MINUTES_MS,
    TEN_MINUTES_NS,
    Disturbance,
    IntervalColumns,
)

NAMES = (*AT_INSTANTS, "uncertainty_ns", "f_hz")
PHASES = ("a", "b", "c")
ANGLES = ("angle_b_deg", "angle_c_deg")
"""Angles of phases b and c against a."""
COMPUTED = tuple(name for name in PhasesTogether._fields if name != "coverage")


class StoredIntervals(IntervalReader, Protocol):
    """What an export reads, too."""

    def box_ids(self) -> list[str]: ...

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None: ...

    def summary(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> IntervalSummary: ...

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


def site_intervals(
    intervals: IntervalReader, site: str, records: Iterable[BoxRecord], start_ns: int, end_ns: int
) -> IntervalColumns:
    """Returns the ten minutes of a site that begin in [start_ns, end_ns), in time order.

    `records`: Boxes that are or were there; each phase has what the Boxes of then measured.
    """
    site = composed(site)
    of_group = intervals.read(
        site, TEN_MINUTES_MS, start_ns, end_ns if may_name_intervals(site) else start_ns
    )
    spans = service_spans(records, start_ns, end_ns, lambda box: box.site == site, PLACE_FACTS)
    phases = [each for each in phases_of(spans) if each.phase is not None]
    most = -(-end_ns // TEN_MINUTES_NS) - -(-start_ns // TEN_MINUTES_NS)
    if tuple(each.phase for each in phases) != PHASES or len(of_group.start_ns) >= most:
        return of_group
    found = phases_together(
        site, [read_served(intervals, each, TEN_MINUTES_MS, start_ns, end_ns, NAMES) for each in phases]
    )
    found = chosen_rows(found, np.flatnonzero(~np.isin(found.start_ns, of_group.start_ns)))
    both = joined(site, TEN_MINUTES_MS, [each for each in (of_group, found) if len(each.start_ns)])
    return chosen_rows(both, np.argsort(both.start_ns))


def wiring_then(
    intervals: IntervalReader, site: str, records: Iterable[BoxRecord], start_ns: int, end_ns: int
) -> tuple[Wiring, int] | None:
    """How the phases of a site were connected otherwise than stated, and in how many ten minutes of a span.

    None: they were not, or nothing is known of it.
    """
    return wiring_of_columns(site_intervals(intervals, site, records, start_ns, end_ns))


def wiring_of_columns(columns: IntervalColumns) -> tuple[Wiring, int] | None:
    """The same of the ten minutes of a site that were read."""
    if not {*ANGLES} <= columns.values.keys():
        return None
    return wiring_of_intervals(*(columns.values[name].astype(np.float64) for name in ANGLES))


class IntervalsOfSites:
    """The store's intervals, with the ten minutes of each site under its name, for an export."""

    def __init__(self, intervals: StoredIntervals, boxes: Iterable[BoxRecord]) -> None:
        self._intervals = intervals
        members = members_of_sites(boxes)
        self._sites = {site: own for site, own in members.items() if may_name_intervals(site)}

    def box_ids(self) -> list[str]:
        """Returns the Boxes, groups and sites of which there may be intervals."""
        return sorted({*self._intervals.box_ids(), *self._sites})

    def read(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> IntervalColumns:
        if length_ms != TEN_MINUTES_MS or box_id not in self._sites:
            return self._intervals.read(box_id, length_ms, start_ns, end_ns)
        return site_intervals(self._intervals, box_id, self._sites[box_id], start_ns, end_ns)

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None:
        names = [box_id]
        if length_ms == TEN_MINUTES_MS:
            names += (each.box_id for each in self._sites.get(box_id, ()))
        spans = [span for name in names if (span := self._intervals.span_ns(name, length_ms)) is not None]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

    def summary(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> IntervalSummary:
        """Returns the summary of what is stored; of a site also the names that are computed."""
        stored = self._intervals.summary(box_id, length_ms, start_ns, end_ns)
        if length_ms != TEN_MINUTES_MS or box_id not in self._sites:
            return stored
        nothing = {(name, 0, False): distribution_of(name, np.empty(0, np.float32)) for name in COMPUTED}
        return summed([stored, IntervalSummary(parts=nothing)])

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        return self._intervals.disturbances(box_id, start_ns, end_ns)


def phases_together(site: str, phases: Sequence[IntervalColumns]) -> IntervalColumns:
    """Unbalance and angles of ten minutes that all of the phases a, b and c have.

    Ten minutes of which nothing can be said are left out. Those whose clocks leave too much have
    `clock_ratio` alone. They are flagged where one of the three is, and where some instants are missing.
    """
    starts = reduce(np.intersect1d, [each.start_ns for each in phases])
    own = [chosen_rows(each, np.searchsorted(each.start_ns, starts)) for each in phases]
    angles, volts = (
        [_column(each, name, (len(starts), INSTANTS_PER_INTERVAL)) for each in own] for name in AT_INSTANTS
    )
    clocks = [_column(each, "uncertainty_ns", (len(starts),)) for each in own]
    found = together(angles, volts, clocks, _column(own[0], "f_hz", (len(starts),)))
    partly = (found.coverage > 0) & (found.coverage < 1)
    flagged = np.logical_or.reduce([each.flagged for each in own]) | partly
    columns = IntervalColumns(
        site,
        TEN_MINUTES_MS,
        starts,
        starts + TEN_MINUTES_NS,
        np.asarray(flagged, np.bool_),
        found.coverage.astype(np.float32),
        {name: np.asarray(value, np.float32) for name, value in found._asdict().items() if name in COMPUTED},
    )
    said = ~np.isnan(found.u2_ratio) | (100 * found.clock_ratio > MOST_CLOCK_PERCENT)
    return chosen_rows(columns, np.flatnonzero(said))


def _column(columns: IntervalColumns, name: str, shape: tuple[int, ...]) -> FloatArray:
    """A quantity in double precision; NaN where it is not known, or has other instants than ours."""
    found = columns.values.get(name)
    if found is None or found.shape != shape:
        return np.full(shape, np.nan)
    return found.astype(np.float64)
