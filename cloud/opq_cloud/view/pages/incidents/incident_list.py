"""The list of incidents for its address: reads the filter, searches the index, and counts for the plane.

The fields of FIELDS are the filter. `before` is where a page continues: the sort key and a number,
never an offset.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException

from opq_cloud.store.incidents.index import (
    DURATIONS_S,
    ORDERS,
    PERCENTS,
    PLANE_COLUMNS,
    PLANE_ROWS,
    IncidentFilter,
    IndexPlace,
    entry_of_incident,
)
from opq_cloud.view.live.feed_messages import LARGEST_ID
from opq_cloud.view.pages.incidents.incident_scatter import time_words
from opq_cloud.view.pages.incidents.incident_work import WORK_FIELDS, work_filter
from opq_cloud.view.pages.past.box_choice import MAX_NAMED
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.pages.visible.seen_sites import sites_then
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import read_span, utc_words, zone_words
from opq_proto.messages import Incident

PER_PAGE = 25
MAX_COUNTED = 10_000
"""Above this, the count is given as "more than"."""
SCOPES = {"local": "Local", "feeder": "Feeder", "region": "Region", "wide_area": "Wide area"}
ORDER_WORDS = {"newest": "Newest first", "severe": "Most severe first", "long": "Longest first"}
SHADES = 5
WORDS_CHARACTERS = 100
REGIONS_NAMED = 20
FIELDS = (
    "class",
    "box",
    "region",
    "site",
    "feeder",
    "scope",
    "severity",
    "from",
    "to",
    "words",
    *WORK_FIELDS,
    "cell",
    "order",
)


@dataclass(frozen=True, slots=True)
class ListAddress:
    """The fields of an address that select incidents; empty fields do not restrict."""

    fields: tuple[tuple[str, str], ...]
    wanted: IncidentFilter

    def get(self, name: str) -> str:
        return dict(self.fields).get(name, "")

    @property
    def query(self) -> str:
        return urlencode(self.fields)

    @property
    def export_query(self) -> str:
        """The query of an export of the same incidents: without an order, of any time where none is given."""
        return urlencode(
            {"from": "", "to": ""} | {name: text for name, text in self.fields if name != "order"}
        )

    def cell_query(self) -> Callable[[str], str]:
        """A function that makes the query with another cell, or without a cell for an empty text."""
        place = FIELDS.index("cell")
        before = urlencode([each for each in self.fields if FIELDS.index(each[0]) < place])
        after = urlencode([each for each in self.fields if FIELDS.index(each[0]) > place])
        return lambda cell: "&".join(filter(None, (before, cell and f"cell={cell}", after)))

    @property
    def filters(self) -> bool:
        return any(name != "order" for name, _text in self.fields)

    def page_query(self, place: IndexPlace) -> str:
        """The query of the page that continues after a place."""
        return urlencode([*self.fields, ("before", f"{place.value!r}~{place.number}")])


@dataclass(frozen=True, slots=True)
class PlaneCell:
    """A cell of the magnitude-duration plane."""

    count: int
    shade: int
    query: str
    chosen: bool
    words: str


@dataclass(frozen=True, slots=True)
class PlaneRow:
    words: str
    cells: tuple[PlaneCell, ...]


def read_list_address(context: VisitorContext, params: Mapping[str, str]) -> ListAddress:
    """Reads the filter from an address.

    Raises HTTPException 404 where no Box can have such an id, or there is no such class, region, site,
    feeder, scope or order; 400 for an invalid value. Whether the visitor knows the Boxes is not checked.
    """
    given = {name: params.get(name, "").strip() for name in FIELDS}
    if typed_in := params.get("zone", ""):
        zone = query_zone(context, typed_in)
        given |= {name: utc_words(given[name], zone) for name in ("from", "to")}
    kind, scope, order = given["class"], given["scope"], given["order"] or "newest"
    named = given["box"].split(",") if given["box"] else []
    if not all(map(BOX_ID.fullmatch, named)):
        raise HTTPException(404, "No Box has such an id.")
    if len(named) > MAX_NAMED:
        raise HTTPException(400, f"box names {len(named)} Boxes; want {MAX_NAMED} or fewer, or a group.")
    if kind and kind not in words.CLASS_PHRASES:
        raise HTTPException(404, f"There is no such class; there are {', '.join(words.CLASS_PHRASES)}.")
    if scope and scope not in SCOPES:
        raise HTTPException(404, f"There is no such scope; there are {', '.join(SCOPES)}.")
    if order not in ORDERS:
        raise HTTPException(404, f"There is no such order; there are {', '.join(ORDERS)}.")
    if len(given["words"]) > WORDS_CHARACTERS:
        raise HTTPException(400, f"words has more than {WORDS_CHARACTERS} characters.")
    group = _stays(context, {noun: given[noun] for noun in ("region", "site", "feeder")})
    boxes = tuple(named[1:] and named) or None
    if group is not None:
        there = dict.fromkeys(box_id for box_id, _, _ in group)
        boxes = tuple(each for each in there if boxes is None or each in boxes)
    wanted = replace(
        work_filter(given, context),
        kind=kind,
        box_id=named[0] if len(named) == 1 else "",
        box_ids=boxes,
        stays=group or (),
        scope=scope,
        least_severity=_number(given, "severity", 10.0),
        words=given["words"],
        cell=None if (cell := _number(given, "cell", PLANE_COLUMNS * PLANE_ROWS - 1)) is None else int(cell),
        order=order,
    )
    if given["from"] or given["to"]:
        now_ms = context.now_ns() // 1_000_000
        try:
            span = read_span(given["from"] or "now-5y", given["to"] or "now", now_ms)
        except ValueError as error:
            raise HTTPException(400, f"The address has a value that cannot be used: {error}.") from None
        wanted = replace(wanted, start_ns=span.start_ms * 1_000_000, end_ns=span.end_ms * 1_000_000)
    kept = tuple((name, given[name]) for name in FIELDS if given[name])
    return ListAddress(kept, wanted)


def typed_span(context: VisitorContext, address: ListAddress) -> dict[str, Any]:
    """Values for the form of `incidents.html`: its span by the clock of the visitor's zone."""
    zone = query_zone(context, "")
    return {
        "zone": zone.key,
        **{f"typed_{name}": zone_words(address.get(name), zone) for name in ("from", "to")},
    }


