"""The index over a store of the original: made by slices in the background; what it changes is followed."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import demo
import numpy as np
import pytest
from account_scene import FormBrowser, add_people
from bson.int64 import Int64
from gridfs import GridFS
from pymongo import MongoClient, monitoring
from pymongo.database import Database
from structlog.testing import capture_logs

from opq_cloud.core import service
from opq_cloud.core.service import CloudContext, Retention
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.driver import Table
from opq_cloud.store.incidents.index import IncidentFilter, IndexProgress
from opq_cloud.store.mongo.mongo_driver import MongoDocuments
from opq_cloud.store.mongo.mongo_server import INDEXES
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents import original_index
from opq_cloud.store.records.tables import INCIDENTS
from opq_cloud.view.pages.drawing import rendering
from opq_proto.messages import Finding

T_MS = 1_600_000_000_000
FIRST_SLICE_S = original_index.FIRST_SLICE_S
"""As the product has it; tests wait for longer."""
ALL = IncidentFilter()
MANY = 2000
"""More than are indexed by twos while a command ends."""


@pytest.fixture
def db(cleared_uri: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](cleared_uri) as client:
        yield client.get_default_database()


def comes(holds: Callable[[], bool]) -> bool:
    """Whether it holds within four minutes; the machine may be busy."""
    end_s = time.monotonic() + 240
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.02)
    return holds()


def theirs(number: int, **fields: Any) -> dict[str, Any]:
    document = {
        "incident_id": number,
        "event_id": 3,
        "box_id": str(number % 3),
        "start_timestamp_ms": T_MS + 60_000.0 * number,
        "end_timestamp_ms": T_MS + 60_000.0 * number + 250.0,
        "measurement_type": "VOLTAGE",
        "deviation_from_nominal": 24.0,
        "classifications": ["VOLTAGE_SAG"],
        "ieee_duration": "INSTANTANEOUS",
        "annotations": [],
        "metadata": {},
        "measurements": [],
        "gridfs_filename": "",
        "expire_at": T_MS // 1000 + 60 * number,
    }
    return document | fields


class Commands(monitoring.CommandListener):
    """Counts the commands to a server, and keeps those that read incidents."""

    def __init__(self) -> None:
        self.count = 0
        self.reads: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.count += 1
        command = dict(event.command)
        if {"incidents", "opq_incident_boxes"} & {
            command.get(name) for name in ("find", "distinct", "collection")
        }:
            self.reads.append(command)

    def succeeded(self, event: object) -> None: ...

    def failed(self, event: object) -> None: ...


def test_years_are_indexed_by_slices_in_the_background(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest at once, by few commands an incident; a label given meanwhile stays."""
    monkeypatch.setattr(original_index, "SLICE", 10)
    db.incidents.insert_many([theirs(number) for number in range(1, 31)])
    commands = Commands()
    monitoring.register(commands)
    try:
        store = open_store(cleared_uri, tmp_path)
    finally:
        monitoring._LISTENERS.command_listeners.remove(commands)
    with closing(store):
        with monkeypatch.context() as patch:
            patch.setattr(original_index.OriginalIndex, "_index_foreign", lambda self: None)
            assert store.index_progress() == IndexProgress(0, 1), "not searched yet"
            assert store.index_slice() == 10
            assert store.index_progress() == IndexProgress(10, 31)
        before = commands.count
        assert [one.incident_id for one in store.find_incidents(ALL, 3)] == [30, 29, 28]
        assert comes(lambda: db.opq_incident_boxes.count_documents({}) == 30)
        assert (commands.count - before) / 20 < 3, "of so few; 0.04 of a whole slice"
        assert comes(lambda: store.index_progress() is None)
        assert store.count_incidents(ALL, 1000) == 30
        found = store.find_incidents(IncidentFilter(box_id="1", kind="sag"), 100)
        assert len(found) == 10 and {one.residual_percent for one in found} == {80.0}
        db.incidents.insert_one(theirs(32))
        assert store.index_slice() == 1 and store.index_slice() == 0
        db.incidents.insert_one(theirs(31))  # another plug-in drew its number first, and stores it later
        assert store.index_slice() == 1 and store.index_slice() == 0
        assert store.incident_work([31])[31].state == "open", "a new one is to be worked on"
        assert store.incident_work([7])[7].state is None, "one of years ago is not"
        before = commands.count
        commands.reads.clear()
        assert store.expire(2**31 - 1) == 32 and db.opq_incident_index.count_documents({}) == 0
        assert commands.count - before < 40, "as many of 20,000"
        read = [each for each in commands.reads if each["find"] == "incidents"]
        searches = [each for each in read if each.get("projection") == {"_id": 1}]
        assert not searches, "they are deleted by their numbers"


