"""`POST /api/v1/injections`: messages and stored events onto Mauka's bus, for administrators."""

import base64
import time

import demo
import httpx
import pytest
from waiting import wait_for

from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.web.links import make_ticket
from opq_proto.messages import Trigger
from opq_proto.wire.mauka_pb2 import MaukaMessage

S = 10**9


class People:
    """Tokens of two roles, and two stored events, in a View that knows the bus at `endpoint`."""

    def __init__(self, folder, endpoint):
        self.scene = demo.Scene(folder, poll_s=30.0, addresses=ServiceAddresses(bus=endpoint))
        self.ids = {}
        for role in ("admin", "researcher"):
            made = self.scene.store.people.add_account(f"{role}@example.org", role, role, "no-hash")
            self.ids[role] = made.account_id
        now_ns = time.time_ns()
        for hours_ago in (30, 1):
            start_ns = now_ns - hours_ago * 3600 * S
            trigger = Trigger(f"t{hours_ago}", start_ns, start_ns + S, ("1",), "1", "test")
            self.scene.store.open_event(trigger, "test")

    def client(self, role, *scopes):
        people = self.scene.store.people
        secret = make_ticket(people, "token", 600, account_id=self.ids[role], scopes=("read", *scopes))
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.Client(base_url=f"{self.scene.url}/api/v1", headers=headers, timeout=240, verify=False)


@pytest.fixture
def people_at(tmp_path, without_rest_limits):
    made = []

    def at(endpoint):
        people = People(tmp_path, endpoint)
        made.append(people.scene.__enter__())
        return people

    yield at
    for scene in made:
        scene.__exit__(None, None, None)


def test_messages_and_events_reach_the_bus(bus, wire, people_at):
    """Messages unchanged, events as the bridge announces them."""
    people, reader = people_at(bus.sub), wire.subscriber(bus)
    with people.client("admin", "write") as admin:
        made = admin.post("/injections", json={"topic": "foo", "text": "h\u00e9"})
        assert (made.status_code, made.json()) == (202, {"topic": "foo", "published": 1}), made.text
        assert reader.recv_multipart() == [b"foo", "h\u00e9".encode()]
        raw = base64.b64encode(b"\x00\xff").decode()
        assert admin.post("/injections", json={"topic": "foo", "base64": raw}).status_code == 202
        assert reader.recv_multipart() == [b"foo", b"\x00\xff"]
        newest = max(each.event_id for each in people.scene.store.events())
        made = admin.post("/injections", json={"from": "now-1d"})
        assert made.json() == {"topic": "MakaiEvent", "published": 1}
        topic, body = reader.recv_multipart()
        message = MaukaMessage.FromString(body)
        assert (topic, message.makai_event.event_id, message.source) == (
            b"MakaiEvent",
            newest,
            "makai_event_bridge",
        )
        assert admin.post("/injections", json={"event_ids": [newest, newest - 1]}).json()["published"] == 2
    changes = people.scene.store.people.changes
    assert wait_for(lambda: len(list(changes.entries(limit=9))) >= 4)
    assert next(iter(changes.entries(limit=1))).subject == "topic MakaiEvent, 2 messages"


def test_only_administrators_may_inject(people_at, free_endpoint):
    """Others read what is allowed."""
    people = people_at(free_endpoint())
    ask = {"topic": "foo", "text": "hello"}
    for role, scopes in (("researcher", ["write"]), ("admin", [])):
        with people.client(role, *scopes) as client:
            refused = client.post("/injections", json=ask)
            assert refused.status_code == 403 and "administrator" in refused.json()["detail"]
    with people.client("admin", "write") as admin:
        for body, code, why in (
            ({}, 400, "one of text"),
            (ask | {"event_ids": [1]}, 400, "one of text"),
            ({"topic": "foo", "event_ids": [1]}, 400, "topic MakaiEvent"),
            ({"topic": "foo", "base64": "?"}, 400, "base64"),
            ({"event_ids": [99_999]}, 404, "no event 99999"),
            ({"from": "now-2m"}, 404, "No event is stored"),
            ({"from": "noon"}, 400, "noon"),
            (ask | {"more": 1}, 400, "more"),
            (ask, 503, "No bus has subscribed"),
        ):
            answer = admin.post("/injections", json=body)
            assert answer.status_code == code and why in answer.text, answer.text
