"""Raw samples that people ask for: spans, budgets, states, the pages, the token that writes."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import httpx
import pytest
from account_scene import FormBrowser

from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.event_record import PERSON_ASKED, EventRecord
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.pages.boxes.waveform_requests import (
    BOX_BURST,
    MAX_OPEN,
    WaveformRefusedError,
    WaveformRequests,
    request_state,
    waveform_span,
)
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE
from opq_proto.time_units import NS_PER_S

NOW = 1_767_225_600 * NS_PER_S
"""2026-01-01, UTC."""
RECORD = EventRecord(
    7,
    "t",
    NOW - 3 * NS_PER_S,
    NOW - NS_PER_S,
    ("1",),
    (),
    {},
    False,
    False,
    "",
    asked_as={PERSON_ASKED: ("1",)},
    decided_ns=NOW - 2 * NS_PER_S,
)


def test_a_span_is_what_was_written_and_bounded() -> None:
    assert waveform_span("now-30s", "2", NOW) == (NOW - 30 * NS_PER_S, NOW - 28 * NS_PER_S)
    assert waveform_span("", "0.5", NOW) == (NOW, NOW + NS_PER_S // 2)
    start_ns, _ = waveform_span("2025-12-31T23:59:50.250", "1", NOW)
    assert start_ns == NOW - 9_750_000_000
    for start, seconds, said in (
        ("now", "0", "seconds is '0'; want a number from 0.1 to 10"),
        ("now", "nan", "want a number"),
        ("now", "11", "want a number"),
        ("noon", "1", "from is 'noon'; want now"),
        ("2026-01-01T00:02", "1", "ends more than 60 s ahead"),
        ("2025-11-01", "1", "began more than 31 days ago"),
    ):
        with pytest.raises(WaveformRefusedError, match=said) as refused:
            waveform_span(start, seconds, NOW)
        assert refused.value.status == 400


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"end_ns": NOW + 4 * NS_PER_S}, "queued", "sampled for 4 s more"),
        ({}, "asked", "no answer for 1 s"),
        (
            {"end_ns": NOW - 200 * NS_PER_S, "decided_ns": NOW - 100 * NS_PER_S},
            "unanswered",
            "has not read the request",
        ),
        ({"missing": {"1": "the ring is empty"}, "finished": True}, "refused", "the ring is empty"),
        ({"finished": True}, "refused", "did not answer"),
        ({"boxes_received": ("1",), "short": {"1": "not sampled yet"}}, "partly", "the rest is asked for"),
        ({"boxes_received": ("1",), "short": {"1": "gap"}, "finished": True}, "arrived", "in part: gap"),
        ({"boxes_received": ("1",), "finished": True}, "arrived", "Arrived"),
    ],
)
def test_what_became_of_it_is_said(changes: dict[str, object], name: str, said: str) -> None:
    found = request_state(replace(RECORD, **changes), "1", NOW)  # type: ignore[arg-type]
    assert found.name == name and said in found.words


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def test_requests_are_limited_by_box_and_account(
    store: CloudStore,
) -> None:
    """For one Box over all accounts, and for one account over all Boxes."""
    requests = WaveformRequests(store)
    for number in range(BOX_BURST):
        requests.open_request("1", "now-9s", "1", f"account-{number}", NOW)
    with pytest.raises(WaveformRefusedError, match="of this Box are requested") as refused:
        requests.open_request("1", "now-9s", "1", "another", NOW)
    assert refused.value.status == 429
    with pytest.raises(WaveformRefusedError, match=r"You requested|wait for their Boxes"):
        for number in range(30):
            requests.open_request(f"box-{number}", "now-9s", "1", "ada", NOW)
    assert len(store.unfinished_events()) <= MAX_OPEN
    assert all(each.asked_as == {PERSON_ASKED: each.boxes_triggered} for each in store.unfinished_events())


class People:
    """An owner of Box 1, an owner of Box 2, and an administrator, signed in."""

    def __init__(self, scene: demo.Scene) -> None:
        self.scene = scene
        self.ids: dict[str, str] = {}
        for name, role in (("owner", "owner"), ("other", "owner"), ("viewer", "viewer"), ("admin", "admin")):
            made = scene.store.people.add_account(f"{name}@example.org", name, role, "no-hash")
            assert made is not None
            self.ids[name] = made.account_id
        access = BoxAccess("1", self.ids["owner"], (self.ids["viewer"],))
        scene.store.people.change_access("1", lambda _: access)
        scene.store.people.change_access("2", lambda _: BoxAccess("2", self.ids["other"]))

    def browser(self, name: str) -> FormBrowser:
        people = self.scene.store.people
        account = people.account(self.ids[name])
        assert account is not None
        secret = SignIn(people).begin_session(account, "127.0.0.1", "test")
        return FormBrowser(self.scene.url, {SESSION_COOKIE: secret})

    def token(self, name: str, *scopes: str) -> dict[str, str]:
        secret = make_ticket(self.scene.store.people, "token", 600, account_id=self.ids[name], scopes=scopes)
        return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    scene = demo.Scene(tmp_path_factory.mktemp("asking"), poll_s=30.0)
    for outlet in demo.OUTLETS:
        scene.store.put_box(BoxRecord(outlet.box_id, outlet.name))
    with scene:
        yield People(scene)


def test_an_owner_asks_and_sees_the_result(people: People) -> None:
    owner, store = people.browser("owner"), people.scene.store
    assert owner.get("/boxes/1") == 200 and "/boxes/1/waveforms" in owner.text
    assert owner.post("/boxes/1/waveforms", "/boxes/1/waveforms", **{"from": "now-3s", "seconds": "2"}) == 303
    where = owner.headers["location"]
    event_id = int(where.rpartition("/")[2])
    assert owner.get(where) == 200 and "Asked; no answer" in owner.text and "waiting.js" in owner.text
    record = store.event_record(event_id)
    assert record is not None and record.end_ns - record.start_ns == 2 * NS_PER_S
    assert record.boxes_triggered == ("1",)
    store.put_waveform(event_id, demo.waveform_of(demo.OUTLETS[0], record.start_ns))
    store.finish_event(event_id)
    assert owner.get(where) == 200 and "Arrived" in owner.text and "waiting.js" not in owner.text
    assert 'class="trace trace-0" d="M' in owner.text and "V rms, peak" in owner.text
    assert owner.get(f"/api/v1/events/{event_id}/export?format=csv") == 200, "the link below the drawing"
    owner.get("/boxes/1/waveforms")
    assert f'<a href="{where}">Event {event_id}</a>' in owner.text
    (entry,) = [each for each in store.people.changes.entries() if each.subject.endswith(f"event {event_id}")]
    assert (entry.account_id, entry.what) == (people.ids["owner"], "asked for a waveform")
    other = people.browser("other")
    assert other.get(where) == 404, "an event of a Box that is not seen"
    assert people.browser("viewer").get(where) == 200, "it is shared with them"


def test_others_and_wrong_forms_are_refused(people: People) -> None:
    """Others may not ask, and a wrong form is refused with an explanation."""
    before = len(people.scene.store.unfinished_events())
    for name in ("other", "viewer"):
        browser = people.browser(name)
        browser.get("/account")
        assert browser.post("/boxes/1/waveforms", **{"from": "now", "seconds": "1"}) == 404, name
    owner = people.browser("owner")
    assert owner.post("/boxes/1/waveforms", form_token="forged", seconds="1") == 403
    assert owner.post("/boxes/1/waveforms", "/boxes/1/waveforms", **{"from": "noon", "seconds": "1"}) == 400
    assert "from is 'noon'" in owner.text
    assert FormBrowser(people.scene.url).post("/boxes/1/waveforms", seconds="1") == 401
    assert len(people.scene.store.unfinished_events()) == before


def test_a_token_asks_with_the_scope_write_alone(people: People) -> None:
    store = people.scene.store
    url = f"{people.scene.url}/api/v1/boxes"
    with httpx.Client(timeout=240, verify=False) as client:
        reads = client.post(f"{url}/1/waveforms", json={}, headers=people.token("owner", "read", "waveforms"))
        assert reads.status_code == 403 and "scope write" in reads.json()["detail"]
        writer = people.token("owner", "read", "write")
        made = client.post(f"{url}/1/waveforms", json={"from": "now-5s", "seconds": 0.5}, headers=writer)
        assert made.status_code == 202 and made.headers["location"] == made.json()["event"]
        event = client.get(people.scene.url + made.json()["event"], headers=writer).json()
        assert event["asked_as"] == {PERSON_ASKED: ["1"]} and not event["finished"]
        assert client.post(f"{url}/2/waveforms", json={}, headers=writer).status_code == 404
        wrong = client.post(f"{url}/1/waveforms", json={"seconds": 99}, headers=writer)
        assert wrong.status_code == 400 and "seconds: input should be less than or equal to 10" in wrong.text
        extra = client.post(f"{url}/1/waveforms", json={"box": "2"}, headers=writer)
        assert extra.status_code == 400 and "box: extra inputs" in extra.text
        assert client.post(f"{url}/1/waveforms", json={}).status_code == 401
        cross = client.post(
            f"{url}/1/waveforms", json={}, headers=writer | {"Origin": "https://evil.example"}
        )
        assert cross.status_code == 403
    entry = store.people.changes.entries(limit=1)[0]
    assert entry.what == "asked for a waveform by a token" and entry.account_id == people.ids["owner"]
    assert time.time_ns() - store.event_record(made.json()["event_id"]).decided_ns < 3600 * NS_PER_S  # type: ignore[union-attr, operator]
