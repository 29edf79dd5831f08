"""What a stranger gets of two Views that differ by one dip at a hidden Box: no answer may differ.

The hidden dip is stored between two visible ones, and lies between them in time.
"""

import asyncio
import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import demo
import pytest
from access_routes import STATED
from test_view_access_matrix import Answer, answer_of

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.events import event_records
from opq_cloud.store.records.part import NUMBERS_BEGIN_S, StorePart
from opq_cloud.view.api import rest_app
from opq_cloud.view.api.answers import RequestLimits, cursor_text
from opq_cloud.view.app import create_app
from opq_cloud.view.live import hub
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.seen_live import SeenFeed
from opq_cloud.view.pages.visible.seen_store import AROUND_NS
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web import shares
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.server import guarded
from opq_cloud.view.web.visitors import Visitor, Visitors
from opq_cloud.view.web.web_guard import ViewGuard
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Trigger

HIDDEN, WITNESS = "9", "1"
PUBLIC = {"1": True, "4": False}
"""Box -> whether its waveforms are public too."""
S = 10**9
FIRST_S = 1_800_000_000
FIRST, HIDDEN_NUMBER, LAST = (FIRST_S + after_s - NUMBERS_BEGIN_S for after_s in (0, 600, 1200))
"""Numbers of the events and incidents: the seconds in which they are stored."""


@dataclass
class Twin:
    """A View over one store, at one moment."""

    store: CloudStore
    hub: LiveHub
    app: ViewGuard
    loop: asyncio.Runner

    def get(self, path: str) -> Answer:
        return self.loop.run(answer_of(self.app, "GET", path, {}))


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = TokenBuckets(1e9, 1e9)
    monkeypatch.setattr(rest_app, "RequestLimits", lambda each: RequestLimits(each, unlimited, unlimited))
    monkeypatch.setattr(shares, "CPU_BURST_S", 1e9)


def _publish(store: CloudStore, access: BoxAccess) -> None:
    store.people.change_access(access.box_id, lambda _: access)


def _numbered_at(store: CloudStore, number: int) -> None:
    assert isinstance(store, StorePart)
    store.now_s = lambda: number + NUMBERS_BEGIN_S


def _visible_dip(store: CloudStore, box_id: str, at_ns: int, number: int) -> None:
    _numbered_at(store, number)
    wave = demo.waveform_of(replace(demo.OUTLETS[0], box_id=box_id), at_ns)
    demo.put_event(store, [wave], f"visible {box_id}")


def _fill(store: CloudStore, now_ns: int) -> None:
    """Boxes with a minute of Measurements, and a visible dip an hour ago."""
    for box_id in (*PUBLIC, HIDDEN):
        store.put_box(BoxRecord(box_id, f"box {box_id}", calibration_constant=1 / 0.0068))
        outlet = replace(demo.OUTLETS[0], box_id=box_id)
        now_ms = now_ns // 1_000_000
        store.append_measurements(
            demo.measurement_of(outlet, now_ms - 1000 * (60 - k), k + 1) for k in range(60)
        )
    for box_id, shown in PUBLIC.items():
        _publish(store, BoxAccess(box_id, privacy="all", public_waveforms=shown))
    _visible_dip(store, "1", now_ns - 60 * 60 * S, FIRST)


def hidden_dip(store: CloudStore, at_ns: int, token: str = "hidden", witness_dips: bool = False) -> int:
    """A dip at the hidden Box; a public Box is a witness of it, and its waveform is stored."""
    other = demo.OUTLETS[0 if witness_dips else 1]
    waves = [
        demo.waveform_of(replace(demo.OUTLETS[0], box_id=HIDDEN), at_ns),
        demo.waveform_of(replace(other, box_id=WITNESS), at_ns, dip_cycle=75),
    ]
    asked = (("saw", (HIDDEN,)), ("witness", (WITNESS,)))
    trigger = Trigger(
        token, at_ns, waves[0].end_ns, (HIDDEN, WITNESS), HIDDEN, "rms", asked_as=asked, decided_ns=at_ns + S
    )
    event_id = store.open_event(trigger, "rms")
    for wave in waves:
        store.put_waveform(event_id, wave)
    store.finish_event(event_id)
    put_findings(store, event_id, demo.findings_in(waves))
    store.mark_analysed(event_id)
    return event_id


