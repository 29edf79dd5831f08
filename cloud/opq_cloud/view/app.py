"""The web application: routes, static files, errors that people can read."""

from pathlib import Path

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from opq_cloud.view.api import Api
from opq_cloud.view.context import ViewContext
from opq_cloud.view.pages import Pages
from opq_cloud.view.status import Status
from opq_cloud.view.stream import HEARTBEAT_S, Stream
from opq_proto.errors import StoreError

log = structlog.get_logger()

NO_PAGES = ("/api/", "/live", "/health", "/metrics", "/static/")
"""Paths whose errors are JSON."""


def create_app(context: ViewContext, heartbeat_s: float = HEARTBEAT_S) -> FastAPI:
    """Without its guard (`guard.Guard`), which the service puts around it."""
    app = FastAPI(title="OPQ View", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = Pages(context)
    app.include_router(pages.router())
    app.include_router(Api(context).router())
    app.include_router(Stream(context.hub, heartbeat_s).router())
    app.include_router(Status(context.counters).router())
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    _add_errors(app, pages, context)
    return app


def _add_errors(app: FastAPI, pages: Pages, context: ViewContext) -> None:
    def answer(request: Request, code: int, text: str) -> Response:
        if request.url.path.startswith(NO_PAGES):
            return JSONResponse({"error": text}, code)
        return pages.error(code, text)

    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        ours = isinstance(error, HTTPException)
        text = error.detail if ours else "There is no page at this address."
        return answer(request, error.status_code, text)

    def on_values(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = [f"{item['loc'][-1]}: {item['msg'].lower()}" for item in error.errors()[:5]]
        return answer(request, 400, f"The address has a value that cannot be used: {'; '.join(told)}.")

    def on_store(request: Request, error: Exception) -> Response:
        context.counters.add("store_errors")
        log.warning("store.unreadable", path=request.url.path, why=str(error))
        return answer(request, 503, f"The store cannot be read now: {error}")

    def on_failure(request: Request, error: Exception) -> Response:
        context.counters.add("requests_failed")
        log.error("request.failed", path=request.url.path, exc_info=error)
        return answer(
            request, 500, "The fault is ours; it is in the log of View, with this time and address."
        )

    app.add_exception_handler(StarletteHTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_values)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(Exception, on_failure)
