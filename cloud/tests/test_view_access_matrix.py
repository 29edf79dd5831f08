"""Every route of View by every method, as every kind of person, for a Box of each relation.

The routes are those of the application: a new one without a statement in `access_routes.py` fails. The
expected answer of each cell is that of `rights.may`. No answer has the name or a counter of a Box that the
person may not see, and a refusal changes nothing.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import demo
import pytest
from access_routes import STATED, StatedRight
from account_scene import app_routes

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_cloud.store.records.accounts.rights import STRANGER, Relation, Standing, Way, may
from opq_cloud.view.api import rest_app
from opq_cloud.view.api.answers import RequestLimits
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web import dear_work, shares
from opq_cloud.view.web.gate import NO_PAGE
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.passwords import secret_hash
from opq_cloud.view.web.server import guarded
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import FORM_COOKIE, SESSION_COOKIE, Visitor, Visitors
from opq_cloud.view.web.web_guard import Scope, ViewGuard
from opq_proto.kit.rate_limit import TokenBuckets

ROLES = {
    "viewer": "viewer",
    "owner": "owner",
    "researcher": "researcher",
    "admin": "admin",
    "demoted": "viewer",
    "disabled": "owner",
    "other": "owner",
}
ACCESSES = {  # Box -> owner, shared with, privacy, public waveforms
    "1": ("owner", ("viewer",), "nothing", False),
    "2": ("other", (), "nothing", False),
    "3": ("other", ("owner", "viewer", "demoted", "disabled"), "nothing", False),
    "4": ("other", (), "all", False),
    "5": ("owner", (), "nothing", False),
    "6": ("demoted", (), "nothing", False),
    "7": ("disabled", (), "nothing", False),
    "8": ("other", (), "all", True),
}
RETIRED = "5"
NAMES = {box_id: f"name-of-box-{box_id}x" for box_id in ACCESSES}
SITE = "site-of-box-2x"
SCOPES = {
    "reads": ("read",),
    "reads waveforms": ("read", "waveforms"),
    "writes": ("read", "write"),
    "joins": ("read", "sites"),
}
PEOPLE = (
    "stranger",
    *(f"{name} by session" for name in ("viewer", "owner", "researcher", "admin", "demoted", "disabled")),
    *(f"owner by token that {scope}" for scope in SCOPES),
    "viewer by token that reads waveforms",
    "admin by token that writes",
    "demoted by token that writes",
    "disabled by token that writes",
    "owner by token that expired",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REFUSED = (401, 403, 404)
BROWSER = "a-browser"
"""The secret of forms before the sign-in."""
RULE_OF_OTHER = "0123456789abcdef"
SAMPLE = 7
"""One of so many cells is tried where the whole is not asked for; other cells as another person."""


@dataclass
class Answer:
    """An answer of the application."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


async def answer_of(
    app: ViewGuard, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> Answer:
    """The answer to one request of another machine; a stream is left at its beginning."""
    answer, left, sent = Answer(), asyncio.Event(), False
    path, _, query = path.partition("?")
    lines = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8888),
    }

    async def receive() -> Scope:
        nonlocal sent
        if sent:
            await left.wait()
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Scope) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            left.set()

    await asyncio.wait_for(app(scope, receive, send), 250)
    return answer


@dataclass
class Person:
    """A row of the matrix: what the function knows of a person, and the headers of the requests."""

    account: Account | None
    standing: Standing
    secret: str = ""
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        session = f"; {SESSION_COOKIE}={self.secret}" if self.secret else ""
        found = {"cookie": f"{FORM_COOKIE}={BROWSER}{session}"}
        return found | ({"authorization": f"Bearer {self.token}"} if self.token else {})

    def relation(self, access: BoxAccess) -> Relation:
        return access.relation_to(self.account.account_id if self.account and self.is_known else "")

    @property
    def is_known(self) -> bool:
        return self.standing.in_force and self.standing.role != STRANGER


