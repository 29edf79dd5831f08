"""Accounts in both stores: one contract for `accounts.db` and for MongoDB's collections."""

import math
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.mongo import mongo_accounts
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.accounts.account_records import (
    AccountSession,
    AccountTicket,
    BoxAccess,
    EndedAccess,
)
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_cloud.store.records.accounts.rights import Relation
from opq_proto.errors import StoreError

Another = Callable[[], CloudStore]


def _session(token: str, account_id: str, expires_s: int = 2**33, seen_ms: int = 1) -> AccountSession:
    return AccountSession(token, account_id, 1, seen_ms, expires_s, "127.0.0.1", "a browser")


def test_an_email_in_any_case_finds_its_account(store: CloudStore) -> None:
    """Each address belongs to one account."""
    people = store.people
    assert not people.any_account()
    made = people.add_account("Ada@Example.org ", "Ada", "admin", "hash")
    assert made is not None and made.email == "ada@example.org"
    assert people.add_account("ada@example.ORG", "Eve", "admin", "other") is None
    assert people.account_of(" ADA@example.org") == made == people.account(made.account_id)
    assert [each.name for each in people.accounts()] == ["Ada"]
    assert people.any_account()


def test_another_process_sees_changes_but_no_refused_ones(store: CloudStore, open_again: Another) -> None:
    made = store.people.add_account("a@b.c", "A", "viewer", "hash")
    assert made is not None
    assert store.people.change_account(made.account_id, lambda was: replace(was, role="owner"))
    assert not store.people.change_account(made.account_id, lambda was: None)
    assert not store.people.change_account("unknown", lambda was: was)
    seen = open_again().people.account(made.account_id)
    assert seen == replace(made, role="owner")


def test_one_of_many_simultaneous_uses_gets_a_link(store: CloudStore, open_again: Another) -> None:
    store.people.add_ticket(AccountTicket("h", "registration", 1, 2**33))
    stores = [store, open_again()]
    got: list[AccountTicket] = []
    start = threading.Barrier(8)

    def use(number: int) -> None:
        start.wait()
        ticket = stores[number % 2].people.use_ticket("h", "registration")
        if ticket is not None:
            got.append(ticket)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_link_expires_and_is_replaced_by_newer(
    store: CloudStore,
) -> None:
    """A link holds for its purpose and time, and a newer first one replaces the older."""
    people = store.people
    people.add_ticket(AccountTicket("old", "first_admin", 1, 1000))
    people.add_ticket(AccountTicket("new", "first_admin", 1, 1000))
    assert people.ticket("old", "first_admin", 10) is None
    assert people.use_ticket("new", "reset", 10) is None
    assert people.use_ticket("new", "first_admin", 1000) is None
    assert people.use_ticket("new", "first_admin", 999) is not None
    assert people.ticket("new", "first_admin", 10) is None


def test_sessions_are_listed_ended_and_expire(store: CloudStore) -> None:
    people = store.people
    for number, token in enumerate(("a", "b", "c")):
        people.add_session(_session(token, "one", seen_ms=number))
    people.add_session(_session("other", "two"))
    people.touch_session("a", 99)
    assert [each.token_hash for each in people.sessions("one")] == ["a", "c", "b"]
    assert people.end_session("c") and not people.end_session("c")
    assert people.end_access("one", keep="b") == EndedAccess(1, 0)
    assert [each.token_hash for each in people.sessions("one")] == ["b"]
    people.add_session(_session("old", "one", expires_s=10))
    assert people.expire(10.0) == 1
    assert people.session("old") is None and people.session("other") is not None
    for number in range(20):
        people.add_session(_session(f"more {number}", "one", seen_ms=1000 + number))
    assert people.keep_sessions("one", 3) == 18  # with that from before
    assert [each.token_hash for each in people.sessions("one")] == ["more 19", "more 18", "more 17"]
    assert people.keep_sessions("two", 3) == 0


