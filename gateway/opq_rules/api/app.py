"""The application: all routes over one engine and one plug-in host, without the RequestGuard.

Every refusal is `{"error": code, "message": text}`, with line and column for SQL (docs/reference/rules.md,
A.0).
"""

import re
import time
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from opq_plugins.host.plugins import Plugins
from opq_proto.kit import log
from opq_proto.kit.system_record import SystemIdentity
from opq_rules.api import configurations, queries, rules, server, sets, streams, uploads
from opq_rules.api import plugins as plugin_routes
from opq_rules.api.guard import App, Message, Receive, Send, TooLongError
from opq_rules.engine.engine import Engine
from opq_rules.errors import CONFIGURATION, ENCODING, NOT_FOUND, UNDEFINED, RuleError

REMOVED = {
    r"(/v2|/async)?/data/.*|/async/.*": "use /ruleset/export and /ruleset/import (opq-tools rules)",
    r"/connections.*|/metadata/(connections|.*/connection)/.*": (
        "give the properties to /metadata/{sources,sinks}/{type}/confKeys, and name the key"
    ),
    r"/ruletest.*|/test/.*": "give the rule and its records to opq-tools rules try",
    r"/schemas/.*": "name a built-in message in SCHEMAID, or send JSON",
    r"/rules/[^/]+/trace/.*|/trace/.*": "give a record and the rule to opq-tools rules try",
}
"""Paths of an earlier version, as a regular expression -> what to do instead."""
_OTHERS = {
    400: (ENCODING, "the body cannot be read as JSON"),
    404: (NOT_FOUND, "there is nothing at this path"),
}


def create_app(
    engine: Engine,
    plugins: Plugins,
    stop: Callable[[], None] | None = None,
    refused: Callable[[], int] = lambda: 0,
    system: SystemIdentity | None = None,
) -> FastAPI:
    """The application. `stop` carries out POST /stop (None: refused); `refused` gives a count of refusals;
    `system`: which system answers."""
    app = FastAPI(title="OPQ stream rules", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    add_errors(app)
    app.add_middleware(JsonBodies)
    app.add_middleware(RequestLog)
    app.include_router(server.router(app, engine, plugins, stop, refused, system))
    app.include_router(streams.router(engine))
    app.include_router(rules.router(engine))
    app.include_router(queries.router(engine))
    app.include_router(plugin_routes.router(plugins))
    app.include_router(sets.router(engine, plugins))
    app.include_router(uploads.router(plugins))
    app.include_router(configurations.router(engine, plugins))
    return app


def add_errors(app: FastAPI) -> None:
    """Adds handlers for errors of the engine, for wrong bodies, and for our own bugs."""
    logger = log.get(service="rules-api")

    def on_rule(request: Request, error: Exception) -> Response:
        assert isinstance(error, RuleError)
        return JSONResponse(error.as_json(), error.http)

    def on_body(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"] if each != "body") or "body"
        if first["type"] == "json_invalid":
            why = first.get("ctx", {}).get("error", first["msg"])
            text = f"the body is not JSON: {why} at character {place}"
            return JSONResponse({"error": ENCODING, "message": text}, 400)
        found = f"; found {str(first.get('input'))[:100]!r}" if first["type"] != "missing" else ""
        return JSONResponse({"error": CONFIGURATION, "message": f"{place}: {first['msg']}{found}"}, 400)

    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, text = _OTHERS.get(error.status_code, (UNDEFINED, str(error.detail)))
        if instead := next((REMOVED[path] for path in REMOVED if re.fullmatch(path, request.url.path)), ""):
            text = f"was removed; {instead}"
        refusal = {"error": code, "message": f"{request.method} {request.url.path[:200]}: {text}"}
        return JSONResponse(refusal, error.status_code, error.headers)

    def on_fault(request: Request, error: Exception) -> Response:
        if isinstance(error, TooLongError):
            return Response(status_code=413)
        logger.error("request.failed", method=request.method, path=request.url.path[:200], exc_info=error)
        return JSONResponse({"error": UNDEFINED, "message": "a fault of ours; the log has it"}, 500)

    app.add_exception_handler(RuleError, on_rule)
    app.add_exception_handler(RequestValidationError, on_body)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)


class JsonBodies:
    """Treats every body as JSON: `curl -d`, which eKuiper's users write, sends form data.

    A form of several parts stays a form: a file of POST /config/uploads. Bodies that a web page in a browser
    could send are refused before, by the RequestGuard.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
            kind = next((v for name, v in scope["headers"] if name.lower() == b"content-type"), b"")
            if not kind.lower().startswith(b"multipart/"):
                kind = b"application/json"
            scope = {**scope, "headers": [*headers, (b"content-type", kind)]}
        await self._app(scope, receive, send)


class RequestLog:
    """Logs one line for each request, at level debug."""

    def __init__(self, app: App) -> None:
        self._app, self._log = app, log.get(service="rules-api")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began_s = 0, time.monotonic()

        async def send_noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._log.debug(
                "request.done",
                method=scope["method"],
                path=scope["path"][:200],
                status=status,
                took_ms=round((time.monotonic() - began_s) * 1000, 1),
            )
