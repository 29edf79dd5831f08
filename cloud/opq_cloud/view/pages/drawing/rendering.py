"""Renders the templates; autoescape is on for all of them, and undefined names are errors."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup

from opq_cloud.core.page_parts import failed_part
from opq_cloud.export.tables import written_forms
from opq_cloud.store.incidents.index import IndexProgress
from opq_cloud.view.web import words
from opq_cloud.view.web.error_page import RETRY_EVERY_S, error_ways
from opq_cloud.view.web.gate import current_visitor
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import OpqError
from opq_proto.kit import drawing
from opq_proto.kit.time_zone import zone_of

TEMPLATES = Path(__file__).parents[2] / "templates"
FILTERS = (
    "number",
    "plain",
    "class_words",
    "class_tone",
    "duration",
    "utc",
    "utc_attribute",
    "clock",
    "ago",
    "headline",
    "outline",
    "lasted",
    "boxes",
    "where",
)
WITH_INCIDENTS = frozenset({"boxes", "incidents", "past", "map", "wall", "report", "search"})
"""Places in the navigation whose pages list or count incidents."""
JUST_INDEXED_S = 10.0
"""A page reads its incidents before it is rendered, so some may lack for this time after all are indexed."""
NOT_WRITTEN = "cannot be shown"
"""What stands in the place of a value that its filter cannot write."""


class PageMaker(Protocol):
    """The signature of `PageRenderer.render`."""

    def __call__(self, template: str, here: str = "", code: int = 200, **values: object) -> HTMLResponse: ...


@cache
def _templates() -> Environment:
    """One per process, so that each template is compiled once."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({name: _writing(name, getattr(words, name)) for name in FILTERS})
    made.filters.update(local_time=_writing("local_time", marked_time))
    made.globals["table_forms"] = written_forms()
    made.globals["svg"] = drawing
    return made


def _writing(name: str, write: Callable[..., str]) -> Callable[..., str]:
    """The filter, with NOT_WRITTEN for a value that it cannot write, so that a row does not fail its page."""

    def written(*values: object, **named: object) -> str:
        try:
            return write(*values, **named)
        except OpqError:
            raise
        except Exception as error:
            if any(isinstance(each, Undefined) for each in values):
                raise  # the template is wrong
            failed_part(f"A value ({name})", error)
            return NOT_WRITTEN

    return written


class PageRenderer:
    """One per View."""

    def __init__(self, now_ns: Callable[[], int], index_progress: Callable[[], IndexProgress | None]) -> None:
        """`index_progress`: how much of what the original stored before is in lists."""
        self._now_ns = now_ns
        self._index_progress = index_progress
        self._was_indexing: tuple[IndexProgress | None, float] = None, 0.0

    def render(self, template: str, here: str = "", code: int = 200, **values: object) -> HTMLResponse:
        """Renders a page with HTTP status `code`; `here` marks its place in the navigation."""
        now_ns = self._now_ns()
        visitor = current_visitor()
        shared = {"here": here, "now_ns": now_ns, "now_ms": now_ns // 1_000_000, "visitor": visitor}
        shared["indexing"] = self._unprepared() if here in WITH_INCIDENTS else None
        values.setdefault("form_token", visitor.form_token() if visitor.session_hash else "")
        return HTMLResponse(_templates().get_template(template).render(**shared, **values), code)

    def _unprepared(self) -> IndexProgress | None:
        """How much of the incidents a page can show that is rendered now; None: all."""
        found, at_s = self._index_progress(), time.monotonic()
        if found is not None:
            self._was_indexing = found, at_s
        before, seen_s = self._was_indexing
        return before if at_s < seen_s + JUST_INDEXED_S else None

    def error(self, code: int, text: str, request: Request | None = None) -> HTMLResponse:
        """A readable page for a failed request, with advice."""
        ways = error_ways(code, current_visitor(), *_request_words(request))
        made = self.render(
            "error.html", code=code, status=code, text=text, ways=ways, retry_every_s=RETRY_EVERY_S
        )
        if ways.retries:
            made.headers["Retry-After"] = str(RETRY_EVERY_S)
            made.headers["Cache-Control"] = "no-store"
        return made


def _request_words(request: Request | None) -> tuple[str, str, str]:
    """The path and method of a request, and the page of ours that a form was sent from."""
    if request is None:
        return "/", "GET", ""
    url, referer = request.url, request.headers.get("referer", "")
    path = url.path + (f"?{url.query}" if url.query else "")
    came = urlsplit(referer) if referer.startswith(f"{url.scheme}://{url.netloc}/") else None
    back = "" if came is None else came.path + (f"?{came.query}" if came.query else "")
    return path, request.method, back


def local_time(at_ms: int, visitor: Visitor) -> str:
    """A time in the visitor's time zone, with the name of the zone: `2026-11-20 08:13 HST`.

    In UTC where this machine does not know the zone; a number that is not a time is shown as `-`.
    """
    zone = zone_of(visitor.account.time_zone) if visitor.account else UTC
    try:
        return datetime.fromtimestamp(at_ms / 1000, zone).strftime("%Y-%m-%d %H:%M %Z")
    except (ValueError, OSError, OverflowError):
        return "-"


def marked_time(at_ms: int, visitor: Visitor) -> Markup:
    """The same time as an HTML element that also holds UTC."""
    utc = words.utc_attribute(at_ms * 1_000_000)
    return Markup('<time datetime="{}">{}</time>').format(utc, local_time(at_ms, visitor))
