"""Checks every request for host, method and length, and adds headers to every answer.

The Host check stops DNS rebinding: without it, a foreign page that resolves its own name to 127.0.0.1 could
read a View on loopback (the browser sends that page's host name as Host).
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.routing import Mount, compile_path

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.web.base_path import stripped, with_base
from opq_proto.errors import ConfigError
from opq_proto.kit.http_server import every_address, has_two_lengths
from opq_proto.kit.origin_guard import LOOPBACK_NAMES, host_name, named_host, page_refusal
from opq_proto.kit.plain_text import composed

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FORMS = re.compile(
    r"/(sign-in|sign-out|examine|first-admin|register|reset(/new)?|account/.+|admin/.+"
    r"|api/v1/boxes/[^/]+/waveforms|api/v1/injections|api/v1/site-joins|api/v1/incidents/[^/]+/work"
    r"|boxes/[^/]+/(settings|share|claim-code|release|waveforms)|incidents/work"
    r"|incidents/[^/]+/(note|label|split|merge|work|seen))"
)
"""Paths that accept a POST: forms, and requests with a token that has the scope `write` or `sites`."""
V1 = "/api/v1"
"""Errors under this path are problem documents."""
MAX_TARGET_BYTES = 2048
"""Path and query of a request together."""
MAX_HEAD_BYTES = 16_384
"""Names and values of its headers together."""

TWO_LENGTHS = "A request has a Content-Length or a Transfer-Encoding, not both.\n"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_ESCAPED = re.compile(r"[A-Za-z]?(?:%[0-9A-Fa-f]{2})+")
ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})
STAY_WITH_TLS = (b"strict-transport-security", b"max-age=31536000")
"""Source: RFC 6797."""


def listen_address(endpoint: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8888`, `[::1]:8888`, `tcp://*:8888`, `http://…`."""
    text = endpoint.partition("://")[2] or endpoint
    host, _, port = text.rstrip("/").rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"view.http_endpoint is {endpoint!r}; want host:port, e.g. 127.0.0.1:8888")
    host = host.strip("[]")
    return (every_address() if host in ("", "*") else host), int(port)


def allowed_hosts(config: ViewSection) -> frozenset[str]:
    """On loopback its names; on one address that too; on all addresses any name, unless configured.

    The name of `public_url` is always allowed.
    """
    host, public = listen_address(config.http_endpoint)[0], urlsplit(config.public_url or "").hostname
    if not config.allowed_hosts and host in ALL_ADDRESSES:
        return frozenset({"*"})
    return LOOPBACK_NAMES | frozenset(config.allowed_hosts or (host,)) | ({public} if public else frozenset())


def _composed_part(part: re.Match[str]) -> str:
    """Letters of a query that may be written in two characters, in one: names that look equal are equal."""
    plain = unquote(part[0], errors="surrogateescape")
    found = composed(plain)
    return part[0] if found == plain else quote(found, safe="", errors="surrogateescape")


async def send_problem(
    send: Send, status: int, detail: str, path: str, *headers: tuple[bytes, bytes]
) -> None:
    """Sends a refusal under `/api/v1` before its routes are reached (RFC 9457, like `rest.problems`)."""
    title = HTTPStatus(status).phrase
    facts = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": path}
    kind = ((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": json.dumps(facts).encode()})


class ViewGuard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: App,
        allowed_hosts: Iterable[str],
        over_tls: bool = False,
        counters: ServiceCounters | None = None,
        base_path: str = "",
    ) -> None:
        """`allowed_hosts`: names without port; `*` allows all. `over_tls`: browsers must stay with TLS.

        `base_path`: of another site, below which View is.
        """
        self._base_path = base_path
        self._counters = counters or ServiceCounters()
        self._app = app
        self._headers = (*HEADERS, STAY_WITH_TLS) if over_tls else HEADERS
        self._allowed = frozenset(filter(None, map(named_host, allowed_hosts)))
        self._routes = tuple(_methods_by_path(getattr(app, "routes", ())))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope.get("query_string", b"")
        if b"%" in query or not scope["path"].isascii():
            scope = {
                **scope,
                "path": composed(scope["path"]),
                "query_string": _ESCAPED.sub(_composed_part, query.decode("latin-1")).encode("latin-1"),
            }
        if self._base_path:
            scope = stripped(scope, self._base_path)
        refusal = self._refusal(scope)
        if refusal is not None:
            status, text = refusal
            more = [(b"connection", b"close")] if text == TWO_LENGTHS else []
            if status == 405:
                more.append((b"allow", self._methods_of(scope["path"]).encode()))
            if scope["path"].startswith(f"{V1}/"):
                await send_problem(send, status, text.strip(), scope["path"], *more, *HEADERS)
                return
            headers = [(b"content-type", b"text/plain; charset=utf-8"), *more, *HEADERS]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})
            return

        async def send_with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                extra = [item for item in self._headers if item[0] not in given]
                if b"cache-control" not in given:
                    extra.append((b"cache-control", b"no-cache"))
                headers = [*message["headers"], *extra]
                host = next((value for name, value in scope["headers"] if name == b"host"), b"")
                message["headers"] = with_base(headers, self._base_path, host)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _methods_of(self, path: str) -> str:
        """The methods that a path answers; GET and HEAD where no route has this path."""
        found = {each for pattern, methods in self._routes if pattern.fullmatch(path) for each in methods}
        more = {"HEAD"} if "GET" in found else set()
        return ", ".join(sorted(found | more)) or "GET, HEAD"

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if has_two_lengths([name for name, _ in scope["headers"]]):
            self._counters.add("requests_malformed")
            return 400, TWO_LENGTHS
        if scope["method"] not in ("GET", "HEAD"):
            if scope["method"] != "POST" or not FORMS.fullmatch(scope["path"]):
                return 405, f"This address only answers {self._methods_of(scope['path'])}.\n"
            refusal = foreign_page(scope)
            if refusal is not None:
                return 403, f"{refusal}\n"
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > MAX_TARGET_BYTES:
            return 414, f"The address is longer than {MAX_TARGET_BYTES} bytes.\n"
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
            self._counters.add("requests_malformed")
            return 431, f"The headers are longer than {MAX_HEAD_BYTES} bytes together.\n"
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if "*" not in self._allowed and (len(hosts) != 1 or host_name(hosts[0]) not in self._allowed):
            return 400, (
                "View does not answer under this host name. Use http://127.0.0.1 or http://localhost, "
                "or name this host in [view] allowed_hosts of the cloud's configuration.\n"
            )
        return None


def _methods_by_path(
    routes: Iterable[object], prefix: str = ""
) -> Iterator[tuple[re.Pattern[str], frozenset[str]]]:
    """The pattern of each route's path, and its methods; also of mounted applications."""
    for route in routes:
        inner = getattr(route, "original_router", None)  # of newer versions of FastAPI
        if inner is not None:
            yield from _methods_by_path(inner.routes, prefix)
        if isinstance(route, Mount):
            yield from _methods_by_path(route.routes, prefix + route.path)
        methods = getattr(route, "methods", None)
        if methods:
            yield compile_path(prefix + getattr(route, "path", ""))[0], frozenset(methods)


def foreign_page(scope: Scope) -> str | None:
    """Why a form is refused as another site's; None where it comes from a page of ours, or from no page."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return page_refusal(headers, on_loopback=False)
