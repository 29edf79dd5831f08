"""Expiry in MongoDB that is cut between any two of its writes: nothing is lost, and nothing is left."""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from gridfs import GridFS
from pymongo import MongoClient, monitoring
from pymongo.database import Database
from store_cases import SAG, TRIGGER, measured, wave

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store.mongo import mongo_server
from opq_cloud.store.mongo.filters import MANY_VALUES, among
from opq_cloud.store.mongo.mongo_driver import MongoDocuments
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.tables import INCIDENTS

LATER_S = int(time.time()) + 4000 * 86_400
WRITES = ("delete", "insert", "update", "findAndModify")
MOST_WRITES = 60
"""More than an expiry of one event and its incident makes."""
EXPIRING = (
    "events",
    "box_events",
    "incidents",
    "fs.files",
    "fs.chunks",
    "opq_incident_index",
    "opq_incident_boxes",
    "opq_incident_facts",
    "opq_removals",
)


class Killed(BaseException):
    """Passes through `except Exception`, as a kill does."""


class Cut(monitoring.CommandListener):
    """Kills before a write is sent."""

    left: int | None = None
    """Writes until then; None: none is cut."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.left is None or event.command_name not in WRITES:
            return
        if self.left == 0:
            raise Killed
        self.left -= 1

    def succeeded(self, event: object) -> None: ...

    def failed(self, event: object) -> None: ...


@pytest.fixture
def db(cleared_uri: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](cleared_uri) as client:
        yield client.get_default_database()


def put_event(store: MongoStore) -> int:
    store.append_measurements([measured(n) for n in range(2)])
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave())
    put_findings(store, event_id, [SAG])
    return event_id


def expire_all(store: MongoStore) -> None:
    while store.expire(LATER_S):
        pass


def left_of(db: Database[dict[str, Any]]) -> dict[str, int]:
    counts = {name: db[name].count_documents({}) for name in EXPIRING}
    return {name: count for name, count in counts.items() if count}


def test_a_cut_expiry_loses_and_leaves_nothing(
    db: Database[dict[str, Any]], cleared_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that is still there has its files, and the next expiry leaves none of either."""
    cut = Cut()
    monkeypatch.setattr(mongo_server, "MongoClient", partial(MongoClient, event_listeners=[cut]))
    with closing(MongoStore(cleared_uri)) as store:
        for writes in range(MOST_WRITES):
            event_id = put_event(store)
            cut.left = writes
            try:
                expire_all(store)
            except Killed:
                is_cut = True
            else:
                is_cut = False
            cut.left = None
            event = store.event(event_id)
            assert event is None or (len(event.waveforms), event.missing) == (1, {}), f"after {writes} writes"
            for finding in db.incidents.find():
                assert finding["gridfs_filename"], f"after {writes} writes"
                assert GridFS(db).find_one({"filename": finding["gridfs_filename"]}).read()
            expire_all(store)
            assert left_of(db) == {}, f"after {writes} writes"
            if not is_cut:
                break
        assert not is_cut and writes > 8, "every write was cut before once"


def test_a_finding_renewed_meanwhile_keeps_its_file(
    db: Database[dict[str, Any]], cleared_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mauka may revise a finding after the expiry has read it as expired."""
    remove = MongoDocuments.remove

    def renewed(self: MongoDocuments, table: Any, *args: Any, **more: Any) -> int:
        if table is INCIDENTS:
            db.incidents.update_many({}, {"$set": {"expire_at": LATER_S + 1}})
        return remove(self, table, *args, **more)

    with closing(MongoStore(cleared_uri)) as store:
        put_event(store)
        with monkeypatch.context() as patch:
            patch.setattr(MongoDocuments, "remove", renewed)
            expire_all(store)
        (finding,) = db.incidents.find()
        assert db["fs.files"].distinct("filename") == [finding["gridfs_filename"]]
        assert len(store.incidents()) == 1 and db.opq_removals.count_documents({}) == 0


def test_an_expiry_ends_between_two_statements(db: Database[dict[str, Any]], cleared_uri: str) -> None:
    """A service that is stopped need not wait for a slice; the next start completes it."""

    def stopped() -> bool:
        return db.opq_removals.count_documents({}) == 1

    with closing(MongoStore(cleared_uri)) as store:
        put_event(store)
        store.expire(LATER_S, stopped=stopped)
        assert stopped() and store.counts()["events"] == 0 and len(store.incidents()) == 1
        expire_all(store)
        assert left_of(db) == {}


def test_many_values_are_searched_within_bounds() -> None:
    few, many = list(range(MANY_VALUES - 1)), [7, *range(100, 100 + MANY_VALUES)]
    assert among(few) == {"$in": few}
    assert among(many) == {"$gte": 7, "$lte": 99 + MANY_VALUES, "$in": many}
    assert among([str(each) for each in many]) == {
        "$gte": "100",
        "$lte": "7",
        "$in": [str(each) for each in many],
    }
    assert among(many[1:]) == {"$gte": 100, "$lte": 99 + MANY_VALUES}
    for others in ([*many, None], [{"box": each} for each in many]):  # without an order
        assert among(others) == {"$in": others}
