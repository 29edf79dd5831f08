"""The shard keys of docs/schema.md fit what the store asks MongoDB for.

The rest is in conftest.py: a change that any test of this folder makes has its shard key, and where
OPQ_TEST_MONGO_URI is a mongos, all of them run on sharded collections.
"""

import re
from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient
from sharding import PAGE, ShardedChanges, is_sharded, shard_keys
from store_cases import NOW_MS, SAG, TRIGGER, measured, wave

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.messages import TREND_MS, Trend


def test_unique_indexes_begin_with_the_shard_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*unique .*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    unique = {name: re.findall(r"unique \((.*?)\)", indexes) for name, indexes in rows}
    assert shard_keys().keys() & unique.keys() == {"measurements", "events", "incidents"}
    for name, fields in shard_keys().items():
        for index in unique.get(name, ()):
            assert tuple(index.split(", "))[: len(fields)] == fields, f"{name}: unique ({index})"


def test_each_shard_key_begins_an_index(mongo_uri: str, sharded_changes: ShardedChanges) -> None:
    """An index begins with each shard key and no unique one with another."""
    before = sharded_changes.seen
    with closing(MongoStore(mongo_uri)) as store:
        store.append_measurements([measured(number) for number in range(5)])
        store.put_trends([Trend("1", NOW_MS + k * TREND_MS, {"rms": (1.0, 3.0, 2.0)}) for k in range(30)])
        while store.roll_up(NOW_MS + 2 * 86_400_000):
            pass
        event_id = store.open_event(TRIGGER, "test")
        store.put_waveform(event_id, wave())
        put_findings(store, event_id, [SAG])
        store.finish_event(event_id)
    assert sharded_changes.seen - before > 30, "the listener saw the store's own changes"
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        for name, fields in shard_keys().items():
            if name not in database.list_collection_names():
                continue  # GridFS makes its own with the first file
            found = [each for key, each in database[name].index_information().items() if key != "_id_"]
            begins = [tuple(key for key, _ in each["key"])[: len(fields)] == fields for each in found]
            assert any(begins), name
            assert all(each for each, index in zip(begins, found, strict=True) if index.get("unique")), name


def test_a_mongos_shards_the_pages_collections(mongo_uri: str) -> None:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        if not is_sharded(client):
            pytest.skip("OPQ_TEST_MONGO_URI is not a mongos, so collections cannot be sharded here")
        database = client.get_default_database().name
        found = client.config.collections.find({"_id": {"$regex": f"^{re.escape(database)}\\\\."}})
        keys = {each["_id"].partition(".")[2]: tuple(each["key"]) for each in found}
    assert keys == shard_keys()
