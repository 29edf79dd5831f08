"""Reads and makes the reports of many places; `place_reading.py` is apart, because indices need it alone."""

from opq_cloud.core.page_parts import made_parts
from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.many_places import FleetReport, fleet_report
from opq_cloud.reports.place_reading import (
    ChosenPlace,
    PlaceChoice,
    ReportStore,
    chosen_places,
    parts_of,
    read_place,
)
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import WeekReport, week_report
from opq_proto.decision import Nominal


def read_fleet(
    store: ReportStore,
    table: LimitTable,
    week: ReportWeek,
    choice: PlaceChoice,
    nominal: Nominal,
    now_ns: int | None = None,
) -> FleetReport:
    """The reports of all chosen places; a place has one for each part of a week that is divided.

    `now_ns` None: the week is over.

    Raises:
        NoPlaceError: nothing of this name is known.
        StoreError: the store cannot be read.
    """
    places = chosen_places(store.boxes(), choice, week.start_ns, week.end_ns)
    parts = [(part, place) for place in places for part in parts_of(week, place)]
    reports, broken = made_parts(
        parts, lambda part: part[1].name, lambda part: _report(store, table, *part, nominal, now_ns)
    )
    words = reports[0].place.name if len(places) == 1 and reports else choice.words
    return fleet_report(table, week, words, reports, broken)


def _report(
    store: ReportStore,
    table: LimitTable,
    week: ReportWeek,
    place: ChosenPlace,
    nominal: Nominal,
    now_ns: int | None,
) -> WeekReport:
    """The report of a place; the values of 3 s of one place alone are in memory."""
    return week_report(table, week, read_place(store, table, week, place, nominal), now_ns).without_short()