def _view_over(store: CloudStore, now_ns: int, loop: asyncio.Runner) -> Twin:
    counters, config = ServiceCounters(), ViewSection()
    live = LiveHub(counters, now_ms=lambda: now_ns // 1_000_000)
    for incident in store.incidents():
        live.accept_incident(incident)
    for box_id in (*PUBLIC, HIDDEN):
        for row in store.measurements(box_id, 0, now_ns // 1_000_000):
            live.accept_measurement(row, received_ms=row.timestamp_ms)
    mailer, visitors = Mailer(MailSection(), counters), Visitors(store.people, config)
    services = ViewServices(store, live, counters, visitors, mailer, now_ns=lambda: now_ns)
    return Twin(store, live, guarded(create_app(services), config, counters), loop)


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Twin, Twin]]:
    """Without and with the hidden dip; both have the same secrets, and the same times of analyses."""
    now_ns = time.time_ns()
    monkeypatch.setattr(event_records, "time", SimpleNamespace(time_ns=lambda: now_ns))
    with closing(open_store(None, tmp_path / "without")) as store:
        _fill(store, now_ns)
    shutil.copytree(tmp_path / "without", tmp_path / "with")
    with (
        closing(open_store(None, tmp_path / "without")) as without,
        closing(open_store(None, tmp_path / "with")) as having,
        asyncio.Runner() as loop,
    ):
        _numbered_at(having, HIDDEN_NUMBER)
        assert hidden_dip(having, now_ns - 30 * 60 * S) == HIDDEN_NUMBER
        for store in (without, having):
            _visible_dip(store, "4", now_ns - 10 * 60 * S, LAST)
        yield _view_over(without, now_ns, loop), _view_over(having, now_ns, loop)


def test_hidden_events_leave_no_gap_in_pages(twins: tuple[Twin, Twin]) -> None:
    """Each page of events is filled from visible ones, and a cursor of a hidden one is not answered."""
    _, having = twins
    number = hidden_dip(having.store, time.time_ns() - 20 * 60 * S, "another")
    seen: list[int] = []
    path = "/api/v1/events?limit=1"
    for _ in PUBLIC:
        page = json.loads(having.get(path).body)
        seen += [each["id"] for each in page["items"]]
        path = f"/api/v1/events?limit=1&cursor={page['next']}"
    assert (sorted(seen), page["next"]) == ([FIRST, LAST], None)
    made = cursor_text("events", number)
    assert json.loads(having.get(f"/api/v1/events?cursor={made}").body) == {"items": [], "next": None}


def test_a_visible_finding_shows_no_hidden_event(twins: tuple[Twin, Twin]) -> None:
    """The event of a hidden Box has only the Box and times of what was found at a visible one."""
    _, having = twins
    number = hidden_dip(having.store, time.time_ns() - 20 * 60 * S, "both", witness_dips=True)
    event = json.loads(having.get(f"/api/v1/events/{number}").body)
    (found,) = (
        each.finding
        for each in having.store.findings_of_boxes([WITNESS], 0, time.time_ns())
        if number in each.event_ids
    )
    assert (event["start_ns"], event["end_ns"], event["box_ids"]) == (found.start_ns, found.end_ns, [WITNESS])
    stated = {name for name, value in event.items() if value not in (None, "", [], {}, False)}
    assert stated == {"id", "start_ns", "end_ns", "box_ids", "received", "finished", "analysed"}
    for path in (f"/events/{number}", f"/api/v1/events/{number}/export?format=json"):
        answer = having.get(path)
        assert answer.status == 200 and f"box {HIDDEN}" not in answer.text
    wave = json.loads(having.get(f"/api/v1/events/{number}/waveforms/{WITNESS}").body)
    end_ns = wave["start_ns"] + len(wave["counts"]) * 10**12 // wave["rate_millihz"]
    assert 0 <= wave["start_ns"] - (found.start_ns - AROUND_NS) < 10**6, "not from the event's beginning"
    assert -(10**6) < end_ns - (found.end_ns + AROUND_NS) <= 10**6
    incident = json.loads(having.get("/api/v1/incidents").body)["items"][0]["id"]
    page = having.get(f"/incidents/{incident}/examine?show={WITNESS}")
    assert page.status == 200


