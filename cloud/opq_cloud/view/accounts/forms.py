"""Forms: reads what a browser sends, checks that it comes from our pages, and redirects afterwards.

A form is accepted if it was made for this browser (a token bound to its session, or to a cookie of its own
before signing in) and comes from one of our pages (Origin, Sec-Fetch-Site; `guard.py`).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.to_thread
from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import ClientDisconnect

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.accounts.visitors import SESSION_COOKIE, VISITOR, Visitor
from opq_proto.kit.plain_text import one_line

_ENCODED_SLASH = re.compile("%(2f|5c)", re.IGNORECASE)
_ENCODED_CONTROL = re.compile("%([01][0-9a-f]|7f)", re.IGNORECASE)

MAX_FORM_BYTES = 16_384
MAX_FIELDS = 64
FORM_TYPE = "application/x-www-form-urlencoded"
AT_ONCE, MAX_WAITING = 4, 64
"""Forms of visitors without a session: so many run at once and so many wait, each for a password's 30 ms."""
BUSY, BUSY_S = "Many are signing in at this moment. Try again in a few seconds.", 5
BROKEN_OFF = "The form did not come whole."
SIGNED_OUT = "You are not signed in now, so what you sent was not done. Sign in, then send it again."
EXPIRED = "This form was made for another session. Go back, reload the page, and send it again."


class SentForm:
    """The fields of one form, as text without control characters."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields as they were sent."""
        return self._fields

    def text(self, name: str, most: int = 200) -> str:
        """The field as one line; empty where absent. HTTPException 400 when longer than `most`."""
        found = one_line(self._fields.get(name, ""))
        if len(found) > most:
            raise HTTPException(
                400,
                f"{name} has {len(found)} characters; want {most} or fewer.",
            )
        return found

    def secret(self, name: str) -> str:
        """A password, exactly as typed."""
        return self._fields.get(name, "")

    def checked(self, name: str) -> bool:
        return name in self._fields


Handler = Callable[[Request, Visitor, SentForm], Response]
VISITOR_AGAIN = "opq.visitor_again"
"""Under this name the gate leaves in a request's scope a function that identifies its visitor again."""


async def visitor_after_body(request: Request) -> Visitor:
    """The visitor after the body was read: it may take minutes, and the session or the role end meanwhile."""
    again = request.scope.get(VISITOR_AGAIN)
    visitor: Visitor = VISITOR.get() if again is None else await anyio.to_thread.run_sync(again)
    VISITOR.set(visitor)
    return visitor


class FormPlaces:
    """Runs only a few answers to visitors without a session at once, so that other pages have threads."""

    def __init__(self, counters: ServiceCounters) -> None:
        self._counters = counters
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._taken = 0

    async def run(self, answer: Callable[[], Response]) -> Response:
        """Runs `answer` in a thread when its turn comes. HTTPException 503 where too many already wait."""
        if self._taken >= AT_ONCE + MAX_WAITING:
            self._counters.add("sign_ins_refused")
            raise HTTPException(503, BUSY, {"Retry-After": str(BUSY_S)})
        self._taken += 1
        try:
            return await anyio.to_thread.run_sync(answer, limiter=self._limiter)
        finally:
            self._taken -= 1


async def read_form(request: Request) -> SentForm:
    """Reads the form of a request. Raises HTTPException 413, 415 or 400 with the reason."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise HTTPException(415, f"A form is sent as {FORM_TYPE}.")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise HTTPException(413, f"A form has {MAX_FORM_BYTES} bytes at most.")
    except ClientDisconnect:
        raise HTTPException(400, BROKEN_OFF) from None
    try:
        rows = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "This is no form.") from error
    return SentForm(dict(rows))


def form_route(
    handler: Handler, places: FormPlaces | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a POST: reads the form, checks its token, then runs `handler` in a thread.

    With `places`, visitors who are not signed in may send the form; with None they are refused.
    """

    async def endpoint(request: Request) -> Response:
        if places is None and not VISITOR.get().session_hash:
            raise HTTPException(401, SIGNED_OUT)
        form = await read_form(request)
        visitor = await visitor_after_body(request)
        if places is None and not visitor.session_hash:
            raise HTTPException(401, SIGNED_OUT)
        if not visitor.accepts_form(form.text("form_token")):
            raise HTTPException(403, EXPIRED)
        if places is not None:
            return await places.run(partial(handler, request, visitor, form))
        return await anyio.to_thread.run_sync(handler, request, visitor, form)

    endpoint.__name__ = getattr(handler, "__name__", "form")
    return endpoint


def own_path(text: str, otherwise: str = "/") -> str:
    """A path of our own to redirect to; a text that could lead elsewhere becomes `otherwise`.

    A proxy or a browser may decode the path before it follows it, so an encoded slash or backslash in it is
    refused, and an encoded control character anywhere.
    """
    if not text.startswith("/") or text.startswith("//") or len(text) > 1000:
        return otherwise
    if any(character in " \\" or not character.isprintable() for character in text):
        return otherwise
    try:
        parts = urlsplit(text)
    except ValueError:
        return otherwise
    path = parts.path
    while "%25" in path:
        path = path.replace("%25", "%")
    if parts.scheme or parts.netloc or _ENCODED_SLASH.search(path) or _ENCODED_CONTROL.search(path + text):
        return otherwise
    return text


def end_in_browser(answer: Response) -> Response:
    """Deletes the cookie of the session, and the pages that Back would show again on a shared computer."""
    answer.delete_cookie(SESSION_COOKIE)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def see_other(path: str) -> RedirectResponse:
    """The answer to a form: redirects to the page to show now."""
    return RedirectResponse(path, 303)
