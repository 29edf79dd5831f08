"""Reads and makes the reports of many places; `place_reading.py` is apart, because indices need it alone."""

from collections.abc import Iterable

from opq_cloud.core.page_parts import FailedPart, made_part, made_parts
from opq_cloud.reports.grid_frequency import GridFrequency
from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.many_places import FleetReport, fleet_report
from opq_cloud.reports.place_frequency import places_frequency, places_of_days
from opq_cloud.reports.place_indices import IndexStore
from opq_cloud.reports.place_reading import (
    ChosenPlace,
    PlaceChoice,
    chosen_places,
    parts_of,
    read_place,
)
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import WeekReport, week_report
from opq_proto.decision import Nominal


def read_fleet(
    store: IndexStore,
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
    records = store.boxes()
    places = chosen_places(records, choice, week.start_ns, week.end_ns)
    of_days = places_of_days(records, choice, week.start_ns, week.end_ns)
    parts = [(part, place) for place in places for part in parts_of(week, place)]

    def frequency(part: ReportWeek, places: Iterable[ChosenPlace]) -> GridFrequency:
        return places_frequency(store.intervals, places, nominal, part.start_ns, part.end_ns)

    def report(part: tuple[ReportWeek, ChosenPlace]) -> WeekReport:
        own, place = part
        hertz = frequency(own, (place, *(each for each in of_days if each.key == place.key)))
        # the values of 3 s of one place alone are in memory
        read = read_place(store, table, own, place, nominal)
        return week_report(table, own, read, now_ns, hertz).without_short()

    reports, broken = made_parts(parts, lambda part: part[1].name, report)
    if len(parts) == len(of_days) == 1 and reports:
        grid: GridFrequency | FailedPart = reports[0].frequency
    else:
        grid = made_part("Frequency", lambda: frequency(week, (*places, *of_days)))
    if isinstance(grid, FailedPart):
        broken, grid = (*broken, grid), GridFrequency()
    words = reports[0].place.name if len(places) == 1 and reports else choice.words
    return fleet_report(table, week, words, reports, grid, broken)
