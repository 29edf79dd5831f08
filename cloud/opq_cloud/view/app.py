"""The web application: routes, static files, `/health`, `/metrics`, error pages in plain words.

`/health` follows the original's contract (docs/reference/opq-interop.md F.4), `/metrics` is Prometheus text.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Match

from opq_cloud.core.page_parts import parts_failed
from opq_cloud.core.service import HealthReport
from opq_cloud.view.api.rest_app import PREFIX, RestApp
from opq_cloud.view.live.route import HEARTBEAT_S, LiveRoute
from opq_cloud.view.pages.drawing.rendering import PageRenderer
from opq_cloud.view.pages.routes import page_parts, page_routes
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.base_path import BasePathBodies, Scope
from opq_cloud.view.web.dear_work import JobLostError
from opq_cloud.view.web.forms import SIGNED_OUT, see_other
from opq_cloud.view.web.gate import VisitorGate
from opq_cloud.view.web.shares import ClientGoneError, FairShares, no_answer
from opq_cloud.view.web.visitors import UNKNOWN, VISITOR, RequestFacts, Visitor
from opq_proto.errors import StoreError
from opq_proto.kit.system_record import ID_HEADER

log = structlog.get_logger()

NO_PAGES = (
    "/api/",
    "/live",
    "/health",
    "/metrics",
    "/static/",
    "/map/state",
    "/map/outlines.json",
    "/feeds/",
    "/search/found",
)
"""Paths whose errors are JSON."""
MIN_COMPRESSED_BYTES = 1000
COMPRESSION_LEVEL = 5
"""Takes a third of the time of level 9, for 2 % more bytes."""
ROBOTS = "User-agent: *\n" + "".join(
    f"Disallow: {path}\n" for path in ("/past", "/api/", "/live", "/search", "/account", "/admin")
)
"""Crawlers stay away from pages whose links never end, such as earlier and later spans of `/past`."""
METRIC_TEXTS = {
    "measurements": "Measurements read from the triggering broker",
    "measurements_late": "Measurements older than one that was shown already",
    "malformed": "Messages that could not be read",
    "bus_messages": "Messages read from Mauka's bus",
    "incidents_told": "Incidents, new or changed, sent to the open pages",
    "live_dropped": "Messages that a slow page did not get",
    "clients": "Pages that have opened the live feed",
    "clients_now": "Pages that have the live feed open now",
    "clients_refused": "Pages beyond the limit of live feeds",
    "clients_refused_of_address": "Pages beyond the limit of live feeds of one address or account",
    "clients_displaced": "Live feeds that ended to make room for a visitor who has fewer, or signed in",
    "maps_refused": "Seconds without a state for a map, because there were too many different maps",
    "boxes_refused": "Boxes beyond the limit",
    "store_errors": "Reads of the store that failed",
    "requests_failed": "Requests that ended in an error of ours",
    "requests_beyond_share": "Requests of visitors who had used their share of CPU time",
    "work_refused": "Reports, verdicts, exports and recordings for which there was no place",
    "pages_refused": "Requests beyond the pages of one visitor that may wait",
    "requests_limited": "Requests of programs that came too fast",
    "requests_malformed": "Requests with headers above 16 kB, or with two lengths of one body",
    "sign_ins_refused": "Forms of visitors without a session that were refused because too many came at once",
    "mails_sent": "Mails that the SMTP server accepted",
    "mails_failed": "Mails that the SMTP server refused",
    "mails_dropped": "Mails beyond the limit of waiting ones",
}


def create_app(services: ViewServices, heartbeat_s: float = HEARTBEAT_S) -> FastAPI:
    """The application without its guard (`guard.ViewGuard`), which the service puts around it."""
    app = FastAPI(title="OPQ View", docs_url=None, redoc_url=None, openapi_url=None)
    parts = page_parts(services)
    context, render = parts.context, parts.renderer.render
    live = LiveRoute(
        services.hub,
        services.visitors,
        lambda region: context.regions().get(region, ()),
        parts.maps,
        context.incident_messages,
        heartbeat_s,
    )
    app.include_router(live.router())
    app.mount(PREFIX, RestApp(parts, render, live.live), name="rest")
    app.include_router(StatusRoutes(services).router())
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.router.routes.extend(page_routes(parts))  # FastAPI asks a router that it includes twice
    base_path = services.visitors.config.base_path
    if base_path:
        app.add_middleware(BasePathBodies, base=base_path)
    app.add_middleware(  # from starlette 0.46 on, it leaves /live unchanged
        GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=COMPRESSION_LEVEL
    )
    on_store, on_form = _add_errors(app, parts.renderer, services)
    app.add_middleware(
        VisitorGate,
        visitors=services.visitors,
        unavailable=on_store,
        signed_out=on_form,
        shares=FairShares(services.counters),
    )
    return app


def _add_errors(
    app: FastAPI, pages: PageRenderer, services: ViewServices
) -> tuple[Callable[[Scope, StoreError], Response], Callable[[Scope], Response]]:
    """Returns the gate's answers: to an unreadable store, and to forms of visitors without a session."""

    def answer(request: Request, code: int, text: str) -> Response:
        if request.url.path.startswith(NO_PAGES):
            return JSONResponse({"error": text}, code)
        return pages.error(code, text, request)

    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        reads = request.method in ("GET", "HEAD") and not request.url.path.startswith(NO_PAGES)
        if error.status_code == 405 and reads:  # the address of a form that was loaded again
            return see_other(page_of_form(app.router.routes, request.url.path))
        ours = isinstance(error, HTTPException)
        text = error.detail if ours else "There is no page at this address."
        if not ours and request.url.path.startswith("/api/"):
            text = f"There is nothing at this address. The API is below {PREFIX}; {PREFIX}/docs explains it."
        made = answer(request, error.status_code, text)
        if ours and error.headers:
            made.headers.update(error.headers)
        return made

    def on_values(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = [f"{item['loc'][-1]}: {item['msg'].lower()}" for item in error.errors()[:5]]
        return answer(
            request,
            400,
            f"The address has a value that cannot be used: {'; '.join(problems)}.",
        )

    def on_store(request: Request, error: Exception) -> Response:
        services.counters.add("store_errors")
        log.warning("store.unreadable", path=request.url.path, why=str(error))
        return answer(request, 503, unavailable_words(error, services.visitor))

    def on_gate(scope: Scope, error: StoreError) -> Response:
        """The visitor is not known, so the page shows nothing about accounts."""
        token = VISITOR.set(UNKNOWN)
        try:
            return on_store(Request(scope), error)
        finally:
            VISITOR.reset(token)

    def on_lost_job(request: Request, error: Exception) -> Response:
        return answer(request, 503, f"This page was not made: {error}.")

    def on_failure(request: Request, error: Exception) -> Response:
        services.counters.add("requests_failed")
        log.error("request.failed", path=request.url.path, exc_info=error)
        return answer(
            request, 500, "The fault is ours; it is in the log of View, with this time and address."
        )

    app.add_exception_handler(StarletteHTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_values)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(ClientGoneError, no_answer)
    app.add_exception_handler(JobLostError, on_lost_job)
    app.add_exception_handler(Exception, on_failure)
    return on_gate, lambda scope: answer(Request(scope), 401, SIGNED_OUT)


def page_of_form(routes: Sequence[BaseRoute], path: str) -> str:
    """The page above a form's address: it holds the form, or leads to it."""
    if path.startswith("/admin/invitations"):
        return "/admin/accounts"
    while path := path.rpartition("/")[0]:
        scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
        if any(route.matches(scope)[0] == Match.FULL for route in routes):
            return path
    return "/"


def unavailable_words(error: Exception, visitor: Visitor) -> str:
    """States the reason only to administrators and an open page: it may name files and hosts."""
    whole = visitor.sees_administration or (visitor.everything and not visitor.accounts_in_use)
    return f"The store cannot be read now: {error}" if whole else "The store cannot be read now."


MEASURED_BOXES = 1000
"""Most Boxes in the metrics; further ones are left out."""


class StatusRoutes:
    """`/health` and `/metrics`; the counters are those of the service."""

    def __init__(self, services: ViewServices) -> None:
        self._services, self._counters = services, services.counters
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/health", self.health)
        router.add_api_route("/metrics", self.metrics)
        router.add_api_route("/robots.txt", self.robots)
        return router

    def health(self, request: Request) -> JSONResponse:
        """Names the system that answers to this machine, and to clients that know its id."""
        facts = RequestFacts(dict(request.headers), request.client.host if request.client else "")
        system = self._services.addresses.system
        header = request.headers.get(ID_HEADER)
        named = {} if system is None else system.shown_to(facts.from_this_machine, header)
        return JSONResponse({**HealthReport("view", ok=True).as_json(), **named})

    def robots(self) -> Response:
        return Response(ROBOTS, media_type="text/plain")

    def metrics(self) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yields the metrics; prometheus_client calls this on every scrape."""
        counts = self._counters.snapshot()
        for name, text in METRIC_TEXTS.items():
            rows = counts.get(name, {"": 0})
            labels = ["what"] if any(rows) else []
            kind = GaugeMetricFamily if name.endswith("_now") else CounterMetricFamily
            family = kind(f"opq_view_{name}", text, labels=labels)
            for what, value in rows.items():
                family.add_metric([what] if labels else [], value)
            yield family
        yield self._measured()
        failed = CounterMetricFamily("opq_view_parts_failed", "Parts of pages and reports that failed")
        failed.add_metric([], parts_failed())
        yield failed

    def _measured(self) -> GaugeMetricFamily:
        text = "measured share of the samples of the last hour and day, by Box"
        family = GaugeMetricFamily("opq_view_measured_share", text, labels=["box", "span"])
        expected = self._services.expected_boxes()
        for box_id, found in self._services.availability.of(expected[:MEASURED_BOXES]).items():
            for span, share in found.shares:
                if share is not None:
                    family.add_metric([box_id, span], share)
        return family
