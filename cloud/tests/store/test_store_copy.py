"""Copies of a whole store, into the same and the other kind; one that was ended; back-ups of a MongoDB."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_in_process import run_in_process
from filled_store import described, fill
from pymongo import MongoClient
from store_cases import NOW_MS, SAG, TRIGGER, numbered, stored_rows

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import FILE_NAME, CloudStore, open_store
from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.records.incidents import incident_index
from opq_cloud.store.upkeep.checking import check_store
from opq_cloud.store.upkeep.copying import copy_store, read_store
from opq_proto.errors import StoreError
from opq_proto.messages import Disturbance, Interval, Measurement, Trend
from opq_tools.keep.archive import STORE_FILES
from opq_tools.keep.backup import back_up
from opq_tools.keep.restore import restore

HOUR_MS = 3_600_000
LENGTHS_MS = (60_000, 600_000, HOUR_MS, 24 * HOUR_MS)


INTERVAL_NS = NOW_MS * 10**6 // 86_400_000_000_000 * 86_400_000_000_000


def interval(at: int) -> Measurement:
    start_ns = INTERVAL_NS + at * 600 * 10**9
    values = {"rms_v": 120.0 + at, "harmonics_v": tuple(float(at + k) for k in range(50))}
    return Measurement(
        "1",
        start_ns // 10**6,
        {},
        start_ns,
        start_ns + 600 * 10**9,
        1000,
        sequence=9000 + at,
        interval=Interval(600_000, at % 3 == 0, 1.0, values),
    )


INTERVALS = [interval(at) for at in range(135, 150)]
DIP = Disturbance("1", "dip", INTERVAL_NS + 5, INTERVAL_NS + 10**9, 1000, 88.0)
LATE_INTERVALS = [
    interval(150),
    Measurement("1", NOW_MS, {}, DIP.start_ns, DIP.end_ns, 1000, sequence=9999, disturbance=DIP),
]


@contextmanager
def opened(place: str) -> Iterator[CloudStore]:
    is_mongo = "://" in place
    with closing(open_store(place if is_mongo else None, Path(place))) as store:
        yield store


@pytest.fixture
def mongo(mongo_uri: str) -> Iterator[Any]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client.get_default_database()


def filled(store: CloudStore) -> dict[str, object]:
    """Fills a store, with old minutes that became hours in SQLite; returns what is in it."""
    fill(store)
    store.intervals.append(INTERVALS)
    store.intervals.settle(INTERVAL_NS // 10**6 + 100 * 86_400_000)
    store.intervals.append(LATE_INTERVALS)
    store.append_columns(numbered(100, 60))
    old_ms = NOW_MS // HOUR_MS * HOUR_MS - 200 * 86_400_000
    minutes = [Trend("4", old_ms + k * 60_000, {"rms": (1.0, 3.0, 2.0 + k)}) for k in range(0, 60, 6)]
    store.put_trends(minutes, "lab")
    while store.roll_up(NOW_MS + 40 * 86_400_000):
        pass
    store.expire(NOW_MS // 1000)
    return contents(store)


def contents(store: CloudStore) -> dict[str, object]:
    rows = [row for box_id in "123" for row in store.measurements(box_id, NOW_MS, NOW_MS + 10**6)]
    levels = [store.trend_rows(box_id, 0, 2 * NOW_MS, each) for box_id in "14" for each in LENGTHS_MS]
    span = INTERVAL_NS - 10**12, INTERVAL_NS + 10**16
    found = store.intervals.read("1", 600_000, *span)
    intervals = {
        "times": found.start_ns.tolist(),
        "flagged": found.flagged.tolist(),
        "harmonics": found.values["harmonics_v"].tolist(),
        "rms": found.values["rms_v"].tolist(),
        "disturbances": store.intervals.disturbances(None, *span),
        "numbers": store.intervals.sequences("1", 0, 2**40),
        "quantile": store.intervals.summary("1", 600_000, *span).distribution("rms_v").quantile(0.95),
    }
    return {**described(store), "rows": rows, "levels": levels, "intervals": intervals}


def assert_same(found: dict[str, object], holds: dict[str, object]) -> None:
    assert found.keys() == holds.keys()
    for name, value in holds.items():
        assert found[name] == value, name


@pytest.mark.parametrize("kinds", ["embedded mongo", pytest.param("mongo embedded", marks=pytest.mark.slow)])
def test_a_copy_has_the_whole_store(kinds: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("mongo_uri") if "mongo" in kinds else ""
    places = [uri if kind == "mongo" else str(tmp_path / str(k)) for k, kind in enumerate(kinds.split())]
    with opened(places[0]) as source, opened(places[1]) as target:
        holds = filled(source)
        report = copy_store(source, target, "a")
        assert report.problems == [] and not any(each.left for each in report.copied.values())
        assert_same(contents(target), holds)
        assert check_store(target).problems == check_store(source).problems == []
        new = numbered(100, 70)
        assert target.append_columns(new) == 30, "what Boxes send again is not stored twice"
        assert target.next_event_id() > 2 and target.next_finding_id() > 5, "no number is given twice"


def test_a_copy_into_a_new_mongodb_is_indexed(
    tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database notes that no incident lacks its index, which a copy ends; slices lose none."""
    monkeypatch.setattr(incident_index, "FILL_ROWS", 2)
    with opened(str(tmp_path)) as source, opened(mongo_uri) as target:
        for at in range(5):
            sag = replace(SAG, start_ns=SAG.start_ns + at * 10**12, end_ns=SAG.end_ns + at * 10**12)
            put_findings(source, source.open_event(TRIGGER, f"{at}"), [sag])
        assert target.find_incidents(IncidentFilter(), 9) == []
        copy_store(source, target, "a")
        for box_ids in (None, (SAG.box_id,)):
            wanted = IncidentFilter(box_ids=box_ids)
            numbers = [
                [one.incident_id for one in each.find_incidents(wanted, 9)] for each in (source, target)
            ]
            assert numbers[0] == numbers[1] and len(numbers[0]) == 5


