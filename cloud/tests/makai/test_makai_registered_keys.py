"""`white_list`: a Box whose key stands in the store's `opq_boxes` gets in, as long as it stands there."""

from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.brokers.registered_keys import RegisteredKeys, registered_keys
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_proto.errors import StoreError
from opq_proto.keys.key_files import KeyPair, generate
from opq_proto.keys.register import KeyRegister
from opq_proto.kit import log


def put_key(store: CloudStore, box_id: str, pair: KeyPair, **fields: Any) -> None:
    store.put_box(BoxRecord(box_id, f"Box {box_id}", public_key=pair.public.decode(), **fields))


def test_keys_of_boxes_in_service_are_read(tmp_path: Path) -> None:
    """The other keys are named."""
    store = open_store(None, tmp_path)
    first, second = generate(), generate()
    put_key(store, "7", first)
    put_key(store, "8", first)
    put_key(store, "9", second, retired_ms=5)
    store.put_box(BoxRecord("10", "ten", public_key="no key"))
    keys, problems = registered_keys(store)
    assert keys == {first.public: ("7",)}
    assert sorted(problems)[0].startswith("opq_boxes, Box 10: it is not a key")
    assert sorted(problems)[1] == "opq_boxes, Box 8: its key is that of Box 7; not admitted"
    keys, problems = registered_keys(store, shared_keys=True)
    assert keys == {first.public: ("7", "8")} and len(problems) == 1
    store.close()


def test_an_absent_store_leaves_the_known_keys(makai: Any, tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    put_key(store, "7", generate())
    counters = ServiceCounters()
    away: list[bool] = []

    def opened() -> CloudStore:
        if away:
            raise StoreError("away")
        return store

    registered = RegisteredKeys(opened, counters, log.get())
    registered.start()
    makai.wait_for(lambda: list(registered.keys.values()) == [("7",)])
    away.append(True)
    makai.wait_for(lambda: counters.total("store_errors"))
    assert list(registered.keys.values()) == [("7",)]
    registered.close()
    store.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_registered_box_is_admitted_if_configured(makai: Any, tmp_path: Path, wanted: bool) -> None:
    store, pair = open_store(None, tmp_path / "store"), generate()
    put_key(store, "7", pair)
    brokers = makai.brokers()
    broker = TriggeringBroker(brokers.triggering_config, brokers.keys, (lambda: store) if wanted else None)
    with makai.running(broker):
        box, client = makai.box(brokers, "7", pair), makai.client(brokers)
        if not wanted:
            makai.wait_for(lambda: broker.counters.of("refused", pair.public.decode()))
        else:
            assert makai.arrives(box, client)
            store.put_box(BoxRecord("7", "", retired_ms=9))
            makai.wait_for(lambda: broker.counters.total("revoked") == 1)
            makai.wait_for(lambda: "7" not in broker.connections())
    store.close()


def test_the_folder_has_priority_over_the_store(makai: Any, tmp_path: Path) -> None:
    """A revoked Box does not come back by the store, nor does an exchanged key."""
    store, second = open_store(None, tmp_path / "store"), generate()
    brokers = makai.brokers()
    pair = brokers.pair("4")
    put_key(store, "4", pair)
    put_key(store, "1", second)
    assert KeyRegister(brokers.keys).revoke("4")
    broker = TriggeringBroker(brokers.triggering_config, brokers.keys, lambda: store)
    with makai.running(broker):
        makai.box(brokers, "4", pair)
        makai.box(brokers, "1", second)
        makai.wait_for(lambda: broker.counters.of("refused", pair.public.decode()))
        makai.wait_for(lambda: broker.counters.of("refused", second.public.decode()))
        assert makai.arrives(makai.box(brokers, "1"), makai.client(brokers))
    store.close()
