"""The rule engine's sink `mongo` against a real server: here, where the store's tests have one running."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from pymongo import MongoClient
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.sinks.mongo import Sink

pytestmark = pytest.mark.timeout(600)  # the first that asks may have to build the server

Collection = Any


class Whose:
    """What a sink is told of the emission it collects."""

    rule_id, op_id, instance_id = "r", "sink_0", 0

    def __init__(self, *row_ids: str) -> None:
        self.row_ids: Sequence[str] = row_ids
        self.row_id = row_ids[0] if row_ids else ""

    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


@pytest.fixture
def rows(mongo_uri: str) -> Iterator[Collection]:
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client.get_default_database()["rows"]


@pytest.fixture
def opened(mongo_uri: str) -> Iterator[Callable[..., Sink]]:
    made: list[Sink] = []

    def open_one(**properties: Any) -> Sink:
        sink = Sink()
        sink.configure({"url": mongo_uri, "collection": "rows", **properties})
        sink.open(Whose())
        made.append(sink)
        return sink

    yield open_one
    for sink in made:
        sink.close(Whose())


def test_rows_become_documents_with_their_types(opened: Callable[..., Sink], rows: Collection) -> None:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    row = {"box": "4", "v": 119.5, "n": 2**62, "at": at, "raw": b"\0", "o": {"a": [1, None]}, "up": True}
    sink = opened()
    sink.collect(Whose(), [row, {"box": "5"}])
    sink.collect(Whose(), {"box": "6"})
    found = list(rows.find({}, {"_id": 0}).sort("box"))
    assert found == [row, {"box": "5"}, {"box": "6"}]


def test_what_is_sent_again_is_stored_once(opened: Callable[..., Sink], rows: Collection) -> None:
    sink = opened(exactlyOnce=True)
    sink.collect(Whose("r:1/0", "r:1/1"), [{"k": 0}, {"k": 1}])
    sink.collect(Whose("r:1/1", "r:2/0"), [{"k": 1}, {"k": 2}])
    opened(exactlyOnce=True).collect(Whose("r:2/0"), {"k": 2})
    found = [(each["_id"], each["k"]) for each in rows.find().sort("k")]
    assert found == [("r:1/0", 0), ("r:1/1", 1), ("r:2/0", 2)]


def test_a_column_says_what_to_do_with_the_document_of_a_key(
    opened: Callable[..., Sink], rows: Collection
) -> None:
    sink = opened(rowkindField="do", keyField="box", exactlyOnce=True)
    done = [
        {"box": 1, "v": 1.0, "x": 1},
        {"box": 2, "v": 2.0, "do": "insert"},
        {"box": 1, "v": 9.0, "do": "update"},
        {"box": 2, "do": "delete"},
        {"box": 3, "v": 3.0, "do": "upsert"},
        {"box": 3, "w": 4.0, "do": "upsert"},
    ]
    sink.collect(Whose(*(f"r:1/{k}" for k in range(len(done)))), done)
    found = list(rows.find({}, {"_id": 0}).sort("box"))
    assert found == [{"box": 1, "v": 9.0, "x": 1}, {"box": 3, "w": 4.0}]


def test_a_rule_stores_its_rows_under_their_ids(tmp_path: Path, mongo_uri: str, rows: Collection) -> None:
    sink = {"url": mongo_uri, "collection": "rows", "exactlyOnce": True, "fields": ["box"]}
    body = {**rule("low", "SELECT box, v FROM s WHERE v < 108", qos=1), "actions": [{"mongo": sink}]}
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(body)
        wait_for(lambda: hands.contexts)
        hands.give([{"box": 1, "v": 119.0}, {"box": 4, "v": 96.5}, {"box": 5, "v": 90.0}])
        wait_for(lambda: rows.count_documents({}) == 2)
        wait_for(engine.settled)
    found = list(rows.find().sort("box"))
    assert [each["box"] for each in found] == [4, 5]
    assert all(each.keys() == {"_id", "box"} and each["_id"].startswith("low:") for each in found)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"a.b": 1}, "column 'a.b'"),
        ({"$a": 1}, "column '$a'"),
        ({"a": 2**64}, "cannot hold"),
        ({"a": object()}, "cannot hold"),
        ("text", "wants rows"),
    ],
)
def test_a_row_that_cannot_be_a_document_takes_no_other_along(
    opened: Callable[..., Sink], rows: Collection, row: Any, part: str
) -> None:
    with pytest.raises(ValueError, match=part.replace("$", r"\$")):
        opened().collect(Whose(), [{"fine": 1}, row])
    assert rows.count_documents({}) == 0


def test_a_row_that_the_collection_refuses_is_reported(opened: Callable[..., Sink], rows: Collection) -> None:
    rows.create_index("box", unique=True)
    sink = opened(exactlyOnce=True)
    sink.collect(Whose("r:1/0"), {"box": 1})
    with pytest.raises(ValueError, match="1 rows are refused"):
        sink.collect(Whose("r:1/0", "r:2/0", "r:2/1"), [{"box": 1}, {"box": 1}, {"box": 2}])
    assert sorted(each["box"] for each in rows.find()) == [1, 2]


def test_a_server_that_is_away_may_come_back_and_no_text_has_the_password() -> None:
    sink = Sink()
    url = f"mongodb://boxes:s3cret@127.0.0.1:{free_port()}/opq"
    sink.configure({"url": url, "collection": "rows", "timeout": 100})
    sink.open(Whose())
    with pytest.raises(ConnectionError, match="MongoDB: ") as told:
        sink.collect(Whose(), {"v": 1})
    assert "s3cret" not in str(told.value)
    sink.close(Whose())


@pytest.mark.parametrize(
    ("properties", "part"),
    [
        ({"url": "mysql://h/d"}, "url  is no address"),
        ({"url": "mongodb://u:s3c@ret:x@h/d"}, "url  is no address"),
        ({"url": "mongodb://h"}, "database  is ''"),
        ({"database": "a b"}, "database  is 'a b'"),
        ({"collection": "system.users"}, "collection  is"),
        ({"collection": "a$"}, "collection  is"),
        ({"rowkindField": "do"}, "go together"),
        ({"colection": "x"}, "did you mean"),
        ({"timeout": 0}, "timeout  is 0"),
    ],
)
def test_wrong_properties_of_mongo_are_named(properties: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part) as told:
        Sink().configure({"url": "mongodb://h/d", "collection": "rows", **properties})
    assert "s3c" not in str(told.value)