def _stays(context: VisitorContext, named: Mapping[str, str]) -> tuple[tuple[str, int, int], ...] | None:
    """When Boxes that the visitor sees were in the region, at the site and on the feeder that are named.

    None: none is.
    """
    if not any(named.values()):
        return None
    for noun, name in named.items():
        known = list(context.regions()) if noun == "region" else context.place_names(noun)
        if name and not (context.stays(region=name) if noun == "region" else name in known):
            there = ", ".join(known[:REGIONS_NAMED]) or "none"
            raise HTTPException(404, f"There is no such {noun} that you may see; there are {there}.")
    return context.stays(**named)


def _number(given: Mapping[str, str], name: str, most: float) -> float | None:
    text = given[name]
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or float(text) > most:
        raise HTTPException(
            400,
            f"{name} is {text[:40]!r}; want a number from 0 to {most:g}.",
        )
    return float(text)


def read_index_place(before: str) -> IndexPlace | None:
    """Where a page of a filter continues. Raises HTTPException 400 for an invalid key."""
    if not before:
        return None
    value, _, number = before.rpartition("~")
    known = number.isascii() and number.isdigit() and len(number) <= 10 and 1 <= int(number) <= LARGEST_ID
    try:
        key = int(value) if re.fullmatch(r"-?[0-9]{1,19}", value) else float(value)
    except ValueError:
        key = math.nan
    if not known or not math.isfinite(key) or abs(key) >= 2**63:
        raise HTTPException(
            400,
            f"The address has a value that cannot be used: before is {before[:40]!r}.",
        )
    return IndexPlace(key, int(number))