def test_hidden_incidents_push_no_visible_one_out(
    twins: tuple[Twin, Twin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map and the live feed have the visible incidents, also where the newest of all Boxes are hidden."""
    now_ns = time.time_ns()
    store = twins[1].store
    for k in range(3):
        _numbered_at(store, LAST + 60 * (k + 1))
        hidden_dip(store, now_ns - (5 - k) * 60 * S, f"later {k}")
    monkeypatch.setattr(hub, "RECENT_INCIDENTS", 2)
    view = _view_over(store, now_ns, twins[1].loop)
    assert min(view.hub.known_incidents()) > LAST
    state = json.loads(view.get("/map/state").body)
    assert [each["id"] for each in state["incidents"]] == [LAST, FIRST]
    for path in ("/live?after=1", "/api/v1/live?after=1", "/live?values=1&after=1"):
        assert re.findall(r"id: (\d+)-", view.get(path).text) == [str(FIRST), str(LAST)], path


NUMBERS = tuple(map(str, (1, FIRST, HIDDEN_NUMBER, LAST, LAST + 1)))
NAMED = {
    "incident_id": NUMBERS,
    "event_id": NUMBERS,
    "box_id": (*PUBLIC, HIDDEN),
    "file": ("dark.css",),
    "rule_id": ("0",),
    "name": ("none",),
    "number": ("1",),
}
QUERIES = (
    "/?",
    f"/search?q={HIDDEN_NUMBER}",
    "/search/found?q=dip",
    f"/search/found?q={HIDDEN_NUMBER}",
    "/map/state?km=20000",
    "/past?weeks=1",
    "/incidents?order=worst",
    "/incidents?order=longest",
    "/incidents?work=new",
    "/api/v1/events?limit=1",
    "/api/v1/incidents?limit=1",
    "/api/v1/incidents?class=sag",
    "/api/v1/incidents?box=1",
    "/api/v1/findings?limit=1",
    "/api/v1/exports/incidents?format=json",
    "/api/v1/exports/findings?format=json",
    f"/api/v1/events/{FIRST}/export?format=json",
    f"/api/v1/events/{HIDDEN_NUMBER}/export?format=json",
)
CHANGING = (
    (r'"[0-9a-f]{48}"', '"form token"'),
    (r"nonce-[^']+", "nonce"),
    (r'"timestamp":\d+', '"timestamp"'),
)
"""What may differ: secrets of forms and of a page's policy, and the time of an answer of `/health`."""


def _addresses() -> Iterator[str]:
    """Each GET route of View, with each number and Box in its address, then lists in other orders."""
    for route in STATED:
        method, _, path = route.partition(" ")
        names = re.findall(r"\{(\w+)(?::path)?\}", path)
        if method == "GET":
            for values in itertools.product(*(NAMED[name] for name in names)):
                parts = zip(re.split(r"\{[^}]+\}", path), (*values, ""), strict=True)
                yield "".join(itertools.chain.from_iterable(parts))
    yield from QUERIES


def _shown(answer: Answer) -> tuple[int, dict[str, str], str]:
    text, headers = answer.text, dict(answer.headers)
    headers.pop("set-cookie", None)
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
        headers = {name: re.sub(pattern, word, value) for name, value in headers.items()}
    return answer.status, headers, text


def test_a_hidden_dip_changes_no_answer(twins: tuple[Twin, Twin]) -> None:
    """The status, headers (ETags too) and body of each GET route, and the first live messages."""
    addresses = list(_addresses())
    answers = [[_shown(twin.get(path)) for path in addresses] for twin in twins]
    differing = [path for path, *pair in zip(addresses, *answers, strict=True) if pair[0] != pair[1]]
    assert differing == []
    assert sum(status == 200 for status, *_ in answers[0]) > 60
    first, second = (_live_messages(twin) for twin in twins)
    assert first == second and b"event: incident" in b"".join(first)


def _live_messages(twin: Twin) -> list[bytes]:
    """What a stranger's program and page get first, with all incidents that are known."""
    stranger = Visitor(public=frozenset(PUBLIC))
    program = twin.hub.subscribe(lambda: None, "0", SeenFeed(stranger).shown, stranger.public)
    page = twin.hub.open_page(
        lambda: None, "0", SeenFeed(stranger).shown, stranger.public, seen=stranger.public
    )
    assert program is not None and page is not None
    return [each.wire for each in twin.hub.waiting_messages(program)] + twin.hub.page_parts(page)[0]
