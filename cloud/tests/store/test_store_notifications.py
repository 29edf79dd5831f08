"""Rules, outbox and log of notifications in both stores: one contract."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from opq_cloud.store import CloudStore
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.records.accounts.notifications import (
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
    entry_id,
)
from opq_proto.time_units import DAY_MS

Another = Callable[[], CloudStore]
RULE = NotificationRule(
    "r1", "ada", "sags", "incident", "webhook", 5, classes=("sag",), box_ids=("1", "10"), loud_severity=7.5
)


def entry(number: str, account_id: str = "ada", made_ms: int = 1, due_ms: int = 1) -> NotificationEntry:
    return NotificationEntry(
        number,
        account_id,
        "r1",
        "sags",
        "mail",
        "incident",
        "Sag",
        made_ms,
        due_ms,
        box_ids=("1",),
        finding_ids=(3, 4),
        content='{"incident": {"id": 1, "a.b": [1, [2]]}}',
    )


def test_rules_are_listed_by_account_and_replaced_whole(store: CloudStore, open_again: Another) -> None:
    """Rules are listed by account and name, and replaced completely."""
    records = NotificationRecords(store.people.documents)
    records.put_rule(RULE)
    records.put_rule(replace(RULE, rule_id="r2", name="All"))
    records.put_rule(replace(RULE, rule_id="r3", account_id="eve"))
    assert [each.rule_id for each in records.rules("ada")] == ["r2", "r1"]
    records.put_rule(replace(RULE, classes=(), loud_severity=None))
    again = NotificationRecords(open_again().people.documents)
    assert again.rule("r1") == replace(RULE, classes=(), loud_severity=None)
    again.remove_rule("r1")
    assert records.rule("r1") is None and len(records.rules()) == 2


def test_a_message_is_added_and_claimed_once(store: CloudStore, open_again: Another) -> None:
    records = [NotificationRecords(each.people.documents) for each in (store, open_again())]
    added = [records[number % 2].add_entry(entry(entry_id("r1", 12))) for number in range(4)]
    assert added == [True, False, False, False]
    claims = [records[number % 2].claim(entry_id("r1", 12), 1000, 500) for number in range(4)]
    got = [each for each in claims if each is not None]
    assert [(each.state, each.tried) for each in got] == [("sending", 1)]
    assert got[0].content == entry("x").content and got[0].finding_ids == (3, 4)


def test_one_of_many_claims_succeeds(tmp_path: Path) -> None:
    """Not of FerretDB 1, whose update is not one step: its readers are answered before its writers."""
    stores = [EmbeddedStore(tmp_path / "opq.db") for _ in range(2)]
    records = [NotificationRecords(each.people.documents) for each in stores]
    records[0].add_entry(entry("e"))
    got: list[NotificationEntry] = []
    start = threading.Barrier(6)

    def claim(number: int) -> None:
        start.wait()
        found = records[number % 2].claim("e", 1000, 500)
        if found is not None:
            got.append(found)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in stores:
        each.close()
    assert len(got) == 1


def test_a_claim_expires_and_settled_messages_stay(store: CloudStore) -> None:
    """A claim ends and what is settled is claimed no more."""
    records = NotificationRecords(store.people.documents)
    records.add_entry(entry("e"))
    assert records.claim("e", 1000, 500) is not None
    assert records.claim("e", 1499, 500) is None
    again = records.claim("e", 1500, 500)
    assert again is not None and again.tried == 2
    records.set_state("e", "waiting", 1600, "answered 503", 5000)
    (waiting,) = records.unsent()
    assert (waiting.state, waiting.why, waiting.due_ms) == ("waiting", "answered 503", 5000)
    records.set_state("e", "sent", 6000)
    assert records.unsent() == [] and records.claim("e", 9999, 1) is None
    (line,) = records.entries("ada")
    assert (line.state, line.why, line.settled_ms) == ("sent", "", 6000)


def test_old_lines_go_and_what_waits_stays(store: CloudStore) -> None:
    records = NotificationRecords(store.people.documents)
    for number in range(3):
        records.add_entry(entry(f"e{number}", made_ms=number * DAY_MS))
        if number:
            records.set_state(f"e{number}", "sent", number)
    assert records.expire(40 * DAY_MS, 30) == 2
    assert [each.entry_id for each in records.entries()] == ["e0"]


def test_with_an_account_its_rules_and_notifications_go(store: CloudStore) -> None:
    made = store.people.add_account("ada@example.org", "Ada", "owner", "hash")
    assert made is not None
    records = NotificationRecords(store.people.documents)
    records.put_rule(replace(RULE, account_id=made.account_id))
    records.put_rule(replace(RULE, rule_id="r3", account_id="eve"))
    records.add_entry(entry("mine", made.account_id))
    records.add_entry(entry("eves", "eve"))
    store.people.delete_account(made.account_id)
    assert [each.account_id for each in records.rules()] == ["eve"]
    assert [each.entry_id for each in records.entries()] == ["eves"]
