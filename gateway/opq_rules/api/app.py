"""The application: all routes over one engine and one plug-in host, without the RequestGuard.

Every refusal is `{"error": code, "message": text}`, with line and column for SQL (docs/reference/rules.md,
A.0).
"""

import importlib.metadata
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from opq_plugins.host.plugins import Plugins
from opq_proto.kit import log
from opq_proto.kit.system_record import SystemIdentity
from opq_rules.api import configurations, queries, rules, service_routes, sets, streams, uploads
from opq_rules.api import plugins as plugin_routes
from opq_rules.api.guard import App, Message, Receive, Send, TooLongError
from opq_rules.api.routing import Json, RequestThreads, openapi
from opq_rules.engine.engine import Engine
from opq_rules.errors import ENCODING, NOT_FOUND, UNDEFINED, RuleError

_OTHERS = {
    400: (ENCODING, "the body cannot be read as JSON"),
    404: (NOT_FOUND, "this path is not known"),
}


def create_app(
    engine: Engine,
    plugins: Plugins,
    stop: Callable[[], None] | None = None,
    refused: Callable[[], int] = lambda: 0,
    system: SystemIdentity | None = None,
) -> Starlette:
    """The application. `stop` carries out POST /stop (None: refused); `refused` gives a count of refusals;
    `system`: which system answers."""
    app = Starlette()
    add_errors(app)
    app.add_middleware(RequestLog)
    operations = [
        operation
        for routes in (
            service_routes.routes_of(app, engine, plugins, stop, refused, system),
            streams.routes_of(engine, "stream"),
            streams.routes_of(engine, "table"),
            rules.routes_of(engine),
            queries.routes_of(engine),
            plugin_routes.routes_of(plugins),
            sets.routes_of(engine, plugins),
            uploads.routes_of(plugins),
            configurations.routes_of(engine, plugins),
        )
        for operation in routes.operations
    ]
    threads = RequestThreads()
    app.router.routes.extend(operation.route(threads) for operation in operations)

    async def described(request: Request) -> Response:
        return Json(openapi("OPQ stream rules", importlib.metadata.version("opq-toolkit"), operations))

    app.add_route("/openapi.json", described)
    return app


def add_errors(app: Starlette) -> None:
    """Adds handlers for errors of the engine, for unknown paths, and for our own bugs."""
    logger = log.get(service="rules-api")

    async def on_rule(request: Request, error: Exception) -> Response:
        assert isinstance(error, RuleError)
        return Json(error.as_json(), error.http)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, text = _OTHERS.get(error.status_code, (UNDEFINED, str(error.detail)))
        refusal = {"error": code, "message": f"{request.method} {request.url.path[:200]}: {text}"}
        return Json(refusal, error.status_code, error.headers)

    async def on_fault(request: Request, error: Exception) -> Response:
        if isinstance(error, TooLongError):
            return Response(status_code=413)
        logger.error("request.failed", method=request.method, path=request.url.path[:200], exc_info=error)
        return Json({"error": UNDEFINED, "message": "an error of this server; see its log"}, 500)

    app.add_exception_handler(RuleError, on_rule)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)


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
