"""The search: pages, Boxes by number, name and place, incidents by number, and actions.

`/search?q=` is the page, `/search/found?q=` serves the command palette; both return the results of `find`.
The search reads the store as the visitor sees it, so hidden data are not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import quote

from fastapi import Query
from fastapi.responses import HTMLResponse, JSONResponse

from opq_cloud.view.live.feed_messages import LARGEST_ID
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor

MAX_CHARACTERS = 100
MAX_HITS = 30
BOXES_FOUND = 12
BOXES_WITH_ACTIONS = 3
"""For this many of the matching Boxes, actions are offered."""
NEW_RULE = "/account/notifications/new?about=incident"
NO_MATCH = 0
"""How well a text matches; the next four are better in turn."""
INSIDE_WORD = 1
WORD_STARTS = 2
TEXT_STARTS = 3
WHOLE_TEXT = 4

SearchText = Annotated[str, Query(max_length=MAX_CHARACTERS)]
KINDS = {
    "Incident": "Incidents",
    "Box": "Boxes",
    "Page": "Pages",
    "Incidents": "Lists",
    "Action": "Actions",
}
"""Kind -> its heading."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One line of the results."""

    kind: str
    """`Page`, `Box`, `Incident`, `Incidents`, `Action`."""
    words: str
    detail: str
    path: str
    fit: int = WORD_STARTS


class SearchPages:
    """The routes of the search; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/search", self.page, response_class=HTMLResponse)
        router.add_api_route("/search/found", self.found)
        return router

    def page(self, q: SearchText = "") -> HTMLResponse:
        hits = find(self._context, q)
        return self._render("search.html", "search", 200, q=q, count=len(hits), groups=_by_kind(hits))

    def found(self, q: SearchText = "") -> JSONResponse:
        rows = [
            {"kind": hit.kind, "words": hit.words, "detail": hit.detail, "path": hit.path}
            for hit in find(self._context, q)
        ]
        return JSONResponse({"items": rows}, headers={"Cache-Control": "no-store"})


def _by_kind(hits: list[SearchHit]) -> list[tuple[str, list[SearchHit]]]:
    """The hits by kind, in the order of the best of each kind."""
    kinds = dict.fromkeys(hit.kind for hit in hits)
    return [(KINDS[kind], [hit for hit in hits if hit.kind == kind]) for kind in kinds]


def find(context: VisitorContext, text: str) -> list[SearchHit]:
    """The best hits first, MAX_HITS at most; all pages where nothing was typed."""
    wanted = " ".join(text.casefold().split())[:MAX_CHARACTERS]
    if not wanted:
        return [each for each in _pages(context.visitor) if each.kind == "Page"]
    boxes = _boxes(context, wanted)
    found = [
        *_incident_hits(context, wanted),
        *boxes,
        *_matching(_pages(context.visitor), wanted),
        *_of_boxes(context, boxes[:BOXES_WITH_ACTIONS]),
        *_classes(wanted),
    ]
    return sorted(found, key=lambda hit: -hit.fit)[:MAX_HITS]


def fit_of(wanted: str, *texts: str) -> int:
    """How well the best of the texts matches; it must contain every typed word."""
    return max((_fit(wanted, text.casefold()) for text in texts), default=NO_MATCH)


def _fit(wanted: str, text: str) -> int:
    if wanted == text:
        return WHOLE_TEXT
    if text.startswith(wanted):
        return TEXT_STARTS
    parts = wanted.split()
    if not all(part in text for part in parts):
        return NO_MATCH
    return WORD_STARTS if all(f" {part}" in f" {text}" for part in parts) else INSIDE_WORD


def _matching(hits: Iterator[SearchHit], wanted: str) -> Iterator[SearchHit]:
    for hit in hits:
        fit = max(fit_of(wanted, hit.words), min(fit_of(wanted, hit.detail), INSIDE_WORD))
        if fit:
            yield replace(hit, fit=fit)


def _pages(visitor: Visitor) -> Iterator[SearchHit]:
    """The pages that the visitor may open; a page's detail has words for which people search."""
    rows = [
        ("Page", "Boxes", "live values, front page", "/"),
        ("Page", "Incidents", "sags, swells, interruptions: the list, with filters", "/incidents"),
        ("Page", "Past", "history, trends, class A, compare Boxes and weeks, distribution", "/past"),
        ("Page", "Harmonics", "orders 2 to 50 with the limits of a standard", "/past?show=harmonics"),
        ("Page", "Verdicts", "calendar of compliance, EN 50160, IEEE 519", "/past?show=verdicts"),
        ("Page", "Reports", "week by a standard, PDF, indices, SARFI, availability", "/report"),
        ("Page", "Map", "Boxes near their places", "/map"),
        ("Page", "Grid", "frequency and voltage of the last day", "/past?of=grid:"),
        ("Page", "Wall display", "one screen that may stay open for weeks", "/wall"),
        ("Page", "API", "REST, OpenAPI, tokens, for programs", "/api/v1/docs"),
        (
            "Action",
            "Export incidents as CSV",
            "download, table",
            "/api/v1/exports/incidents?format=csv",
        ),
    ]
    if visitor.account is not None:
        rows += [
            ("Page", "Your account", "name, time zone, theme, password, sessions, tokens", "/account"),
            ("Page", "Your Boxes", "own and shared ones", "/account/boxes"),
            ("Page", "Examine a recording", "upload a file: COMTRADE, PQDIF, CSV, WAV", "/examine"),
            ("Page", "Notifications", "rules and log: mail, webhook, MQTT", "/account/notifications"),
            ("Action", "Add a notification rule", "messages about incidents", NEW_RULE),
            ("Action", "Download your data", "personal data, JSON", "/account/data.json"),
        ]
        if visitor.may_claim:
            rows.append(("Action", "Claim a Box", "code or fingerprint of its key", "/account/boxes#claim"))
    elif visitor.accounts_in_use:
        rows.append(("Page", "Sign in", "account, log in", "/sign-in"))
    if visitor.sees_administration:
        rows += [
            ("Page", "Administration", "what needs attention", "/admin"),
            ("Page", "Boxes, administered", "health, clocks, settings", "/admin/boxes"),
            ("Page", "Keys", "CURVE keys: add, revoke, rotate", "/admin/keys"),
            ("Page", "Plug-ins and triggers", "install, roll back", "/admin/plugins"),
            ("Page", "Stream rules", "SQL over Measurements", "/admin/rules"),
            ("Page", "System", "services, queues, disk, retention, Mauka's graph", "/admin/system"),
            ("Page", "Log of changes", "audit: who changed what", "/admin/audit"),
        ]
    if visitor.administers:
        rows += [
            ("Page", "Accounts", "people, roles, invitations", "/admin/accounts"),
            ("Action", "Invite somebody", "a link that makes an account", "/admin/accounts"),
        ]
    return (SearchHit(*row) for row in rows)


