"""The pages of notifications: rules, the button that sends a test, tokens for stream rules, the log."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import demo
import pytest
from account_scene import PASSWORD, FormBrowser, add_people, meteors_hash
from waiting import wait_for

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.operations.service_addresses import service_addresses
from opq_cloud.store.records.accounts.account_records import BoxAccess, secret_hash
from opq_cloud.store.records.accounts.notifications import (
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
)
from opq_cloud.store.records.keyed_documents import OriginalUser
from opq_cloud.view.pages.account import notification_pages
from opq_cloud.view.web.passwords import hash_password
from opq_cloud.view.web.sign_in import SignIn, original_rules
from opq_cloud.view.web.visitors import SESSION_COOKIE

PAGE = "/account/notifications"
pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, cheap_argon2: None) -> Iterator[demo.Scene]:
    addresses = service_addresses(CloudConfig())
    running = demo.Scene(tmp_path_factory.mktemp("notifications"), poll_s=5.0, addresses=addresses)
    with running:
        yield running


@pytest.fixture(scope="module")
def ids(scene: demo.Scene) -> dict[str, str]:
    made = add_people(scene, ada="owner", eve="owner", root="admin")
    scene.store.people.change_access("1", lambda _: BoxAccess("1", made["ada"]))
    scene.store.people.change_access("2", lambda _: BoxAccess("2", made["eve"]))
    return made


def browser_of(scene: demo.Scene, account_id: str) -> FormBrowser:
    account = scene.store.people.account(account_id)
    assert account is not None
    secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    return FormBrowser(scene.url, {SESSION_COOKIE: secret})


def records(scene: demo.Scene) -> NotificationRecords:
    return NotificationRecords(scene.store.people.documents)


def test_a_rule_is_added_shown_changed_and_deleted(scene: demo.Scene, ids: dict[str, str]) -> None:
    browser = browser_of(scene, ids["ada"])
    assert browser.get(PAGE) == 200 and "You are not notified of anything yet." in browser.text
    new = f"{PAGE}/new?about=incident"
    fields = {"about": "incident", "name": "Deep <sags>", "channel": "webhook", "box_ids": "1"}
    fields |= {"url": "https://example.org/hook", "least_severity": "4.5", "class_sag": "on", "enabled": "on"}
    fields |= {"quiet_from": "22:00", "quiet_to": "07:00", "digest": "daily", "digest_at": "06:30"}
    browser.get(new)
    assert "(no mail server is set here yet)" in browser.text
    assert "MQTT (no broker is set here yet)" in browser.text and "ntfy (telephone)</label>" in browser.text
    fields |= {"loud_severity": "8", "updates": "on", "present_password": PASSWORD}
    assert browser.post(f"{PAGE}/new", new, **fields) == 303
    (rule,) = records(scene).rules(ids["ada"])
    assert browser.headers["location"] == f"{PAGE}/{rule.rule_id}"
    assert (rule.classes, rule.box_ids, rule.least_severity) == (("sag",), ("1",), 4.5)
    assert (rule.quiet_from, rule.quiet_to, rule.digest_at) == ("22:00", "07:00", "06:30")
    assert (rule.loud_severity, rule.updates, rule.enabled, rule.scopes) == (8.0, True, True, ())
    assert browser.get(f"{PAGE}/{rule.rule_id}") == 200
    assert rule.secret in browser.text and 'value="https://example.org/hook"' in browser.text
    browser.get(PAGE)
    assert "Sag · severity 4.5 and more · Boxes 1 · quiet 22:00 to 07:00 · each day, as one" in browser.text
    before_ms = rule.since_ms
    where = f"{PAGE}/{rule.rule_id}"
    assert browser.post(where, where, channel="mail", name="All", least_severity="0") == 303
    browser.get(PAGE)
    assert "No broker is set" not in browser.text
    assert browser.post(where, where, channel="mqtt", name="All", least_severity="0") == 400
    assert "MQTT: no broker is set here yet; an administrator sets it in [notifications.mqtt]" in browser.text
    (rule,) = records(scene).rules(ids["ada"])
    records(scene).put_rule(replace(rule, channel="mqtt"))  # from a time when there was a broker
    browser.get(PAGE)
    assert "No broker is set here yet: [notifications.mqtt]" in re.sub("</?code>", "", browser.text)
    assert browser.post(where, where, channel="mail", name="All", least_severity="0") == 303
    (changed,) = records(scene).rules(ids["ada"])
    assert (changed.name, changed.channel, changed.classes, changed.enabled) == ("All", "mail", (), False)
    assert changed.secret == changed.url == "" and changed.since_ms >= before_ms
    assert browser.post(f"{where}/delete", PAGE) == 303
    assert records(scene).rules(ids["ada"]) == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"channel": "pigeon"}, "pigeon is not a way to send"),
        ({"channel": ""}, "Nothing is not a way to send"),
        ({"channel": "mqtt"}, "MQTT: no broker is set here yet; an administrator sets it in"),
        ({"box_ids": "1, 2"}, "You cannot see Box 2."),
        ({"box_ids": "99"}, "You cannot see Box 99."),
        ({"channel": "webhook", "url": "javascript:alert(1)"}, "write an address such as"),
        ({"channel": "webhook", "url": "https://u:p@example.org/"}, "an address with a password"),
        ({"channel": "webhook", "url": "http://example.org:25/"}, "port 25 is of another service"),
        ({"channel": "webhook", "url": "http://example.org:99999/"}, "URL: "),
        ({"quiet_from": "22:00"}, "Quiet hours need a beginning and an end"),
        ({"quiet_from": "22:00", "quiet_to": "25:00"}, "hour must be in 0..23"),
        ({"digest": "weekly"}, "weekly is not a digest"),
        ({"digest_at": "noon"}, "noon is not a time of day"),
        ({"least_severity": "nan"}, "nan is not a number from 0 to 10"),
        ({"loud_severity": "11"}, "11 is not a number from 0 to 10"),
    ],
)
def test_a_wrong_field_is_named_and_not_stored(
    scene: demo.Scene, ids: dict[str, str], fields: dict[str, str], why: str
) -> None:
    browser = browser_of(scene, ids["ada"])
    whole = {"about": "incident", "name": "kept", "channel": "mail", **fields}
    assert browser.post(f"{PAGE}/new", f"{PAGE}/new?about=incident", **whole) == 400
    assert why in browser.text and 'value="kept"' in browser.text
    assert records(scene).rules(ids["ada"]) == []


def test_services_are_an_administrators_alone(scene: demo.Scene, ids: dict[str, str]) -> None:
    browser = browser_of(scene, ids["ada"])
    assert browser.get(f"{PAGE}/new?about=health") == 400
    assert browser.post(f"{PAGE}/new", f"{PAGE}/new", about="health", channel="mail") == 400
    root = browser_of(scene, ids["root"])
    where = f"{PAGE}/new?about=health"
    assert root.post(f"{PAGE}/new", where, about="health", channel="mail", after_minutes="2") == 303
    (rule,) = records(scene).rules(ids["root"])
    assert (rule.about, rule.after_s) == ("health", 120)


def test_trial_notifications_are_limited(
    scene: demo.Scene, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button puts a test into the outbox."""
    monkeypatch.setattr(notification_pages, "TEST_SHOWN_S", 0.0)  # without a sender
    rule = NotificationRule("rule-of-eve", ids["eve"], "mine", "incident", "mail", 0, quiet_from="00:00")
    records(scene).put_rule(rule)
    browser = browser_of(scene, ids["eve"])
    for _ in range(5):
        assert browser.post(f"{PAGE}/rule-of-eve/test", PAGE) == 303
    assert browser.post(f"{PAGE}/rule-of-eve/test", PAGE) == 400 and "5 tests" in browser.text
    made = records(scene).entries(ids["eve"])
    assert [(each.kind, each.state, each.rule_id) for each in made] == [
        ("test", "waiting", "rule-of-eve")
    ] * 5
    assert all(each.due_ms <= time.time_ns() // 1_000_000 for each in made)
    browser.get(PAGE)
    assert browser.text.count("A test of the rule mine") == 5


def test_a_tests_answer_says_its_result(
    scene: demo.Scene, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_pages, "TEST_SHOWN_S", 60.0)
    out = records(scene)
    out.put_rule(NotificationRule("rule-of-root", ids["root"], "root's", "incident", "mail", 0))
    browser = browser_of(scene, ids["root"])
    assert browser.get(PAGE) == 200

    def send() -> None:
        waiting = wait_for(lambda: [each for each in out.unsent() if each.account_id == ids["root"]])
        out.set_state(waiting[0].entry_id, "failed", 1, "no mail server is set")

    with ThreadPoolExecutor(1) as sending:
        sent = sending.submit(send)
        assert browser.post(f"{PAGE}/rule-of-root/test") == 303
        sent.result(60)
    assert out.unsent() == [] or all(each.account_id != ids["root"] for each in out.unsent())
    assert browser.get(PAGE) == 200 and "not sent: no mail server is set" in browser.text


def test_anothers_rule_is_not_found(scene: demo.Scene, ids: dict[str, str]) -> None:
    """A form without its token changes nothing."""
    records(scene).put_rule(NotificationRule("eves", ids["eve"], "secret name", "incident", "mail", 0))
    ada = browser_of(scene, ids["ada"])
    assert ada.get(f"{PAGE}/eves") == 404
    for form in ("", "/test", "/delete"):
        assert ada.post(f"{PAGE}/eves{form}", PAGE, channel="mail") == 404
        assert "secret name" not in ada.text
    eve = browser_of(scene, ids["eve"])
    assert eve.post(f"{PAGE}/eves/delete", PAGE, form_token="0" * 48) == 403
    assert eve.post(f"{PAGE}/eves/delete", PAGE, headers={"Origin": "https://evil.example"}) == 403
    assert records(scene).rule("eves") is not None


def test_the_log_says_why_and_shows_nobody_elses(scene: demo.Scene, ids: dict[str, str]) -> None:
    at_ms = 1_800_000_000_000
    for owner, what in (("ada", "Sag & more at Box 1"), ("eve", "Sag of eve")):
        entry = NotificationEntry(
            f"log-{owner}",
            ids[owner],
            "r",
            "rule",
            "mail",
            "incident",
            what,
            at_ms,
            at_ms,
            "failed",
            "given up after 13 tries: answered 503",
        )
        records(scene).add_entry(entry)
    browser = browser_of(scene, ids["ada"])
    browser.get(PAGE)
    assert "Sag & more at Box 1" in browser.text and "given up after 13 tries" in browser.text
    assert "Sag of eve" not in browser.text and "2027-01-15" in browser.text


def test_a_stream_token_is_shown_once(scene: demo.Scene, ids: dict[str, str]) -> None:
    """It reads nothing."""
    browser = browser_of(scene, ids["ada"])
    wanted = {"label": "rules", "days": "30", "present_password": PASSWORD}
    assert browser.post(f"{PAGE}/tokens", PAGE, **wanted) == 200
    found = re.search(r"opq_[\w-]{40,}", browser.text)
    assert found is not None
    ticket = scene.store.people.ticket(secret_hash(found[0]), "notify")
    assert ticket is not None and ticket.account_id == ids["ada"]
    assert scene.store.people.ticket(secret_hash(found[0]), "token") is None
    reader = FormBrowser(scene.url)
    assert reader.get("/api/v1/boxes", Authorization=f"Bearer {found[0]}") == 401
    browser.get(PAGE)
    assert found[0] not in browser.text
    assert browser.post(f"{PAGE}/tokens/end", PAGE, token=ticket.ticket_hash) == 303
    assert scene.store.people.ticket(secret_hash(found[0]), "notify") is None


def test_personal_data_hold_rules_without_secrets(scene: demo.Scene, ids: dict[str, str]) -> None:
    """A deleted account takes them along."""
    people = scene.store.people
    made = people.add_account("kim@example.org", "Kim", "owner", hash_password(PASSWORD))
    assert made is not None
    rule = NotificationRule("kims", made.account_id, "kims rule", "incident", "webhook", 0, secret="s3cret")
    records(scene).put_rule(rule)
    browser = browser_of(scene, made.account_id)
    browser.get("/account/data.json")
    assert [each["name"] for each in json.loads(browser.text)["notification_rules"]] == ["kims rule"]
    assert "s3cret" not in browser.text
    assert browser.post("/account/delete", "/account", present_password=PASSWORD) in (200, 303)
    assert records(scene).rule("kims") is None


@pytest.mark.parametrize(
    ("preferences", "admin", "rules"),
    [
        ({}, True, []),
        (None, True, []),
        ({"email": True, "notification_types": None}, True, []),
        (
            {"email": True, "max_per_day": "once an hour", "notification_types": ["new incident"]},
            False,
            [("incident", True, "hourly")],
        ),
        (
            {"email": True, "max_per_day": "once a day", "notification_types": ["system service down"]},
            True,
            [("silence", True, "daily"), ("health", True, "daily")],
        ),
        (
            {"email": True, "max_per_day": "never", "notification_types": ["system service down"]},
            False,
            [("silence", False, "none")],
        ),
        (
            {"text": True, "email": False, "notification_types": ["new incident", 7]},
            False,
            [("incident", False, "none")],
        ),
    ],
)
def test_preferences_of_the_originals_view_are_rules(
    preferences: dict[str, object] | None, admin: bool, rules: list[tuple[str, bool, str]]
) -> None:
    made = original_rules("a", preferences or {}, admin, 5)
    assert [(each.about, each.enabled, each.digest) for each in made] == rules
    assert {(each.channel, each.since_ms, each.digest_at) for each in made} <= {("mail", 5, "06:00")}


def test_an_original_user_keeps_their_rules(scene: demo.Scene) -> None:
    """A user of the original's View comes over with rules."""
    wishes = {"email": True, "max_per_day": "once a day", "notification_types": ["new incident"]}
    user = OriginalUser("lee@example.org", meteors_hash(PASSWORD), "Lee", False, ("9",), wishes)
    people = scene.store.people
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(people), "has_original_users", lambda _: True)
        patch.setattr(type(people), "original_user", lambda _, name: user if name == user.username else None)
        account = SignIn(people).account_of("lee@example.org", PASSWORD, "")
    assert account is not None
    (rule,) = records(scene).rules(account.account_id)
    assert (rule.about, rule.channel, rule.digest, rule.name) == (
        "incident",
        "mail",
        "daily",
        "New incidents",
    )
