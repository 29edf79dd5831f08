"""The report of one place and week: verdicts of each phase, events of all phases, supply and data. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from opq_cloud.reports.grid_frequency import GridFrequency
from opq_cloud.reports.limit_table import Limit, LimitTable
from opq_cloud.reports.supply import Span, is_known, supply_of_box, until_left
from opq_cloud.reports.verdicts import (
    BoxWeek,
    Verdict,
    VerdictRow,
    expected_intervals,
    judge_limit,
    latest_end_ns,
    verdict_of,
)
from opq_cloud.reports.week import ReportSpan, ReportWeek
from opq_cloud.store.box_record import FactSpan
from opq_cloud.store.intervals.served_phases import stints
from opq_measure.aggregation.instants import MOST_CLOCK_PERCENT
from opq_measure.aggregation.unbalance import magnitude_unbalance_percent
from opq_measure.events.curves import below
from opq_measure.events.polyphase import ChannelEvent, GroupEvent, group_events, groups_of
from opq_measure.standards.event_tables import (
    Sarfi,
    SiteEvent,
    TableForm,
    ieee1159_names,
    sarfi_of,
    table_of,
)
from opq_measure.standards.indices import (
    SupplyIndex,
)
from opq_proto.measurement.intervals import (
    TEN_MINUTES_MS,
    TEN_MINUTES_NS,
    THREE_SECONDS_MS,
    Disturbance,
    IntervalColumns,
)

SITE_QUANTITIES: Final = ("u2_ratio", "u0_ratio")
"""Quantities of the three phases together, from the intervals of the site."""
_DIP_NAMES: Final = {"dip": "sag", "swell": "swell", "interruption": "interruption"}


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
    box_ids: tuple[str, ...] = ()
    """All Boxes that served this phase, one after the other; `box_id` is the last."""
    spans: tuple[FactSpan, ...] = ()
    """When each did; empty: all the time, with the nominal values of `week`."""

    @property
    def channel(self) -> str:
        """Its name among the phases of the place: one Box may have served two of them."""
        return self.week.channel or self.box_id

    def residual_percent(self, event: Disturbance) -> float:
        """Residual voltage of an event of the phase, as a share of the nominal voltage of then."""
        nominal_v = self.week.nominal_v
        for span in self.spans:
            if span.box.box_id == event.box_id and span.start_ns <= event.start_ns < span.end_ns:
                nominal_v = span.box.nominal_v or nominal_v
        return 100 * event.residual_v / nominal_v

    def served_ns(self, week: ReportSpan | ReportWeek) -> int:
        """How long its Boxes were at the place in a span."""
        if not self.spans:
            return week.end_ns - week.start_ns
        return sum(last - first for first, last in stints(self.spans, week.start_ns, week.end_ns))

    def without_later(self, end_ns: int) -> tuple[Disturbance, ...]:
        """The disturbances, each until its Box left the place, if it did before a moment."""
        times = (
            until_left(self.spans, each.box_id, (each.start_ns, each.end_ns), end_ns)
            for each in self.disturbances
        )
        return tuple(
            replace(each, end_ns=last_ns) for each, (_, last_ns) in zip(self.disturbances, times, strict=True)
        )

    def measured_at(self, t_ns: int) -> bool:
        """Whether the phase was measured at a moment, by its ten minutes."""
        ten = self.week.intervals.get(TEN_MINUTES_MS)
        if ten is None:
            return False
        place = int(np.searchsorted(ten.start_ns, t_ns, side="right")) - 1
        return place >= 0 and t_ns < int(ten.end_ns[place])


@dataclass(frozen=True, slots=True)
class Place:
    """A Box alone, or a site with one to three phases."""

    name: str
    site: str | None
    """None: the place is a single Box."""
    boxes: tuple[PlacedBox, ...]
    group: Mapping[int, IntervalColumns]
    """Length in ms -> intervals of the phases together, such as u2; empty where none are stored."""
    notes: tuple[str, ...] = ()
    """In sentences: which Boxes were there for a part of the week, and what divides the week."""
    wiring: str = ""
    """How its phases are connected otherwise than stated; what depends on the phase is then not judged."""

    @property
    def key(self) -> tuple[str | None, str]:
        """The same for the parts of a divided week; a site's name, or a single Box."""
        return self.site, "" if self.site is not None else self.boxes[0].box_id


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
    events: int
    """Dips, swells and interruptions that began in the week."""

    @property
    def is_known(self) -> bool:
        return is_known(self.complete_percent, self.supply, self.events)


