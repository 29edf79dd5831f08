"""The address of `/past`: Boxes or a group, quantities, a span or weeks, a standard; the whole state.

`?box=1,4&q=rms_v,f_hz&y=percent&from=now-7d&to=now` draws each Box; `together=1` draws all as one;
`weeks=1&tz=` draws the week of `to` over the one before; `show=harmonics|verdicts&standard=en50160`.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import HTTPException
from starlette.datastructures import QueryParams

from opq_cloud.reports.limit_table import known_standards
from opq_cloud.store.trends.pyramid import level_for
from opq_cloud.view.pages.drawing.box_history import first_span
from opq_cloud.view.pages.past.box_choice import BoxChoice
from opq_cloud.view.pages.past.quantities import QUANTITIES, PastQuantity, own_quantity
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import DEFAULT, TimeSpan, read_span, utc_words
from opq_proto.measurement.intervals import TEN_MINUTES_MS

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
    source: str
    """Which values come first: `a` class A, `t` trends; empty: class A in bars of ten minutes and longer."""
    together: bool
    weeks: int
    zone: ZoneInfo
    show: str
    standard: str

    def class_a_in(self, span: TimeSpan, rows: int) -> bool | None:
        """Whether class A comes first in a chart of so many rows, or trends; None: as each quantity has it.

        Lines are drawn; of more Boxes than there are lines, class A is read on request.
        """
        if self.source:
            return self.source == "a"
        ten_minutes = level_for(span.start_ms, span.end_ms, rows) >= TEN_MINUTES_MS
        return True if ten_minutes and len(self.choice.boxes) <= MAX_SERIES else None

    @property
    def query(self) -> str:
        return self.changed()

    def changed(self, **fields: str) -> str:
        """The query with other values; `start` and `end` mean `from` and `to`; empty ones are left out."""
        found = {
            **self.choice.fields,
            "q": ",".join(each.name for each in self.quantities),
            "y": "percent" if self.percent else "V",
            "source": self.source,
            "together": "1" if self.together and len(self.choice.boxes) > 1 else "",
            "weeks": str(self.weeks or ""),
            "tz": self.zone.key if self.weeks or self.show == "verdicts" else "",
            "show": "" if self.show == "course" else self.show,
            "standard": "" if self.standard == FIRST_STANDARD else self.standard,
            "from": self.span.from_words,
            "to": self.span.to_words,
        }
        found |= {{"start": "from", "end": "to"}.get(name, name): value for name, value in fields.items()}
        return urlencode([(name, found[name]) for name in FIELDS if found.get(name)], safe=",:")


def read_address(context: VisitorContext, params: QueryParams, choice: BoxChoice) -> PastAddress:
    """Reads the address. Raises HTTPException 404 or 400 in words for people."""
    names = [each.strip() for text in params.getlist("q") for each in text.split(",") if each.strip()]
    names = list(dict.fromkeys(names)) or ["rms_v", "f_hz"]
    quantities = [QUANTITIES.get(name) or own_quantity(name) for name in names]
    for name, quantity in zip(names, quantities, strict=True):
        if quantity is None:
            known = ", ".join(each for each in QUANTITIES if not re.fullmatch(r"[hi]\d+", each))
            raise HTTPException(
                404,
                f"There is no quantity {name[:40]!r}; there are {known}, h2 to h50, i0 to i49, "
                "and channels of a Box's program, such as own_oil_c.",
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
        ("source", params.get("source", ""), ["", "a", "t"]),
    ):
        if given not in allowed:
            listed = ", ".join(each for each in allowed if each)
            raise HTTPException(400, f"{name} is {given[:40]!r}; want one of {listed}.")
    start, end = params.get("from", ""), params.get("to", "")
    if typed_in := params.get("zone", ""):
        start, end = (utc_words(each, query_zone(context, typed_in)) for each in (start, end))
    if show == "verdicts" and not (start or end):
        start = "now-35d"
    elif (show == "harmonics" or weeks != "0") and not (start or end):
        start = "now-7d"
    return PastAddress(
        choice,
        tuple(each for each in quantities if each is not None),
        chosen_span(context, choice.box_ids, start, end),
        (unit or context.visitor.voltage_unit) == "percent" or bool(choice.hidden),
        params.get("source", ""),
        bool(params.get("together")) or len(choice.boxes) > MAX_SERIES or bool(choice.hidden) or weeks != "0",
        int(weeks),
        query_zone(context, params.get("tz", "")),
        show,
        standard,
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