class Cast:
    """A View with people and Boxes; its parts belong to one event loop."""

    def __init__(self, store: CloudStore, loop: asyncio.Runner) -> None:
        self.store, self.people, self.loop = store, store.people, loop
        self.app, self.routes, self.counters = view_over(store)
        self.ids: dict[str, str] = {}
        for name, role in ROLES.items():
            made = self.people.add_account(f"{name}@example.org", name, role, "no-hash")
            assert made is not None
            self.ids[name] = made.account_id
        self.numbers: dict[str, int] = {}
        for number, box_id in enumerate(ACCESSES):
            store.put_box(BoxRecord(box_id, NAMES[box_id], calibration_constant=1 / 0.0068))
            outlet = replace(demo.OUTLETS[0], box_id=box_id)
            end_ms = time.time_ns() // 1_000_000
            store.append_measurements(
                demo.measurement_of(outlet, end_ms - 1000 * (90 - k), k + 1) for k in range(60)
            )
            wave = demo.waveform_of(outlet, (end_ms - 3_600_000 - 600_000 * number) * 1_000_000)
            found = demo.put_event(store, [wave], f"alone-{box_id}")
            assert found is not None and found.event_ids == (found.incident_id,)
            self.numbers[box_id] = found.incident_id
        rule = NotificationRule(RULE_OF_OTHER, self.ids["other"], "rule-of-other", "incident", "mail", 0)
        NotificationRecords(self.people.documents).put_rule(rule)
        self.people.change_account(self.ids["disabled"], lambda was: replace(was, disabled=True))
        self.restore()

    def restore(self) -> None:
        """Whose the Boxes are, their names and states, where a request changed them."""
        found = self.people.accesses()
        for box_id, access in self.accesses.items():
            if found.get(box_id) != access:
                self.people.change_access(box_id, lambda _, access=access: access)
            box, retired_ms = self.store.box(box_id), int(box_id == RETIRED)
            site = SITE if box_id == "2" else ""
            if box is None or (box.name, box.retired_ms or 0, box.site or "") != (
                NAMES[box_id],
                retired_ms,
                site,
            ):
                self.store.put_box(BoxRecord(box_id, NAMES[box_id], retired_ms=retired_ms, site=site))

    @property
    def accesses(self) -> dict[str, BoxAccess]:
        return {
            box_id: BoxAccess(box_id, self.ids[owner], tuple(self.ids[each] for each in shared), *public)
            for box_id, (owner, shared, *public) in ACCESSES.items()
        }

    def facts(self) -> object:
        """What a refused request must leave as it is."""
        tickets = [each.ticket_hash for each in self.people.tickets() if each.purpose != "reset"]
        boxes = [(each.box_id, each.name, each.retired_ms) for each in self.store.boxes()]
        notes = [len(self.store.notes(number)) for number in self.numbers.values()]
        return self.people.accounts(), self.people.accesses(), sorted(tickets), boxes, notes

    def person(self, text: str) -> Person:
        """With a session or token of its own, because a request may end it."""
        name, _, way = text.partition(" by ")
        if not way:
            return Person(None, Standing())
        account = self.people.account(self.ids[name])
        assert account is not None
        if way == "session":
            secret = SignIn(self.people).begin_session(account, "192.0.2.7", "matrix")
            return Person(account, account.standing(Way.SESSION), secret)
        scope = way.removeprefix("token that ")
        valid_s = -1 if scope == "expired" else 3600
        scopes = SCOPES.get(scope, ("read",))
        token = make_ticket(
            self.people, "token", valid_s, account_id=account.account_id, label=text, scopes=scopes
        )
        standing = Standing() if scope == "expired" else account.standing(Way.TOKEN, scopes)
        return Person(account, standing, token=token)


@contextmanager
def without_limits() -> Iterator[None]:
    """Requests of one person come one after the other, as fast as the application answers."""
    with pytest.MonkeyPatch.context() as patch:
        unlimited = TokenBuckets(1e9, 1e9)
        patch.setattr(rest_app, "RequestLimits", lambda each: RequestLimits(each, unlimited, unlimited))
        patch.setattr(shares, "CPU_BURST_S", 1e9)
        patch.setattr(dear_work, "NICENESS", 0)  # on a busy machine the first export would take minutes
        dear_work.job_server.cache_clear()
        yield


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    store = open_store(None, tmp_path_factory.mktemp("matrix"))
    with without_limits(), asyncio.Runner() as loop:
        yield Cast(store, loop)
    store.close()


def view_over(store: CloudStore) -> tuple[ViewGuard, list[str], ServiceCounters]:
    """The application, its routes, and its counters."""
    counters, config = ServiceCounters(), ViewSection()
    mailer = Mailer(MailSection(), counters)
    services = ViewServices(
        store, LiveHub(counters), counters, visitors=Visitors(store.people, config), mailer=mailer
    )
    app = create_app(services)
    return guarded(app, config, counters), list(app_routes(app.routes)), counters


@dataclass(frozen=True)
class Cell:
    """One request of the matrix."""

    method: str
    path: str
    box_id: str

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def cells() -> Iterator[Cell]:
    """Each path by each method; for each Box where it names one, or its incident or event."""
    for path in sorted({route.partition(" ")[2] for route in STATED}):
        per_box = any(f"{{{name}}}" in path for name in ("box_id", "incident_id", "event_id"))
        for method in METHODS:
            known = f"{method} {path}" in STATED
            for box_id in ACCESSES if per_box and known else ("2" if "/sites/" in path else "1",):
                yield Cell(method, path, box_id)