def _boxes(context: VisitorContext, wanted: str) -> list[SearchHit]:
    """Boxes by number, name, regions and, where the visitor may know them, place and feeder."""
    plain = wanted.removeprefix("box").strip() or wanted
    places = context.places()
    found = []
    for box in context.boxes():
        place = places.get(box.box_id)
        regions: tuple[str, ...] = ()
        feeder = place_words = place_shown = ""
        if place is not None:
            regions = place.regions
            if context.visitor.sees_place(box.box_id):
                feeder = place.feeder or ""
                description = context.place_named(box.location or "")
                place_words = " ".join(filter(None, (box.location, description)))
                place_shown = description or box.location or ""
        number = fit_of(plain, box.box_id)
        fit = max(
            number,
            fit_of(wanted, box.label, box.name),
            min(fit_of(wanted, *regions, feeder, place_words), WORD_STARTS),
        )
        if number == INSIDE_WORD and fit == INSIDE_WORD and plain.isdigit():
            continue  # a search for 1 must not find Box 21
        if fit:
            parts = (*regions, place_shown, feeder and f"feeder {feeder}")
            detail = ", ".join(part for part in parts if part)
            found.append(SearchHit("Box", box.label, detail, f"/boxes/{quote(box.box_id)}", fit))
    return sorted(found, key=lambda hit: -hit.fit)[:BOXES_FOUND]


def _of_boxes(context: VisitorContext, boxes: list[SearchHit]) -> Iterator[SearchHit]:
    """Actions for the Boxes that match best."""
    for hit in boxes:
        if hit.fit < TEXT_STARTS:
            continue
        box_id = hit.path.rpartition("/")[2]
        yield SearchHit("Action", f"Incidents of {hit.words}", "", f"/incidents?box={box_id}")
        yield SearchHit("Action", f"Past of {hit.words}", "", f"/past?box={box_id}")
        if context.visitor.may_request(box_id):
            yield SearchHit("Action", f"Request a waveform of {hit.words}", "", f"{hit.path}/waveforms")
        if context.visitor.may_change(box_id):
            yield SearchHit("Action", f"Settings of {hit.words}", "", f"{hit.path}/settings")


def _incident_hits(context: VisitorContext, wanted: str) -> Iterator[SearchHit]:
    number = wanted.removeprefix("incident").strip().removeprefix("#")
    if not (number.isascii() and number.isdigit() and len(number) <= 10 and 1 <= int(number) <= LARGEST_ID):
        return
    found = context.store.incident(int(number))
    if found is None:
        return
    title = words.headline(found, context.names((found,)))
    yield SearchHit(
        "Incident",
        f"#{found.incident_id} {title}",
        "",
        f"/incidents/{found.incident_id}",
        WHOLE_TEXT if not wanted.isdigit() else TEXT_STARTS,
    )


def _classes(wanted: str) -> Iterator[SearchHit]:
    for kind, text in words.class_choices().items():
        fit = fit_of(wanted, text)
        if fit:
            yield SearchHit(
                "Incidents",
                f"{text}: incidents of this class",
                "",
                f"/incidents?class={kind}",
                fit,
            )