class EndedError(Exception):
    """The process is killed here."""


def test_an_interrupted_copy_resumes_without_duplicates(tmp_path: Path) -> None:
    """A copy that is ended at any place goes on there and brings nothing twice."""
    with opened(str(tmp_path / "a")) as source:
        holds = filled(source)
        steps: list[str] = []
        whole = copy_store_ending(source, tmp_path / "whole", steps, None)
        for ended_at in range(1, len(steps), 17):
            place, again = tmp_path / str(ended_at), list[str]()
            assert copy_store_ending(source, place, [], ended_at) is None
            with opened(str(place)) as target, pytest.raises(StoreError, match="a part of a copy of a;"):
                copy_store(source, target, "another")
            assert copy_store_ending(source, place, again, None) == whole
            assert len(again) <= max(len(steps) - ended_at, len(steps) // 2), "half of it is the comparison"
        with opened(str(place)) as target:
            assert_same(contents(target), holds)


def copy_store_ending(
    source: CloudStore, place: Path, steps: list[str], ended_at: int | None
) -> dict[str, tuple[int, str]] | None:
    """Copies, up to a step; returns count and sum of each table, None where it was ended."""

    def shown(name: str, count: int) -> None:
        steps.append(name)
        if len(steps) - 1 == ended_at:
            raise EndedError

    with opened(str(place)) as target:
        try:
            report = copy_store(source, target, "a", shown)
        except EndedError:
            return None
    return {name: (each.count, each.sum) for name, each in report.copied.items()}


def test_a_store_with_data_is_not_copied_into(tmp_path: Path) -> None:
    with opened(str(tmp_path / "a")) as source, opened(str(tmp_path / "b")) as target:
        fill(source)
        target.append_columns(numbered(1, 30))
        with pytest.raises(StoreError, match="has measurements already; copy into an empty store"):
            copy_store(source, target, "a")


def test_unreadable_mongodb_documents_are_named(mongo: Any, mongo_uri: str, tmp_path: Path) -> None:
    """Documents of a MongoDB that cannot be read are skipped and named."""
    with opened(mongo_uri) as source, opened(str(tmp_path)) as target:
        fill(source)
        mongo.incidents.insert_one({"incident_id": 70, "box_id": "1", "start_timestamp_ms": "noon"})
        mongo.incidents.insert_one({"box_id": "1"})
        mongo.opq_boxes.insert_one({"box_id": 12, "name": "a number"})
        mongo.measurements.insert_one({"box_id": "1", "timestamp_ms": 7, "voltage": "high"})
        file = mongo["fs.files"].find_one({"filename": "event_1_4"})
        mongo["fs.chunks"].delete_one({"files_id": file["_id"]})
        mongo.phones.insert_many([{"of": "Anna"}, {"of": "Bo"}])
        assert source.others() == {"phones": 2}
        report = copy_store(source, target, "a")
        named = " ".join(report.problems)
        for part in ("incidents 70: cannot be read", "no incident_id", "no box_id of ours", "event_1_4"):
            assert part in named, report.problems
        assert len(report.problems) == sum(each.left for each in report.copied.values()) == 5
        assert {each.box_id for each in target.boxes()} == {"1", "4", "9"}
        event = target.event(1)
        assert event is not None and [wave.box_id for wave in event.waveforms] == ["1"]


def test_a_mongodb_backup_restores_in_either_store(mongo: Any, mongo_uri: str, tmp_path: Path) -> None:
    """A MongoDB goes into a back up and comes back in either kind."""
    assert STORE_FILES == (FILE_NAME, ACCOUNTS_FILE)
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "key").write_text("secret")
    with opened(mongo_uri) as store:
        holds = filled(store)
    done = run_in_process(
        "backup", str(tmp_path / "a.tar"), "--data-dir", str(data), "--mongo-uri", mongo_uri, "--json"
    )
    assert json.loads(done.stdout)["files"] == 3, done.stderr
    mongo.client.drop_database(mongo.name)
    restore(tmp_path / "a.tar", tmp_path / "embedded")
    with opened(str(tmp_path / "embedded")) as store:
        assert_same(contents(store), holds)
    restore(tmp_path / "a.tar", tmp_path / "apart", mongo_uri)
    assert [each.name for each in (tmp_path / "apart").iterdir()] == ["keys"]
    with opened(mongo_uri) as store:
        assert_same(contents(store), holds)
    with pytest.raises(StoreError, match="has measurements already"):
        restore(tmp_path / "a.tar", tmp_path / "twice", mongo_uri)
    assert not (tmp_path / "twice").exists()