def may_do(cast: Cast, person: Person, cell: Cell, right: StatedRight) -> bool:
    """The statement: `rights.may` of the person's standing and its relation to the Box."""
    if person.token and not person.is_known and cell.path.startswith(NO_PAGE):
        return False  # a token that is not valid is refused, never taken for a stranger
    if person.token and person.is_known and cell.method == "POST" and not cell.path.startswith("/api/"):
        return False  # programs send no forms
    if right.never:
        return False
    access = cast.accesses[cell.box_id]
    relation, standing = person.relation(access), person.standing
    if right.of_strangers:
        relation, standing = access.relation_to(""), Standing()
    return all(may(standing, action, relation) for action in right.actions)


def address(cast: Cast, cell: Cell, spare: str) -> str:
    number = str(cast.numbers[cell.box_id])
    values = {
        "box_id": cell.box_id,
        "incident_id": number,
        "event_id": number,
        "account_id": spare,
        "file": "dark.css",
        "rule_id": RULE_OF_OTHER,
        "name": SITE if "/sites/" in cell.path else "none",
        "engine": "none",
        "rule": "none",
        "number": "1",
    }
    return re.sub(r"\{(\w+)(?::path)?\}", lambda found: values[found[1]], cell.path)


def problem_of(cast: Cast, person: Person, cell: Cell, answer: Answer) -> str:
    """What is wrong with an answer; empty for nothing."""
    right = STATED.get(cell.route)
    if cell.method == "HEAD" and answer.status == 200:
        right = STATED.get(f"GET {cell.path}")
    if right is None:  # a page that is loaded again leads to its form; other methods are not for this address
        led = cell.method in ("GET", "HEAD") and answer.status in (303, 401)
        return "" if led or answer.status in (405, *REFUSED) else "a method that is not stated"
    allowed = may_do(cast, person, cell, right)
    if not allowed:
        return "" if answer.status in REFUSED else "not refused"
    no_page = answer.status == 404 and "no page at this address" in answer.text
    return "" if answer.status in right.done and not no_page else "refused"


def hidden_names(cast: Cast, person: Person, answer: Answer) -> list[str]:
    """Boxes that an answer names, also as the label of a counter, to a person who may not see them."""
    found = set(re.findall(r"name-of-box-(\d)x", answer.text))
    found |= set(re.findall(r'[{,]box="(\d)"', answer.text)) & {*ACCESSES}
    see = next(iter(STATED["GET /boxes/{box_id}"].actions))
    return [each for each in found if not may(person.standing, see, person.relation(cast.accesses[each]))]


def is_sampled(text: str, cell: Cell) -> bool:
    """Whether a small run has this cell: others for each person, always the same."""
    digest = hashlib.sha256(f"{text} {cell}".encode()).digest()
    return digest[0] % (SAMPLE if cell.route in STATED else 3 * SAMPLE) == 0


def test_the_matrix_has_every_route(cast: Cast) -> None:
    assert len(cast.routes) > 40
    assert set(cast.routes) - set(STATED) == set(), "a new route: state its right in access_routes.py"
    assert set(STATED) - set(cast.routes) == set()


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["part", "whole"])
@pytest.mark.parametrize("text", PEOPLE)
def test_the_matrix(cast: Cast, text: str, whole: bool) -> None:
    failed = cast.counters.total("requests_failed")
    wanted = [cell for cell in cells() if whole or is_sampled(text, cell)]
    wrong = cast.loop.run(wrong_cells(cast, text, wanted))
    assert wrong == []
    assert cast.counters.total("requests_failed") == failed and len(wanted) > 50


async def wrong_cells(cast: Cast, text: str, wanted: list[Cell]) -> list[str]:
    spare = cast.people.add_account(f"spare-{time.time_ns()}@example.org", "Spare", "viewer", "no-hash")
    assert spare is not None
    wrong, reader = [], cast.person(text)
    try:
        for cell in wanted:
            posts = cell.method == "POST"  # it may end its session; others are refused before any route
            person = cast.person(text) if posts else reader
            before = cast.facts() if posts else None
            body = b""
            headers = dict(person.headers)
            if posts:
                api = cell.path.startswith("/api/")
                secret = person.secret if person.is_known else BROWSER
                fields = {"form_token": Visitor(form_secret=secret).form_token()}
                body = b"{}" if api else urlencode(fields).encode()
                headers["content-type"] = "application/json" if api else "application/x-www-form-urlencoded"
            answer = await answer_of(
                cast.app, cell.method, address(cast, cell, spare.account_id), headers, body
            )
            problem = problem_of(cast, person, cell, answer)
            hidden = hidden_names(cast, person, answer)
            if before is not None and answer.status in (*REFUSED, 405) and cast.facts() != before:
                problem = "a refusal changed something"
            if problem or hidden:
                wrong.append(f"{cell.route} for Box {cell.box_id}: {answer.status} {problem} {hidden}")
            if posts:
                cast.restore()
                cast.people.end_session(secret_hash(person.secret))
                cast.people.remove_ticket(secret_hash(person.token))
    finally:
        cast.people.delete_account(spare.account_id)
    return wrong
