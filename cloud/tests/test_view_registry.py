"""The registry: made once for all who look, again after a change of any process, never more than seen."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from open_view import open_services

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store
from opq_cloud.view.pages.visible.registry import RegistryReader
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.errors import StoreError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    with closing(open_store(None, tmp_path)) as store:
        yield store


def fill(store: CloudStore) -> None:
    store.put_location(LocationRecord("hill", 21.3, -157.8, "the hill"))
    store.put_region("north", "hill")
    for number in (10, 2, 1):
        store.put_box(BoxRecord(str(number), f"name {number}", "hill" if number < 10 else None))


def test_another_processs_change_renews_the_registry(store: CloudStore, tmp_path: Path) -> None:
    """It is made again only after a change."""
    fill(store)
    reader = RegistryReader(store)
    first = reader.now()
    assert reader.now() is first
    assert list(first.records) == ["1", "2", "10"] and first.region_boxes == {"north": ("1", "2")}
    with closing(open_store(None, tmp_path)) as other:
        other.put_box(BoxRecord("2", "garage", region="south"))
    second = reader.now()
    assert second.records["2"].name == "garage"
    assert second.region_boxes == {"north": ("1",), "south": ("2",)}
    assert second.places["1"] is first.places["1"]  # of a Box that is as it was
    store.put_location(LocationRecord("hill", 21.4, -157.8, "the hill"))
    assert reader.now().places["1"].latitude == 21.4
    store.remove_location("hill")
    assert reader.now().region_boxes == {"south": ("2",)} and reader.now().places["1"].latitude is None


def test_a_visitor_gets_only_their_boxes(store: CloudStore) -> None:
    """No Box and no region of others."""
    fill(store)
    services = open_services(store)
    context = VisitorContext(services)
    token = VISITOR.set(Visitor(full=frozenset({"1"}), public=frozenset({"10", "77"})))
    try:
        assert context.box_ids() == ["1", "10"] and list(context.places()) == ["1", "10"]
        assert context.regions() == {"north": ("1",)}
        assert context.knows("1") and not context.knows("2") and not context.knows("77")
        assert [(box.name, box.location) for box in context.boxes()] == [
            ("name 1", "hill"),
            ("name 10", None),
        ]
        assert context.box("2").name == "" and context.place_words("2") == ""
        VISITOR.set(Visitor(public=frozenset({"10"})))
        assert context.regions() == {} and context.box_ids() == ["10"]
    finally:
        VISITOR.reset(token)


def test_a_deleted_box_is_forgotten_at_first_sight(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no page was asked for between its retirement and its deletion; once for each deletion."""

    def failed() -> dict[str, int]:
        raise StoreError("the store is away")

    forgotten: list[str] = []
    reader = RegistryReader(store, forgotten.extend)
    fill(store)
    store.delete_box("2")
    assert list(reader.now().records) == ["1", "10"] and forgotten == ["2"]
    store.put_box(BoxRecord("1", "other"))  # while a new Box without a record has the number 2
    assert reader.now().records["1"].name == "other" and forgotten == ["2"]
    store.put_box(BoxRecord("2", "new"))
    assert "2" in reader.now().records and forgotten == ["2"]
    with monkeypatch.context() as failing:
        failing.setattr(store.people, "deletions", failed)
        for box_id in ("2", "77"):  # 77 has no record
            store.delete_box(box_id)
            with pytest.raises(StoreError):
                reader.now()
    assert "2" not in reader.now().records and sorted(forgotten) == ["2", "2", "77"]
    store.delete_box("77")
    reader.now()
    assert forgotten[3:] == ["77"]
