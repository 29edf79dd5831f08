"""The HTML pages: `/`, `/incidents`, `/incidents/{id}`, `/boxes/{id}`, and the error page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from opq_cloud.store.incident_index import COLUMNS, IncidentFilter, entry_of_incident
from opq_cloud.view import charts, incident_page, words
from opq_cloud.view.accounts.account_context import local_time
from opq_cloud.view.context import ShownBox, ViewContext, label, whole_id
from opq_cloud.view.edit_pages import said_values
from opq_cloud.view.examine.page import ExaminePages
from opq_cloud.view.history_page import From, To, history_values
from opq_cloud.view.incident_list import (
    ORDER_WORDS,
    PER_PAGE,
    SCOPES,
    SEVERITIES,
    count_words,
    duration_words,
    find_incidents,
    neighbours,
    plane,
    read_list_address,
    read_place,
    regions,
)
from opq_cloud.view.live import measurement_json
from opq_cloud.view.recent import FRESH_MS
from opq_proto.messages import Incident, Measurement

BOX_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
ON_FRONT_PAGE = 8
ON_BOX_PAGE = 10
HOUR_MS = 3_600_000
FILTERS = ("number", "plain", "class_words", "class_tone", "duration", "utc", "utc_attribute", "clock", "ago")


@dataclass(frozen=True, slots=True)
class Card:
    """A Box as its card and page show it."""

    box_id: str
    label: str
    nominal_v: float
    nominal_hz: float
    live: bool
    state: str
    time_words: str
    clock_words: str
    rms_v: float | None
    f_hz: float | None
    thd_percent: float | None
    trans_v: float | None
    spark: charts.Sparkline | None
    spark_span: str


class Pages:
    """Renders the templates beside this file; autoescape is on for all of them."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update({name: getattr(words, name) for name in FILTERS})
        self._templates.filters.update(local_time=local_time)
        self._templates.filters.update(headline=words.headline, outline=words.outline, boxes=words.boxes)
        self.examine = ExaminePages(context, self.render)

    def render(self, template: str, here: str = "", code: int = 200, **values: object) -> HTMLResponse:
        """A page with HTTP status `code`; `here` marks its place in the navigation."""
        now_ns = self._context.now_ns()
        visitor = self._context.visitor
        shared = {"here": here, "now_ns": now_ns, "now_ms": now_ns // 1_000_000, "visitor": visitor}
        values.setdefault("form_token", visitor.form_token() if visitor.session_hash else "")
        return HTMLResponse(self._templates.get_template(template).render(**shared, **values), code)

    def error(self, code: int, text: str) -> HTMLResponse:
        """A readable page for a failed request."""
        known = {
            401: "Sign in first",
            403: "This is not allowed",
            404: "Nothing is here",
            500: "This page failed",
            503: "Not available now",
        }
        heading = known.get(code, HTTPStatus(code).phrase)
        return self.render("error.html", code=code, status=code, heading=heading, text=text)

    def router(self) -> APIRouter:
        router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/", self.boxes)
        router.add_api_route("/incidents", self.incidents)
        router.add_api_route("/incidents/{incident_id}", self.incident)
        router.add_api_route("/boxes/{box_id}", self.box)
        router.add_api_route("/boxes/{box_id}/history", self.history)
        return router

    def boxes(self) -> HTMLResponse:
        newest = self._context.store.incidents(limit=ON_FRONT_PAGE)
        cards = [self._card(record) for record in self._context.boxes()]
        return self.render(
            "boxes.html",
            here="boxes",
            cards=cards,
            incidents=newest,
            names=self._context.names(newest),
            after=_after(newest),
            summary=_summary(cards),
        )

    def incidents(self, request: Request, before: Annotated[str, Query(max_length=60)] = "") -> HTMLResponse:
        context = self._context
        address = read_list_address(context, request.query_params)
        order = address.wanted.order
        found, more = find_incidents(context, address.wanted, PER_PAGE, read_place(before))
        last = entry_of_incident(found[-1]).place(order) if found and more else None
        choices = [{"box_id": item.box_id, "label": label(item)} for item in context.boxes()]
        box = address.wanted.box_id
        if box and box not in {choice["box_id"] for choice in choices}:
            choices.append({"box_id": box, "label": f"Box {box}"})
        return self.render(
            "incidents.html",
            here="incidents",
            incidents=found,
            names=context.names(found),
            address=address,
            before=before,
            older=address.page_query(last) if last else "",
            count_words=count_words(context, address.wanted) if found else "",
            plane=plane(context, address),
            plane_columns=[duration_words(column) for column in range(COLUMNS)],
            box_choices=choices,
            class_choices=words.CLASS_WORDS,
            region_choices=regions(context),
            scope_choices=SCOPES,
            severity_choices=SEVERITIES,
            order_words=ORDER_WORDS,
            after=_after(context.store.incidents(limit=1)) + 1,
        )

    def incident(self, request: Request, incident_id: str) -> HTMLResponse:
        found = self._context.store.incident(whole_id(incident_id, "incident"))
        if found is None:
            raise HTTPException(
                404, f"There is no incident {incident_id}. It may have been joined with another."
            )
        values = incident_page.page(self._context, found)
        values.update(self.examine.whole_course(found))
        values.update(said_values(self._context, found))
        address = read_list_address(self._context, request.query_params)
        values.update(neighbours(self._context, address, found))
        return self.render("incident.html", "incidents", 200, after=max(0, found.incident_id - 1), **values)

    def history(self, box_id: str, start: From = "now-24h", end: To = "now") -> HTMLResponse:
        """The part of a Box's page that shows a span, for a page that renews it."""
        record = self._known_box(box_id)
        return self.render("history.html", "boxes", 200, **history_values(self._context, record, start, end))

    def _known_box(self, box_id: str) -> ShownBox:
        context = self._context
        if not BOX_ID.fullmatch(box_id) or box_id not in {item.box_id for item in context.boxes()}:
            raise HTTPException(404, "No Box with this id is known.")
        return context.box(box_id)

    def box(self, box_id: str, start: From = "now-24h", end: To = "now") -> HTMLResponse:
        context = self._context
        record = self._known_box(box_id)
        now_ms = context.now_ns() // 1_000_000
        minutes = context.buckets(box_id, 60_000, now_ms - HOUR_MS, now_ms + 60_000)
        mine, _ = find_incidents(context, IncidentFilter(box_id=box_id), ON_BOX_PAGE, None)
        card = self._card(record)
        place = f"At {record.location}. " if record.location else ""
        return self.render(
            "box.html",
            "boxes",
            200,
            card=card,
            about=place,
            minutes=minutes[::-1],
            silent_words=(
                "When its gateway sends again, the values above move and this chart begins."
                if card.rms_v is not None
                else "It has never been heard. When its gateway connects, its values appear here."
            ),
            incidents=mine[:ON_BOX_PAGE],
            after=_after(context.store.incidents(limit=1)),
            **history_values(context, record, start, end, mine[:ON_BOX_PAGE]),
        )

    def _card(self, record: ShownBox) -> Card:
        hub = self._context.hub
        heard = hub.newest(record.box_id)
        newest = heard.measurement if heard else None
        values = measurement_json(newest) if newest else {}
        age_ms = max(0, self._context.now_ns() // 1_000_000 - heard.heard_ms) if heard else 0
        live = heard is not None and age_ms < heard.silent_after_ms
        spark = charts.sparkline(charts.spark_steps(hub.recent(record.box_id)))
        return Card(
            box_id=record.box_id,
            label=label(record),
            nominal_v=record.nominal_v,
            nominal_hz=record.nominal_hz,
            live=live,
            state=words.state(live, age_ms, FRESH_MS) if heard else "Not heard yet",
            time_words=words.utc(newest.timestamp_ms * 1_000_000, 0) if newest else words.UNKNOWN,
            clock_words=_clock_words(newest),
            rms_v=_float(values.get("rms_v")),
            f_hz=_float(values.get("f_hz")),
            thd_percent=_float(values.get("thd_percent")),
            trans_v=_float(values.get("trans_v")),
            spark=spark,
            spark_span=words.span(spark.seconds) if spark else "",
        )


def _after(incidents: Sequence[Incident]) -> int:
    """The feed is asked for the newest incident again: it may have changed while the page was made."""
    return max(0, incidents[0].incident_id - 1) if incidents else 0


def _summary(cards: Sequence[Card]) -> str:
    if not cards:
        return "Here stands each Box with its live voltage, frequency and distortion."
    return words.reporting(len(cards), sum(card.live for card in cards))


def _clock_words(newest: Measurement | None) -> str:
    if newest is None:
        return "nothing heard yet"
    return f"time by {words.source(newest.source)}, {words.uncertainty(newest.uncertainty_ns)}"


def _float(value: object) -> float | None:
    return value if isinstance(value, float) else None
