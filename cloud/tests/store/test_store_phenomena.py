"""`phenomena`: both stores, and the original's documents."""

import secrets
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from opq_cloud.store import CloudStore
from opq_cloud.store.driver import Condition
from opq_cloud.store.embedded.embedded_driver import SqliteDocuments
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.embedded.statements import find_statement
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents.phenomena import EDGE_MS, RANDOM_BITS, StoredPhenomenon
from opq_cloud.store.records.part import NUMBERS_BEGIN_S, StorePart
from opq_cloud.store.records.tables import PHENOMENA

DAY_MS = 86_400_000
SPAN = 1000 * DAY_MS, 1030 * DAY_MS
DETAILS = {"analysis": "change", "quantity": "rms_v"}
STEP = StoredPhenomenon(
    "level_step", ("4",), 1010 * DAY_MS, 1010 * DAY_MS + 3_600_000, {**DETAILS, "size": 1.2}
)
PROFILE = StoredPhenomenon("periodic", ("4",), *SPAN, {**DETAILS, "period_s": 86_400.0, "peaks": 30})
# as the original's plug-in of periodicity stores it (docs/reference/opq-interop.md D.7)
ORIGINAL: dict[str, Any] = {
    "phenomena_id": 41,
    "phenomena_type": {
        "type": "periodic",
        "period_s": 1450.5,
        "std_s": 90.25,
        "peaks": 12,
        "period_timestamps": [86_400_100, 86_401_550],
        "deviation_from_mean_values": [-1.5, -1.25],
    },
    "affected_opq_boxes": ["4"],
    "related_event_ids": [7],
    "related_incident_ids": [8, 9],
    "start_ts_ms": SPAN[0],
    "end_ts_ms": SPAN[0] + 1,
    "updated_ts_ms": SPAN[0],
    "expire_at": 2**31 - 1,
}


def test_numbers_tell_no_hidden_phenomenon(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a Box is claimed: those of one pass are in no order, and none has the number of another."""
    assert isinstance(store, StorePart)
    store.people.claim_box("1", "somebody")
    store.now_s = lambda: NUMBERS_BEGIN_S + 1000.0
    draws = iter((900, 900, 7))
    monkeypatch.setattr(secrets, "randbelow", lambda most: next(draws))
    new = store.replace_phenomena("change", "4", *SPAN, [STEP, PROFILE])
    assert [each.phenomenon_id for each in new] == [1000 * 2**RANDOM_BITS + draw for draw in (900, 7)]


def test_phenomena_come_back_and_keep_their_numbers(store: CloudStore) -> None:
    new = store.replace_phenomena("change", "4", *SPAN, [STEP, PROFILE])
    assert [each.phenomenon_id for each in new] == [1, 2]
    first = store.phenomena(*SPAN)
    assert [replace(each, phenomenon_id=None) for each in first] == [PROFILE, STEP]
    later = replace(STEP, start_ms=STEP.start_ms + DAY_MS, end_ms=STEP.end_ms + DAY_MS, event_ids=(3,))
    moved = SPAN[0] + DAY_MS, SPAN[1] + DAY_MS
    assert store.replace_phenomena("change", "4", *moved, [later, replace(PROFILE, start_ms=moved[0])]) == []
    second = store.phenomena(*moved)
    assert {each.phenomenon_id for each in second} == {each.phenomenon_id for each in first}
    assert second[-1].event_ids == (3,) and store.counts()["phenomena"] == 2


def test_a_vanished_finding_stays_at_the_edge_only(store: CloudStore) -> None:
    """A finding that is not found again is removed, except at the edge of the span."""
    edge = replace(STEP, start_ms=SPAN[0] + EDGE_MS - 1)
    store.replace_phenomena("change", "4", *SPAN, [STEP, edge])
    store.replace_phenomena("change", "5", *SPAN, [replace(STEP, box_ids=("5",))])
    assert store.replace_phenomena("change", "4", *SPAN, []) == []
    assert [(each.box_ids, each.start_ms) for each in store.phenomena(*SPAN)] == [
        (("4",), edge.start_ms),
        (("5",), STEP.start_ms),
    ]


def test_phenomena_of_a_box_name_it(store: CloudStore) -> None:
    store.replace_phenomena("change", "4", *SPAN, [STEP, replace(PROFILE, box_ids=("4", "14"))])
    store.replace_phenomena("change", "14", *SPAN, [replace(STEP, box_ids=("14",))])
    kinds = {box: [each.kind for each in store.phenomena(*SPAN, box)] for box in ("4", "14", "1")}
    assert [len(each) for each in kinds.values()] == [2, 2, 0]
    assert len(store.phenomena(*SPAN)) == 3


def test_a_box_is_found_among_ten_thousand(tmp_path: Path) -> None:
    """The embedded store reads the rows of the Box, and steps over no others."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        for box in range(100):
            mine = [
                replace(STEP, box_ids=(f"{box}", f"{(box + 1) % 100}"), start_ms=place * DAY_MS * 3)
                for place in range(100)
            ]
            store.replace_phenomena("change", f"{box}", 0, SPAN[1], mine)
        assert store.counts()["phenomena"] == 10_000
        of_box: list[Condition] = [("affected_opq_boxes", "has", "5")]
        span: list[Condition] = [("end_ts_ms", ">=", 1), ("start_ts_ms", "<", SPAN[1])]
        text, values = find_statement(PHENOMENA, [*span, *of_box])
        steps = [0]
        with store.driver.read() as documents:
            assert isinstance(documents, SqliteDocuments)
            connection = documents.connection
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            connection.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 1)
            found = connection.execute(text, values).fetchall()
            connection.set_progress_handler(None, 1)
        assert "SEARCH phenomena USING INTEGER PRIMARY KEY (rowid=?)" in plan
        assert "SEARCH phenomenon_boxes USING PRIMARY KEY (item=?)" in plan
        assert len(found) == 200
        assert steps[0] < 10_000, "some 20 steps of SQLite for each row of the Box, none for the others"
        assert len(store.phenomena(0, SPAN[1], "5")) == 200


