"""The report of one place and week: verdicts of each phase, events of all phases, supply and data. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from opq_cloud.reports.limit_table import Limit, LimitTable
from opq_cloud.reports.verdicts import (
    TEN_MINUTES_MS,
    TEN_SECONDS_MS,
    THREE_SECONDS_MS,
    BoxWeek,
    FloatArray,
    Verdict,
    VerdictRow,
    expected_intervals,
    judge_limit,
    latest_end_ns,
)
from opq_cloud.reports.week import ReportSpan, ReportWeek
from opq_measure.aggregation.instants import MOST_CLOCK_PERCENT
from opq_measure.aggregation.unbalance import magnitude_unbalance_percent
from opq_measure.events.polyphase import ChannelEvent, GroupEvent, group_events
from opq_measure.standards.event_tables import (
    Sarfi,
    SiteEvent,
    TableForm,
    ieee1159_names,
    sarfi_of,
    table_of,
)
from opq_measure.standards.indices import (
    FrequencyIndex,
    SupplyIndex,
    frequency_index,
    supply_of,
)
from opq_proto.measurement.intervals import Disturbance, IntervalColumns

SITE_QUANTITIES: Final = ("u2_ratio", "u0_ratio")
"""Quantities of the three phases together, from the intervals of the site."""
_DIP_NAMES: Final = {"dip": "sag", "swell": "swell", "interruption": "interruption"}
Span = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class PlacedBox:
    """A Box at a place in a week: who it is, and what is stored of it."""

    box_id: str
    label: str
    phase: str | None
    """a, b or c; None: not stated."""
    week: BoxWeek
    disturbances: tuple[Disturbance, ...] = ()
    outages: tuple[Span, ...] = ()
    """Other times without supply, as incidents of class outage state them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A Box alone, or a site with one to three phases."""

    name: str
    site: str | None
    """None: the place is a single Box."""
    boxes: tuple[PlacedBox, ...]
    group: Mapping[int, IntervalColumns]
    """Length in ms -> intervals of the phases together, such as u2; empty where none are stored."""


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What was found at one Box."""

    box: PlacedBox
    rows: tuple[VerdictRow, ...]
    complete_percent: float
    """Share of the week that was measured."""
    flagged_percent: float
    """Ten-minute intervals of the week that are flagged."""
    supply: SupplyIndex


@dataclass(frozen=True, slots=True)
class WeekReport:
    """One place, one week, one standard."""

    table: LimitTable
    week: ReportWeek
    place: Place
    phases: tuple[PhaseReport, ...]
    together: tuple[VerdictRow, ...]
    """Verdicts on the phases together; their `box_id` is empty."""
    events: tuple[SiteEvent, ...]
    """The events of all phases, joined, in time order."""
    tables: tuple[tuple[TableForm, tuple[tuple[int, ...], ...]], ...]
    names: Mapping[str, int]
    """Names of IEEE 1159 -> events."""
    sarfi: Sarfi
    frequency: FrequencyIndex
    frequency_of: str
    """The intervals that the frequency comes from: `10 s` or `10 min`; empty: none."""
    nadir_ns: int | None
    magnitude_unbalance: float
    """95 % value of the largest deviation of three rms values from their mean, percent; NaN: unknown."""

    @property
    def rows(self) -> tuple[VerdictRow, ...]:
        return tuple(row for phase in self.phases for row in phase.rows) + self.together

    def without_short(self) -> "WeekReport":
        """The same without the values of 3 s, which are many, and are only judged."""
        phases = []
        for phase in self.phases:
            kept = {
                length: each
                for length, each in phase.box.week.intervals.items()
                if length != THREE_SECONDS_MS
            }
            box = replace(phase.box, week=replace(phase.box.week, intervals=kept))
            phases.append(replace(phase, box=box))
        place = replace(self.place, boxes=tuple(phase.box for phase in phases))
        return replace(self, phases=tuple(phases), place=place)

    @property
    def verdict(self) -> Verdict:
        """Fails where one limit fails; not assessed where none could be."""
        found = {row.verdict for row in self.rows}
        return "fail" if "fail" in found else "pass" if "pass" in found else "not_assessed"


