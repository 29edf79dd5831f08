"""Verdicts of a week: each limit of a standard judged by the intervals of one Box. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from opq_cloud.reports.limit_table import Limit
from opq_cloud.reports.week import ReportWeek
from opq_measure.standards.requirements import Judgement, inside, judge
from opq_proto.measurement.intervals import Disturbance, IntervalColumns

TEN_MINUTES_MS = 600_000
TEN_SECONDS_MS = 10_000
THREE_SECONDS_MS = 3_000
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Verdict = Literal["pass", "fail", "not_assessed"]
LASTING_NS: Final = 60 * 10**9
"""A dip or swell that lasts longer is a voltage of the supply: EN 50160's tables of dips end at a minute."""
EXTREMES: Final = {
    "f_hz": ("f_min_hz", "f_max_hz"),
    "thd_ratio": ("thd_ratio", "thd_max_ratio"),
    "signalling_v": ("signalling_v", "signalling_max_v"),
}
"""Quantity -> the lowest and highest windows of its ten minutes. A mean over any part of the ten minutes lies
between them, so they can only show that a limit is met."""
INTERVAL_WORDS: Final = {3_000: "3 s", 10_000: "10 s", 600_000: "10 min", 7_200_000: "2 h"}


@dataclass(frozen=True, slots=True)
class BoxWeek:
    """What is stored of one Box in a week."""

    box_id: str
    nominal_v: float
    nominal_hz: float
    intervals: Mapping[int, IntervalColumns]
    """Length in ms -> the intervals that begin in the week."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One limit at one Box. Percentages are of the basis that the limit names."""

    limit: Limit
    box_id: str
    verdict: Verdict
    judgement: Judgement
    expected: int
    """Intervals that the week has."""
    flagged: int
    """Known values that a dip, swell, interruption or gap touches."""
    first_outside_ns: int | None = None
    last_outside_ns: int | None = None
    days_failed: tuple[int, ...] = ()
    """The days on which a daily limit fails, 0 for Monday."""
    why: str = ""
    """Why it was not assessed, or which other intervals the verdict comes from."""

    @property
    def outside(self) -> int:
        return self.judgement.count - self.judgement.inside

    @property
    def coverage_percent(self) -> float:
        """Judged intervals as a percentage of the week's intervals."""
        return 100 * self.judgement.count / self.expected if self.expected else math.nan

    @property
    def flagged_percent(self) -> float:
        """Flagged intervals as a percentage of the week's intervals."""
        return 100 * self.flagged / self.expected if self.expected else math.nan


NOTHING = Judgement(0, 0, math.nan, math.nan, math.nan, None)


