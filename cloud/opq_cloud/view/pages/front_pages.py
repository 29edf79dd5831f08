"""The HTML pages: `/`, `/incidents`, `/incidents/{id}`, `/boxes/{id}`, and the error page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from opq_cloud.export.tables import written_forms
from opq_cloud.store.incidents.index import COLUMNS, IncidentFilter, entry_of_incident
from opq_cloud.view.live.messages import measurement_json
from opq_cloud.view.live.recent import FRESH_MS
from opq_cloud.view.pages.account.account_context import marked_time
from opq_cloud.view.pages.boxes.history_page import From, To, chosen_span, history_values, query_span
from opq_cloud.view.pages.boxes.sparkline import (
    NORMAL_PERCENT,
    Sparkline,
    SparkScale,
    SparkStep,
    spark_scale,
    spark_steps,
    sparkline,
)
from opq_cloud.view.pages.examine.page import ExaminePages
from opq_cloud.view.pages.incidents import incident_page
from opq_cloud.view.pages.incidents.alike_incidents import READ_FOR_EACH_ROW, fold
from opq_cloud.view.pages.incidents.edit_pages import remark_values
from opq_cloud.view.pages.incidents.incident_list import (
    ORDER_WORDS,
    PER_PAGE,
    SCOPES,
    SEVERITIES,
    count_words,
    duration_words,
    find_incidents,
    neighbours,
    plane,
    read_index_place,
    read_list_address,
    regions,
)
from opq_cloud.view.pages.incidents.incident_scatter import DOT_SHAPES, MAX_DOTS, dot_links, scatter_of
from opq_cloud.view.pages.machine_notice import read_notice
from opq_cloud.view.pages.past.calendar_page import CalendarPages
from opq_cloud.view.pages.past.compare_page import ComparePages
from opq_cloud.view.pages.past.report_pages import ReportPages
from opq_cloud.view.pages.services.box_client import BoxClient, BoxClientError, BoxReport
from opq_cloud.view.pages.shown.availability import BoxAvailability, together
from opq_cloud.view.pages.shown.context import BOXES_A_PAGE, ShownBox, ViewContext, label, pages_of_boxes
from opq_cloud.view.web import words
from opq_cloud.view.web.error_page import RETRY_EVERY_S, error_ways
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Incident, Measurement

ON_FRONT_PAGE = 5
"""Rows of incidents, above the Boxes."""
CARDS = 24
"""More Boxes than this are rows of a table."""
BOXES_OFFERED = 200
"""Boxes in a list to choose from; where there are more, the number is typed."""
ON_BOX_PAGE = 10
COMMANDS_AT_ONCE, COMMANDS_PER_S = 3.0, 0.1
"""Requests of one account at once, and per second: each holds a thread, for seconds at a Box that is away."""
HOUR_MS = 3_600_000
FILTERS = ("number", "plain", "class_words", "class_tone", "duration", "utc", "utc_attribute", "clock", "ago",
           "month", "day_of_month")  # fmt: skip


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
    time_ns: int | None
    clock_words: str
    rms_v: float | None
    f_hz: float | None
    thd_percent: float | None
    trans_v: float | None
    spark: Sparkline | None
    spark_span: str
    measured: BoxAvailability | None
    """None for a Box that is not expected to send."""
    late: bool = False

    @property
    def state_class(self) -> str:
        """The classes of its state, as `live.js` sets them."""
        if not self.live:
            return "state-silent"
        return "state-live state-late" if self.late else "state-live"


class Pages:
    """Renders the templates in this folder; autoescape is on for all of them."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update({name: getattr(words, name) for name in FILTERS})
        self._templates.filters.update(local_time=marked_time)
        self._templates.globals["table_forms"] = written_forms()
        self._templates.filters.update(headline=words.headline, outline=words.outline, boxes=words.boxes)
        self._questions = BoxClient(context.addresses)
        self._command_limits = TokenBuckets(COMMANDS_AT_ONCE, COMMANDS_PER_S)
        self.examine = ExaminePages(context, self.render)
        self.compare = ComparePages(context, self.render)
        self.calendar = CalendarPages(context, self.render)
        self.reports = ReportPages(context, self.render)

    def render(self, template: str, here: str = "", code: int = 200, **values: object) -> HTMLResponse:
        """Renders a page with HTTP status `code`; `here` marks its place in the navigation."""
        now_ns = self._context.now_ns()
        visitor = self._context.visitor
        shared = {"here": here, "now_ns": now_ns, "now_ms": now_ns // 1_000_000, "visitor": visitor}
        values.setdefault("form_token", visitor.form_token() if visitor.session_hash else "")
        return HTMLResponse(self._templates.get_template(template).render(**shared, **values), code)

    def error(self, code: int, text: str, request: Request | None = None) -> HTMLResponse:
        """A readable page for a failed request, with advice."""
        ways = error_ways(code, self._context.visitor, *_request_words(request))
        made = self.render(
            "error.html", code=code, status=code, text=text, ways=ways, retry_every_s=RETRY_EVERY_S
        )
        if ways.retries:
            made.headers["Retry-After"] = str(RETRY_EVERY_S)
            made.headers["Cache-Control"] = "no-store"
        return made

    def router(self) -> APIRouter:
        router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/", self.boxes)
        router.add_api_route("/incidents", self.incidents)
        router.add_api_route("/incidents/{incident_id}", self.incident)
        router.add_api_route("/boxes/{box_id}", self.box)
        router.add_api_route("/boxes/{box_id}/history", self.history)
        return router

    def boxes(self, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
        """Up to CARDS Boxes have a card each; more are rows, BOXES_A_PAGE on a page, silent ones first."""
        context = self._context
        entries = context.store.find_incidents(IncidentFilter(), ON_FRONT_PAGE * READ_FOR_EACH_ROW, None)
        rows = {row.first.incident_id: row for row in fold(entries, ON_FRONT_PAGE)}
        newest = context.store.incidents_of(list(rows))
        ids = context.box_ids()
        live = context.hub.live_boxes(context.now_ns() // 1_000_000)
        many = len(ids) > CARDS
        pages = pages_of_boxes(len(ids) if many else 0, page)
        first = (page - 1) * BOXES_A_PAGE
        shown: Iterable[str] = ids
        if many:  # silent Boxes first, each group by number
            silent = (each for each in ids if each not in live)
            ordered = chain(silent, (each for each in ids if each in live))
            shown = islice(ordered, first, first + BOXES_A_PAGE)
        records = context.boxes(shown)
        drawn = [] if many else records
        steps = {each.box_id: spark_steps(context.hub.recent(each.box_id)) for each in drawn}
        scale = spark_scale((steps.get(each.box_id, ()), each.nominal_v) for each in records)
        return self.render(
            "boxes.html",
            here="boxes",
            cards=[self._card(each, steps.get(each.box_id, ()), scale) for each in records],
            measured=together(context.measured_shares().values()),
            slow=read_notice(context.addresses.folder) if context.visitor.everything else None,
            normal_y=scale.y(NORMAL_PERCENT[1]),
            normal_height=scale.y(NORMAL_PERCENT[0]) - scale.y(NORMAL_PERCENT[1]),
            normal_percent=NORMAL_PERCENT,
            many=many,
            page=page,
            pages=pages,
            first=first + 1,
            count=len(ids),
            incidents=newest,
            alike=rows,
            rows_shown=ON_FRONT_PAGE,
            names=self._context.names(newest),
            after=_after(context, newest),
            summary=_summary(len(ids), len(live)),
            stale_words=None if live else self._stale_words(None),
        )

    def _stale_words(self, box_ids: Sequence[str] | None) -> tuple[str, str] | None:
        """The words for a page where all (None) or these Boxes are silent; None where none has sent data."""
        newest_ms = self._context.hub.newest_ms(box_ids)
        return None if newest_ms is None else words.stale(newest_ms * 1_000_000, self._context.now_ns())

    def incidents(self, request: Request, before: Annotated[str, Query(max_length=60)] = "") -> HTMLResponse:
        context = self._context
        address = read_list_address(context, request.query_params)
        order = address.wanted.order
        found, more = find_incidents(context, address.wanted, PER_PAGE, read_index_place(context, before))
        last = entry_of_incident(found[-1]).place(order) if found and more else None
        box, ids = address.wanted.box_id, context.box_ids()
        choices = None  # too many to list: a number is typed
        if len(ids) <= BOXES_OFFERED:
            choices = [{"box_id": item.box_id, "label": label(item)} for item in context.boxes(ids)]
            if box and box not in ids:
                choices.append({"box_id": box, "label": f"Box {box}"})
        scatter = scatter_of(
            context.store.find_incidents(address.wanted, MAX_DOTS), address.wanted.cell, address.cell_query()
        )
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
            scatter=scatter,
            dots=dot_links(scatter.dots, address.query) if scatter else "",
            dot_shapes=DOT_SHAPES,
            plane_columns=[duration_words(column) for column in range(COLUMNS)],
            box_choices=choices,
            class_choices=words.class_choices(),
            region_choices=regions(context),
            scope_choices=SCOPES,
            severity_choices=SEVERITIES,
            order_words=ORDER_WORDS,
            after=_after(context, found) + 1,
        )

    def incident(self, request: Request, incident_id: str) -> HTMLResponse:
        found = self._context.incident(incident_id)
        values = incident_page.page(self._context, found, self.examine)
        values.update(remark_values(self._context, found))
        address = read_list_address(self._context, request.query_params)
        values.update(neighbours(self._context, address, found))
        return self.render("incident.html", "incidents", 200, after=max(0, found.incident_id - 1), **values)

    def history(self, box_id: str, start: From = "now-24h", end: To = "now") -> HTMLResponse:
        """The history part of a Box's page, for a page that replaces it."""
        record = self._context.known_box(box_id)
        span = query_span(self._context, start, end)
        return self.render("history.html", "boxes", 200, **history_values(self._context, record, span))

    def _report_of(self, box_id: str, ask: str) -> tuple[BoxReport | None, str]:
        """The report of a Box that its owner or an administrator requests now; or why it was not asked."""
        visitor = self._context.visitor
        if not ask or visitor.account is None or not visitor.may_change(box_id):
            return None, ""
        if not self._command_limits.spend(visitor.account.account_id):
            return None, "You asked a moment ago; ask again in some seconds."
        try:
            return self._questions.read_info(box_id), ""
        except BoxClientError as error:
            return None, f"{error}."

    def box(
        self, box_id: str, start: From = "", end: To = "", ask: Annotated[str, Query(max_length=20)] = ""
    ) -> HTMLResponse:
        """The page of a Box; `ask` waits some seconds at most for the Box's report of its losses."""
        context = self._context
        record = context.known_box(box_id)
        now_ms = context.now_ns() // 1_000_000
        minutes = context.buckets(box_id, 60_000, now_ms - HOUR_MS, now_ms + 60_000)
        mine, _more = find_incidents(context, IncidentFilter(box_id=box_id), ON_BOX_PAGE, None)
        span = chosen_span(context, [box_id], start, end)
        card = self._card(record)
        place = context.place_words(box_id)
        said, not_asked = self._report_of(box_id, ask)
        return self.render(
            "box.html",
            "boxes",
            200,
            card=card,
            about=f"At {place}. " if place else "",
            minutes=minutes[::-1],
            stale_words=None if card.live else self._stale_words([box_id]),
            may_request=context.visitor.may_request(box_id),
            may_change=context.visitor.may_change(box_id),
            said=said,
            not_asked=not_asked,
            silent_words=(
                "When its gateway sends again, the values above move and this chart begins."
                if card.rms_v is not None
                else "It has never been heard. When its gateway connects, its values appear here."
            ),
            incidents=mine[:ON_BOX_PAGE],
            after=_after(context, mine),
            **history_values(context, record, span, mine[:ON_BOX_PAGE]),
        )

    def _card(
        self, record: ShownBox, steps: Sequence[SparkStep] = (), scale: SparkScale | None = None
    ) -> Card:
        """A Box's card; it has no line without steps or without a scale."""
        hub = self._context.hub
        latest = hub.newest(record.box_id)
        newest = latest.measurement if latest else None
        values = measurement_json(newest) if newest else {}
        age_ms = max(0, self._context.now_ns() // 1_000_000 - latest.received_ms) if latest else 0
        live = latest is not None and age_ms < latest.silent_after_ms
        spark = sparkline(steps, record.nominal_v, scale) if scale else None
        return Card(
            box_id=record.box_id,
            label=label(record),
            nominal_v=record.nominal_v,
            nominal_hz=record.nominal_hz,
            live=live,
            state=words.state(live, age_ms, FRESH_MS, latest.late_ms, latest.clock_known)
            if latest
            else "Not heard yet",
            late=latest is not None and latest.late_ms > 0,
            time_words=words.utc(newest.timestamp_ms * 1_000_000, 0) if newest else words.UNKNOWN,
            time_ns=newest.timestamp_ms * 1_000_000 if newest else None,
            clock_words=_clock_words(newest),
            rms_v=_float(values.get("rms_v")),
            f_hz=_float(values.get("f_hz")),
            thd_percent=_float(values.get("thd_percent")),
            trans_v=_float(values.get("trans_v")),
            spark=spark,
            spark_span=words.span(spark.seconds) if spark else "",
            measured=self._context.measured_shares([record]).get(record.box_id),
        )


def _request_words(request: Request | None) -> tuple[str, str, str]:
    """The path and method of a request, and the page of ours that a form was sent from."""
    if request is None:
        return "/", "GET", ""
    url, referer = request.url, request.headers.get("referer", "")
    path = url.path + (f"?{url.query}" if url.query else "")
    came = urlsplit(referer) if referer.startswith(f"{url.scheme}://{url.netloc}/") else None
    back = "" if came is None else came.path + (f"?{came.query}" if came.query else "")
    return path, request.method, back


def _after(context: ViewContext, incidents: Sequence[Incident]) -> int:
    """The feed starts before the highest number: that incident may have changed while the page was made."""
    return max(1, context.hub.highest_incident(), *(each.incident_id for each in incidents)) - 1


def _summary(count: int, live: int) -> str:
    if not count:
        return "Here stands each Box with its live voltage, frequency and distortion."
    return words.reporting(count, live)


def _clock_words(newest: Measurement | None) -> str:
    if newest is None:
        return "nothing heard yet"
    return f"time by {words.source(newest.source)}, {words.uncertainty(newest.uncertainty_ns)}"


def _float(value: object) -> float | None:
    return value if isinstance(value, float) else None