def week_report(table: LimitTable, week: ReportWeek, place: Place) -> WeekReport:
    """Judges every limit at every Box of the place."""
    own = [limit for limit in table.limits if limit.quantity not in SITE_QUANTITIES]
    phases = tuple(_phase(table, own, week, box) for box in place.boxes)
    events = site_events(place.boxes, week)
    nominal_hz = place.boxes[0].week.nominal_hz if place.boxes else 50.0
    frequency, of, nadir_ns = _frequency(place.boxes)
    return WeekReport(
        table,
        week,
        place,
        phases,
        tuple(_together(limit, place, week) for limit in table.limits if limit.quantity in SITE_QUANTITIES),
        events,
        tuple((form, table_of(events, form)) for form in table.event_tables),
        ieee1159_names(events, nominal_hz),
        sarfi_of(events),
        frequency,
        of,
        nadir_ns,
        _magnitude_unbalance(place.boxes),
    )


def _phase(table: LimitTable, limits: Sequence[Limit], week: ReportWeek, box: PlacedBox) -> PhaseReport:
    ten = box.week.intervals.get(TEN_MINUTES_MS)
    expected = expected_intervals(week.start_ns, week.end_ns, TEN_MINUTES_MS)
    covered = flagged = 0.0
    if ten is not None and expected:
        # An interval whose coverage is not known counts as whole: it has values.
        covered = float(np.nan_to_num(ten.coverage, nan=1.0).sum()) / expected
        flagged = float(np.count_nonzero(ten.flagged)) / expected
    lost = (each for each in box.disturbances if each.kind == "interruption")
    interruptions = [(each.start_ns, latest_end_ns(each, ten)) for each in lost]
    return PhaseReport(
        box,
        tuple(judge_limit(limit, box.week, week, box.disturbances) for limit in limits),
        100 * min(covered, 1.0),
        100 * flagged,
        supply_of(
            merged([*interruptions, *box.outages]), week.start_ns, week.end_ns, table.long_interruption_s
        ),
    )


def _together(limit: Limit, place: Place, week: ReportWeek) -> VerdictRow:
    """A limit on the phases together; a Box alone has no unbalance."""
    first = place.boxes[0].week if place.boxes else BoxWeek("", 1.0, 1.0, {})
    known = {length_ms: _of_good_clocks(columns) for length_ms, columns in place.group.items()}
    row = judge_limit(limit, BoxWeek("", first.nominal_v, first.nominal_hz, known), week)
    if row.verdict != "not_assessed" or row.judgement.count:
        return row
    if limit.interval_ms in place.group:
        why = (
            f"The clocks of the three Boxes make u2 uncertain by more than {MOST_CLOCK_PERCENT} % (use GPS), "
            "or each interval is flagged."
        )
    elif len(place.boxes) < 3:
        why = "It needs three phases of one site."
    else:
        why = "Nothing is known of the angles of the three phases."
    return VerdictRow(limit, "", "not_assessed", row.judgement, row.expected, 0, why=why)


def _of_good_clocks(columns: IntervalColumns) -> IntervalColumns:
    """Intervals of three phases without the values that the uncertainty of their clocks spoils."""
    clocks = columns.values.get("clock_ratio")
    if clocks is None:
        return columns
    poor = ~(100 * clocks <= MOST_CLOCK_PERCENT)
    values = dict(columns.values)
    for name in SITE_QUANTITIES:
        if name in values:
            values[name] = np.where(poor, np.float32(np.nan), values[name])
    return replace(columns, values=values)


def site_events(boxes: Sequence[PlacedBox], week: "ReportWeek | ReportSpan") -> tuple[SiteEvent, ...]:
    """The events that begin in the week, those of several phases joined (IEC 61000-4-30, 5.4.3): as the
    gateway numbered them, else where they overlap."""
    if len(boxes) == 1 and (apart := _events_apart(boxes[0], week)) is not None:
        return apart
    channels = [box.box_id for box in boxes]
    nominal = {box.box_id: box.week.nominal_v for box in boxes}
    events = [
        ChannelEvent(
            box.box_id,
            _DIP_NAMES[each.kind],
            each.start_ns,
            each.end_ns,
            100 * each.residual_v / nominal[box.box_id],
            each.polyphase_group,
        )
        for box in boxes
        for each in box.disturbances
        if week.start_ns <= each.start_ns < week.end_ns and each.kind in _DIP_NAMES
    ]
    found = map(_site_event, group_events(events, channels))
    return tuple(sorted(found, key=lambda event: event.start_ns))


