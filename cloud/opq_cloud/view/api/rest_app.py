"""`/api/v1` as a separate application: its routes, its OpenAPI, a page that explains it, its errors.

It is mounted in View, inside its guard and its gate. The pages' scripts read it, too.
"""

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from opq_cloud.view.api.answers import RequestLimits, refuse_unknown_values
from opq_cloud.view.api.box_routes import BoxRoutes
from opq_cloud.view.api.charted import ChartedRoutes
from opq_cloud.view.api.event_routes import EventRoutes
from opq_cloud.view.api.exporting import ExportRoutes
from opq_cloud.view.api.incident_routes import IncidentRoutes
from opq_cloud.view.api.interval_routes import IntervalRoutes
from opq_cloud.view.api.ordering import InjectionRoutes, RequestRoutes
from opq_cloud.view.api.problems import MEDIA_TYPE, RestProblemError, add_problems
from opq_cloud.view.api.report_routes import ReportRoutes
from opq_cloud.view.api.shapes import ProblemShape
from opq_cloud.view.api.site_joins import SiteJoinRoutes
from opq_cloud.view.api.work_routes import WorkRoutes
from opq_cloud.view.live.filter import RATES, REGION_CHARACTERS
from opq_cloud.view.pages.routes import PageParts

PREFIX = "/api/v1"
DESCRIPTION = """Boxes, Measurements, trends, events, waveforms, incidents, findings and exports of View.

Send `Authorization: Bearer opq_…`, a token of the page Account. Lists have `items` and `next`: send it as
`cursor` until it is null. Answers have an ETag; send it as If-None-Match. Errors are
application/problem+json."""
LIVE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
FAILURES = (400, 401, 404, 405, 414, 429, 501, 503)
PageOf = Callable[..., HTMLResponse]
Live = Callable[[Request], Awaitable[Response]]


class RestApp:
    """Makes the application at its first request, so that View starts sooner."""

    def __init__(self, parts: PageParts, page_of: PageOf, live: Live) -> None:
        self._of = (parts, page_of, live)

    @cached_property
    def _made(self) -> FastAPI:
        return create_rest(*self._of)

    @property
    def routes(self) -> list[BaseRoute]:
        return self._made.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._made(scope, receive, send)


def create_rest(parts: PageParts, page_of: PageOf, live: Live) -> FastAPI:
    """The application for PREFIX; `page_of` renders a template of View, `live` answers with the feed."""
    context, services = parts.context, parts.services
    limits = RequestLimits(services.counters)
    problems: dict[int | str, dict[str, Any]] = {
        code: {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemShape"}}}}
        for code in FAILURES
    }
    app = FastAPI(
        title="OPQ View",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        responses=problems,
        dependencies=[Depends(limits.request), Depends(refuse_unknown_values)],
        servers=[{"url": f"{services.visitors.config.base_path}{PREFIX}"}],
        root_path_in_servers=False,
    )
    app.include_router(BoxRoutes(context).router())
    app.include_router(IntervalRoutes(context).router())
    app.include_router(EventRoutes(context, services).router())
    app.include_router(IncidentRoutes(context).router())
    app.include_router(ChartedRoutes(context).router())
    app.include_router(ExportRoutes(context, parts.jobs, limits).router())
    app.include_router(ReportRoutes(parts.report_jobs, limits).router())
    app.include_router(RequestRoutes(services, parts.requests).router())
    app.include_router(InjectionRoutes(services).router())
    app.include_router(WorkRoutes(context, services).router())
    app.include_router(SiteJoinRoutes(parts.accounts, parts.joining).router())
    _add_live(app, live)
    _add_page(app, page_of)
    add_problems(app, services.counters)
    _complete_openapi(app)
    return app


def _add_live(app: FastAPI, live: Live) -> None:
    async def feed(
        request: Request,
        box: Annotated[str | None, Query(min_length=1, examples=["1,4"])] = None,
        region: Annotated[str | None, Query(min_length=1, max_length=REGION_CHARACTERS)] = None,
        rate: Annotated[float | None, Query(ge=RATES[0], le=RATES[1])] = None,
        after: Annotated[str | None, Query(description="as the header Last-Event-ID")] = None,
    ) -> Response:
        """Measurements and incidents as they come: of Boxes (`1,4`), of a region, `rate` a second of each."""
        answer = await live(request)
        if answer.status_code < 400:
            return answer
        again = {"Retry-After": answer.headers["Retry-After"]}
        raise RestProblemError(answer.status_code, bytes(answer.body).decode().strip(), again)

    app.add_api_route("/live", feed, response_class=Response, responses=LIVE_ANSWER)


def _add_page(app: FastAPI, page_of: PageOf) -> None:
    def docs() -> HTMLResponse:
        return page_of("api_docs.html", here="api", api=app.openapi(), prefix=PREFIX, allowed=allowed_words)

    app.add_api_route("/docs", docs, response_class=HTMLResponse, include_in_schema=False)


def allowed_words(schema: dict[str, Any]) -> str:
    """The allowed values in words: `1 to 200`, `csv, json or parquet`."""
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    schema = {**schema, **kinds[0]} if kinds else schema
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if "pattern" in schema:
        examples = schema.get("examples")
        return f"a text such as {examples[0]}" if examples else "a text of its form"
    if schema.get("type") == "array":
        return "several, each as name=value"
    longest = schema.get("maxLength")
    return f"a text of up to {longest} characters" if longest else str(schema.get("type", "a text"))


def _complete_openapi(app: FastAPI) -> None:
    """Adds what FastAPI does not know: how to sign in, the shape of problems, that a wrong value is 400."""
    made = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            whole = made()
            parts = whole.setdefault("components", {})
            parts.setdefault("schemas", {})["ProblemShape"] = ProblemShape.model_json_schema()
            parts["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "opq_…"}
            }
            whole["security"] = [{"token": []}, {}]
            for ways in whole["paths"].values():
                for way in ways.values():
                    way["responses"].pop("422", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]
