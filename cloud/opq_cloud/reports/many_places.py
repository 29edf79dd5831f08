"""Reports of many places in one week, and what can be said of them together. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from opq_cloud.core.page_parts import FailedPart
from opq_cloud.reports.grid_frequency import GridFrequency
from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import WeekReport
from opq_measure.standards.event_tables import SARFI_PERCENTS
from opq_measure.standards.indices import (
    FleetSupply,
    fleet_supply,
)


@dataclass(frozen=True, slots=True)
class FleetReport:
    """The reports of a feeder or of all, in the order of the places' names."""

    table: LimitTable
    week: ReportWeek
    words: str
    """Which places: `feeder F12`, `all places`, or the name of the only one."""
    reports: tuple[WeekReport, ...]
    supply: FleetSupply | None
    sarfi: tuple[tuple[float, float], ...]
    """Threshold -> mean number of events at a place."""
    complete_percent: float
    """Mean share of the week that a Box measured; NaN without Boxes."""
    frequency: GridFrequency
    broken: tuple[FailedPart, ...] = ()
    """Places, or figures, that could not be made."""

    @property
    def failed(self) -> tuple[WeekReport, ...]:
        return tuple(each for each in self.reports if each.verdict == "fail")

    @property
    def not_assessed(self) -> tuple[WeekReport, ...]:
        return tuple(each for each in self.reports if each.verdict == "not_assessed")


def fleet_report(
    table: LimitTable,
    week: ReportWeek,
    words: str,
    reports: Sequence[WeekReport],
    frequency: GridFrequency,
    broken: tuple[FailedPart, ...] = (),
) -> FleetReport:
    """The report of these places; `broken`: places whose report could not be made.

    In means, the reports of the parts of a divided week count together as one, and a Box counts for the share
    of the week in which it was at its place. A Box or place of which nothing is known in the week is left
    out.
    """
    whole_ns = week.end_ns - week.start_ns
    shares = [(each.week.end_ns - each.week.start_ns) / whole_ns for each in reports]
    phases = [
        (phase, share, phase.box.served_ns(each.week) / whole_ns)
        for each, share in zip(reports, shares, strict=True)
        for phase in each.phases
    ]
    complete = sum(share * phase.complete_percent for phase, share, _ in phases)
    served = sum(weight for _, _, weight in phases)
    seen_ids = {phase.box.box_id for phase, _, _ in phases if phase.is_known}
    known = [(phase.supply, weight) for phase, _, weight in phases if phase.box.box_id in seen_ids]
    seen_places = {each.place.key for each in reports if each.is_known}
    seen = [
        (each.sarfi, share)
        for each, share in zip(reports, shares, strict=True)
        if each.place.key in seen_places
    ]
    return FleetReport(
        table,
        week,
        words,
        tuple(reports),
        fleet_supply([supply for supply, _ in known], [weight for _, weight in known]),
        tuple(
            (percent, sum(dict(each.beyond)[percent] for each, _ in seen) / sum(share for _, share in seen))
            for percent in SARFI_PERCENTS
        )
        if seen
        else (),
        complete / served if served else math.nan,
        frequency,
        broken,
    )
