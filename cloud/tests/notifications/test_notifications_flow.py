"""From an incident to a mail, a webhook and MQTT, each in its real server, once though Boxes join later."""

import json
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from mosquitto_of_ones_own import MOSQUITTO, Broker
from notification_scene import (
    LIMIT_S,
    SECRET,
    HookReceiver,
    MailSink,
    NotificationScene,
    notification_scene,
    sag_at,
)
from waiting import wait_for

from opq_cloud.core.notification_channels import CHANNELS
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.notifications import NotificationMqttSection, NotificationsSection
from opq_cloud.core.settings.view import MailSection
from opq_cloud.notifications import incident_watch
from opq_cloud.notifications.incident_watch import HELD_CHECK_S, IncidentWatch
from opq_cloud.notifications.notification_service import Notifications
from opq_cloud.notifications.outbox import SENDING_THREADS, NotificationOutbox
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.notifications.sending import Delivery, SendingChannel, made_channels
from opq_cloud.notifications.webhook_channel import SIGNATURE, signature
from opq_cloud.store import open_store
from opq_cloud.store.records.accounts.notifications import NotificationEntry
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
from opq_proto.errors import StoreError

SECOND_NS = 10**9
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "notifications.md"


def documented_receiver() -> Callable[[str, str, bytes], bool]:
    """`genuine` as docs/notifications.md prints it for who receives a webhook."""
    text = GUIDE.read_text()
    names: dict[str, Any] = {}
    exec(textwrap.dedent(text[text.index("    import hashlib") : text.index("\nAnswer 2xx")]), names)
    receiver: Callable[[str, str, bytes], bool] = names["genuine"]
    return receiver


@pytest.fixture
def mail() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


def plain(sink: MailSink) -> MailSection:
    return MailSection(server=f"127.0.0.1:{sink.port}", security="none", sender="OPQ <opq@example.org>")


class MqttListener:
    """What a subscriber of everything hears."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _, __, message: self.heard.append(
            (message.topic, bytes(message.payload), message.retain)
        )
        subscribed: list[bool] = []
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_for(lambda: subscribed)

    def of(self, start: str) -> list[dict]:
        found = list(self.heard)
        return [json.loads(payload) for topic, payload, _ in found if topic.startswith(start) and payload]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def join_bus(scene: NotificationScene, service: Notifications) -> None:
    """Waits until the service hears each message of the bus, and has read those of before."""
    counters, malformed = service.counters, service.counters.total("malformed")

    def hears() -> float:
        scene.say_incident(2**62)  # of no store
        return counters.total("incidents_heard")

    wait_for(hears)
    scene.say_incident(-1)
    wait_for(lambda: counters.total("malformed") == malformed + 1)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_each_channel_reports_a_sag_once(
    tmp_path: Path, mail: MailSink, hook: HookReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sag is reported once by each channel though Boxes join later."""
    with Broker(tmp_path) as broker:
        mqtt = NotificationMqttSection(host="127.0.0.1", port=broker.port)
        listener = MqttListener(broker.port)
        with notification_scene(tmp_path / "data", mail=plain(mail), mqtt=mqtt) as scene:
            ada = scene.add_account("ada", boxes=("1", "2", "3", "4"))
            eve = scene.add_account("eve", boxes=("9",))
            scene.add_rule(ada, "mail")
            scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
            scene.add_rule(ada, "mqtt")
            scene.add_rule(eve, "mail")
            with scene.running() as service:
                wait_for(lambda: listener.of("homeassistant/event/"))
                began_ns = time.time_ns()
                began_s = time.monotonic()
                scene.put_findings(sag_at("1", began_ns))
                wait_for(lambda: mail.mails and hook.requests and listener.of("opq/"))
                took_s = time.monotonic() - began_s
                for box in ("2", "3", "4"):
                    scene.put_findings(sag_at(box, began_ns + int(box)))
                (incident,) = scene.store.incidents()
                assert incident.box_ids == ("1", "2", "3", "4")
                # another disturbance, an hour later: what comes of it comes after all of the first
                scene.put_findings(sag_at("2", began_ns + 3600 * SECOND_NS))
                wait_for(lambda: len(mail.mails) > 1 and len(hook.requests) > 1 and listener.of("opq/")[1:])
                assert service.counters.total("malformed") == 0
            assert len(scene.records.entries()) == 6
            told = [message["To"] for message in mail.mails]
            assert told == ["ada@example.org"] * 2
            first, second = hook.bodies
            events = listener.of("opq/notifications/")
        listener.close()
    assert (first["version"], first["kind"], first["incident"]["box_ids"]) == (1, "incident", ["1"])
    assert first["url"] == f"https://pq.example.org/incidents/{first['incident']['id']}"
    assert second["incident"]["id"] != first["incident"]["id"] and second["id"] != first["id"]
    genuine = documented_receiver()
    for _, headers, body in hook.requests:
        assert genuine(SECRET, headers[SIGNATURE], body)
        assert not genuine("another", headers[SIGNATURE], body)
        assert not genuine(SECRET, headers[SIGNATURE], body + b" ")
        assert not genuine(SECRET, signature(SECRET, int(time.time()) - 301, body), body)
    assert [each["event_type"] for each in events] == ["incident", "incident"]
    assert events[0]["incident"]["id"] == first["incident"]["id"]
    message = mail.mails[0]
    text, page = (part.get_content() for part in message.iter_parts())
    assert "Sag to 60.0 % at Box 1, 158 ms" in message["Subject"]
    assert first["url"] in text and f'href="{first["url"]}"' in page
    with capsys.disabled():
        print(f"\nincident stored -> mail, webhook and MQTT: {took_s * 1000:.0f} ms")