def neighbours(context: VisitorContext, address: ListAddress, incident: Incident) -> dict[str, object]:
    """Values for `incident.html`: the incidents before and after it within the filter of the address."""
    place = entry_of_incident(address.wanted.shown(incident)).place(address.wanted.order)
    store = context.store
    later = store.find_incidents(address.wanted, 1, place, back=True)
    earlier = store.find_incidents(address.wanted, 1, place)
    return {
        "list_query": address.query,
        "list_previous": later[0].incident_id if later else None,
        "list_next": earlier[0].incident_id if earlier else None,
    }


def beside_at_place(context: VisitorContext, incident: Incident) -> dict[str, object]:
    """Values for `incident.html`: the incidents before and after it at its site, else at its Box."""
    (sites,) = sites_then(context, [incident])
    name = sites[0] if sites else ""
    stays = context.stays(name) if name else ()
    boxes = tuple(dict.fromkeys(box_id for box_id, _, _ in stays)) or incident.box_ids[:1]
    wanted = IncidentFilter(box_ids=boxes, stays=stays)
    place = entry_of_incident(wanted.shown(incident)).place("newest")
    later = context.store.find_incidents(wanted, 1, place, back=True)
    earlier = context.store.find_incidents(wanted, 1, place)
    return {
        "place_words": f"site {name}" if name else words.boxes(boxes, context.names([incident])),
        "place_previous": earlier[0].incident_id if earlier else None,
        "place_next": later[0].incident_id if later else None,
    }


def plane(context: VisitorContext, address: ListAddress) -> list[PlaneRow]:
    """The number of visible incidents in each cell, whichever cell is chosen."""
    counts = context.incident_cells(replace(address.wanted, cell=None))
    if not counts:
        return []
    most, query_of = max(counts.values()), address.cell_query()
    rows, lengths = [], [duration_words(column) for column in range(PLANE_COLUMNS)]
    for row in reversed(range(PLANE_ROWS)):
        cells, level = [], percent_words(row)
        for column in range(PLANE_COLUMNS):
            cell = row * PLANE_COLUMNS + column
            count = counts.get(cell, 0)
            shade = -(-SHADES * count.bit_length() // most.bit_length())
            chosen = address.wanted.cell == cell
            counted = words.counted(count, "incident", "incidents")
            name = f"{counted}, {level}, {lengths[column]}"
            query = query_of("" if chosen else str(cell))
            cells.append(PlaneCell(count, shade, query, chosen, name))
        if any(each.count for each in cells) or 0 < row < PLANE_ROWS - 1:
            rows.append(PlaneRow(level, tuple(cells)))
    return rows


def percent_words(row: int) -> str:
    """The voltages of a row in words: `70 to 80 %`."""
    if row == 0:
        return f"below {words.plain(PERCENTS[0], '%')}"
    if row == len(PERCENTS):
        return f"from {words.plain(PERCENTS[-1], '%')}"
    return f"{PERCENTS[row - 1]:g} to {words.plain(PERCENTS[row], '%')}"


def duration_words(column: int) -> str:
    """The durations of a column in words: `to 200 ms`."""
    if column == len(DURATIONS_S):
        return f"over {time_words(DURATIONS_S[-1])}"
    return f"to {time_words(DURATIONS_S[column])}"


def count_words(context: VisitorContext, wanted: IncidentFilter) -> str:
    """The number of visible incidents in words: `1,234 incidents`."""
    count = context.count_incidents(wanted, MAX_COUNTED + 1)
    if count > MAX_COUNTED:
        return f"More than {words.number(MAX_COUNTED, 0)} incidents"
    return f"{words.number(count, 0)} {'incident' if count == 1 else 'incidents'}"
