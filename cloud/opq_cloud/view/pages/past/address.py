"""The address of `/past`: Boxes or a group, quantities, a span or weeks, a standard; the whole state.

`?box=1,4&q=rms_v,f_hz&y=percent&from=now-7d&to=now` draws each Box; `together=1` draws all as one;
`weeks=1&tz=` draws the week of `to` over the one before; `show=harmonics|verdicts&standard=en50160`.
"""

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import HTTPException
from starlette.datastructures import QueryParams

from opq_cloud.reports.limit_table import known_standards
from opq_cloud.view.pages.drawing.box_history import first_span
from opq_cloud.view.pages.drawing.local_weeks import midnight_ms
from opq_cloud.view.pages.past.box_choice import KINDS, BoxChoice
from opq_cloud.view.pages.past.quantities import QUANTITIES, PastQuantity
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import DEFAULT, TimeSpan, input_words, read_span

MAX_SERIES = 6
"""The number of distinguishable colours; more Boxes become one series."""
MAX_WEEKS = MAX_SERIES - 1
MAX_QUANTITIES = 6
FIRST_STANDARD = "en50160"
SHOWN = {"course": "Over time", "harmonics": "Harmonics", "verdicts": "Verdicts"}
FIELDS = (
    "box",
    "of",
    "q",
    "y",
    "source",
    "together",
    "weeks",
    "tz",
    "show",
    "standard",
    "meter",
    "from",
    "to",
)
BOXES_CHECKED = 6
YEARS = (1990, 2200)


@dataclass(frozen=True, slots=True)
class PastAddress:
    """The state of the page; `query` has every field, so that a link shows the same to equal visitors."""

    choice: BoxChoice
    quantities: tuple[PastQuantity, ...]
    span: TimeSpan
    percent: bool
    """Whether voltages are in percent of each Box's own nominal voltage."""
    class_a: bool
    together: bool
    weeks: int
    zone: ZoneInfo
    show: str
    standard: str
    meter: str = ""
    """Another meter, whose line is drawn beside; for visitors from whom nothing is hidden."""

    @property
    def query(self) -> str:
        return self.changed()

    def changed(self, **fields: str) -> str:
        """The query with other values; `start` and `end` mean `from` and `to`; empty ones are left out."""
        found = {
            **self.choice.fields,
            "q": ",".join(each.name for each in self.quantities),
            "y": "percent" if self.percent else "V",
            "source": "a" if self.class_a else "",
            "together": "1" if self.together and len(self.choice.boxes) > 1 else "",
            "weeks": str(self.weeks or ""),
            "tz": self.zone.key if self.weeks or self.show == "verdicts" else "",
            "show": "" if self.show == "course" else self.show,
            "standard": "" if self.standard == FIRST_STANDARD else self.standard,
            "meter": self.meter,
            "from": self.span.from_words,
            "to": self.span.to_words,
        }
        found |= {{"start": "from", "end": "to"}.get(name, name): value for name, value in fields.items()}
        return urlencode([(name, found[name]) for name in FIELDS if found.get(name)], safe=",:")


def read_address(context: VisitorContext, params: QueryParams, choice: BoxChoice) -> PastAddress:
    """Reads the address. Raises HTTPException 404 or 400 in words for people."""
    names = [each.strip() for text in params.getlist("q") for each in text.split(",") if each.strip()]
    names = list(dict.fromkeys(names)) or ["rms_v", "f_hz"]
    for name in names:
        if name not in QUANTITIES:
            known = ", ".join(each for each in QUANTITIES if not re.fullmatch(r"[hi]\d+", each))
            raise HTTPException(
                404, f"There is no quantity {name[:40]!r}; there are {known}, h2 to h50, i0 to i49."
            )
    if len(names) > MAX_QUANTITIES:
        raise HTTPException(400, f"q names {len(names)} quantities; want {MAX_QUANTITIES} or fewer.")
    weeks, show = params.get("weeks", "") or "0", params.get("show", "") or "course"
    standard, unit = params.get("standard", "") or FIRST_STANDARD, params.get("y", "")
    for name, given, allowed in (
        ("weeks", weeks, [str(count) for count in range(MAX_WEEKS + 1)]),
        ("show", show, list(SHOWN)),
        ("standard", standard, list(known_standards())),
        ("y", unit, ["", "V", "percent"]),
        ("source", params.get("source", ""), ["", "a"]),
    ):
        if given not in allowed:
            listed = ", ".join(each for each in allowed if each)
            raise HTTPException(400, f"{name} is {given[:40]!r}; want one of {listed}.")
    start, end = params.get("from", ""), params.get("to", "")
    if show == "verdicts" and not (start or end):
        start = "now-35d"
    elif (show == "harmonics" or weeks != "0") and not (start or end):
        start = "now-7d"
    return PastAddress(
        choice,
        tuple(QUANTITIES[name] for name in names),
        chosen_span(context, choice.box_ids, start, end),
        (unit or context.visitor.voltage_unit) == "percent" or bool(choice.hidden),
        params.get("source") == "a",
        bool(params.get("together")) or len(choice.boxes) > MAX_SERIES or bool(choice.hidden) or weeks != "0",
        int(weeks),
        query_zone(context, params.get("tz", "")),
        show,
        standard,
        params.get("meter", "")[:100] if context.visitor.unlimited and weeks == "0" else "",
    )


