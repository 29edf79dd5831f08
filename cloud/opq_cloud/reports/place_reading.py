"""Reads what a report needs from the store: which places, and what is stored of each in a week."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Literal, Protocol

from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.supply import Span, until_left, with_ends
from opq_cloud.reports.verdicts import BoxWeek
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import Place, PlacedBox, as_channels, named_by_standard
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, FactSpan, box_order
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.intervals.phases_together import PHASES, site_intervals, wiring_of_columns
from opq_cloud.store.intervals.served_phases import IntervalReader as ServedReader
from opq_cloud.store.intervals.served_phases import (
    ServedPhase,
    are_parallel,
    one_after_the_other,
    phases_of,
    read_served,
    service_spans,
    stints,
)
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.measurement.intervals import (
    LENGTHS_MS,
    TEN_MINUTES_MS,
    TEN_SECONDS_MS,
    Disturbance,
    IntervalColumns,
)

MOST_OUTAGES = 1000
ALWAYS = (
    *("rms_v", "rms_min_v", "rms_max_v", "f_hz", "f_min_hz", "f_max_hz"),
    *("thd_ratio", "thd_max_ratio", "signalling_v", "signalling_max_v"),
)
"""Quantities of ten minutes that every report shows or concludes from."""


class NoPlaceError(OpqError):
    """No Box, site or feeder has this name."""


class IntervalReader(ServedReader, Protocol):
    """The store's intervals and disturbances."""

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


class ReportStore(Protocol):
    """What a report reads: the store, or the part that one visitor may see."""

    @property
    def intervals(self) -> IntervalReader: ...

    def boxes(self) -> list[BoxRecord]: ...

    def find_incidents(self, wanted: IncidentFilter, limit: int) -> list[IndexedIncident]: ...


@dataclass(frozen=True, slots=True)
class PlaceChoice:
    """The places of a report: one Box, one site, the places of a feeder, or all."""

    kind: Literal["box", "site", "feeder", "all"] = "all"
    name: str = ""

    @property
    def words(self) -> str:
        return {"box": f"Box {self.name}", "all": "all places"}.get(self.kind, f"{self.kind} {self.name}")

    @property
    def file_words(self) -> str:
        """The choice as a part of a file name."""
        return "all" if self.kind == "all" else f"{self.kind}-{self.name}"