def test_a_slice_is_read_along_an_index(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MongoDB needs no sort and reads one slice of any number; the stand-in reads all, always."""
    monkeypatch.setattr(original_index, "SLICE", 4)
    db.incidents.insert_many([theirs(number) for number in range(1, 31)])
    commands = Commands()
    monitoring.register(commands)
    try:
        store = open_store(cleared_uri, tmp_path)
    finally:
        monitoring._LISTENERS.command_listeners.remove(commands)
    with closing(store):
        commands.reads.clear()
        assert store.index_slice() == 4
        (first,) = commands.reads
        assert first["filter"] == {"$and": [{"group_id": None}, {"incident_id": {"$gt": 0}}]}
        assert (first["sort"], first["batchSize"]) == ({"incident_id": -1}, 4) and "limit" not in first
        assert first["projection"] == {"measurements": 0}
        assert ("group_id", "incident_id") in INDEXES["incidents"], (
            "equal in the first field, sorted by the next"
        )
        keys = [each["key"] for each in db.incidents.index_information().values()]
        assert [("group_id", 1), ("incident_id", 1)] in keys
        commands.reads.clear()
        assert store.index_slice() == 4
        more = [each for each in commands.reads if "getMore" in each]
        assert [each["batchSize"] for each in more] == [4]


def test_a_list_waits_briefly_for_a_slow_server(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that nothing is indexed yet; the search goes on in the background."""
    may_read = threading.Event()
    read_older = original_index.OriginalIndex._read_older

    def slow(store: original_index.OriginalIndex) -> list[dict[str, Any]]:
        may_read.wait(240)
        return read_older(store)

    monkeypatch.setattr(original_index, "FIRST_SLICE_S", 0.01)
    monkeypatch.setattr(original_index.OriginalIndex, "_read_older", slow)
    db.incidents.insert_one(theirs(5))
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert store.find_incidents(ALL, 3) == [] and store.index_progress() == IndexProgress(0, 1)
        may_read.set()
        assert comes(lambda: store.index_progress() is None)
        assert [one.incident_id for one in store.find_incidents(ALL, 3)] == [5]


def test_a_span_reads_no_rows_of_former_years(db: Any, cleared_uri: str, tmp_path: Path) -> None:
    """An outage of years ago that lasts is found too."""
    outage = {"classifications": ["OUTAGE"], "event_id": -1, "box_id": "1"}
    numbers = range(1, 31)
    long = theirs(1, end_timestamp_ms=theirs(29)["start_timestamp_ms"] + 9.0, **outage)
    db.incidents.insert_many([long, *(theirs(number, box_id="1") for number in numbers[1:])])
    commands = Commands()
    monitoring.register(commands)
    try:
        store = open_store(cleared_uri, tmp_path)
    finally:
        monitoring._LISTENERS.command_listeners.remove(commands)
    with closing(store):
        while store.index_slice():
            continue
        for first, found, earliest in ((29, [30, 29, 1], 1), (30, [30], 30)):
            wanted = IncidentFilter(
                box_id="1", start_ns=int(theirs(first)["start_timestamp_ms"]) * 10**6 + 2 * 10**6
            )
            commands.reads.clear()
            assert [one.incident_id for one in store.find_incidents(wanted, 9)] == found
            of_box = [each for each in commands.reads if "box_id" in str(each.get("filter"))]
            (rows,) = [each for each in of_box if each["find"] == "opq_incident_boxes" and "sort" in each]
            since = {"start_ns": {"$gte": int(theirs(earliest)["start_timestamp_ms"]) * 10**6}}
            assert since in rows["filter"].get("$and", ())


def test_a_whole_list_has_new_incidents(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only Mauka and View run, nothing is indexed while no list is read."""
    db.incidents.insert_one(theirs(5))
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert store.count_incidents(ALL, 9) == 1 and comes(lambda: store.index_progress() is None)
    db.incidents.insert_one(theirs(6))
    may_read = threading.Event()
    read_newer = original_index.OriginalIndex._read_newer

    def slow(store: original_index.OriginalIndex, older: int) -> original_index.NewIncidents | None:
        may_read.wait(240)
        return read_newer(store, older)

    monkeypatch.setattr(original_index, "FIRST_SLICE_S", 0.01)
    monkeypatch.setattr(original_index.OriginalIndex, "_read_newer", slow)
    with closing(open_store(cleared_uri, tmp_path)) as store:
        found = store.index_progress()
        assert found is not None and found.percent == 99 and "new incidents" in found.words
        may_read.set()
        assert comes(lambda: store.index_progress() is None)
        assert store.count_incidents(ALL, 9) == 2


def test_a_first_list_searches_none_of_ours(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without an index would read all of the original's years for it, within the request."""
    monkeypatch.setattr(original_index.OriginalIndex, "_index_foreign", lambda self: None)
    db.incidents.insert_one(theirs(5))
    with closing(open_store(cleared_uri, tmp_path)) as store:
        store.next_finding_id()  # Mauka has begun
    commands = Commands()
    monitoring.register(commands)
    try:
        store = open_store(cleared_uri, tmp_path)
    finally:
        monitoring._LISTENERS.command_listeners.remove(commands)
    with closing(store):
        commands.reads.clear()
        assert store.find_incidents(ALL, 20) == [] and store.count_incidents(ALL, 20) == 0
        assert commands.reads == []


def test_a_command_that_ends_first_is_quiet(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stdout may be JSON, and the lock of the index is free for the next one."""
    monkeypatch.setattr(original_index, "SLICE", 2)
    for wait in ("FIRST_SLICE_S", "END_S"):
        monkeypatch.setattr(original_index, wait, 240)
    db.incidents.insert_many([theirs(number) for number in range(1, MANY + 1)])
    with capture_logs() as lines, closing(open_store(cleared_uri, tmp_path)) as store:
        assert [one.incident_id for one in store.find_incidents(ALL, 1)] == [MANY]
    assert "incident_index.failed" not in {each["event"] for each in lines}
    assert "incident-index" not in {each.name for each in threading.enumerate()}
    assert db.opq_locks.count_documents({"_id": "incident_index"}) == 0
    with closing(open_store(cleared_uri, tmp_path)) as store:
        done = store.index_progress()
    assert done is not None and 0 < done.done < MANY, "the next one goes on there"


def test_a_store_without_the_original_needs_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that reads once ends at once."""
    started = threading.Event()
    monkeypatch.setattr(original_index.OriginalIndex, "_index_rest", lambda self: started.set())
    with closing(open_store(None, tmp_path)) as store:
        assert store.find_incidents(ALL, 1) == []
        assert not started.wait(0.3)


def test_a_stop_between_slices_loses_none(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original_index, "SLICE", 3)
    db.incidents.insert_many([theirs(number) for number in (2, 3, 5, 8, 9, 40)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert store.index_slice() == 3
        db.incidents.insert_one(theirs(41, expire_at=2**31))
    with closing(open_store(cleared_uri, tmp_path)) as store:
        while store.index_slice():
            continue
        assert [one.incident_id for one in store.find_incidents(ALL, 9)] == [41, 40, 9, 8, 5, 3, 2]


def test_a_lost_lock_skips_no_incident(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not written is written by the next call: a slice of older ones, and a new one."""
    losses: list[str] = []
    add = MongoDocuments.add

    def lose(documents: MongoDocuments, table: Table, rows: Sequence[dict[str, Any]]) -> int:
        if losses:
            db.opq_locks.delete_one({"_id": losses.pop()})
        return add(documents, table, rows)

    monkeypatch.setattr(MongoDocuments, "add", lose)
    monkeypatch.setattr(original_index, "SLICE", 3)
    monkeypatch.setattr(original_index, "LATE", 0)  # among so many the older ones would be found
    db.incidents.insert_many([theirs(number) for number in range(1, 9)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert store.index_slice() == 3
        losses.append("incident_index")
        assert store.index_slice() == 0 and not losses
        while store.index_slice():
            continue
        assert sorted(db.opq_incident_index.distinct("_id")) == [*range(1, 9)]
        db.incidents.insert_one(theirs(9))
        losses.append("incident_index")
        assert store.index_slice() == 0 and not losses
        assert store.index_slice() == 1
        assert sorted(db.opq_incident_index.distinct("_id")) == [*range(1, 10)]


def test_incidents_are_read_without_the_lock(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of all may outlast the lock: two processes would take it from each other, and index nothing."""
    reads: list[bool] = []
    find = MongoDocuments.find

    def watched(documents: MongoDocuments, table: Table, *where: Any, **options: Any) -> Any:
        if table is INCIDENTS:
            reads.append(documents._lock is not None)
        return find(documents, table, *where, **options)

    monkeypatch.setattr(MongoDocuments, "find", watched)
    monkeypatch.setattr(original_index, "SLICE", 3)
    db.incidents.insert_many([theirs(number) for number in range(1, 9)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert store.index_slice() == 3
        db.incidents.insert_one(theirs(9))
        while store.index_slice():
            continue
        assert db.opq_incident_index.count_documents({}) == 9
    assert len(reads) > 4 and not any(reads)


def test_an_outage_that_goes_on_is_followed(db: Any, cleared_uri: str, tmp_path: Path) -> None:
    """As OutagePlugin writes it: first without an end, which it sets each minute."""
    open_outage = theirs(5, classifications=["OUTAGE"], end_timestamp_ms=-1, event_id=-1, annotations=None)
    db.incidents.insert_one(open_outage)
    with closing(open_store(cleared_uri, tmp_path)) as store:
        store.index_slice()
        (before,) = store.find_incidents(ALL, 9)
        assert before.start_ns == before.end_ns
        end_ms = open_outage["start_timestamp_ms"] + 600_000
        db.incidents.update_one({"incident_id": 5}, {"$set": {"end_timestamp_ms": end_ms}})
        store.follow_original()
        (after,) = store.find_incidents(ALL, 9)
        assert after.end_ns - after.start_ns == 600 * 10**9
        (parts,) = store.incident_parts(["2"], ALL)
        assert parts.parts[0].end_ns == after.end_ns


def test_what_the_originals_collector_deletes_is_forgotten(db: Any, cleared_uri: str, tmp_path: Path) -> None:
    """LahaGcPlugin deletes expired findings, of both, without a word."""
    db.incidents.insert_many([theirs(1), theirs(2, box_id=2.0)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert isinstance(store, MongoStore)
        while store.index_slice():
            continue
        at_ns = (T_MS + 10**9) * 10**6
        boxes = [Finding("sag", box_id, at_ns, at_ns + 10**8, 0, residual_percent=70.0) for box_id in "12"]
        whole, _ = put_findings(store, 3, boxes)
        (lone,) = put_findings(store, 3, [Finding("sag", "1", 2 * at_ns, 2 * at_ns + 10**8, 0)])
        assert store.count_incidents(ALL, 9) == 4
        db.incidents.delete_many({"incident_id": {"$in": [1, whole.finding_id, lone.finding_id]}})
        store.follow_original()
        for wanted in (ALL, IncidentFilter(box_id="2")):
            assert {one.incident_id for one in store.find_incidents(wanted, 9)} == {2, whole.incident_id}
        db.incidents.insert_one(theirs(1, box_id="5"))  # it began again at the number that it deleted
        assert store.index_slice() == 1
        assert [one.incident_id for one in store.find_incidents(IncidentFilter(box_id="5"), 9)] == [1]
        (left,) = store.incident_parts(["1", "2"], IncidentFilter(start_ns=at_ns))
        assert [part.box_id for part in left.parts] == ["2"]
        assert store.incident_facts(lone.incident_id) is None


@pytest.mark.parametrize("expires", [False, True])
def test_an_incident_ends_with_its_last_finding(
    db: Any, cleared_uri: str, tmp_path: Path, expires: bool
) -> None:
    """The index and the page state the same end after one of two findings is deleted."""
    with closing(open_store(cleared_uri, tmp_path)) as store:
        at_ns = (T_MS + 10**9) * 10**6
        ends_ns = {"1": at_ns + 10**8, "2": at_ns + 9 * 10**8}
        both = [
            Finding("sag", box_id, at_ns, end, 0, residual_percent=70.0) for box_id, end in ends_ns.items()
        ]
        one, other = put_findings(store, 3, both)
        assert one.incident_id == other.incident_id
        assert [each.end_ns for each in store.find_incidents(ALL, 9)] == [ends_ns["2"]]
        if expires:
            now_s = int(time.time())
            db.incidents.update_one({"incident_id": other.finding_id}, {"$set": {"expire_at": now_s - 60}})
            assert store.expire(now_s) == 1
        else:
            db.incidents.delete_one({"incident_id": other.finding_id})
            store.follow_original()
        (entry,) = store.find_incidents(ALL, 9)
        found = store.incident(one.incident_id)
        assert found is not None and entry.end_ns == found.end_ns == ends_ns["1"]
        assert entry.length_ns == 10**8 and store.find_incidents(IncidentFilter(box_id="2"), 9) == []


def test_a_long_deletion_is_followed_at_once(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an expiry of years, of which slices were read before."""
    monkeypatch.setattr(original_index, "CHECKED", 3)
    db.incidents.insert_many([theirs(number) for number in range(1, 21)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        while store.index_slice():
            continue
        db.incidents.delete_many({"incident_id": {"$lte": 18}})
        assert store.follow_original() == 18
        assert [each.incident_id for each in store.find_incidents(ALL, 9)] == [20, 19]


def test_no_deletion_or_end_is_behind_older_ones(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention was shortened, so newer incidents are deleted first; an outage outlasts newer ones."""
    monkeypatch.setattr(original_index, "CHECKED", 2)
    monkeypatch.setattr(original_index, "OUTAGES", 1)
    outage = {"classifications": ["OUTAGE"], "event_id": -1}
    db.incidents.insert_many([theirs(number) for number in (1, 2, 3, 4, 6)])
    db.incidents.insert_many([theirs(number, end_timestamp_ms=-1, **outage) for number in (5, 7)])
    with closing(open_store(cleared_uri, tmp_path)) as store:
        while store.index_slice():
            continue
        end_ms = theirs(5)["start_timestamp_ms"] + 600_000
        db.incidents.update_one({"incident_id": 5}, {"$set": {"end_timestamp_ms": end_ms}})
        db.incidents.delete_many({"incident_id": {"$in": [4, 6]}})
        for _ in range(4):
            store.follow_original()
        found = {one.incident_id: one.end_ns - one.start_ns for one in store.find_incidents(ALL, 9)}
        assert [*found] == [7, 5, 3, 2, 1] and (found[5], found[7]) == (600 * 10**9, 0)


def test_expired_data_go_before_roll_ups_are_done(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roll-ups of years last for hours: each work has a share of the time."""
    monkeypatch.setattr(service, "RETENTION_SHARE_S", 0.05)
    db.incidents.insert_many([theirs(number) for number in range(1, 9)])
    with closing(CloudContext(lambda: open_store(cleared_uri, tmp_path))) as shared:
        monkeypatch.setattr(shared.store, "roll_up", lambda now_ms: time.sleep(0.01) or 1)
        stop = threading.Event()
        thread = threading.Thread(target=Retention(shared).run, args=(stop,))
        thread.start()
        gone = comes(lambda: not db.incidents.count_documents({}))
        stop.set()
        thread.join()
    assert gone


def indexed_percent(browser: FormBrowser, path: str) -> int | None:
    assert browser.get(f"/api/v1/{path}") == 200
    found: int | None = json.loads(browser.text)["indexed_percent"]
    return found


@pytest.mark.usefixtures("cheap_argon2")
def test_the_list_says_how_much_is_indexed(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original_index, "SLICE", 5)
    monkeypatch.setattr(original_index.OriginalIndex, "_index_foreign", lambda self: None)
    monkeypatch.setattr(rendering, "JUST_INDEXED_S", 240.0)  # the machine may be busy
    db.incidents.insert_many([theirs(number, expire_at=2**31) for number in range(1, 20)])
    span = {"target_event_start_timestamp_ms": T_MS, "target_event_end_timestamp_ms": T_MS + 500}
    db.events.insert_one({"event_id": 40, "boxes_triggered": None, "boxes_received": None, **span})
    with demo.Scene(tmp_path, poll_s=30.0, mongo_uri=cleared_uri) as scene:
        scene.store.index_slice()
        scene.store.put_box(BoxRecord("1", "", calibration_constant=100.0))
        add_people(scene, ann="admin")
        browser = FormBrowser(scene.url)
        assert browser.sign_in("ann@example.org") == 303 and browser.get("/incidents") == 200
        page = browser.text
        assert '<progress value="5" max="20"' in page and "25 % are done" in page
        assert "#19" in page and "#15" in page and "#14" not in page
        for path in ("/", "/boxes/1", "/past", "/map", "/wall", "/search"):
            assert browser.get(path) == 200 and '<progress value="5" max="20"' in browser.text, path
        assert browser.get("/account") == 200 and "<progress" not in browser.text
        assert browser.get("/feeds/incidents.atom") == 200 and "25 % are done" in browser.text
        for path in ("incidents", "findings"):
            assert indexed_percent(browser, path) == 25
        db.opq_locks.insert_one({"_id": "incident_index", "holder": "another", "beat": 0})
        assert browser.get("/api/v1/exports/incidents") == 200, "of a process of its own"
        assert browser.headers["opq-indexed-percent"] == "25"
        assert browser.get("/events/40") == 200 and "The event names no Box." in browser.text
        assert browser.get("/api/v1/events/40") == 200 and json.loads(browser.text)["box_ids"] == []
        while scene.store.index_slice():
            continue
        browser.get("/incidents")
        assert "<progress" in browser.text, "its list may have been read before the end"
        monkeypatch.setattr(rendering, "JUST_INDEXED_S", 0.0)
        browser.get("/incidents")
        page = browser.text
        assert "<progress" not in page and "#14" in page and indexed_percent(browser, "incidents") is None
        volts = (17_000 * np.sin(np.arange(3024) * np.pi / 100)).astype("<i2")
        GridFS(db).put(volts.tobytes(), filename="incident_19")
        db.incidents.update_one({"incident_id": 19}, {"$set": {"gridfs_filename": "incident_19"}})
        assert browser.get("/incidents/19") == 200
        assert "trace-0" in browser.text, "its event has expired, its samples are kept with it"


def kept_documents(db: Any, now_s: int) -> dict[str, tuple[int, int]]:
    """Collection of the original -> how many documents have not expired, and a sum over their contents."""
    found = {}
    for name in ("incidents", "fs.files", "fs.chunks", "trends", "opq_boxes"):
        digests = [
            int(hashlib.sha256(bson.encode(each)).hexdigest()[:12], 16)
            for each in db[name].find()
            if each.get("expire_at", now_s + 1) > now_s
        ]
        found[name] = len(digests), sum(digests)
    return found


@pytest.mark.slow  # 100,000 incidents take FerretDB most of an hour, because it uses no index
@pytest.mark.parametrize("count", [500, 100_000])
def test_years_of_the_original_stay_as_they_are(
    db: Any, cleared_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A first list at once, two commands an incident at most, and nothing is changed but what has expired."""
    monkeypatch.setattr(original_index, "FIRST_SLICE_S", FIRST_SLICE_S)
    now_s = int(time.time())
    every_ms = 2 * 365 * 86_400_000 // count
    for first in range(1, count + 1, 2000):
        numbers = range(first, min(count, first + 1999) + 1)
        ends_s = {number: now_s - 60 if number % 5 == 0 else 2**31 - 1 for number in numbers}
        times = {number: (now_s * 1000 - every_ms * (count - number)) for number in numbers}
        db.incidents.insert_many(
            theirs(
                number,
                box_id=str(1 + number % 10),
                start_timestamp_ms=times[number] + 0.5,
                end_timestamp_ms=times[number] + 250.5,
                expire_at=ends_s[number],
            )
            for number in numbers
        )
        three = {"min": 119.0, "max": 121.0, "average": 120.0}
        db.trends.insert_many(
            {
                "box_id": str(1 + number % 10),
                "timestamp_ms": Int64(times[number]),
                "voltage": three,
                "location": "lab",
                "expire_at": Int64(ends_s[number]),
            }
            for number in numbers
        )
    GridFS(db).put(b"\0\1" * 400, filename=f"incident_{count - 1}")
    db.opq_boxes.insert_many(
        {"box_id": str(each), "name": f"Box {each}", "unplugged": False, "calibration_constant": 150.0}
        for each in range(1, 11)
    )
    before = kept_documents(db, now_s)
    commands = Commands()
    monitoring.register(commands)
    try:
        store = open_store(cleared_uri, tmp_path)
    finally:
        monitoring._LISTENERS.command_listeners.remove(commands)
    with closing(store):
        listed = store.find_incidents(ALL, 20)
        assert listed or store.index_progress() is not None, "it says that nothing is indexed yet"
        while store.index_slice() or store.index_progress() is not None:
            continue
        assert commands.count / count < 2
        assert [each.incident_id for each in store.find_incidents(ALL, 3)] == [count, count - 1, count - 2]
        while store.expire(now_s):
            continue
        assert store.count_incidents(ALL, count) == before["incidents"][0] == count - count // 5
        assert db.trends.count_documents({}) == before["trends"][0]
    assert kept_documents(db, now_s) == before