@dataclass(frozen=True, slots=True)
class WeekReport:
    """One place, one week, one standard."""

    table: LimitTable
    week: ReportWeek
    until_ns: int
    """The end of the week, or the time of making; its beginning if it has not begun."""
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
    frequency: GridFrequency
    magnitude_unbalance: float
    """95 % value of the largest deviation of three rms values from their mean, percent; NaN: unknown."""

    @property
    def is_known(self) -> bool:
        """Whether its counts are of something that was measured or seen."""
        return any(each.is_known for each in self.phases)

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
        return verdict_of(self.rows)


def week_report(
    table: LimitTable,
    week: ReportWeek,
    place: Place,
    now_ns: int | None = None,
    frequency: GridFrequency = GridFrequency(),  # noqa: B008
) -> WeekReport:
    """Judges every limit at every Box of the place; `now_ns` None: the week is over."""
    until_ns = week.end_ns if now_ns is None else max(week.start_ns, min(now_ns, week.end_ns))
    phases = tuple(_phase(table, week, box, until_ns) for box in place.boxes)
    events = site_events(place.boxes, week)
    nominal_hz = place.boxes[0].week.nominal_hz if place.boxes else 50.0
    return WeekReport(
        table,
        week,
        until_ns,
        place,
        phases,
        _together(table, week, place),
        events,
        tuple((form, table_of(events, form)) for form in table.event_tables),
        ieee1159_names(events, nominal_hz),
        sarfi_of(events),
        frequency,
        _magnitude_unbalance(place.boxes),
    )


def place_rows(table: LimitTable, week: ReportWeek, place: Place) -> tuple[VerdictRow, ...]:
    """The verdicts of each Box of a place, then those on its phases together."""
    own = (row for box in place.boxes for row in _own_rows(table, week, box))
    return (*own, *_together(table, week, place))


def _own_rows(table: LimitTable, week: ReportWeek, box: PlacedBox) -> tuple[VerdictRow, ...]:
    events = box.without_later(week.end_ns)
    return tuple(
        judge_limit(limit, box.week, week, events, box.outages)
        for limit in table.limits
        if limit.quantity not in SITE_QUANTITIES
    )


def _phase(table: LimitTable, week: ReportWeek, box: PlacedBox, until_ns: int) -> PhaseReport:
    ten = box.week.intervals.get(TEN_MINUTES_MS)
    expected = expected_intervals(week.start_ns, week.end_ns, TEN_MINUTES_MS)
    covered = flagged = 0.0
    if ten is not None and expected:
        # An interval whose coverage is not known counts as whole: it has values.
        covered = float(np.nan_to_num(ten.coverage, nan=1.0).sum()) / expected
        flagged = float(np.count_nonzero(ten.flagged)) / expected
    lost = (each for each in box.without_later(week.end_ns) if each.kind == "interruption")
    interruptions = [(each.start_ns, latest_end_ns(each, ten)) for each in lost]
    return PhaseReport(
        box,
        _own_rows(table, week, box),
        100 * min(covered, 1.0),
        100 * flagged,
        supply_of_box(
            merged([*interruptions, *box.outages]),
            covered * expected * TEN_MINUTES_NS,
            [] if ten is None else [ten],
            (week.start_ns, max(until_ns, week.start_ns + 1)),
            table.long_interruption_s,
        ),
        len(site_events((box,), week)),
    )


def _together(table: LimitTable, week: ReportWeek, place: Place) -> tuple[VerdictRow, ...]:
    return tuple(
        _of_phases(limit, place, week) for limit in table.limits if limit.quantity in SITE_QUANTITIES
    )


def _of_phases(limit: Limit, place: Place, week: ReportWeek) -> VerdictRow:
    """A limit on the phases together; a Box alone has no unbalance."""
    first = place.boxes[0].week if place.boxes else BoxWeek("", 1.0, 1.0, {})
    known = {length_ms: _of_good_clocks(columns) for length_ms, columns in place.group.items()}
    events = [each for box in place.boxes for each in box.without_later(week.end_ns)]
    outages = [each for box in place.boxes for each in box.outages]
    whole = BoxWeek("", first.nominal_v, first.nominal_hz, known)
    row = judge_limit(limit, whole, week, events, outages)
    if place.wiring:
        return VerdictRow(
            limit,
            "",
            "not_assessed",
            row.judgement,
            row.expected,
            0,
            why="Its phases are not connected as stated.",
        )
    if row.verdict != "not_assessed" or row.judgement.count:
        return row
    if limit.interval_ms in place.group:
        why = (
            f"The clocks of the three Boxes make u2 uncertain by more than {MOST_CLOCK_PERCENT} % (use GPS), "
            "or each interval is flagged."
        )
    elif len({box.phase or box.box_id for box in place.boxes}) < 3:
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
    channels = [box.channel for box in boxes]
    events = [
        ChannelEvent(
            box.channel,
            _DIP_NAMES[each.kind],
            each.start_ns,
            each.end_ns,
            box.residual_percent(each),
            each.polyphase_group,
        )
        for box in boxes
        for each in box.disturbances
        if week.start_ns <= each.start_ns < week.end_ns and each.kind in _DIP_NAMES
    ]
    by_channel = {box.channel: box for box in boxes}
    joined = group_events(events, channels, measured_in(boxes))
    found = (_site_event(each, by_channel) for each in joined)
    return tuple(sorted(found, key=lambda event: event.start_ns))


