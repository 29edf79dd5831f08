"""For random histories of facts, what is made of a span later equals what was made of it at its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.reports.as_json import report_json
from opq_cloud.reports.fleet_reading import read_fleet
from opq_cloud.reports.indices import fleet_indices, indices_document, indices_table
from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import ChosenPlace, NoPlaceError, PlaceChoice, boxes_alone, read_place
from opq_cloud.reports.report_page import report_html
from opq_cloud.reports.week import ReportWeek, span_of, week_of
from opq_cloud.reports.week_report import place_rows
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.documents.box_documents import box_changes, box_from_document
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.intervals.phases_together import site_intervals
from opq_cloud.store.intervals.served_phases import stints
from opq_proto.decision import Nominal
from opq_proto.messages import AT_INSTANTS, Disturbance, Interval, Measurement

NOMINAL = Nominal(230.0, 50.0)
WEEKS = ("2026-W41", "2026-W42", "2026-W43")
TEN_NS, DAY_NS = 600 * 10**9, 86_400 * 10**9
BOXES = ("1", "2", "3", "4")
SITES, REGIONS, GRIDS = ("mill", "yard"), ("north", "south"), ("1", "2")
FAR_NS = 1_900_000_000 * 10**9


def weeks() -> list[ReportWeek]:
    return [week_of(each, "UTC", FAR_NS) for each in WEEKS]


@dataclass
class FactsStore:
    """Measured once; its Boxes are documents that each example changes, as a store does."""

    measured: CloudStore
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def intervals(self) -> Any:
        return self.measured.intervals

    def boxes(self) -> list[BoxRecord]:
        return [box_from_document(each) for each in self.documents.values()]

    def find_incidents(self, wanted: IncidentFilter, limit: int) -> list[IndexedIncident]:
        return []

    def put(self, box: BoxRecord, now_ms: int, since_ms: int | None = None) -> None:
        known = self.documents.get(box.box_id)
        self.documents[box.box_id] = {**(known or {}), **box_changes(known, box, now_ms, since_ms)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """Two days of each week of four Boxes, ten minutes of each hour, with a dip and an interruption."""
    store, number = open_store(None, tmp_path_factory.mktemp("measured")), 0
    rows = []
    for place, box_id in enumerate(BOXES):
        for week in weeks():
            for start_ns in range(week.start_ns + 2 * DAY_NS, week.start_ns + 4 * DAY_NS, 6 * TEN_NS):
                number += 1
                volts = 225.0 + place
                values: dict[str, Any] = {"rms_v": volts, "f_hz": 50.0}
                values |= {AT_INSTANTS[0]: (-120.0 * place,) * 10, AT_INSTANTS[1]: (volts,) * 10}
                interval = Interval(600_000, False, 1.0, values)
                end_ns = start_ns + TEN_NS
                rows.append(
                    Measurement(box_id, 1, {}, start_ns, end_ns, 5, sequence=number, interval=interval)
                )
            for day, kind, seconds, volts in ((2, "dip", 0.3, 120.0), (3, "interruption", 400.0, 0.5)):
                number += 1
                start_ns = week.start_ns + day * DAY_NS + 3600 * 10**9
                end_ns = start_ns + round(seconds * 1e9)
                found = Disturbance(box_id, kind, start_ns, end_ns, 1000, volts)
                rows.append(Measurement(box_id, 1, {}, start_ns, end_ns, sequence=number, disturbance=found))
    store.intervals.append(rows)
    while store.intervals.settle(2**53, 1000):  # packed, as weeks that are over are
        pass
    yield store
    store.close()


def made(store: FactsStore, week: ReportWeek, choices: list[PlaceChoice]) -> list[object]:
    """Reports, their page, indices with their table, ten minutes of sites, what regions and grids had."""
    found: list[object] = []
    span, end_ns = span_of(week.name, "UTC", FAR_NS), week.end_ns
    for choice in choices:
        try:
            fleet = read_fleet(store, limit_table("en50160"), week, choice, NOMINAL)
            indices = fleet_indices(store, span, choice, NOMINAL, end_ns)
        except NoPlaceError:
            found.append(None)
            continue
        assert (fleet.broken, indices.broken) == ((), ())
        found += [[report_json(each) for each in fleet.reports], indices_document(indices)]
        if choice == choices[0]:  # tables and pages are made of the same
            found += [report_html(fleet, "now"), indices_table(indices).rows]
    for site in SITES:
        columns = site_intervals(store.intervals, site, store.boxes(), week.start_ns, week.end_ns)
        found.append((columns.start_ns.tolist(), {name: repr(each) for name, each in columns.values.items()}))
    for fact, name in [*(("region", each) for each in REGIONS), *(("grid", each) for each in GRIDS)]:
        belongs = partial(has_fact, fact, name)
        places = boxes_alone(store.boxes(), belongs, week.start_ns, week.end_ns)
        found.append([box_of_then(store, week, place) for place in places])
    return found


def has_fact(fact: str, name: str, box: BoxRecord) -> bool:
    return bool(getattr(box, fact) == name)


def box_of_then(store: FactsStore, week: ReportWeek, place: ChosenPlace) -> object:
    """A Box of a region or grid as the calendar of `/past` judges it, and when it was there."""
    read = read_place(store, limit_table("en50160"), week, place, NOMINAL)
    rows = place_rows(limit_table("en50160"), week, read)
    spans = stints(place.spans, week.start_ns, week.end_ns)
    return place.name, spans, [(row.channel, row.verdict, row.judgement.count) for row in rows[:4]]


facts = st.one_of(
    st.fixed_dictionaries({"site": st.sampled_from([*SITES, ""])}),
    st.fixed_dictionaries({"site": st.sampled_from(SITES), "phase": st.sampled_from(["L1", "L2", "L3"])}),
    st.fixed_dictionaries({"feeder": st.sampled_from(["f1", "f2", ""])}),
    st.fixed_dictionaries({"region": st.sampled_from([*REGIONS, ""]), "grid": st.sampled_from(GRIDS)}),
    st.fixed_dictionaries({"nominal_v": st.sampled_from([230.0, 240.0, 400.0])}),
    st.just({"retired": True}),
    st.just({"retired": False}),
)
step = st.tuples(st.integers(0, 21 * 24 - 1), st.sampled_from(BOXES), facts, st.booleans())
histories = st.lists(step, max_size=12).map(lambda steps: sorted(steps, key=lambda each: each[0]))


def check(measured: CloudStore, steps: list[Any], choices: list[PlaceChoice]) -> None:
    """Facts are stated in time order, some of them an hour late with their moment."""
    assert steps == sorted(steps, key=lambda each: each[0])
    store, first_ns = FactsStore(measured), weeks()[0].start_ns
    for place, box_id in enumerate(BOXES):
        phase = f"L{place % 3 + 1}"
        box = BoxRecord(box_id, f"Meter {box_id}", nominal_v=230.0, nominal_hz=50.0, phase=phase)
        store.put(box, 1)
        site, region, grid = (names[place // 3] for names in (SITES, REGIONS, GRIDS))
        store.put(BoxRecord(box_id, "", site=site, feeder="f1", region=region, grid=grid), 2)
    at_the_time: list[list[object]] = []
    due = [*steps, (21 * 24, "", {}, False)]
    for hour, box_id, given_facts, late in due:
        now_ms = first_ns // 10**6 + hour * 3_600_000
        while len(at_the_time) < len(WEEKS) and now_ms * 10**6 >= weeks()[len(at_the_time)].end_ns:
            at_the_time.append(made(store, weeks()[len(at_the_time)], choices))
        if not box_id:
            continue
        values = dict(given_facts)
        retired = values.pop("retired", None)
        if retired is not None:
            values |= {"unplugged": retired, "retired_ms": now_ms if retired else 0}
        since_ms = now_ms if late and retired is None else None
        store.put(BoxRecord(box_id, "", **values), now_ms, since_ms)
    for week, before in zip(weeks(), at_the_time, strict=True):
        assert made(store, week, choices) == before


HISTORY: list[Any] = [
    (60, "2", {"phase": "L1", "site": "mill"}, False),
    (170, "1", {"site": "yard"}, False),
    (190, "3", {"nominal_v": 400.0}, True),
    (340, "2", {"retired": True}, False),
    (350, "4", {"site": "mill", "phase": "L1"}, True),
    (370, "3", {"region": "south", "grid": "2"}, False),
    (400, "2", {"retired": False}, False),
    (480, "3", {"feeder": "f2"}, False),
]


OWN = [PlaceChoice("feeder", "f1"), *(PlaceChoice("site", each) for each in SITES)]
OWN += [PlaceChoice("box", each) for each in BOXES]


def test_the_past_stays_as_it_was_made(measured: CloudStore) -> None:
    """Over moves, a replacement, a retirement, a new nominal voltage, region and grid, within weeks and after
    them. Owners have a history of their own, in test_former_owners.py."""
    check(measured, HISTORY, [PlaceChoice()])


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_every_place_stays_as_it_was_made(measured: CloudStore, count: int) -> None:
    """Random histories: a few, each also for one place, or many, each for all places."""
    few = st.sampled_from(OWN).map(lambda each: [each])

    @settings(max_examples=count, deadline=None, database=None)
    @given(steps=histories, some=few if count < 40 else st.just(OWN))
    def play(steps: list[Any], some: list[PlaceChoice]) -> None:
        check(measured, steps, [*some, PlaceChoice()])

    play()