def test_the_index_by_box_follows_its_rows(tmp_path: Path) -> None:
    """What is replaced or removed is not found any more."""
    path = tmp_path / "opq.db"
    with closing(EmbeddedStore(path)) as store:
        store.replace_phenomena("change", "4", *SPAN, [STEP, replace(PROFILE, box_ids=("4", "14"))])
        assert [len(store.phenomena(*SPAN, box)) for box in ("4", "14", "1")] == [2, 1, 0]
        with store.driver.read() as documents:
            one = dict(next(documents.find(PHENOMENA, [("affected_opq_boxes", "has", "14")])))
        store.driver.write(lambda documents: documents.put(PHENOMENA, [{**one, "affected_opq_boxes": ["1"]}]))
        assert [len(store.phenomena(*SPAN, box)) for box in ("4", "14", "1")] == [1, 0, 1]
        store.expire(2**40)
        with store.driver.read() as documents:
            assert isinstance(documents, SqliteDocuments)
            assert documents.connection.execute("SELECT count(*) FROM phenomenon_boxes").fetchone() == (0,)


def test_phenomena_expire_with_the_incidents(store: CloudStore) -> None:
    store.replace_phenomena("change", "4", *SPAN, [STEP])
    ends_s = int(time.time()) + store.ttls().incidents
    store.expire(ends_s - 60)
    assert store.counts()["phenomena"] == 1
    store.expire(ends_s + 60)
    assert store.counts()["phenomena"] == 0 and store.expired()["phenomena"] == 1


def test_the_originals_phenomena_are_read_and_left(mongo_uri: str) -> None:
    store = MongoStore(mongo_uri)
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        collection = client.get_default_database().phenomena
        collection.insert_one(dict(ORIGINAL))
        assert len(store.replace_phenomena("change", "4", *SPAN, [PROFILE])) == 1
        theirs, ours = sorted(store.phenomena(*SPAN), key=lambda each: each.phenomenon_id or 0)
        assert (theirs.phenomenon_id, theirs.incident_ids, theirs.details["std_s"]) == (41, (8, 9), 90.25)
        assert (ours.phenomenon_id or 0) > 41
        kept = collection.find_one({"phenomena_id": 41}) or {}
        assert {name: kept[name] for name in ORIGINAL} == ORIGINAL
        assert set(ORIGINAL) <= set(collection.find_one({"phenomena_id": ours.phenomenon_id}) or {})
    store.close()
