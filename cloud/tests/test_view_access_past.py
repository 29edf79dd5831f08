"""Each route of a Box's past, for a Box that changed hands: what `test_view_access_matrix.py` has for now.

The expected answer of each cell is that of `rights.may` of the relation at the moment that the route is
about: `BoxAccess.relation_to(account, t_ns)`.
"""

import asyncio
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from access_routes import STATED
from demo import OUTLETS, waveform_of
from open_view import open_services
from past_scene import row_of
from test_view_access_matrix import REFUSED, Answer, Person, answer_of, without_limits

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess, FormerOwner
from opq_cloud.store.records.accounts.rights import Action, Relation, Standing, Way, may
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.view.app import create_app
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.server import guarded
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import Visitor
from opq_proto.measurement.intervals import TEN_MINUTES_MS, Interval
from opq_proto.messages import Disturbance, Finding, Measurement, Metric, Trend, Trigger

MS, MINUTE_MS = 10**6, 60_000
NOW_MS = 1_795_000_000_000 // 3_600_000 * 3_600_000
CHANGED_MS = NOW_MS - 35 * MINUTE_MS
VALUES = {NOW_MS - 50 * MINUTE_MS: 61.625, NOW_MS - 30 * MINUTE_MS: 72.25}
"""When something was measured, in the former owner's time and in the new one's -> its value, V and %."""
ROLES = {"former": "owner", "new": "owner", "reader": "viewer", "admin": "admin"}
TOKEN = ("read", "waveforms", "write")
PEOPLE = (
    *("stranger", "former by session", "new by session"),
    *("former by token", "reader by token", "admin by token"),
)
SPAN = "from=now-1h&to=now"
ROWS = {
    "/api/v1/boxes/{box_id}/measurements": SPAN,
    "/api/v1/boxes/{box_id}/trend": f"level=1m&{SPAN}",
    "/api/v1/boxes/{box_id}/intervals": SPAN,
    "/api/v1/boxes/{box_id}/disturbances": SPAN,
    "/api/v1/boxes/{box_id}/history": SPAN,
    "/api/v1/phenomena": SPAN,
    "/api/v1/events": "",
    "/api/v1/incidents": "box=1",
    "/api/v1/findings": "box=1",
    "/api/v1/exports/measurements": f"box=1&{SPAN}",
    "/api/v1/exports/incidents": SPAN,
    "/api/v1/exports/findings": SPAN,
    "/api/v1/exports/changes": SPAN,
    "/incidents": "",
}
"""Route of what a Box measured, in rows -> its query."""
PAGES = (
    *("/", "/live", "/wall", "/boxes/{box_id}", "/api/v1/boxes", "/api/v1/boxes/{box_id}", "/api/v1/recent"),
    *(
        "/feeds/incidents.atom",
        "/past?box=1",
        "/api/v1/boxes/{box_id}/minutes",
        "/search/found?q=1",
        "/map/state",
    ),
)
"""Pages that may show values of the past: none that the person may not see."""


class ChangedHands:
    """A View with a Box of which one owner's time is over; its parts belong to one event loop."""

    def __init__(self, store: CloudStore, loop: asyncio.Runner) -> None:
        self.store, self.loop = store, loop
        services = open_services(store, "beyond_loopback", now_ns=lambda: NOW_MS * MS)
        self.app = guarded(create_app(services), ViewSection(), services.counters)
        self.accounts = {}
        for name, role in ROLES.items():
            account = store.people.add_account(f"{name}@example.org", name, role, "no-hash")
            assert account is not None
            self.accounts[name] = account
        ids = {name: each.account_id for name, each in self.accounts.items()}
        former = FormerOwner(ids["former"], 0, CHANGED_MS)
        self.access = BoxAccess("1", ids["new"], (ids["reader"],), since_ms=CHANGED_MS, former=(former,))
        store.people.change_access("1", lambda _: self.access)
        store.put_box(BoxRecord("1", "Box 1", calibration_constant=1 / 0.0068, nominal_v=120.0))
        self.numbers = {t_ms: measured(store, t_ms, value) for t_ms, value in VALUES.items()}

    def person(self, text: str) -> Person:
        name, _, way = text.partition(" by ")
        account = self.accounts.get(name)
        if account is None:
            return Person(None, Standing())
        if way == "session":
            secret = SignIn(self.store.people).begin_session(account, "192.0.2.7", "matrix")
            return Person(account, account.standing(Way.SESSION), secret)
        about = {"account_id": account.account_id, "label": text, "scopes": TOKEN}
        token = make_ticket(self.store.people, "token", 3600, **about)
        return Person(account, account.standing(Way.TOKEN, TOKEN), token=token)

    def relation(self, person: Person, t_ms: int) -> Relation:
        return self.access.relation_to(person.account.account_id if person.account else "", t_ms * MS)

    def answer(self, person: Person, method: str, path: str) -> Answer:
        headers, body = dict(person.headers), b""
        if method == "POST":
            api = path.startswith("/api/")
            fields = {"form_token": Visitor(form_secret=person.secret).form_token()}
            body = b"{}" if api else urlencode(fields).encode()
            headers["content-type"] = "application/json" if api else "application/x-www-form-urlencoded"
        return self.loop.run(answer_of(self.app, method, path, headers, body))