def test_a_message_waits_for_what_was_asked(
    tmp_path: Path, hook: HookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Box is analysed while another is asked for more; a message that cannot wait says `so far`."""
    monkeypatch.setattr(incident_watch, "HELD_S", 600.0)  # what is waited for comes within that time
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", boxes=["1", "4"])
        scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        with scene.running() as service:
            join_bus(scene, service)
            began_ns = time.time_ns()
            event_id = scene.put_findings(sag_at("1", began_ns), complete=False)
            wanted = StoredSampleRequest("rapid", "not steady", spans={"4": (began_ns, began_ns + SECOND_NS)})
            scene.store.request_samples(event_id, [wanted], 3)
            scene.complete_event(event_id)  # analysed, and more is wanted
            wait_for(lambda: service.counters.total("looked_at"))
            time.sleep(2 * HELD_CHECK_S)
            assert hook.requests == [], "more is asked for"
            answer = SamplesAnswer({"4": (began_ns, began_ns + SECOND_NS)}, {}, began_ns)
            assert scene.store.answer_request(event_id, 1, answer)
            assert not scene.store.event_record(event_id).finished, "Box 4 owes it"
            time.sleep(2 * HELD_CHECK_S)
            assert hook.requests == []
            scene.put_findings(sag_at("4", began_ns + 1))
            scene.complete_event(event_id)
            wait_for(lambda: hook.requests)
            monkeypatch.setattr(incident_watch, "HELD_S", 0.3)
            scene.put_findings(sag_at("1", began_ns + 3600 * SECOND_NS), complete=False)
            wait_for(lambda: len(hook.requests) > 1)
        texts = [each.headline for each in scene.records.entries()]
    first, second = hook.bodies
    assert (first["incident"]["box_ids"], first["incident"]["complete"]) == (["1", "4"], True)
    assert second["incident"]["complete"] is False
    assert [text.endswith("(so far: not all of it is analysed yet)") for text in texts] == [True, False]


def test_edits_are_reported_only_as_news(tmp_path: Path, hook: HookReceiver) -> None:
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET, classes=("interruption",))
        began_ns = time.time_ns()
        scene.put_findings(sag_at("9", began_ns - 7200 * SECOND_NS), heard=False)
        with scene.running() as service:
            join_bus(scene, service)
            heard = service.counters.total("incidents_heard")
            scene.put_findings(sag_at("1", began_ns), sag_at("2", began_ns + 1))
            assert wait_for(lambda: hook.requests, LIMIT_S)
            (incident,) = scene.store.incidents(start_ns=began_ns)
            second, fresh = incident.findings[1].finding_id, incident.incident_id + 1
            scene.edit(lambda editor: editor.split_incident(incident.incident_id, [second]))
            scene.edit(lambda editor: editor.merge_incidents([incident.incident_id, fresh]))
            old = min(each.incident_id for each in scene.store.incidents())
            for number in (old, incident.incident_id):
                scene.edit(
                    lambda editor, number=number: editor.label_incident(
                        number, "interruption", ["interruption"]
                    )
                )
            assert wait_for(lambda: len(hook.requests) == 2, LIMIT_S), "the rule for interruptions"
            assert wait_for(lambda: service.counters.total("incidents_heard") == heard + 7, LIMIT_S)
        assert [each["incident"]["class"] for each in hook.bodies] == ["sag", "interruption"]
        assert [each["incident"]["id"] for each in hook.bodies] == [incident.incident_id] * 2
        assert len(scene.records.entries()) == 2


def test_a_webhook_is_retried_with_one_id(tmp_path: Path, hook: HookReceiver) -> None:
    """A webhook is tried again under the same id until it is taken."""
    hook.answers += [503, 429]
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        rule = scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        outbox, counters = outbox_of(scene)
        scene.records.add_entry(entry_of(rule.rule_id, ada))
        states = []
        while len(states) < 5 and (unsent := scene.records.unsent()):
            outbox.send_due([replace(each, due_ms=0) for each in unsent])
            wait_for(lambda: outbox.sending == 0)
            (line,) = scene.records.entries(ada)
            states.append((line.state, line.why))
    assert states == [
        ("waiting", "ConnectionError: answered 503"),
        ("waiting", "ConnectionError: answered 429"),
        ("sent", ""),
    ]
    assert {each["id"] for each in hook.bodies} == {"an-id"} and len(hook.bodies) == 3
    assert (counters.total("retried"), counters.total("sent")) == (2, 1)


def entry_of(rule_id: str, account_id: str, number: str = "an-id") -> NotificationEntry:
    return NotificationEntry(number, account_id, rule_id, "rule", "webhook", "test", "A test", 1, 1)


def outbox_of(
    scene: NotificationScene, now_ms: int = 1_000_000
) -> tuple[NotificationOutbox, ServiceCounters]:
    counters = ServiceCounters()
    channels = made_channels(CloudConfig(notifications=NotificationsSection(private_hosts=("127.0.0.1",))))
    people, view_url = scene.store.people, "https://pq.example.org"
    return NotificationOutbox(people, channels, view_url, counters, 60.0, lambda: now_ms), counters


@pytest.mark.parametrize(("level", "priority"), [(0, 3), (1, 4), (2, 5), (3, 5)])
def test_ntfy_gets_topic_text_priority_and_link(
    tmp_path: Path, hook: HookReceiver, level: int, priority: int
) -> None:
    """The form that ntfy documents as "Publish as JSON"; letters beyond ASCII arrive."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        url = hook.url.replace("/hook?from=opq", "/alarms/opq?auth=x")
        rule = scene.add_rule(ada, "ntfy", url=url)
        outbox, counters = outbox_of(scene)
        waiting = replace(entry_of(rule.rule_id, ada), channel="ntfy", subject="incident 12")
        scene.records.add_entry(replace(waiting, headline="Sag · Kūhiō", level=level))
        outbox.send_due(scene.records.unsent())
        wait_for(lambda: outbox.sending == 0)
        (line,) = scene.records.entries(ada)
    assert (line.state, line.why, counters.of("sent", "ntfy")) == ("sent", "", 1)
    assert [path for path, _, _ in hook.requests] == ["/alarms/?auth=x"]
    assert hook.bodies == [
        {
            "topic": "opq",
            "title": rule.name,
            "message": "Sag · Kūhiō",
            "priority": priority,
            "click": "https://pq.example.org/incidents/12",
        }
    ]


def test_each_channel_is_made_by_its_module() -> None:
    assert list(made_channels(CloudConfig())) == list(CHANNELS)


def test_a_dead_senders_claim_is_sent_once(tmp_path: Path, hook: HookReceiver) -> None:
    """After the claim of the dead process has expired."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        rule = scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        scene.records.add_entry(entry_of(rule.rule_id, ada))
        assert scene.records.claim("an-id", 1_000_000, 60_000) is not None  # and then kill -9
        for now_ms in (1_059_999, 1_060_000, 1_200_000):
            outbox, _ = outbox_of(scene, now_ms)
            outbox.send_due(scene.records.unsent())
            wait_for(lambda outbox=outbox: outbox.sending == 0)
            assert len(hook.requests) == (now_ms >= 1_060_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"url": "http://169.254.169.254/latest/meta-data"}, "private network"),
        ({"url": "http://localhost:1024/"}, "private network"),
        ({"url": "ftp://example.org"}, "write an address such as"),
        ({"enabled": False}, "switched off"),
        ({"channel": "mail"}, "now sends by mail"),
    ],
)
def test_an_undeliverable_entry_has_its_reason(tmp_path: Path, change: dict[str, object], why: str) -> None:
    """The log states why a message cannot be sent."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        rule = scene.add_rule(ada, "webhook", url="http://127.0.0.1:1/", secret=SECRET)
        scene.records.put_rule(replace(rule, **change))
        outbox, _ = outbox_of(scene)
        scene.records.add_entry(replace(entry_of(rule.rule_id, ada), kind="incident"))
        outbox.send_due(scene.records.unsent())
        wait_for(lambda: outbox.sending == 0)
        (line,) = scene.records.entries(ada)
    assert line.state in ("failed", "dropped") and why in line.why


def test_slow_webhooks_leave_threads_to_others(tmp_path: Path, hook: HookReceiver) -> None:
    """Webhooks of one account that do not answer leave threads to others."""
    hook.answers = [None] * 10
    with notification_scene(tmp_path) as scene:
        mallory, ada = scene.add_account("mallory", "viewer"), scene.add_account("ada", "viewer")
        for number in range(7):
            whose = ada if number == 6 else mallory
            rule = scene.add_rule(whose, "webhook", url=hook.url, secret=SECRET)
            scene.records.add_entry(replace(entry_of(rule.rule_id, whose, f"{number}"), due_ms=number))
        outbox, _ = outbox_of(scene)
        assert outbox.send_due(scene.records.unsent()) == 3  # two of hers, and Ada's
        hook.release.set()
        wait_for(lambda: outbox.sending == 0)
        assert [each.tried for each in scene.records.entries(ada)] == [1]


class HeldChannel(SendingChannel):
    """Sends nothing; each delivery waits for `free`."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun: list[str] = []
        """Accounts, one for each delivery."""

    def deliver(self, delivery: Delivery) -> None:
        self.begun.append(delivery.account.account_id)
        assert self.free.wait(LIMIT_S)


def test_slow_webhooks_of_several_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two accounts with two slow webhooks each have all threads for one turn; then another is first."""
    monkeypatch.setattr("opq_cloud.notifications.outbox.TURN_S", 0.0)  # one delivery
    with notification_scene(tmp_path) as scene:
        channel, people, records = HeldChannel(), scene.store.people, scene.records
        sending = NotificationOutbox(people, {"webhook": channel}, "", ServiceCounters(), 600.0)
        mallory, trudy, ada = (scene.add_account(each, "viewer") for each in ("mallory", "trudy", "ada"))
        for whose in (mallory, mallory, trudy, trudy):
            rule = scene.add_rule(whose, "webhook")
            for number in range(3):
                records.add_entry(entry_of(rule.rule_id, whose, f"{rule.rule_id} {number}"))
        assert sending.send_due(records.unsent()) == SENDING_THREADS
        wait_for(lambda: len(channel.begun) == SENDING_THREADS)
        rule = scene.add_rule(ada, "webhook")
        records.add_entry(replace(entry_of(rule.rule_id, ada, "hers"), due_ms=2))
        assert sending.send_due(records.unsent()) == 0
        channel.free.set()
        wait_for(lambda: sending.sending == 0)
        assert sorted(channel.begun) == sorted([mallory, trudy] * 2)
        channel.free.clear()
        assert sending.send_due(records.unsent()) == SENDING_THREADS
        wait_for(lambda: len(channel.begun) == 2 * SENDING_THREADS)
        assert ada in channel.begun
        channel.free.set()
        wait_for(lambda: sending.sending == 0)


def test_a_busy_rule_counts_once_for_turns(tmp_path: Path) -> None:
    """Its further entries, which wait for it, put no other rule of the account behind."""
    with notification_scene(tmp_path) as scene:
        outbox = NotificationOutbox(scene.store.people, {}, "", ServiceCounters(), 600.0)
        busy, due, first, second = (("ab"[n // 2], "webhook", f"rule {n}") for n in range(4))
        outbox._busy.add(busy)
        outbox._turns_s = {"a": 1.0, "b": 2.0}
        assert outbox._by_turn([busy, due, first, second]) == [first, due, second]


def test_a_hidden_box_is_not_reported(tmp_path: Path, hook: HookReceiver) -> None:
    """A waiting message about a Box that may not be seen any more is not sent."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "viewer")
        rule = scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        scene.share("4", "all")
        scene.records.add_entry(replace(entry_of(rule.rule_id, ada), box_ids=("4",)))
        scene.share("4", "nothing")
        outbox, _ = outbox_of(scene)
        outbox.send_due(scene.records.unsent())
        wait_for(lambda: outbox.sending == 0)
        assert hook.requests == []
        assert [each.state for each in scene.records.entries(ada)] == ["dropped"]


@pytest.mark.parametrize("values", [{"role": "owner"}, {"disabled": True}])
def test_former_administrators_get_nothing_of_services(
    tmp_path: Path, hook: HookReceiver, values: dict[str, Any]
) -> None:
    """What waits for a person who lost the right is dropped, and the rule has no effect."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        rule = scene.add_rule(ada, "webhook", about="health", url=hook.url, secret=SECRET)
        scene.records.add_entry(replace(entry_of(rule.rule_id, ada), kind="health"))
        scene.store.people.change_account(ada, lambda was: replace(was, **values))
        assert RuleBook(scene.store.people, ServiceCounters()).rules() == []
        outbox, _ = outbox_of(scene)
        outbox.send_due(scene.records.unsent())
        wait_for(lambda: outbox.sending == 0)
        assert hook.requests == [] and [each.state for each in scene.records.entries(ada)] == ["dropped"]


def test_refused_news_is_sent_later(tmp_path: Path, mail: MailSink) -> None:
    """A message that the store refuses is sent once the store takes it."""
    with notification_scene(tmp_path, mail=plain(mail)) as scene:
        ada = scene.add_account("ada", "admin")
        scene.add_rule(ada, "mail")
        with closing(open_store(None, tmp_path)) as store:
            counters, refusals = ServiceCounters(), [StoreError("the disk is full")] * 2
            documents, watch = store.people.documents, RuleBook(store.people, counters)
            insert = documents.insert

            def refusing(*values: Any) -> bool:
                if refusals:
                    raise refusals.pop()
                return insert(*values)

            documents.insert = refusing  # type: ignore[method-assign]
            incidents = IncidentWatch(store, watch, counters)
            scene.put_findings(sag_at("1", time.time_ns()), heard=False)
            for _ in range(2):
                with pytest.raises(StoreError):
                    incidents.check_incidents()
            incidents.check_incidents()
            incidents.check_incidents()
        assert len(scene.records.entries(ada)) == 1


def test_an_unknown_number_ends_nothing(tmp_path: Path) -> None:
    """A number on the bus that no store has ends nothing."""
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", "admin")
        scene.add_rule(ada, "webhook", url="http://127.0.0.1:9/", secret=SECRET)
        with scene.running() as service:
            scene.put_findings(sag_at("1", time.time_ns()))
            wait_for(lambda: scene.records.entries(ada))
            join_bus(scene, service)
            before = service.counters.total("malformed")
            for number in (10**30, -1, 2**63):
                scene.say_incident(number)
            wait_for(lambda: service.counters.total("malformed") == before + 3)


def test_lost_messages_are_read_from_the_store(tmp_path: Path, mail: MailSink) -> None:
    """After an interruption of the bus the store is read; a digest is one mail."""
    with notification_scene(tmp_path, mail=plain(mail)) as scene:
        ada = scene.add_account("ada", "admin")
        scene.add_rule(ada, "mail", quiet_from="00:00", quiet_to="23:59", least_severity=1.0)
        now_ns = time.time_ns()
        for minutes in (1, 3, 5):
            scene.put_findings(sag_at("1", now_ns - minutes * 60 * SECOND_NS), heard=False)
        with scene.running():
            wait_for(lambda: len(scene.records.entries(ada)) == 3)
            held = scene.records.entries(ada)
            if all(each.state == "waiting" for each in held):  # not so in the last minute of a day
                assert {each.why for each in held} == {"quiet hours"} and mail.mails == []
            for each in held:  # the quiet hours end
                scene.records.change_entry(each.entry_id, lambda was: replace(was, due_ms=1))
            wait_for(lambda: all(each.state == "sent" for each in scene.records.entries(ada)))
        with scene.running():  # after a restart nothing of it is news
            wait_for(lambda: scene.service.counters.total("looked_at") >= 3)
        assert {each.state for each in scene.records.entries(ada)} == {"sent"}
        assert len(scene.records.entries(ada)) == 3
        assert 1 <= len(mail.mails) <= 3


def test_an_assignment_is_mailed_once_with_its_link(tmp_path: Path, mail: MailSink) -> None:
    """An assignment by another person is mailed once, with the link to its incident."""
    with notification_scene(tmp_path, mail=plain(mail)) as scene:
        ada, bob = scene.add_account("ada", "researcher"), scene.add_account("bob", "researcher")
        scene.add_rule(bob, "mail", about="assigned")
        scene.put_findings(sag_at("1", time.time_ns() - 90 * 86_400 * SECOND_NS), heard=False)
        scene.put_findings(sag_at("2", time.time_ns()), heard=False)
        old, own = sorted(each.incident_id for each in scene.store.incidents())
        scene.edit(lambda editor: editor.assign_incident(own, bob, bob))
        scene.edit(lambda editor: editor.assign_incident(old, bob, ada))
        with scene.running():
            wait_for(lambda: mail.mails, LIMIT_S)
        with scene.running():  # a restart reports it no second time, and an own assignment never
            scene.edit(lambda editor: editor.acknowledge_incident(old, bob))
            scene.edit(lambda editor: editor.assign_incident(own, "", bob))
            scene.edit(lambda editor: editor.assign_incident(own, bob, ada))
            wait_for(lambda: len(mail.mails) == 2, LIMIT_S)
        first, second = (each.get_body(("plain",)) for each in mail.mails)
        assert first is not None and f"https://pq.example.org/incidents/{old}" in first.get_content()
        assert second is not None and f"https://pq.example.org/incidents/{own}" in second.get_content()
        assert mail.mails[0]["subject"].startswith("[OPQ] Assigned to you: Sag")
        assert [each["to"] for each in mail.mails] == ["bob@example.org"] * 2
