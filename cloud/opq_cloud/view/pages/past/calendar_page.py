"""`/calendar`: the days of a month or a year, coloured by their quality, for Boxes or a group.

`?box=1&month=2026-11&by=severity` or `&year=2026`; `day=2026-11-14` opens a day below, with its incidents and
a link to its history. Colours are of one hue from light to dark, classes have shapes, numbers are written.
"""

import re
from calendar import Calendar, monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.trends.pyramid import HOUR_MS
from opq_cloud.view.pages.drawing.local_weeks import local_day
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.box_choice import BoxChoice, read_box_choice, read_groups
from opq_cloud.view.pages.past.compare_page import BOXES_OFFERED
from opq_cloud.view.pages.past.day_quality import MONTH_DAYS, DayQuality, read_days
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.registry import sampled
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import input_words
from opq_proto.messages import Incident

BOXES_READ = 12
"""Boxes read for a group; a month has 744 hours of each."""
LISTED = 20
FIELDS = ("box", "region", "feeder", "by", "month", "year", "tz", "least", "day")
YEARS = (1990, 2200)
DEFAULT_PERCENT = "90"


@dataclass(frozen=True, slots=True)
class Colouring:
    """The quantity that colours a day; `limits` are where the second to the last shade begin."""

    words: str
    unit: str
    digits: int
    metric: str
    """The metric of the trends; where incidents give the colour, it is read for the measured share."""
    limits: tuple[float, ...] = ()


COLOURINGS: Mapping[str, Colouring] = {
    "severity": Colouring("Worst severity", "of 10", 1, "rms_v", (2.0, 4.0, 6.0, 8.0)),
    "class": Colouring("Class of the worst incident", "", 0, "rms_v"),
    "count": Colouring("Number of incidents", "", 0, "rms_v", (2.0, 5.0, 10.0, 30.0)),
    "rms_v": Colouring(
        "Voltage, furthest of 5 and 95 % from nominal", "%", 2, "rms_v", (1.0, 2.0, 5.0, 10.0)
    ),
    "f_hz": Colouring(
        "Frequency, furthest of 5 and 95 % from nominal", "mHz", 0, "f_hz", (10.0, 20.0, 50.0, 100.0)
    ),
    "thd_percent": Colouring("THD, 95 % of the time", "%", 1, "thd_percent", (1.0, 2.0, 5.0, 8.0)),
}
"""8 % THD and 10 % of the voltage: EN 50160:2010, 4.2.5 and 4.2.2; 5 % THD: IEEE 519-2022, table 1."""


@dataclass(frozen=True, slots=True)
class DayCell:
    """A day as it is drawn; `quality` is None for a day of another month."""

    quality: DayQuality | None
    shade: int = 0
    """1 to 5; 0 where there is nothing to show."""
    tone: str = ""
    text: str = ""
    words: str = ""
    query: str = ""
    hatched: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class MonthTable:
    words: str
    query: str
    weeks: tuple[tuple[DayCell, ...], ...]


@dataclass(frozen=True, slots=True)
class CalendarAddress:
    choice: BoxChoice
    by: str
    first: date
    """First day of the month or the year."""
    whole_year: bool
    zone: ZoneInfo
    least: int
    """Percent of a day; a day with a smaller measured share is hatched."""
    day: date | None

    def query(self, **fields: str) -> str:
        month = "" if self.whole_year else f"{self.first:%Y-%m}"
        found = {
            **self.choice.fields,
            "by": self.by,
            "month": month,
            "year": str(self.first.year) if self.whole_year else "",
            "tz": self.zone.key,
            "least": "" if str(self.least) == DEFAULT_PERCENT else str(self.least),
            "day": "",
        } | fields
        return urlencode([(name, found[name]) for name in FIELDS if found[name]], safe=",")

    @property
    def days(self) -> int:
        if self.whole_year:
            return (date(self.first.year + 1, 1, 1) - self.first).days
        return monthrange(self.first.year, self.first.month)[1]


