"""The gate: identifies the visitor of a request, and refuses visitors who may see nothing.

Pages, API and live feed are for visitors who see something. The pages for signing in, and the routes that
report whether View runs, are for all.
"""

import json
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, quote

import anyio.to_thread
from starlette.requests import Request

from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.web.forms import FORM_TYPE, UPLOAD_TYPE, VISITOR_AGAIN
from opq_cloud.view.web.long_answers import receive_while_allowed
from opq_cloud.view.web.shares import (
    OUTLINES_CPU_S,
    PAGES_AT_ONCE,
    PAGES_OF_ACCOUNT,
    REQUEST_CPU_S,
    REQUEST_SHARE,
    FairShares,
    RequestShare,
    share_key,
)
from opq_cloud.view.web.visitors import (
    NOBODY,
    VISITOR,
    RequestFacts,
    Visitor,
    Visitors,
    visitor_network,
)
from opq_cloud.view.web.web_guard import V1, App, Receive, Scope, Send, send_problem
from opq_proto.errors import StoreError

FOR_ALL = ("/static/", "/theme/", "/health", "/robots.txt")
"""Paths that are answered without identifying the visitor."""
FOR_ALL_IN_TURN = ("/map/outlines.json",)
"""The same for what takes CPU time, which is that of the address."""
METRICS = "/metrics"
"""For programs of this machine, and for visitors who see every Box."""
NO_COUNTERS = (
    "The counters of View name every Box, so they are for administrators and researchers. "
    "A program sends the token of one: Authorization: Bearer opq_… ."
)
TO_SIGN_IN = ("/sign-in", "/first-admin", "/register", "/reset")
"""Pages for visitors who have not signed in."""
FOR_EVERYBODY = ("/feeds", "/share")
"""Pages that are the same for everybody, also for signed-in visitors."""
WITH_REGIONS = ("/map", "/past", "/wall")
"""Pages that also show figures of regions, where no Box itself is public."""
LIVE = ("/live", f"{V1}/live")
"""Feeds, which check their visitors themselves."""
ENDED = b"event: ended\ndata: {}\n\n"
"""The answer to a live feed whose session has ended: an event source does not report why it was refused."""
VisitorOf = Callable[[RequestFacts], Visitor]
NO_PAGE = ("/api/", "/live", "/map/state", "/search/found", METRICS)


