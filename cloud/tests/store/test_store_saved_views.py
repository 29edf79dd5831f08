"""Saved views in both stores: listed by account, named again, removed by their owner, gone with it."""

from collections.abc import Callable

from opq_cloud.store import CloudStore
from opq_cloud.store.records.saved_views import MAX_SAVED, SavedViewRecords

Another = Callable[[], CloudStore]


def test_a_saved_view_is_its_owners_alone(store: CloudStore, open_again: Another) -> None:
    records = SavedViewRecords(store.people.documents)
    sags = records.save("ada", "Sags", "/incidents?class=sag")
    assert (
        sags is not None and records.save("ada", "all", "/incidents") and records.save("eve", "x", "/compare")
    )
    again = SavedViewRecords(open_again().people.documents)
    assert [(each.name, each.path) for each in again.saved("ada")] == [
        ("all", "/incidents"), ("Sags", "/incidents?class=sag")
    ]  # fmt: skip
    assert not records.rename("eve", sags.view_id, "mine") and not records.remove("eve", sags.view_id)
    assert records.rename("ada", sags.view_id, "Dips") and again.saved("ada")[1].name == "Dips"
    renamed = records.save("ada", "Dips of all", "/incidents?class=sag")
    assert renamed is not None and renamed.view_id == sags.view_id and len(again.saved("ada")) == 2
    assert records.remove("ada", sags.view_id) and not records.remove("ada", sags.view_id)
    assert [each.name for each in again.saved("ada")] == ["all"]


def test_an_account_has_so_many_and_takes_them_along(store: CloudStore) -> None:
    account = store.people.add_account("ada@example.org", "Ada", "viewer", "no-hash")
    assert account is not None
    records = SavedViewRecords(store.people.documents)
    for number in range(MAX_SAVED):
        assert records.save(account.account_id, f"view {number}", f"/incidents?box={number}")
    assert records.save(account.account_id, "one more", "/incidents") is None
    assert records.save("eve", "hers", "/incidents")
    store.people.delete_account(account.account_id)
    assert records.saved(account.account_id) == [] and len(records.saved("eve")) == 1