def chosen_span(context: VisitorContext, box_ids: tuple[str, ...], start: str, end: str) -> TimeSpan:
    """The span of the address; where it gives none, the longest `first_span` of the first Boxes.

    Raises HTTPException 400 with what was wrong.
    """
    now_ms = context.now_ns() // 1_000_000
    if not (start or end) and box_ids:
        spans = (first_span(context.store, box_id, now_ms) for box_id in box_ids[:BOXES_CHECKED])
        return max(spans, key=lambda span: span.length_ms)
    try:
        return read_span(start or DEFAULT[0], end or DEFAULT[1], now_ms)
    except ValueError as error:
        raise HTTPException(400, f"The address has a span that cannot be used: {error}.") from None


def former_query(params: QueryParams, zone: ZoneInfo, path: str) -> str:
    """The query of `/past` for an address that a page before it had; its place and time stay."""
    found: dict[str, str] = {}
    boxes = [each for name in ("box", "boxes") for each in params.getlist(name) if each]
    group = next((f"{kind}:{params[kind]}" for kind in KINDS if params.get(kind)), "")
    if group:
        found["of"] = group
    elif boxes:
        found["box"] = ",".join(boxes)
    found["q"] = params.get("metric", "")
    for name in ("y", "together", "weeks", "tz", "from", "to"):
        found[name] = params.get(name, "")
    by = {"rms_v": "rms_v", "f_hz": "f_hz", "thd_percent": "thd_percent"}.get(params.get("by", ""), "")
    found["q"] = found["q"] or by
    span = _former_days(params)
    if path in ("/calendar", "/reports") and not params.get("day"):
        found["show"] = "verdicts"
    if span is not None:
        first, last = (midnight_ms(day, zone) for day in span)
        found |= {"from": input_words(first), "to": input_words(last)}
    elif path == "/reports":
        found |= {"from": "now-365d", "to": "now"}
    elif path == "/grid":
        found |= {"of": found.get("of", "grid:"), "q": "f_hz,rms_v", "from": "now-24h", "to": "now"}
    return urlencode([(name, found[name]) for name in FIELDS if found.get(name)], safe=",:")


def _former_days(params: Mapping[str, str]) -> tuple[date, date] | None:
    """The days of `day=`, `month=`, `until=` or `year=`: the first, and the one after the last."""
    day, year = params.get("day", ""), params.get("year", "")
    month = params.get("month", "") or params.get("until", "")
    try:
        if day:
            first = date.fromisoformat(day)
            last = first + timedelta(days=1)
        elif month:
            first = date.fromisoformat(f"{month}-01")
            last = first + timedelta(days=monthrange(first.year, first.month)[1])
        elif year:
            first = date.fromisoformat(f"{year}-01-01")
            last = first.replace(year=first.year + 1)
        else:
            return None
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{(day or month or year)[:40]!r} is not a day, month or year.") from None
    if not YEARS[0] <= first.year < YEARS[1]:
        raise HTTPException(400, f"{first.year} is not a year from {YEARS[0]} to {YEARS[1]}.")
    return first, last