def _events_apart(box: PlacedBox, week: "ReportWeek | ReportSpan") -> tuple[SiteEvent, ...] | None:
    """The events of one Box where none touches another and none has a number: each is one of its own.

    A year of 100 Boxes with an event a day takes 0.1 s so, and 0.3 s by way of their groups.
    """
    found: list[SiteEvent] = []
    reached_ns, own = 0, (box.box_id,)
    for each in sorted(box.disturbances, key=lambda event: event.start_ns):
        if not week.start_ns <= each.start_ns < week.end_ns or each.kind not in _DIP_NAMES:
            continue
        if each.end_ns is None or each.polyphase_group or not reached_ns < each.start_ns <= each.end_ns:
            return None
        reached_ns = each.end_ns
        seconds = (each.end_ns - each.start_ns) / 1e9
        percent = 100 * each.residual_v / box.week.nominal_v
        found.append(SiteEvent(each.kind, each.start_ns, seconds, percent, own))
    return tuple(found)


def _site_event(joined: GroupEvent) -> SiteEvent:
    kind = {"swell": "swell", "interruption": "interruption"}.get(joined.kind, "dip")
    seconds = None if joined.end_ns is None else (joined.end_ns - joined.start_ns) / 1e9
    return SiteEvent(kind, joined.start_ns, seconds, joined.residual_percent, joined.channels)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in time order; those that overlap or touch are one."""
    found: list[Span] = []
    for begin_ns, until_ns in sorted(spans, key=lambda span: span[0]):
        if found and (found[-1][1] is None or begin_ns <= found[-1][1]):
            last = found[-1][1]
            end = None if last is None or until_ns is None else max(last, until_ns)
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin_ns, until_ns))
    return found


def _frequency(boxes: Sequence[PlacedBox]) -> tuple[FrequencyIndex, str, int | None]:
    """The frequency of the site: of the Box with the most values of 10 s, else of ten minutes.

    The nadir is that of windows of 10/12 cycles where intervals state their lowest.
    """
    for length_ms, words in ((TEN_SECONDS_MS, "10 s"), (TEN_MINUTES_MS, "10 min")):
        best: IntervalColumns | None = None
        most = 0
        for box in boxes:
            columns = box.week.intervals.get(length_ms)
            if columns is None or "f_hz" not in columns.values:
                continue
            known = int(np.count_nonzero(~np.isnan(columns.values["f_hz"])))
            if known > most:
                best, most = columns, known
        if best is not None:
            middles_s = (best.start_ns - best.start_ns[0] + (best.end_ns - best.start_ns) / 2) / 1e9
            hertz = np.asarray(best.values["f_hz"], np.float64)
            index = frequency_index(*_with_holes(middles_s, hertz, length_ms))
            lowest = np.asarray(best.values.get("f_min_hz", hertz), np.float64)
            lowest = hertz if np.isnan(lowest).all() else lowest
            place = int(np.nanargmin(lowest))
            nadir_hz = float(lowest[place])
            return replace(index, nadir_hz=nadir_hz), words, int(best.start_ns[place])
    nothing = np.zeros(0)
    return frequency_index(nothing, nothing), "", None


def _with_holes(middles_s: FloatArray, hertz: FloatArray, length_ms: int) -> tuple[FloatArray, FloatArray]:
    """NaN put where an interval is missing, so that no change is taken across it."""
    holes = np.flatnonzero(np.diff(middles_s) > 1.5 * length_ms / 1000) + 1
    return np.insert(middles_s, holes, np.nan), np.insert(hertz, holes, np.nan)


def _magnitude_unbalance(boxes: Sequence[PlacedBox]) -> float:
    """95 % value over the ten minutes that all three phases have, without flagged ones."""
    if len(boxes) != 3:
        return math.nan
    columns = [box.week.intervals.get(TEN_MINUTES_MS) for box in boxes]
    known = [each for each in columns if each is not None and "rms_v" in each.values]
    if len(known) != 3:
        return math.nan
    common = known[0].start_ns
    for each in known[1:]:
        common = np.intersect1d(common, each.start_ns)
    picked = [np.searchsorted(each.start_ns, common) for each in known]
    good = ~np.any([each.flagged[at] for each, at in zip(known, picked, strict=True)], axis=0)
    volts = np.stack([each.values["rms_v"][at] for each, at in zip(known, picked, strict=True)], axis=1)
    found = magnitude_unbalance_percent(np.asarray(volts[good], np.float64))
    found = found[~np.isnan(found)]
    return float(np.quantile(found, 0.95, method="inverted_cdf")) if len(found) else math.nan