class VisitorGate:
    """ASGI middleware inside the guard; sets VISITOR for the request."""

    def __init__(
        self,
        app: App,
        visitors: Visitors,
        unavailable: Callable[[Scope, StoreError], App],
        signed_out: Callable[[Scope], App],
        shares: FairShares,
    ) -> None:
        """`unavailable` answers while the store cannot be read; `signed_out` answers a stranger's forms."""
        self._app = app
        self._shares = shares
        self._visitors = visitors
        self._unavailable = unavailable
        self._signed_out = signed_out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _under(scope["path"], FOR_ALL):
            await self._app(scope, receive, send)
            return
        if _under(scope["path"], FOR_ALL_IN_TURN):
            key = visitor_network(request_facts(scope).address)
            await self._in_share(key, scope, receive, send, sending_s=OUTLINES_CPU_S)
            return
        of_counters = _under(scope["path"], (METRICS,))
        if of_counters and request_facts(scope).is_local:
            await self._app(scope, receive, send)
            return
        try:
            visitor_of = (
                self._visitors.anonymous if _under(scope["path"], FOR_EVERYBODY) else self._visitors.of
            )
            facts = request_facts(scope)
            identify = partial(self._identified, visitor_of, facts)
            visitor = await identify()
        except StoreError as error:
            if _under(scope["path"], (V1,)):
                await send_problem(send, 503, "The store cannot be read now.", scope["path"])
                return
            await self._unavailable(scope, error)(scope, receive, send)
            return
        path = scope["path"]
        if not visitor.identified and (of_counters or (_under(path, NO_PAGE) and facts.bearer_token)):
            await _refuse(scope, send)
            return
        if of_counters and not visitor.may(Action.READ_COUNTERS):
            await _send(send, 403, b"application/json", json.dumps({"error": NO_COUNTERS}).encode())
            return
        regions = bool(visitor.regional) and _under(path, WITH_REGIONS)
        shown = visitor.sees_something or regions or of_counters
        if not (shown or _under(path, (*TO_SIGN_IN, *FOR_EVERYBODY))):
            if _is_form(scope, facts) and not _under(path, NO_PAGE):
                token = VISITOR.set(visitor)
                try:
                    answer = self._signed_out(scope)
                finally:
                    VISITOR.reset(token)
                await answer(scope, receive, send)
            else:
                await _refuse(scope, send)
            return
        if scope["method"] == "POST":
            scope[VISITOR_AGAIN] = partial(visitor_of, facts)
        elif not _under(path, LIVE):
            receive = receive_while_allowed(receive, identify, visitor)
        token = VISITOR.set(visitor)
        try:
            at_once = PAGES_AT_ONCE if visitor.account is None else PAGES_OF_ACCOUNT
            await self._in_share(share_key(visitor), scope, receive, send, at_once)
        finally:
            VISITOR.reset(token)

    async def _identified(self, visitor_of: VisitorOf, facts: RequestFacts) -> Visitor:
        found = self._visitors.at_once(facts)
        return found if found is not None else await anyio.to_thread.run_sync(visitor_of, facts)

    async def _in_share(
        self,
        key: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        at_once: int = PAGES_AT_ONCE,
        sending_s: float = 0.0,
    ) -> None:
        """Answers while whose request this is has CPU time. `sending_s`: what a large answer costs outside of
        its thread.
        """
        shares = self._shares
        shares.charge(key, REQUEST_CPU_S)
        wait_s = shares.wait_s(key)
        if wait_s:
            words, again = await shares.refuse(key), (b"retry-after", str(wait_s).encode())
            if _under(scope["path"], (V1,)):
                await send_problem(send, 429, words.strip(), scope["path"], again)
            else:
                await _send(send, 429, b"text/plain; charset=utf-8", words.encode(), again)
            return
        shares.charge(key, sending_s)
        gone, reads = Request(scope, receive).is_disconnected, scope["method"] in ("GET", "HEAD")
        token = REQUEST_SHARE.set(RequestShare(shares, key, gone, at_once, reads))
        try:
            await self._app(scope, receive, send)
        finally:
            REQUEST_SHARE.reset(token)


def request_facts(scope: Scope) -> RequestFacts:
    """The headers and the address of a request; where a header is sent twice, the last one counts."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    peer = scope.get("client")
    return RequestFacts(headers, peer[0] if peer else "")


def current_visitor() -> Visitor:
    """The visitor of the request that is being answered."""
    return VISITOR.get(NOBODY)


def _under(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root.rstrip('/')}/") for root in roots)


def _is_form(scope: Scope, facts: RequestFacts) -> bool:
    return scope["method"] == "POST" and facts.headers.get("content-type", "").startswith(
        (FORM_TYPE, UPLOAD_TYPE)
    )


async def _refuse(scope: Scope, send: Send) -> None:
    path, query = scope["path"], scope.get("query_string", b"").decode("latin-1")
    if path == "/live" and "feed" in parse_qs(query):
        await _send(send, 200, b"text/event-stream", ENDED)
        return
    if _under(path, NO_PAGE) or scope["method"] not in ("GET", "HEAD"):
        text = "Sign in, or send a token: Authorization: Bearer opq_… ."
        if any(name == b"authorization" for name, _ in scope["headers"]):
            text = "This token is not valid: it has ended, was withdrawn, or is not complete."
        if _under(path, (V1,)):
            await send_problem(send, 401, text, path, (b"www-authenticate", b"Bearer"))
            return
        error = json.dumps({"error": text}).encode()
        await _send(send, 401, b"application/json", error, (b"www-authenticate", b"Bearer"))
        return
    wanted = quote(path + (f"?{query}" if query else ""), safe="")
    where = f"/sign-in?next={wanted}" if path != "/" else "/sign-in"
    await send(
        {
            "type": "http.response.start",
            "status": 303,
            "headers": [(b"location", where.encode()), (b"cache-control", b"no-store")],
        }
    )
    await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    whole = [(b"content-type", kind), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": whole})
    await send({"type": "http.response.body", "body": body})