def test_tokens_end_with_the_sessions(store: CloudStore, open_again: Another) -> None:
    """Tokens and links of the account, not those of others; a disabled account's are not valid meanwhile.
    Rules that send to an address are switched off."""
    people = store.people
    ada, eve = (people.add_account(f"{name}@example.org", name, "owner", "hash") for name in ("ada", "eve"))
    assert ada is not None and eve is not None
    for purpose in ("token", "notify", "reset"):
        for account in (ada, eve):
            name = f"{purpose} {account.name}"
            people.add_ticket(AccountTicket(name, purpose, 1, 2**33, account_id=account.account_id))
    people.change_account(ada.account_id, lambda was: replace(was, disabled=True))
    assert people.ticket("token ada", "token") is people.use_ticket("reset ada", "reset") is None
    people.change_account(ada.account_id, lambda was: replace(was, disabled=False))
    assert people.ticket("token ada", "token") is not None
    people.add_session(_session("s", ada.account_id))
    rules = NotificationRecords(people.documents)
    for account in (ada, eve):
        for name, url in (("mail", ""), ("webhook", "https://example.org/")):
            who = account.account_id
            rules.put_rule(NotificationRule(f"{name} {who}", who, name, "incident", name, 0, url=url))
    assert people.end_access(ada.account_id, keep="s") == EndedAccess(0, 1)
    assert people.end_access(ada.account_id, keep="s") == EndedAccess(0, 0), "it is off already"
    on = [{each.name: each.enabled for each in rules.rules(who.account_id)} for who in (ada, eve)]
    assert on == [{"mail": True, "webhook": False}, {"mail": True, "webhook": True}]
    stale = NotificationRule(f"webhook {ada.account_id}", ada.account_id, "a", "incident", "webhook", 0)
    stale = replace(stale, url="https://example.org/")
    assert not rules.change_rule(stale, replace(stale, name="b")), "read before the sessions ended"
    assert not rules.change_rule(replace(stale, rule_id="gone"), stale)
    (mail,) = (each for each in rules.rules(ada.account_id) if each.name == "mail")
    assert rules.change_rule(mail, replace(mail, name="b")) and not rules.change_rule(stale, stale)
    assert [each.account_id for each in open_again().people.tickets()] == [eve.account_id] * 3
    assert people.end_access(eve.account_id) == EndedAccess(0, 1) and people.session("s") is not None