def place_choice(text: str) -> PlaceChoice:
    """The choice of `all`, `box:1`, `site:mill` or `feeder:f2`. Raises NoPlaceError."""
    kind, _, name = text.partition(":")
    if text == "all":
        return PlaceChoice()
    if kind not in ("box", "site", "feeder") or not name:
        raise NoPlaceError(f"{text[:60]!r} is not a place; want all, or e.g. site:mill")
    return PlaceChoice(kind, name)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ChosenPlace:
    """A place, and the spans in which Boxes served it."""

    site: str | None
    spans: tuple[FactSpan, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same place in another span."""
        return (self.site, "") if self.site else ("", self.spans[0].box.box_id)

    @property
    def name(self) -> str:
        return f"Site {self.site}" if self.site else label_of(self.spans[0].box)

    @property
    def box_ids(self) -> tuple[str, ...]:
        """Its Boxes in the order of their phases, those that came first before those that came later."""
        return tuple(dict.fromkeys(box_id for phase in self.phases for box_id in phase.box_ids))

    @property
    def phases(self) -> tuple[ServedPhase, ...]:
        """Its phases; a Box alone is one, also where another phase is stated of it meanwhile."""
        if self.site or not self.spans:
            return phases_of(self.spans)
        return (ServedPhase(phase_letter(self.spans[-1].box.phase), self.spans),)

    def within(self, start_ns: int, end_ns: int) -> "ChosenPlace":
        """The place with the spans that touch this one."""
        spans = (span for span in self.spans if span.start_ns < end_ns and span.end_ns > start_ns)
        return replace(self, spans=tuple(spans))

    def of_feeder(self, name: str) -> "ChosenPlace":
        """The place with the spans in which its Boxes were of a feeder."""
        return replace(self, spans=tuple(span for span in self.spans if span.box.feeder == name))

    def divisions_ns(self) -> list[int]:
        """Moments at which a phase has other nominal values than before."""
        found = []
        for phase in self.phases:
            for before, after in pairwise(phase.spans):
                nominal = [(each.box.nominal_v, each.box.nominal_hz) for each in (before, after)]
                if nominal[0] != nominal[1] and before.end_ns <= after.start_ns:
                    found.append(after.start_ns)
        return found


def parts_of(week: ReportWeek, place: ChosenPlace) -> tuple[ReportWeek, ...]:
    """The week, divided where a fact of the place changes that limits depend on."""
    return week.parts(place.divisions_ns())


def chosen_places(
    records: Sequence[BoxRecord], choice: PlaceChoice, start_ns: int, end_ns: int
) -> list[ChosenPlace]:
    """The places of a choice in a span, by the facts of then: sites by name, then Boxes that have none.

    A retired Box counts for the time before; one that is chosen by its id also after it.
    """
    if choice.kind == "box":
        own = [each for each in records if each.box_id == choice.name]
        spans = service_spans(own, start_ns, end_ns, lambda box: True)
        if own and not spans:
            spans = tuple(span for each in own for span in each.spans(start_ns, end_ns))
    else:
        named = {"site": lambda box: box.site, "feeder": lambda box: box.feeder}.get(choice.kind)
        spans = service_spans(
            records, start_ns, end_ns, lambda box: named is None or named(box) == choice.name
        )
    if not spans and choice.kind != "all":
        raise NoPlaceError(_nothing(records, choice, start_ns, end_ns))
    found: dict[tuple[bool, str, tuple[int, str]], list[FactSpan]] = {}
    for span in spans:
        alone = (True, "", box_order(span.box.box_id))
        at_site = bool(span.box.site) and choice.kind != "box"
        key = (False, span.box.site or "", (0, "")) if at_site else alone
        found.setdefault(key, []).append(span)
    return [ChosenPlace(key[1] or None, tuple(found[key])) for key in sorted(found)]


def boxes_alone(
    records: Iterable[BoxRecord], belongs: Callable[[BoxRecord], bool], start_ns: int, end_ns: int
) -> Iterator[ChosenPlace]:
    """Yields each Box by itself, in the parts of a span in which `belongs` says its facts are of a group."""
    spans = (service_spans([each], start_ns, end_ns, belongs) for each in records)
    return (ChosenPlace(None, each) for each in spans if each)


def read_place(
    store: ReportStore, table: LimitTable, week: ReportWeek, place: ChosenPlace, nominal: Nominal
) -> Place:
    """What is stored of a place in a week, or in a part of one."""
    whole, place = place, place.within(week.start_ns, week.end_ns)
    served = [
        box
        for phase in place.phases
        for box in _of_phase(store, table, week, phase, phase_of(whole, phase), nominal)
    ]
    boxes = named_by_standard(as_channels(served), table.interruption_percent)
    group: dict[int, IntervalColumns] = {}
    if place.site:
        records = [each for each in store.boxes() if each.box_id in place.box_ids]
        columns = site_intervals(store.intervals, place.site, records, week.start_ns, week.end_ns)
        group = {TEN_MINUTES_MS: columns} if len(columns.start_ns) else {}
    notes = (*notes_of(place, week), *losses_within(place, week))
    return Place(whole.name, place.site, boxes, group, notes, wiring_words(boxes, group.get(TEN_MINUTES_MS)))


def wiring_words(boxes: Sequence[PlacedBox], columns: IntervalColumns | None) -> str:
    """How the phases of a site are connected otherwise than stated; empty where they are not, or it is not
    known."""
    box_of = {box.phase: box.label for box in boxes if box.phase}
    found = None if columns is None else wiring_of_columns(columns)
    if columns is None or found is None or not {*PHASES} <= box_of.keys():
        return ""
    wiring, count = found
    whole = len(columns.start_ns)
    when = "" if count == whole else f", in {count} of {whole} ten minutes"
    return f"{wiring.words(box_of)}{when}"


def phase_of(place: ChosenPlace, part: ServedPhase) -> ServedPhase:
    """The phase of a place with all its spans, also those from before the week."""
    if not place.site:
        return place.phases[0]
    return next(
        each
        for each in place.phases
        if each.phase == part.phase and (part.phase or set(part.box_ids) <= set(each.box_ids))
    )


def notes_of(place: ChosenPlace, week: ReportWeek) -> Iterator[str]:
    """In sentences: which Boxes were at the place for a part of the week, and what divides the week."""
    if week.part_ns is not None:
        yield (
            f"This is {week.words}: a nominal value of this place changed within the week, and each part "
            "is judged by the values of then."
        )
    where = "at this site" if place.site else "here"
    for box_id in place.box_ids:
        own = [span for span in place.spans if span.box.box_id == box_id]
        times = stints(own, week.start_ns, week.end_ns)
        if times == [(week.start_ns, week.end_ns)]:
            continue
        words = [
            f"from {week.moment_words(first)} to {week.moment_words(last)}"
            if first > week.start_ns and last < week.end_ns
            else f"since {week.moment_words(first)}"
            if first > week.start_ns
            else f"until {week.moment_words(last)}"
            for first, last in times
        ]
        yield f"{label_of(own[-1].box)} was {where} {' and '.join(words)}."


def losses_within(place: ChosenPlace, week: ReportWeek) -> Iterator[str]:
    """In sentences: what was lost for good of its Boxes in the week, until somebody has noted it as seen."""
    boxes = {span.box.box_id: span.box for span in place.spans}
    for box in boxes.values():
        for each in box.lost:
            if each.start_ms * 10**6 < week.end_ns and each.end_ms * 10**6 > week.start_ns:
                yield f"{label_of(box)} lost {each.words}."


def label_of(record: BoxRecord) -> str:
    plain = f"Box {record.box_id}"
    return plain if record.name in ("", record.box_id, plain) else f"{plain}, {record.name}"


def _of_phase(
    store: ReportStore,
    table: LimitTable,
    week: ReportWeek,
    phase: ServedPhase,
    whole: ServedPhase,
    nominal: Nominal,
) -> Iterator[PlacedBox]:
    """One Box that is all the Boxes of the phase, one after the other; each of them, where they measured side
    by side or have nominal values of their own."""
    own = [_box(store, table, week, phase.of_box(box_id), whole, nominal) for box_id in phase.box_ids]
    if len(own) < 2:
        yield from own
        return
    weeks = [each.week for each in own if TEN_MINUTES_MS in each.week.intervals]
    times = [each.intervals[TEN_MINUTES_MS].start_ns for each in weeks]
    nominal_values = {(each.nominal_v, each.nominal_hz) for each in weeks}
    if len(nominal_values) > 1 or any(are_parallel(*pair) for pair in combinations(times, 2)):
        yield from own
        return
    own.sort(key=lambda each: _first_ns(each, week))
    intervals = {}
    for length_ms in LENGTHS_MS:
        parts = [each.week.intervals[length_ms] for each in own if length_ms in each.week.intervals]
        if parts:
            intervals[length_ms] = one_after_the_other(own[-1].box_id, length_ms, parts)
    last = own[-1]
    yield replace(
        last,
        label=", then ".join(each.label for each in own),
        box_ids=tuple(each.box_id for each in own),
        week=replace(last.week, intervals=intervals),
        disturbances=tuple(each for box in own for each in box.disturbances),
        outages=tuple(each for box in own for each in box.outages),
    )


def _first_ns(box: PlacedBox, week: ReportWeek) -> int:
    ten = box.week.intervals.get(TEN_MINUTES_MS)
    return week.end_ns if ten is None else int(ten.start_ns[0])


def _box(
    store: ReportStore,
    table: LimitTable,
    week: ReportWeek,
    phase: ServedPhase,
    whole: ServedPhase,
    nominal: Nominal,
) -> PlacedBox:
    """The one Box of `phase`; events count that began while it served `whole`."""
    intervals = {}
    for length_ms in LENGTHS_MS:
        names = {limit.quantity for limit in table.limits if limit.interval_ms == length_ms}
        if length_ms == TEN_MINUTES_MS:
            names.update(ALWAYS)
        elif length_ms == TEN_SECONDS_MS:
            names.add("f_hz")
        if names:
            columns = read_served(store.intervals, phase, length_ms, week.start_ns, week.end_ns, names)
            if len(columns.start_ns):
                intervals[length_ms] = columns
    record = phase.spans[-1].box
    box = box_week(record, nominal, intervals)
    events = store.intervals.disturbances_during(record.box_id, week.start_ns, week.end_ns)
    events = [each for each in events if whole.had(record.box_id, each.start_ns)]
    began = [each for each in events if each.start_ns < week.start_ns]
    ended = with_ends(store.intervals, whole, began, week.start_ns)
    events = [
        *(each for each in ended if each.end_ns is None or each.end_ns > week.start_ns),
        *events[len(began) :],
    ]
    return PlacedBox(
        record.box_id,
        label_of(record),
        phase.phase,
        box,
        tuple(events),
        tuple(
            until_left(whole.spans, record.box_id, span, week.end_ns)
            for span in outages_of(store, record.box_id, week.start_ns, week.end_ns)
            if whole.had(record.box_id, span[0])
        ),
        (record.box_id,),
        whole.spans,
    )


def box_week(record: BoxRecord, nominal: Nominal, intervals: Mapping[int, IntervalColumns]) -> BoxWeek:
    """What is stored of a Box, with its nominal values, or those that the system's configuration states.

    The configuration's default is not a statement.
    """
    names = () if nominal != DEFAULT_NOMINAL else ("nominal_v", "nominal_hz")
    return BoxWeek(
        record.box_id,
        record.nominal_v or nominal.volts,
        record.nominal_hz or nominal.hz,
        intervals,
        tuple(name for name in names if not getattr(record, name)),
    )


def outages_of(store: ReportStore, box_id: str, start_ns: int, end_ns: int) -> Iterator[Span]:
    """Times without supply, as incidents of class outage state them."""
    wanted = IncidentFilter("outage", box_id, start_ns=start_ns, end_ns=end_ns)
    for each in store.find_incidents(wanted, MOST_OUTAGES):
        yield each.start_ns, each.end_ns


def _nothing(records: Sequence[BoxRecord], choice: PlaceChoice, start_ns: int, end_ns: int) -> str:
    spans = service_spans(records, start_ns, end_ns, lambda box: True)
    known = {
        "box": [each.box_id for each in sorted(records, key=lambda box: box_order(box.box_id))],
        "site": sorted({span.box.site for span in spans if span.box.site}),
        "feeder": sorted({span.box.feeder for span in spans if span.box.feeder}),
    }[choice.kind]
    listed = ", ".join(known[:20]) or "none"
    elsewhen = choice.kind != "box" and any(choice.name in each.values_of(choice.kind) for each in records)
    then = " in this span" if elsewhen else ""
    return f"there is no {choice.kind} {choice.name[:60]!r}{then}; known: {listed}"
