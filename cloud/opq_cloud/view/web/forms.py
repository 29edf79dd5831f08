"""Forms: reads what a browser sends, checks that it comes from our pages, and redirects afterwards.

Starlette and python-multipart parse it, within the limits that are given here. A file's name is never used
as a path: what is stored is named by its content. A form is accepted if it was made for this browser (a token
bound to its session, or to a cookie of its own before signing in) and comes from one of our pages (Origin,
Sec-Fetch-Site; `web_guard.py`).
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.web.shares import REQUEST_SHARE, in_thread, pause_refusal
from opq_cloud.view.web.visitors import SESSION_COOKIE, VISITOR, Visitor
from opq_proto.kit.plain_text import one_line

_ENCODED_SLASH = re.compile("%(2f|5c)", re.IGNORECASE)
_ENCODED_CONTROL = re.compile("%([01][0-9a-f]|7f)", re.IGNORECASE)

MAX_FORM_BYTES = 16_384
"""The limit of all fields together; files have their own."""
MAX_FIELDS = 64
FORM_TYPE = "application/x-www-form-urlencoded"
"""Media type of a form without files."""
UPLOAD_TYPE = "multipart/form-data"
"""Media type of a form with files."""
FORMS_AT_ONCE = 4
"""Forms of visitors without a session that run at once; a password takes 30 ms."""
FORMS_WAITING = 64
"""Forms of visitors without a session that may wait for a place."""
FORMS_OF_ADDRESS = 16
"""Forms of one address that run or wait: a class that signs in, and not all places."""
BUSY_WORDS = "Many are signing in at this moment. Try again in a few seconds."
BUSY_RETRY_S = 5
"""Retry-After of this refusal."""
BROKEN_OFF = "The form was not received completely."
NOT_A_FORM = "This is not a form that a browser sends."
SIGNED_OUT = "You are not signed in now, so nothing was changed. Sign in, then send the form again."
TOO_LARGE = "This form has more than the {} bytes that are allowed here."
EXPIRED = "This form was made for another session. Go back, reload the page, and send it again."


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of a form."""

    name: str
    """The browser's name of it, without folders; only for messages."""
    file: BinaryIO
    """Its content, on disk where it is large; it is closed with the form."""

    @property
    def content(self) -> bytes:
        """All of it; for small files."""
        self.file.seek(0)
        return self.file.read()


class SentForm:
    """The fields of one form, as text without control characters, and its files."""

    def __init__(self, fields: Mapping[str, str], files: Sequence[tuple[str, SentFile]] = ()) -> None:
        self._fields, self._files = fields, files

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields as they were sent."""
        return self._fields

    def file(self, name: str) -> SentFile | None:
        """The file of a field; None where none was chosen."""
        return next(iter(self.files(name)), None)

    def files(self, name: str) -> tuple[SentFile, ...]:
        """The files of a field that takes several."""
        return tuple(file for field, file in self._files if field == name)

    def close(self) -> None:
        """Removes the files."""
        for _, each in self._files:
            each.file.close()

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
        self._limiter = anyio.CapacityLimiter(FORMS_AT_ONCE)
        self._taken: Counter[str] = Counter()

    async def run(self, answer: Callable[[], Response]) -> Response:
        """Runs `answer` in a thread when its turn comes. HTTPException 503 where too many already wait."""
        share = REQUEST_SHARE.get()
        key = share.key if share is not None else ""
        full = self._taken.total() >= FORMS_AT_ONCE + FORMS_WAITING
        if full or (key and self._taken[key] >= FORMS_OF_ADDRESS):
            self._counters.add("sign_ins_refused")
            await pause_refusal()
            raise HTTPException(503, BUSY_WORDS, {"Retry-After": str(BUSY_RETRY_S)})
        self._taken[key] += 1
        try:
            return await in_thread(answer, limiter=self._limiter)
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


async def read_form(request: Request, file_bytes: int = 0, empty_files: bool = False) -> SentForm:
    """Reads the form of a request, with files of at most `file_bytes` in total.

    A body that is too large is not read to its end. Whoever calls closes the form. Raises HTTPException 413,
    415 or 400 with the reason.
    """
    kinds = (FORM_TYPE, UPLOAD_TYPE) if file_bytes else (FORM_TYPE,)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise HTTPException(415, f"A form is sent as {' or '.join(kinds)}.")
    most = MAX_FORM_BYTES + (file_bytes if kind == UPLOAD_TYPE else 0)
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise HTTPException(413, TOO_LARGE.format(most))
    limited = Request(request.scope, _limited(request.receive, most))
    try:
        sent = await limited.form(max_files=MAX_FIELDS, max_fields=MAX_FIELDS, max_part_size=MAX_FORM_BYTES)
        found = sent.multi_items()
        fields = {name: value for name, value in found if isinstance(value, str)}
        files = [
            (name, SentFile(each.filename.replace("\\", "/").rpartition("/")[2][:100], each.file))
            for name, each in found
            if isinstance(each, UploadFile) and each.filename and (each.size or empty_files)
        ]
    except ClientDisconnect:
        raise HTTPException(400, BROKEN_OFF) from None
    except HTTPException:
        raise
    except (StarletteHTTPException, MultiPartException) as error:
        raise HTTPException(400, NOT_A_FORM) from error
    return SentForm(fields, files)


def _limited(receive: Receive, most_bytes: int) -> Receive:
    """Receives a body of at most `most_bytes`, then raises HTTPException 413."""
    received = 0

    async def receive_within() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise HTTPException(413, TOO_LARGE.format(most_bytes))
        return message

    return receive_within


def form_route(
    handler: Handler,
    places: FormPlaces | None = None,
    file_bytes: int = 0,
    empty_files: bool = False,
    run: Callable[[Callable[[], Response]], Awaitable[Response]] = in_thread,
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a POST: reads the form, checks its token, then runs `handler` in a thread.

    With `places`, visitors who are not signed in may send the form; with None they are refused. The form may
    bring files of `file_bytes` in total; one without a byte does not count, unless `empty_files`. `run` runs
    the answer to a visitor with a session.
    """

    async def endpoint(request: Request) -> Response:
        if places is None and not VISITOR.get().may(Action.USE_ACCOUNT):
            raise HTTPException(401, SIGNED_OUT)
        form = await read_form(request, file_bytes, empty_files)
        try:
            visitor = await visitor_after_body(request)
            if places is None and not visitor.may(Action.USE_ACCOUNT):
                raise HTTPException(401, SIGNED_OUT)
            if not visitor.accepts_form(form.text("form_token")):
                raise HTTPException(403, EXPIRED)
            answer = partial(handler, request, visitor, form)
            return await (run if places is None else places.run)(answer)
        finally:
            form.close()

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