def measured_in(boxes: Sequence[PlacedBox]) -> Callable[[str, int], bool]:
    """Whether a phase was measured at a moment; where no ten minutes are known, each was."""
    by_channel = {box.channel: box for box in boxes}
    known = any(box.week.intervals for box in boxes)
    return lambda channel, t_ns: not known or by_channel[channel].measured_at(t_ns)


def as_channels(boxes: Sequence[PlacedBox]) -> list[PlacedBox]:
    """The same with a name for each: a Box that has served two phases is one channel of each."""
    several = {box_id for box_id, count in Counter(box.box_id for box in boxes).items() if count > 1}
    return [
        replace(box, week=replace(box.week, channel=f"{box.box_id} {box.phase or place}"))
        if box.box_id in several
        else box
        for place, box in enumerate(boxes)
    ]


def named_by_standard(boxes: Sequence[PlacedBox], interruption_percent: float) -> tuple[PlacedBox, ...]:
    """The same with dips and interruptions as a standard calls them: an event has one name in a report.

    An interruption is below `interruption_percent` of nominal, and on all phases of a site at one time.
    """

    def kind_of(each: Disturbance, residual_percent: float) -> str:
        if each.kind not in ("dip", "interruption") or math.isnan(each.residual_v):
            return each.kind
        return "interruption" if below(residual_percent, interruption_percent) else "dip"

    kinds = {
        (box.channel, each.start_ns): kind_of(each, box.residual_percent(each))
        for box in boxes
        for each in box.disturbances
        if each.kind != "swell"
    }
    if len(boxes) > 1 and "interruption" in kinds.values():
        events = [
            ChannelEvent(
                box.channel,
                _DIP_NAMES[kinds[box.channel, each.start_ns]],
                each.start_ns,
                each.end_ns,
                box.residual_percent(each),
                each.polyphase_group,
            )
            for box in boxes
            for each in box.disturbances
            if each.kind in ("dip", "interruption")
        ]
        for joined, members in groups_of(events, [box.channel for box in boxes], measured_in(boxes)):
            if joined.kind != "interruption":
                kinds |= {(each.channel, each.start_ns): "dip" for each in members}
    return tuple(
        replace(
            box,
            disturbances=tuple(
                each if each.kind == "swell" else replace(each, kind=kinds[box.channel, each.start_ns])
                for each in box.disturbances
            ),
        )
        for box in boxes
    )


def _events_apart(box: PlacedBox, week: "ReportWeek | ReportSpan") -> tuple[SiteEvent, ...] | None:
    """The events of one Box where none touches another and none has a number: each is one of its own.

    A year of 100 Boxes with an event a day takes 0.1 s so, and 0.3 s by way of their groups.
    """
    found: list[SiteEvent] = []
    reached_ns = 0
    for each in sorted(box.disturbances, key=lambda event: event.start_ns):
        if not week.start_ns <= each.start_ns < week.end_ns or each.kind not in _DIP_NAMES:
            continue
        if each.end_ns is None or each.polyphase_group or not reached_ns < each.start_ns <= each.end_ns:
            return None
        reached_ns = each.end_ns
        seconds = (each.end_ns - each.start_ns) / 1e9
        percent = box.residual_percent(each)
        found.append(SiteEvent(each.kind, each.start_ns, seconds, percent, (each.box_id,)))
    return tuple(found)


def _site_event(joined: GroupEvent, boxes: Mapping[str, PlacedBox]) -> SiteEvent:
    kind = {"swell": "swell", "interruption": "interruption"}.get(joined.kind, "dip")
    seconds = None if joined.end_ns is None else (joined.end_ns - joined.start_ns) / 1e9
    return SiteEvent(kind, joined.start_ns, seconds, joined.residual_percent, _boxes_of(joined, boxes))


def _boxes_of(joined: GroupEvent, boxes: Mapping[str, PlacedBox]) -> tuple[str, ...]:
    """The Boxes that measured an event: of phases that are served by several, those of then."""
    found = []
    for channel in joined.channels:
        until_ns = joined.end_ns or joined.start_ns
        found += [
            each.box_id
            for each in boxes[channel].disturbances
            if each.start_ns <= until_ns and (each.end_ns or joined.start_ns) >= joined.start_ns
        ] or [boxes[channel].box_id]
    return tuple(dict.fromkeys(found))


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