def measured(store: CloudStore, t_ms: int, value: float) -> tuple[int, int]:
    """Stores one of everything with this value at a moment; the numbers of event and incident."""
    span, rms = (t_ms * MS, (t_ms + 1000) * MS), Metric(value, value, value)
    number = t_ms // MINUTE_MS
    store.append_measurements([Measurement("1", t_ms + 1000, {"rms": rms}, *span, 1000, sequence=number)])
    store.put_trends([Trend("1", t_ms, {"rms": (value, value, value)})])
    interval = Interval(TEN_MINUTES_MS, False, 1.0, {"rms_v": value})
    dip = Disturbance("1", "dip", t_ms * MS, t_ms * MS + 10**8, 1000, value)
    about = Measurement("1", t_ms, {}, *span, 1000, sequence=number + 1, disturbance=dip)
    store.intervals.append([row_of("1", t_ms, number, interval), about])
    change = StoredPhenomenon("step", ("1",), t_ms, t_ms + 1, {"analysis": str(value), "size": value})
    store.replace_phenomena(str(value), "1", t_ms, t_ms + 1, [change])
    because = f"rms {value} V at Box 1"
    event_id = store.open_event(Trigger(str(value), *span, ("1",), "1", because), because)
    store.put_waveform(event_id, waveform_of(OUTLETS[0], t_ms * MS))
    store.finish_event(event_id)
    (found,) = put_findings(store, event_id, [Finding("sag", "1", *span, 1000, True, value, value)])
    store.mark_analysed(event_id)
    return event_id, found.incident_id


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChangedHands]:
    assert OUTLETS[0].box_id == "1"
    store = open_store(None, tmp_path_factory.mktemp("hands"))
    with without_limits(), asyncio.Runner() as loop:
        yield ChangedHands(store, loop)
    store.close()


def values_in(answer: Answer) -> list[float]:
    """Which of the values an answer has, with at least one decimal place."""
    text = answer.text if answer.status == 200 else ""
    begins = {each: re.escape(str(int(10 * each) / 10)) for each in VALUES.values()}
    return [each for each, text_of_it in begins.items() if re.search(rf"(?<![\d.]){text_of_it}", text)]


def test_a_forms_random_token_is_no_value() -> None:
    assert values_in(Answer(200, body=b'"form_token" value="c61a6f72b2"')) == []
    assert values_in(Answer(200, body=b"61.6 V, 72.25 %")) == list(VALUES.values())


def single_routes() -> Iterator[tuple[str, str]]:
    """Each route of one incident or event, apart from those for everybody's eyes and for none."""
    for route, right in STATED.items():
        if re.search(r"\{(incident|event)_id\}", route) and not right.of_strangers and not right.never:
            method, _, path = route.partition(" ")
            yield method, path


@pytest.mark.parametrize("text", PEOPLE)
def test_one_incident_is_of_its_time(hands: ChangedHands, text: str) -> None:
    """Each page, answer, export and form of one incident or event."""
    wrong, person, tried = [], hands.person(text), 0
    for method, path in single_routes():
        right = STATED[f"{method} {path}"]
        if person.token and method == "POST" and not path.startswith("/api/"):
            continue  # programs send no forms
        if right.actions == (Action.USE_ACCOUNT,):
            continue  # it is about the account, and says nothing of the incident
        for t_ms, (event_id, incident_id) in hands.numbers.items():
            names = {"box_id": "1", "event_id": event_id, "incident_id": incident_id}
            relation = hands.relation(person, t_ms)
            stated = all(may(person.standing, action, relation) for action in right.actions)
            answer = hands.answer(person, method, path.format(**names))
            led = answer.headers.get("location", "").startswith("/sign-in")
            served = answer.status in right.done and not led
            if not (served if stated else led or answer.status in REFUSED):
                wrong.append(f"{method} {path} of {VALUES[t_ms]}: {answer.status}, stated {stated}")
            tried += 1
    assert wrong == [] and tried > 20


@pytest.mark.parametrize("text", PEOPLE)
def test_rows_of_the_past_are_of_their_time(hands: ChangedHands, text: str) -> None:
    """What a list, export or chart has of a Box is exactly what the person may see of then."""
    wrong, person = [], hands.person(text)
    stated = [
        value
        for t_ms, value in VALUES.items()
        if may(person.standing, Action.SEE, hands.relation(person, t_ms))
    ]
    for path, query in [*ROWS.items(), *((each, "") for each in PAGES)]:
        if person.token and not path.startswith("/api/"):
            continue
        answer = hands.answer(person, "GET", f"{path.format(box_id='1')}{'?' if query else ''}{query}")
        has = values_in(answer)
        if has != stated if path in ROWS else not {*has} <= {*stated}:
            wrong.append(f"{path}: {answer.status} has {has}, stated {stated}")
    assert wrong == []


def test_each_route_of_a_box_is_tried() -> None:
    """A new route of what a Box measured belongs to ROWS or PAGES."""
    of_boxes = {
        route.removeprefix("GET ")
        for route, right in STATED.items()
        if route.startswith("GET ") and "{box_id}" in route and right.actions == (Action.SEE,)
    }
    assert of_boxes <= {*ROWS, *PAGES}
    assert all(f"GET {path.partition('?')[0]}" in STATED for path in (*ROWS, *PAGES))
