"""Errors of `/api/v1` as application/problem+json (RFC 9457): what was wrong, where, and what is allowed."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from opq_cloud.core.service import ServiceCounters
from opq_cloud.export.exported_records import ExportError
from opq_cloud.view.web.dear_work import JobLostError
from opq_cloud.view.web.shares import ClientGoneError, no_answer
from opq_cloud.view.web.visitors import VISITOR
from opq_proto.errors import StoreError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 5
UNTICKED = " This token reads no raw waveforms: make one with “Raw waveforms too” ticked."
log = structlog.get_logger()


class RestProblemError(Exception):
    """A request that is refused, with the reason."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers

    def __reduce__(self) -> tuple[type["RestProblemError"], tuple[object, ...]]:
        """From the process of a job."""
        return type(self), (self.status, self.detail, self.headers)


def problem(
    status: int,
    detail: str,
    path: str,
    errors: Sequence[Mapping[str, object]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer; its `type` is only the status, so `title` is that status in words (RFC 9457, 4.2.1)."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def add_problems(app: FastAPI, counters: ServiceCounters) -> None:
    """Turns every error of `app` into a problem; our own faults are logged, not shown in the answer."""

    def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        ours = isinstance(error, HTTPException)
        text = str(error.detail) if ours else f"There is nothing at this address for {request.method}."
        headers = dict(error.headers or {})
        return problem(error.status_code, text, request.url.path, headers=headers)

    def on_values(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        rows = [
            {
                "where": ".".join(map(str, item["loc"])),
                "message": item["msg"],
                "found": str(item.get("input"))[:100],
                "allowed": {key: str(value) for key, value in item.get("ctx", {}).items() if key != "error"},
            }
            for item in error.errors()[:MAX_ERRORS]
        ]
        text = "; ".join(f"{row['where']}: {str(row['message']).lower()}" for row in rows)
        return problem(400, f"A value cannot be used: {text}.", request.url.path, rows)

    def on_problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RestProblemError)
        return problem(error.status, error.detail, request.url.path, headers=error.headers)

    def on_export(request: Request, error: Exception) -> JSONResponse:
        text = f"{str(error)[:1].upper()}{str(error)[1:]}."
        return problem(404, text + (UNTICKED if VISITOR.get().without_waveforms else ""), request.url.path)

    def on_store(request: Request, error: Exception) -> JSONResponse:
        counters.add("store_errors")
        log.warning("store.unreadable", path=request.url.path, why=str(error))
        return problem(503, "The store cannot be read now.", request.url.path, headers={"Retry-After": "5"})

    def on_lost_job(request: Request, error: Exception) -> JSONResponse:
        return problem(503, f"This was not made: {error}.", request.url.path)

    def on_failure(request: Request, error: Exception) -> JSONResponse:
        counters.add("requests_failed")
        log.error("request.failed", path=request.url.path, exc_info=error)
        return problem(500, "The fault is ours; it is in the log of View.", request.url.path)

    for kind, handler in (
        (StarletteHTTPException, on_http),
        (RequestValidationError, on_values),
        (RestProblemError, on_problem),
        (ExportError, on_export),
        (StoreError, on_store),
        (ClientGoneError, no_answer),
        (JobLostError, on_lost_job),
        (Exception, on_failure),
    ):
        app.add_exception_handler(kind, handler)