def expected_intervals(start_ns: int, end_ns: int, length_ms: int) -> int:
    """How many intervals of UTC's grid begin in [start_ns, end_ns)."""
    length_ns = length_ms * 10**6
    return -(-end_ns // length_ns) + start_ns // -length_ns


def judge_limit(
    limit: Limit, box: BoxWeek, week: ReportWeek, disturbances: Sequence[Disturbance] = ()
) -> VerdictRow:
    """The verdict of a limit; flagged values count where the limit says so. `disturbances` are the Box's."""
    expected = expected_intervals(week.start_ns, week.end_ns, limit.interval_ms)
    row = VerdictRow(limit, box.box_id, "not_assessed", NOTHING, expected, 0)
    columns = box.intervals.get(limit.interval_ms)
    values = None if columns is None else values_of(limit, columns, box)
    if columns is None or values is None or np.isnan(values).all():
        return _by_extremes(row, box, week)
    known = ~np.isnan(values)
    flagged = int(np.count_nonzero(known & columns.flagged))
    judged = known & ~columns.flagged
    if limit.flagged == "kept":
        judged = known
    elif limit.flagged == "kept_if_lasting":
        judged |= known & touched_by_lasting(disturbances, columns)
    starts_ns = columns.start_ns[judged]
    row = replace(row, flagged=flagged)
    if limit.daily:
        return _daily(row, starts_ns, values[judged], week)
    return _weekly(row, starts_ns, values[judged])


def touched_by_lasting(disturbances: Sequence[Disturbance], columns: IntervalColumns) -> BoolArray:
    """(n,) bool: intervals that a dip or swell of more than a minute touches, and no interruption.

    EN 50160 has tables of dips and swells to a minute, so such a voltage is judged as that of the supply.
    """
    found = np.zeros(len(columns.start_ns), np.bool_)
    lost = np.zeros_like(found)
    for each in disturbances:
        end_ns = latest_end_ns(each, columns)
        touched = columns.end_ns > each.start_ns
        if end_ns is not None:
            touched &= columns.start_ns < end_ns
        if each.kind == "interruption":
            lost |= touched
        elif each.kind in ("dip", "swell") and (end_ns is None or end_ns - each.start_ns > LASTING_NS):
            found |= touched
    return found & ~lost


def latest_end_ns(found: Disturbance, intervals: IntervalColumns | None) -> int | None:
    """The end of a disturbance. Where it was not seen: the first interval after its beginning that nothing
    touches; None where there is not one, so that it may go on."""
    if found.end_ns is not None or intervals is None:
        return found.end_ns
    quiet = intervals.start_ns[(intervals.start_ns > found.start_ns) & ~intervals.flagged]
    return int(quiet[0]) if len(quiet) else None


def values_of(limit: Limit, columns: IntervalColumns, box: BoxWeek) -> FloatArray | None:
    """(n,) values in percent of the limit's basis, or as they are for `one`; None where there are none."""
    stored = columns.values.get(limit.quantity)
    if stored is None:
        return None
    found = np.asarray(stored, dtype=np.float64)
    basis = {"nominal_v": box.nominal_v, "nominal_hz": box.nominal_hz}.get(limit.basis, 1.0)
    if limit.order is not None:
        if found.ndim != 2 or found.shape[1] < limit.order:
            return None
        wanted = found[:, limit.order - 1]
        if limit.basis == "fundamental":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(found[:, 0] > 0, 100 * wanted / found[:, 0], np.nan)
        return 100 * wanted / basis
    return found if limit.basis == "one" else 100 * found / basis


def _weekly(row: VerdictRow, starts_ns: NDArray[np.int64], values: FloatArray) -> VerdictRow:
    found = judge(values, row.limit.requirement)
    if found.met is None:
        return replace(row, why="Each interval is flagged.")
    outside = starts_ns[~inside(values, row.limit.requirement)]
    return replace(
        row,
        verdict="pass" if found.met else "fail",
        judgement=found,
        first_outside_ns=int(outside[0]) if len(outside) else None,
        last_outside_ns=int(outside[-1]) if len(outside) else None,
    )


def _daily(row: VerdictRow, starts_ns: NDArray[np.int64], values: FloatArray, week: ReportWeek) -> VerdictRow:
    """Each local day is judged by itself; the row states the worst day's value and the counts of all."""
    found = _weekly(row, starts_ns, values)
    edges = np.searchsorted(starts_ns, week.day_starts_ns)
    days = [judge(values[first:last], row.limit.requirement) for first, last in pairwise(edges)]
    judged = [each for each in days if each.met is not None]
    if not judged:
        return found
    failed = tuple(number for number, each in enumerate(days) if each.met is False)
    worst = max(judged, key=lambda each: each.value)
    return replace(
        found,
        verdict="fail" if failed else "pass",
        judgement=replace(found.judgement, value=worst.value, met=not failed),
        days_failed=failed,
    )


def _by_extremes(row: VerdictRow, box: BoxWeek, week: ReportWeek) -> VerdictRow:
    """What the extremes of ten minutes show where the limit's own intervals are not stored; of a daily limit
    on each local day."""
    limit = row.limit
    stored = INTERVAL_WORDS[limit.interval_ms]
    nothing = replace(row, why=f"No values of {stored} are stored.")
    names = EXTREMES.get(limit.quantity)
    ten = box.intervals.get(TEN_MINUTES_MS)
    if names is None or ten is None or limit.interval_ms >= TEN_MINUTES_MS:
        return nothing
    low, high = (values_of(replace(limit, quantity=name), ten, box) for name in names)
    if low is None or high is None:
        return nothing
    known = ~(np.isnan(low) | np.isnan(high)) & ~(ten.flagged & (limit.flagged != "kept"))
    low, high, starts_ns = low[known], high[known], ten.start_ns[known]
    if not len(low):
        return nothing
    within = inside(low, limit.requirement) & inside(high, limit.requirement)
    per_ten = TEN_MINUTES_MS // limit.interval_ms
    good, count = int(np.count_nonzero(within)) * per_ten, len(low) * per_ten
    edges = np.searchsorted(starts_ns, week.day_starts_ns) if limit.daily else (0, len(within))
    parts = [within[first:last] for first, last in pairwise(edges)]
    if any(np.count_nonzero(part) < limit.requirement.percent / 100 * len(part) for part in parts):
        return replace(
            row,
            why=f"No values of {stored} are stored, and not all extremes of ten minutes are within.",
        )
    most, least = float(high.max()), float(low.min())
    nearest = most if limit.requirement.high - most <= least - limit.requirement.low else least
    return replace(
        row,
        verdict="pass",
        judgement=Judgement(count, good, nearest if within.all() else math.nan, least, most, True),
        flagged=int(np.count_nonzero(ten.flagged)) * per_ten,
        why=f"Shown by the extremes of ten minutes: no values of {stored} are stored.",
    )