class CalendarPages:
    """The page; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/calendar", self.calendar, response_class=HTMLResponse)
        return router

    def calendar(self, request: Request) -> HTMLResponse:
        context = self._context
        groups, every = read_groups(context), context.box_ids()
        params = request.query_params
        named = params.getlist("box")
        if not any(named) and not params.get("region") and not params.get("feeder"):
            named = every[:1]
        choice = read_box_choice(context, named, params.get("region", ""), params.get("feeder", ""), groups)
        address = self._address(params, choice)
        colouring = COLOURINGS[address.by]
        boxes = {box.box_id: box for box in choice.boxes}
        read = sampled(boxes, BOXES_READ)
        factors = {box_id: _factor(boxes[box_id], colouring.metric) for box_id in read}
        now_ms = context.now_ns() // 1_000_000
        # Incidents are those of all chosen Boxes, figures only those of the Boxes that are read.
        days, counted = read_days(
            context.store,
            factors,
            colouring.metric,
            address.first,
            address.days,
            address.zone,
            now_ms,
            choice.box_ids,
        )
        cells = {each.day: _cell(address, colouring, each) for each in days}
        before, after = _neighbours(address)
        chosen = next((each for each in days if each.day == address.day), None)
        return self._render(
            "calendar.html",
            "compare",
            200,
            address=address,
            colouring=colouring,
            months=_months(address, cells),
            title=str(address.first.year) if address.whole_year else words.month(address.first),
            legend=_legend(colouring),
            colourings={name: each.words for name, each in COLOURINGS.items()},
            before=before,
            after=after,
            today=local_day(now_ms, address.zone),
            other=address.query(month=f"{address.first:%Y-%m}", year="")
            if address.whole_year
            else address.query(year=str(address.first.year), month=""),
            counted=counted,
            read=len(read),
            by_utc=address.days > MONTH_DAYS and address.zone.key != "UTC",
            chosen=chosen,
            chosen_cell=None if chosen is None else cells[chosen.day],
            day_incidents=[] if chosen is None else self._of_day(choice, chosen),
            day_span="" if chosen is None else _span_query(chosen),
            box_choices=context.boxes(every) if len(every) <= BOXES_OFFERED else (),
            any_box=bool(every),
            groups=groups,
            names=context.names(()),
        )

    def _address(self, params: Mapping[str, str], choice: BoxChoice) -> CalendarAddress:
        by = params.get("by", "") or "severity"
        if by not in COLOURINGS:
            raise HTTPException(404, f"There is no such colouring; there are {', '.join(COLOURINGS)}.")
        zone = query_zone(self._context, params.get("tz", ""))
        today = local_day(self._context.now_ns() // 1_000_000, zone)
        year, month, day = params.get("year", ""), params.get("month", ""), params.get("day", "")
        chosen = _date("day", day, r"\d{4}-\d{2}-\d{2}", day) if day else None
        if year and not month:
            first = _date("year", year, r"\d{4}", f"{year}-01-01")
        elif month:
            first = month_of_address("month", month)
        else:
            first = (chosen or today).replace(day=1)
        least = params.get("least", "") or DEFAULT_PERCENT
        if not re.fullmatch(r"[0-9]{1,3}", least) or int(least) > 100:
            raise HTTPException(400, f"least is {least[:40]!r}; want 0 to 100 percent of a day.")
        return CalendarAddress(choice, by, first, bool(year and not month), zone, int(least), chosen)

    def _of_day(self, choice: BoxChoice, day: DayQuality) -> list[Incident]:
        """The newest incidents of a day, with all their data."""
        wanted = IncidentFilter(
            box_ids=choice.box_ids, start_ns=day.start_ms * 1_000_000, end_ns=day.end_ms * 1_000_000
        )
        store = self._context.store
        return store.incidents_of([each.incident_id for each in store.find_incidents(wanted, LISTED)])


def month_of_address(name: str, given: str) -> date:
    """The first day of a month of an address. Raises HTTPException 400 where it is not a month."""
    return _date(name, given, r"\d{4}-\d{2}", f"{given}-01")


def _date(name: str, given: str, pattern: str, whole: str) -> date:
    try:
        found = date.fromisoformat(whole) if re.fullmatch(pattern, given, re.ASCII) else None
    except ValueError:
        found = None
    if found is None or not YEARS[0] <= found.year < YEARS[1]:
        raise HTTPException(
            400,
            f"{name} is {given[:40]!r}; want one such as {_SUCH_AS[name]}.",
        )
    return found


_SUCH_AS = {"day": "2026-11-14", "month": "2026-11", "until": "2026-11", "year": "2026"}


def _factor(box: ShownBox, metric: str) -> float:
    """Voltage in percent of nominal, frequency scaled to a grid of 60 Hz, THD in percent."""
    return 100.0 / box.nominal_v if metric == "rms_v" else 60.0 / box.nominal_hz if metric == "f_hz" else 1.0


def _cell(address: CalendarAddress, colouring: Colouring, day: DayQuality) -> DayCell:
    value = _value(address.by, day)
    shade = 0 if value is None else 1 + sum(value >= limit for limit in colouring.limits)
    quiet = value == 0 and address.by in ("count", "severity")
    text = "" if value is None or quiet else words.number(value, colouring.digits)
    tone = words.class_tone(day.worst.kind) if address.by == "class" and day.worst else ""
    covered = day.coverage
    return DayCell(
        day,
        0 if tone or quiet else shade,
        tone,
        words.class_words(day.worst.kind) if tone and day.worst else text,
        f"{words.long_date(day.day)}: {_day_words(address.by, colouring, day)}",
        address.query(day=day.day.isoformat()),
        hatched=covered is not None and covered * 100 < address.least,
        chosen=day.day == address.day,
    )


def _value(by: str, day: DayQuality) -> float | None:
    if by == "class":
        return None
    if by in ("severity", "count"):
        if day.coverage is None and not day.incidents:
            return None
        if by == "count":
            return float(day.incidents)
        return (day.worst.severity or 0.0) if day.worst else 0.0
    if day.low is None or day.high is None:
        return None
    if by == "rms_v":
        return max(abs(day.low - 100.0), abs(day.high - 100.0))
    return max(abs(day.low - 60.0), abs(day.high - 60.0)) * 1000 if by == "f_hz" else day.high


def _day_words(by: str, colouring: Colouring, day: DayQuality) -> str:
    """The content of a cell in words, for visitors who cannot see its colour."""
    if day.coverage is None and not day.incidents:
        return "not yet"
    parts = [words.counted(day.incidents, "incident", "incidents")]
    if day.worst is not None:
        worst = f"the worst {words.class_words(day.worst.kind)}"
        residual = day.worst.residual_percent
        parts.append(worst if residual is None else f"{worst}, {words.number(residual, 1, '%')}")
        if day.worst.severity is not None:
            parts.append(f"severity {words.number(day.worst.severity, 1)}")
    if by in ("rms_v", "f_hz", "thd_percent") and (value := _value(by, day)) is not None:
        parts.append(f"{colouring.words} {words.number(value, colouring.digits, colouring.unit)}")
    parts.append(f"{words.number((day.coverage or 0.0) * 100, 0, '%')} measured")
    if (hours := (day.end_ms - day.start_ms) / HOUR_MS) != 24:
        parts.append(f"{hours:g} hours long, as the clock changes")
    return "; ".join(parts)


def _legend(colouring: Colouring) -> list[tuple[int, str]]:
    """(shade, words) from light to dark."""
    if not colouring.limits:
        return []
    ends = [f"{limit:g}" for limit in colouring.limits]
    unit = f"{words.THIN}{colouring.unit}" if colouring.unit else ""
    rows = [f"below {ends[0]}{unit}"]
    rows += [f"{low} to {high}{unit}" for low, high in pairwise(ends)]
    return list(enumerate([*rows, f"from {ends[-1]}{unit}"], start=1))


def _months(address: CalendarAddress, cells: Mapping[date, DayCell]) -> list[MonthTable]:
    numbers = range(1, 13) if address.whole_year else (address.first.month,)
    other = DayCell(None)
    tables = []
    for number in numbers:
        first = date(address.first.year, number, 1)
        weeks = tuple(
            tuple(cells.get(day, other) if day.month == number else other for day in week)
            for week in Calendar().monthdatescalendar(first.year, number)
        )
        query = address.query(month=f"{first:%Y-%m}", year="")
        tables.append(MonthTable(words.month(first), query, weeks))
    return tables


def _neighbours(address: CalendarAddress) -> tuple[str, str]:
    """The queries of the month or year before and after."""
    if address.whole_year:
        year = address.first.year
        return address.query(year=str(year - 1)), address.query(year=str(year + 1))
    last = address.first - timedelta(days=1)
    following = address.first + timedelta(days=address.days)
    return address.query(month=f"{last:%Y-%m}"), address.query(month=f"{following:%Y-%m}")


def _span_query(day: DayQuality) -> str:
    return urlencode({"from": input_words(day.start_ms), "to": input_words(day.end_ms)})
