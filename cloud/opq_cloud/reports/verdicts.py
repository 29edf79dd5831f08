"""Verdicts of a week: each limit of a standard judged by the intervals of one Box. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from opq_cloud.reports.limit_table import Limit
from opq_cloud.reports.supply import Span
from opq_cloud.reports.week import ReportWeek
from opq_measure.standards.requirements import Judgement, inside, judge
from opq_proto.measurement.intervals import INTERVAL_WORDS, TEN_MINUTES_MS, Disturbance, IntervalColumns

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


@dataclass(frozen=True, slots=True)
class BoxWeek:
    """What is stored of one Box in a week."""

    box_id: str
    nominal_v: float
    nominal_hz: float
    intervals: Mapping[int, IntervalColumns]
    """Length in ms -> the intervals that begin in the week."""
    unstated: tuple[str, ...] = ()
    """Those of nominal_v and nominal_hz that are not stated: no limit is judged by them."""
    channel: str = ""
    """Names it among the phases of its place, where a Box has served two of them; empty: the Box does."""


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
    missing: int = 0
    """Intervals that were not measured, although the standard judges them."""
    first_outside_ns: int | None = None
    last_outside_ns: int | None = None
    days_failed: tuple[int, ...] = ()
    """The days on which a daily limit fails, 0 for Monday."""
    unstated: bool = False
    """Whether it is not assessed because the nominal value is not stated."""
    channel: str = ""
    """The phase that it is about, `PlacedBox.channel`; empty: all phases together."""
    why: str = ""
    """Why it was not assessed, or which other intervals the verdict comes from."""

    @property
    def outside(self) -> int:
        return self.judgement.count - self.judgement.inside

    @property
    def measured_percent(self) -> float:
        """Intervals of the week that are not missing: judged, or left out by the standard."""
        return 100 * (self.expected - self.missing) / self.expected if self.expected else math.nan

    @property
    def undecided(self) -> bool:
        """Whether what is missing, or not stated, decides the verdict."""
        return self.verdict == "not_assessed" and (self.missing > 0 or self.unstated)

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


def verdict_of(rows: Iterable[VerdictRow]) -> Verdict:
    """Fails where one limit fails; passes where one passes and no other is left open by what is missing."""
    found = list(rows)
    verdicts = {row.verdict for row in found}
    if "fail" in verdicts or "pass" not in verdicts:
        return "fail" if "fail" in verdicts else "not_assessed"
    return "not_assessed" if any(row.undecided for row in found) else "pass"


def measured_words(percent: float) -> str:
    """`7.1 % measured`; a share below the whole is never rounded to it."""
    return f"{math.floor(10 * percent + 1e-6) / 10:.1f} % measured"


def judge_limit(
    limit: Limit,
    box: BoxWeek,
    week: ReportWeek,
    disturbances: Sequence[Disturbance] = (),
    outages: Sequence[Span] = (),
) -> VerdictRow:
    """The verdict of a limit; flagged values count where the limit says so.

    `disturbances` and `outages` are the Box's. What an interruption or outage touches is not missing, because
    the standard judges the voltage of a supply that is there.
    """
    expected = expected_intervals(week.start_ns, week.end_ns, limit.interval_ms)
    channel = box.channel or box.box_id
    row = VerdictRow(limit, box.box_id, "not_assessed", NOTHING, expected, 0, channel=channel)
    if not box.intervals:
        return replace(row, missing=expected, why="Nothing is stored.")
    if limit.basis in box.unstated:
        return replace(row, unstated=True, why=f"{unstated_words(box.box_id, limit.basis)}.")
    columns = box.intervals.get(limit.interval_ms)
    values = None if columns is None else values_of(limit, columns, box)
    if columns is None or values is None or np.isnan(values).all():
        return _by_extremes(row, box, week, disturbances, outages)
    known = ~np.isnan(values)
    flagged = int(np.count_nonzero(known & columns.flagged))
    judged = known & ~columns.flagged
    if limit.flagged == "kept":
        judged = known
    elif limit.flagged == "kept_if_lasting":
        judged |= known & touched_by_lasting(disturbances, columns)
    starts_ns = columns.start_ns[judged]
    missing_ns = missing_starts(week, columns, judged, disturbances, outages)
    found = replace(row, flagged=flagged, missing=len(missing_ns))
    if limit.daily:
        found = _daily(found, starts_ns, values[judged], missing_ns, week)
    else:
        found = _weekly(found, starts_ns, values[judged])
    if not found.undecided:
        return found
    shown = _by_extremes(row, box, week, disturbances, outages)
    if shown.verdict != "pass":
        return found
    if not found.judgement.count:
        return shown
    # the figures stay those of the limit's own intervals, as in the report's other sections
    return replace(found, verdict="pass", judgement=replace(found.judgement, met=True), why=shown.why)


def unstated_words(box_id: str, name: str) -> str:
    """`The nominal voltage of Box 1 is not stated; opq-tools boxes set 1 --nominal-v 230 states it`."""
    noun, option = ("voltage", "--nominal-v 230") if name == "nominal_v" else ("frequency", "--nominal-hz 50")
    return (
        f"The nominal {noun} of Box {box_id} is not stated; opq-tools boxes set {box_id} {option} states it"
    )


def missing_spans_ns(
    starts: NDArray[np.int64], ends: NDArray[np.int64], start_ns: int, end_ns: int
) -> list[tuple[int, int]]:
    """The stretches of [start_ns, end_ns) of ten minutes and more outside these intervals, in time order."""
    found, reached = [], start_ns
    slack_ns = TEN_MINUTES_MS * 10**6
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if start - reached >= slack_ns:
            found.append((reached, start))
        reached = max(reached, end)
    if end_ns - reached >= slack_ns:
        found.append((reached, end_ns))
    return found


def missing_starts(
    week: ReportWeek,
    columns: IntervalColumns,
    judged: BoolArray,
    disturbances: Sequence[Disturbance],
    outages: Sequence[Span],
) -> NDArray[np.int64]:
    """(m,) the beginnings of the week's intervals that were not measured, in time order.

    A flagged interval is not missing, because the standard leaves it out, unless a gap alone flags it.
    """
    length_ns = columns.length_ms * 10**6
    first = -(week.start_ns // -length_ns)
    count = expected_intervals(week.start_ns, week.end_ns, columns.length_ms)
    touched_ns = [(each.start_ns, latest_end_ns(each, columns)) for each in disturbances]
    lost_ns = [
        span for each, span in zip(disturbances, touched_ns, strict=True) if each.kind == "interruption"
    ]
    gaps = columns.flagged & (columns.coverage < 1)
    for begin_ns, until_ns in [*touched_ns, *outages]:
        gaps &= ~_touched(begin_ns, until_ns, columns.start_ns, columns.end_ns)
    here = judged | (columns.flagged & ~gaps)
    missing = np.ones(count, np.bool_)
    places = (columns.start_ns[here] + length_ns // 2) // length_ns - first
    missing[places[(places >= 0) & (places < count)]] = False
    starts_ns = (first + np.arange(count, dtype=np.int64)) * length_ns
    for begin_ns, until_ns in [*lost_ns, *outages]:
        missing &= ~_touched(begin_ns, until_ns, starts_ns, starts_ns + length_ns)
    return starts_ns[missing]


def _touched(
    begin_ns: int, until_ns: int | None, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64]
) -> BoolArray:
    """(n,) bool: intervals that a span touches; one without an end goes on."""
    found: BoolArray = ends_ns > begin_ns
    return found if until_ns is None else found & (starts_ns < until_ns)


def touched_by_lasting(disturbances: Sequence[Disturbance], columns: IntervalColumns) -> BoolArray:
    """(n,) bool: intervals that a dip or swell of more than a minute touches, and no interruption.

    EN 50160 has tables of dips and swells to a minute, so such a voltage is judged as that of the supply.
    """
    found = np.zeros(len(columns.start_ns), np.bool_)
    lost = np.zeros_like(found)
    for each in disturbances:
        end_ns = latest_end_ns(each, columns)
        touched = _touched(each.start_ns, end_ns, columns.start_ns, columns.end_ns)
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
    found = judge(values, row.limit.requirement, _deciding(row, row.missing, len(values)))
    if not found.count:
        return replace(row, why=_share_words(row) if row.missing else "Each interval is flagged.")
    outside = starts_ns[~inside(values, row.limit.requirement)]
    return replace(
        row,
        verdict=_verdict(found.met),
        why=_share_words(row) if found.met is None else "",
        judgement=found,
        first_outside_ns=int(outside[0]) if len(outside) else None,
        last_outside_ns=int(outside[-1]) if len(outside) else None,
    )


def _daily(
    row: VerdictRow,
    starts_ns: NDArray[np.int64],
    values: FloatArray,
    missing_ns: NDArray[np.int64],
    week: ReportWeek,
) -> VerdictRow:
    """Each local day is judged by itself; the row states the worst day's value and the counts of all.

    A day fails the limit by itself; the limit is met if each day meets it that has an interval to judge.
    """
    found = _weekly(row, starts_ns, values)
    days, undecided = [], False
    for first_ns, last_ns in pairwise(week.day_starts_ns):
        first, last = np.searchsorted(starts_ns, (first_ns, last_ns))
        gone = int(np.diff(np.searchsorted(missing_ns, (first_ns, last_ns)))[0])
        day = judge(values[first:last], row.limit.requirement, _deciding(row, gone, int(last - first)))
        undecided |= day.met is None and gone > 0
        days.append(day)
    known = [each for each in days if each.count]
    if not known:
        return found
    failed = tuple(number for number, each in enumerate(days) if each.met is False)
    met = False if failed else None if undecided else True
    return replace(
        found,
        verdict=_verdict(met),
        judgement=replace(found.judgement, value=max(each.value for each in known), met=met),
        days_failed=failed,
        why=_share_words(row) if met is None else "",
    )


def _deciding(row: VerdictRow, missing: int, known: int) -> int:
    """How many missing values are counted: none where enough was measured for the limit."""
    total = missing + known
    enough = bool(total) and 100 * known >= row.limit.least_measured_percent * total
    return 0 if enough else missing


def _verdict(met: bool | None) -> Verdict:
    return "not_assessed" if met is None else "pass" if met else "fail"


def _share_words(row: VerdictRow) -> str:
    return f"{measured_words(row.measured_percent)}."


def _by_extremes(
    row: VerdictRow,
    box: BoxWeek,
    week: ReportWeek,
    disturbances: Sequence[Disturbance],
    outages: Sequence[Span],
) -> VerdictRow:
    """What the extremes of ten minutes show where the limit's own intervals are not stored, or too few of
    them; of a daily limit on each local day."""
    limit = row.limit
    stored = INTERVAL_WORDS[limit.interval_ms]
    nothing = replace(row, why=f"No values of {stored} are stored.")
    of_own = "not all values" if limit.interval_ms in box.intervals else "no values"
    names = EXTREMES.get(limit.quantity)
    ten = box.intervals.get(TEN_MINUTES_MS)
    if names is None or ten is None or limit.interval_ms >= TEN_MINUTES_MS:
        return nothing
    low, high = (values_of(replace(limit, quantity=name), ten, box) for name in names)
    if low is None or high is None:
        return nothing
    known = ~(np.isnan(low) | np.isnan(high)) & ~(ten.flagged & (limit.flagged != "kept"))
    missing_ns = missing_starts(week, ten, known, disturbances, outages)
    low, high, starts_ns = low[known], high[known], ten.start_ns[known]
    if not len(low):
        return nothing
    within = inside(low, limit.requirement) & inside(high, limit.requirement)
    per_ten = TEN_MINUTES_MS // limit.interval_ms
    good, count = int(np.count_nonzero(within)) * per_ten, len(low) * per_ten
    row = replace(row, missing=len(missing_ns) * per_ten)
    edges_ns = week.day_starts_ns if limit.daily else (week.start_ns, week.end_ns)
    shown = share_alone = True
    for first_ns, last_ns in pairwise(edges_ns):
        first, last = np.searchsorted(starts_ns, (first_ns, last_ns))
        gone = _deciding(
            row, int(np.diff(np.searchsorted(missing_ns, (first_ns, last_ns)))[0]), int(last - first)
        )
        met, whole = int(np.count_nonzero(within[first:last])), int(last - first)
        share_alone &= met >= limit.requirement.percent / 100 * whole
        shown &= met >= limit.requirement.percent / 100 * (whole + gone)
    if share_alone and not shown:
        return replace(row, why=_share_words(row))
    if not shown:
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
        why=f"Shown by the extremes of ten minutes: {of_own} of {stored} are stored.",
    )
