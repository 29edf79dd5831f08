"""Reads what a report needs from the store: which places, and what is stored of each in a week."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from opq_cloud.reports.fleet import FleetReport, fleet_report
from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.verdicts import TEN_MINUTES_MS, TEN_SECONDS_MS, BoxWeek
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import Place, PlacedBox, Span, WeekReport, week_report
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.intervals.phases_together import site_intervals
from opq_proto.decision import Nominal
from opq_proto.errors import OpqError
from opq_proto.measurement.intervals import LENGTHS_MS, Disturbance, IntervalColumns

LOOK_BACK_NS = 7 * 86_400 * 10**9
"""How long before the week an interruption may have begun that reaches into it."""
MOST_OUTAGES = 1000
ALWAYS = (
    *("rms_v", "rms_min_v", "rms_max_v", "f_hz", "f_min_hz", "f_max_hz"),
    *("thd_ratio", "thd_max_ratio", "signalling_v", "signalling_max_v"),
)
"""Quantities of ten minutes that every report shows or concludes from."""


class NoPlaceError(OpqError):
    """No Box, site or feeder has this name."""


class IntervalReader(Protocol):
    """The store's intervals."""

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns: ...

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


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
    """A place and its Boxes, in the order of their phases."""

    site: str | None
    records: tuple[BoxRecord, ...]

    @property
    def name(self) -> str:
        return f"Site {self.site}" if self.site else label_of(self.records[0])


def read_fleet(
    store: ReportStore, table: LimitTable, week: ReportWeek, choice: PlaceChoice, nominal: Nominal
) -> FleetReport:
    """The reports of all chosen places.

    Raises:
        NoPlaceError: nothing of this name is known.
        StoreError: the store cannot be read.
    """
    places = chosen_places(store.boxes(), choice)
    reports = tuple(read_reports(store, table, week, places, nominal))
    words = reports[0].place.name if len(reports) == 1 else choice.words
    return fleet_report(table, week, words, reports)


def read_reports(
    store: ReportStore, table: LimitTable, week: ReportWeek, places: Iterable[ChosenPlace], nominal: Nominal
) -> Iterator[WeekReport]:
    """One report after the other, so that the values of 3 s of one place alone are in memory."""
    for place in places:
        yield week_report(table, week, read_place(store, table, week, place, nominal)).without_short()


def chosen_places(records: Sequence[BoxRecord], choice: PlaceChoice) -> list[ChosenPlace]:
    """The places of a choice by name: sites, then Boxes that have none. Retired Boxes are left out of all."""
    if choice.kind == "box":
        wanted = [each for each in records if each.box_id == choice.name]
        if wanted:
            return [ChosenPlace(None, (wanted[0],))]
    else:
        named = {"site": lambda box: box.site, "feeder": lambda box: box.feeder}.get(choice.kind)
        wanted = [each for each in records if (named(each) == choice.name if named else not each.retired_ms)]
    if not wanted and choice.kind != "all":
        raise NoPlaceError(_nothing(records, choice))
    sites: dict[str, list[BoxRecord]] = {}
    alone = []
    for each in sorted(wanted, key=lambda box: box_order(box.box_id)):
        if each.site:
            sites.setdefault(each.site, []).append(each)
        else:
            alone.append(ChosenPlace(None, (each,)))
    found = [
        ChosenPlace(site, tuple(sorted(boxes, key=_phase_order))) for site, boxes in sorted(sites.items())
    ]
    return found + alone


def read_place(
    store: ReportStore, table: LimitTable, week: ReportWeek, place: ChosenPlace, nominal: Nominal
) -> Place:
    """What is stored of a place in a week."""
    boxes = tuple(_box(store, table, week, record, nominal) for record in place.records)
    group: dict[int, IntervalColumns] = {}
    if place.site:
        columns = site_intervals(store.intervals, place.site, place.records, week.start_ns, week.end_ns)
        group = {TEN_MINUTES_MS: columns} if len(columns.start_ns) else {}
    return Place(place.name, place.site, boxes, group)


def label_of(record: BoxRecord) -> str:
    plain = f"Box {record.box_id}"
    return plain if record.name in ("", record.box_id, plain) else f"{plain}, {record.name}"


def _box(
    store: ReportStore, table: LimitTable, week: ReportWeek, record: BoxRecord, nominal: Nominal
) -> PlacedBox:
    intervals = {}
    for length_ms in LENGTHS_MS:
        names = {limit.quantity for limit in table.limits if limit.interval_ms == length_ms}
        if length_ms == TEN_MINUTES_MS:
            names.update(ALWAYS)
        elif length_ms == TEN_SECONDS_MS:
            names.add("f_hz")
        if names:
            columns = store.intervals.read(record.box_id, length_ms, week.start_ns, week.end_ns, names)
            if len(columns.start_ns):
                intervals[length_ms] = columns
    box = BoxWeek(
        record.box_id, record.nominal_v or nominal.volts, record.nominal_hz or nominal.hz, intervals
    )
    events = store.intervals.disturbances(record.box_id, week.start_ns - LOOK_BACK_NS, week.end_ns)
    return PlacedBox(
        record.box_id,
        label_of(record),
        phase_letter(record.phase),
        box,
        tuple(events),
        tuple(outages_of(store, record.box_id, week.start_ns, week.end_ns)),
    )


def outages_of(store: ReportStore, box_id: str, start_ns: int, end_ns: int) -> Iterator[Span]:
    """Times without supply, as incidents of class outage state them."""
    wanted = IncidentFilter("outage", box_id, start_ns=start_ns, end_ns=end_ns)
    for each in store.find_incidents(wanted, MOST_OUTAGES):
        yield each.start_ns, each.end_ns


def _phase_order(record: BoxRecord) -> tuple[str, tuple[int, str]]:
    return phase_letter(record.phase) or "z", box_order(record.box_id)


def _nothing(records: Sequence[BoxRecord], choice: PlaceChoice) -> str:
    known = {
        "box": [each.box_id for each in sorted(records, key=lambda box: box_order(box.box_id))],
        "site": sorted({each.site for each in records if each.site}),
        "feeder": sorted({each.feeder for each in records if each.feeder}),
    }[choice.kind]
    listed = ", ".join(known[:20]) or "none"
    return f"there is no {choice.kind} {choice.name[:60]!r}; known: {listed}"