def test_the_commands_report_their_work(tmp_path: Path) -> None:
    """The commands say what was copied checked and saved."""
    a, b = tmp_path / "a", tmp_path / "b"
    with opened(str(a)) as store:
        fill(store)
        counts = {name: each.count for name, each in read_store(store).copied.items()}
    dry = run_in_process("store", "copy", "--from", str(a), "--dry-run", "--json")
    assert json.loads(dry.stdout) == {"copied": counts, "left_out": {}, "problems": []}
    done = run_in_process("store", "copy", "--from", str(a), "--to", str(b))
    assert done.stdout.startswith(f"{b}: copied 40 Measurements, 135 trends, 2 events, 3 waveforms")
    again = run_in_process("store", "copy", "--from", str(a), "--to", str(b))
    assert "copy into an empty store" in again.stderr and again.returncode == 1
    well = run_in_process("store", "check", "--data-dir", str(b), "--json")
    assert json.loads(well.stdout)["ok"] and well.returncode == 0
    (b / FILE_NAME).write_bytes((b / FILE_NAME).read_bytes()[:30] + bytes(500) + b"x" * 9000)
    ill = run_in_process("store", "check", "--data-dir", str(b))
    assert ill.returncode == 1 and "opq-tools store repair saves the rest" in ill.stderr
    assert "malformed" in ill.stdout
    saved = run_in_process("store", "repair", "--data-dir", str(a), "--into", str(tmp_path / "c"))
    assert "saved 40 Measurements" in saved.stdout
    (tmp_path / "none").mkdir()
    nothing = run_in_process("store", "check", "--data-dir", str(tmp_path / "none"))
    assert "has no opq.db" in nothing.stderr and "opq-tools restore" in nothing.stderr


def test_an_unreachable_mongodb_is_not_a_damaged_store(tmp_path: Path) -> None:
    absent = "mongodb://user:secret@127.0.0.1:1/opq?serverSelectionTimeoutMS=200"
    absent += "&authMechanismProperties=AWS_SESSION_TOKEN:secret"
    given = run_in_process("store", "check", "--mongo-uri", absent)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/cloud.toml").write_text(f'[store]\nmongo_uri = "{absent}"\n')
    configured = run_in_process("store", "check", "--data-dir", str(tmp_path))
    for done in (given, configured):
        assert done.returncode == 1 and "mongodb://…@127.0.0.1:1/opq" in done.stderr
        assert "was not checked: MongoDB: " in done.stderr and "Connection refused" in done.stderr
        assert "secret" not in done.stderr and "repair" not in done.stderr and "copy" not in done.stderr


@pytest.mark.parametrize(("table", "is_sealed"), [("blocks", True), ("parcels", False)])
def test_a_repair_without_measurements_ends_with_1(tmp_path: Path, table: str, is_sealed: bool) -> None:
    """A repair that saves no measurement ends with 1 and keeps no empty store."""
    with closing(EmbeddedStore(tmp_path / FILE_NAME)) as store:
        store.append_columns(numbered(1000, 281, 3))
        if is_sealed:
            store.seal()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        question = f"SELECT rootpage FROM sqlite_master WHERE name = '{table}'"
        at = (file.execute(question).fetchone()[0] - 1) * 4096
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    data[at : at + 4096] = b"x" * 4096
    (tmp_path / FILE_NAME).write_bytes(data)
    new = tmp_path / "new"
    done = run_in_process("store", "repair", "--data-dir", str(tmp_path), "--into", str(new))
    assert done.returncode == 1 and "saved 0 Measurements" in done.stdout
    assert f"table {table}: 1 pages" in done.stdout
    assert is_sealed is ("843 of 843 Measurements" in done.stdout)
    assert f"nothing is kept in {new}" in done.stderr and "opq-tools restore" in done.stderr
    assert list(new.iterdir()) == []


def test_an_archive_without_store_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text("secret")
    done = run_in_process("backup", str(tmp_path / "a.tar"), "--data-dir", str(tmp_path / "data"))
    assert "where that is a MongoDB, give --mongo-uri" in done.stdout
    assert back_up(tmp_path / "data", tmp_path / "b.tar").files.keys() == {"key"}


def test_rows_sealed_while_read_come_once(tmp_path: Path) -> None:
    from opq_cloud.store.embedded.embedded_store import EmbeddedStore

    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        store.append_columns(numbered(1, 30, 9))
        found = []
        for _, rows in store.all_measurements(lambda line: None):
            if not found:
                store.seal()
            found += rows
        assert sorted(found, key=str) == sorted(stored_rows(numbered(1, 30, 9)), key=str)