def test_sessions_end_where_rules_cannot(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database fails in the middle of a new password."""
    people = store.people
    people.add_session(_session("s", "one"))
    rule = NotificationRule("hook", "one", "hook", "incident", "webhook", 0, url="https://example.org/")
    NotificationRecords(people.documents).put_rule(rule)

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(people.documents), "change", fail)
        with pytest.raises(StoreError):
            people.end_access("one")
    assert people.session("s") is None


def test_a_code_needs_its_administrator(store: CloudStore, open_again: Another) -> None:
    """An invitation or a claim code, each time it is read."""
    people = store.people
    ada = people.add_account("ada@example.org", "Ada", "admin", "hash")
    assert ada is not None
    for purpose in ("invitation", "claim"):
        people.add_ticket(AccountTicket(purpose, purpose, 1, 2**33, made_by=ada.account_id))
        people.add_ticket(AccountTicket(f"unbacked {purpose}", purpose, 1, 2**33))
        assert people.ticket(purpose, purpose) is not None
        assert people.ticket(f"unbacked {purpose}", purpose) is None
        for change in ({"role": "owner"}, {"role": "admin", "disabled": True}):
            people.change_account(ada.account_id, lambda was, change=change: replace(was, **change))
            assert open_again().people.use_ticket(purpose, purpose) is None, change
        fresh = {"role": "admin", "disabled": False}
        people.change_account(ada.account_id, lambda was, fresh=fresh: replace(was, **fresh))
    people.end_codes(ada.account_id)
    assert {each.made_by for each in people.tickets()} == {""}


def test_a_change_of_accesses_has_a_revision(
    store: CloudStore, open_again: Another, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_accounts, "UNCOUNTED_S", math.inf)  # only what is counted
    people = store.people
    people.claim_box("1", "ada")
    seen = people.accesses_revision()
    assert seen is not None
    people.add_session(_session("a", "ada"))
    assert people.accesses_revision() == seen
    for change in (
        lambda: people.share_box("1", "eve", True),
        lambda: open_again().people.share_box("1", "eve", False),
        lambda: people.claim_box("2", "eve"),
        lambda: people.delete_account("ada"),
    ):
        change()
        before, seen = seen, people.accesses_revision()
        assert seen != before


def test_a_claimed_box_keeps_its_settings(store: CloudStore) -> None:
    """A Box is claimed once and keeps what was set before."""
    people = store.people
    assert replace(people.access("1"), mark_until_ms=0) == BoxAccess("1")
    people.change_access("1", lambda was: replace(was, privacy="region"))
    assert people.claim_box("1", "ada")
    assert not people.claim_box("1", "eve")
    assert people.claim_box("2", "eve") and not people.claim_box("2", "ada")
    people.share_box("1", "eve", True)
    people.share_box("1", "eve", True)
    assert people.accesses()["1"] == BoxAccess("1", "ada", ("eve",), "region")
    people.share_box("1", "eve", False)
    assert people.access("1").shared_ids == ()


def test_concurrent_writers_of_an_account_lose_nothing(store: CloudStore, open_again: Another) -> None:
    made = store.people.add_account("a@b.c", "A", "viewer", "hash")
    assert made is not None
    stores = [store, open_again()]

    def raise_step(number: int) -> None:
        for _ in range(5):
            stores[number].people.change_account(
                made.account_id, lambda was: replace(was, totp_step=was.totp_step + 1)
            )

    threads = [threading.Thread(target=raise_step, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = store.people.account(made.account_id)
    assert after is not None and after.totp_step == 10


def test_the_log_is_paged_newest_first(store: CloudStore) -> None:
    people = store.people
    for number in range(5):
        people.changes.add("ada", "127.0.0.1", f"change {number}", "box 1")
    first = people.changes.entries(limit=2)
    rest = people.changes.entries(below=first[-1].key, limit=9)
    assert [each.what for each in (*first, *rest)] == [f"change {number}" for number in (4, 3, 2, 1, 0)]
    assert people.changes.of_account("ada")[0].what == "change 0"


def test_nothing_of_a_deleted_account_is_left(store: CloudStore) -> None:
    people = store.people
    ada = people.add_account("ada@example.org", "Ada", "owner", "secret-hash")
    eve = people.add_account("eve@example.org", "Eve", "owner", "hash")
    assert ada is not None and eve is not None
    people.claim_box("1", ada.account_id)
    people.claim_box("2", eve.account_id)
    people.share_box("2", ada.account_id, True)
    people.add_session(_session("s", ada.account_id))
    people.add_ticket(AccountTicket("t", "reset", 1, 2**33, account_id=ada.account_id))
    people.add_ticket(AccountTicket("i", "invitation", 1, 2**33, email="ada@example.org"))
    people.changes.add(ada.account_id, "192.0.2.7", "claimed a Box", "box 1")
    people.changes.add(eve.account_id, "192.0.2.8", "made an account", ada.account_id)
    assert people.delete_account(ada.account_id) == ("1",)
    assert people.account(ada.account_id) is None and people.account_of("ada@example.org") is None
    assert people.sessions(ada.account_id) == [] and people.tickets() == []
    assert people.access("1").since_ms > 0, "a new owner reads nothing from before"
    assert replace(people.access("1"), mark_until_ms=0, since_ms=0) == BoxAccess("1")
    assert people.access("2") == BoxAccess("2", eve.account_id)
    assert ada.account_id not in repr(people.changes.entries()) and "192.0.2.7" not in repr(
        people.changes.entries()
    )
    assert [each.what for each in people.changes.entries()] != []
    if isinstance(store, EmbeddedStore):
        folder = store._database.path.parent
        left = b"".join(path.read_bytes() for path in folder.glob("accounts.db*"))
        assert b"eve@example.org" in left
        for text in (b"ada@example.org", b"secret-hash", b"192.0.2.7", ada.account_id.encode()):
            assert text not in left, text


def test_the_accounts_file_is_made_private(tmp_path: Path) -> None:
    """By the first account."""
    store = EmbeddedStore(tmp_path / "opq.db")
    assert store.people.accounts() == [] and store.people.changes.entries() == []
    assert not store.people.end_session("x") and store.people.ticket("x", "reset") is None
    assert not (tmp_path / "accounts.db").exists()
    store.people.add_account("a@b.c", "A", "viewer", "hash")
    for path in tmp_path.glob("accounts.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    store.close()


def test_the_installation_secret_never_changes(store: CloudStore, open_again: Another) -> None:
    first = store.people.installation_secret("map")
    assert len(first) == 32 and first == store.people.installation_secret("map")
    assert open_again().people.installation_secret("map") == first
    assert store.people.installation_secret("other") != first
    store.people.expire(2.0**40)
    assert store.people.installation_secret("map") == first


def test_a_location_is_taken_away_with_its_regions(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "kitchen", location="home"))
    store.put_location(LocationRecord("home", 21.3, -157.8))
    store.put_region("oahu", "home")
    store.remove_location("home")
    store.remove_location("home")
    assert store.locations() == {} and store.regions() == {}


@pytest.fixture
def original(mongo_uri: str) -> MongoStore:
    store = MongoStore(mongo_uri)
    db = store._db
    meteor = {"password": {"bcrypt": "$2b$10$abc"}}
    db.users.insert_one(
        {"_id": "u1", "username": "ada@example.org", "services": meteor, "emails": [{"address": "a2@x.y"}]}
    )
    db.users.insert_one({"_id": "u2", "username": "unknown@example.org", "services": {}})
    profile = {"username": "ada@example.org", "firstName": "Ada", "lastName": "L", "role": "admin"}
    wishes = {"email": True, "max_per_day": "once a day", "notification_types": ["new incident"]}
    wished = {"unseen_notifications": True, "notification_preferences": wishes}
    db.UserProfiles.insert_one({**profile, **wished})
    db.BoxOwners.insert_many([{"username": "ada@example.org", "boxId": box} for box in ("1", "10")])
    return store


def test_an_original_user_is_read_with_boxes(original: MongoStore, mongo_uri: str) -> None:
    """A user of the original's View is read with profile and Boxes."""
    found = original.people.original_user("ADA@example.org")
    assert found is not None
    assert (found.username, found.name, found.admin) == ("ada@example.org", "Ada L", True)
    assert (found.bcrypt_hash, found.box_ids) == ("$2b$10$abc", ("1", "10"))
    assert found.preferences["notification_types"] == ["new incident"]
    assert original.people.original_user("a2@x.y") == found
    assert original.people.original_user("unknown@example.org") is None
    assert original.people.original_user("who@example.org") is None
    made = original.people.add_account("ada@example.org", "Ada L", "admin", "hash")
    assert made is not None
    original.people.delete_account(made.account_id)
    assert original.people.original_user("ada@example.org") is None
    assert original._db.BoxOwners.count_documents({}) == 0
    original.close()


def test_a_box_has_all_owners_of_the_original(store: CloudStore) -> None:
    """`BoxOwners` may name several; each has the rights, and the Box is free after the last has gone."""
    people = store.people
    first, second = (people.add_account(f"{name}@x.y", name, "owner", "") for name in ("ada", "ben"))
    assert first is not None and second is not None
    for account in (first, second, second):
        people.add_owner("7", account.account_id)
    access = people.access("7")
    assert access.owner_ids == (first.account_id, second.account_id)
    assert {access.relation_to(each.account_id) for each in (first, second)} == {Relation.OWN}
    assert people.delete_account(first.account_id) == ()
    assert people.access("7").owner_ids == (second.account_id,)
    assert people.delete_account(second.account_id) == ("7",)
    assert people.access("7").owner_ids == ()
