"""One database for two systems: the original's Mauka beside ours loses nothing to it, and nothing of ours."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_in_process import run_in_process
from gridfs import GridFS
from original_fields import READ_FIELDS, missing_fields
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError
from store_cases import record_health

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.mauka import SystemStatsSection
from opq_cloud.mauka.bus_plugins.system_stats import SystemStatsPlugin
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.store.incidents.index import IncidentFilter, IncidentNote
from opq_cloud.store.mongo import mongo_server
from opq_cloud.store.mongo.first_documents import SCHEMA, SCHEMA_ID
from opq_cloud.store.mongo.mongo_driver import MongoDocuments
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents import original_index
from opq_cloud.store.upkeep.checking import check_store
from opq_cloud.store.upkeep.copying import copy_store
from opq_proto.errors import READING_COMMIT, StoreError
from opq_proto.messages import Finding, Measurement, Metric, TimeSource, Trend, Trigger, Waveform

T_MS = 1_764_000_000_000


@pytest.fixture
def db(cleared_uri: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](cleared_uri) as client:
        yield client.get_default_database()


@pytest.fixture
def store(db: object, cleared_uri: str, tmp_path: Path) -> Iterator[MongoStore]:
    """With event 1, whose waveform of Box 1 has ten minutes at one sample a millisecond."""
    with closing(open_store(cleared_uri, tmp_path)) as store:
        assert isinstance(store, MongoStore)
        _store_an_event(store)
        yield store


def _store_an_event(store: CloudStore) -> None:
    trigger = Trigger("t", T_MS * 1_000_000, (T_MS + 600_000) * 1_000_000, ("1",), "1", "x")
    event_id = store.open_event(trigger, "x")
    counts = np.zeros(600_000, np.int16)
    wave = Waveform("1", T_MS * 1_000_000, 0, TimeSource.GPS, 1_000_000, 0.01, 0, counts)
    store.put_waveform(event_id, wave)


def _put_sag(
    store: MongoStore, second: int, box_id: str = "1", event_id: int = 1, length_ms: int = 50
) -> tuple[int, int]:
    start_ns = (T_MS + 1000 * second) * 1_000_000
    sag = Finding("sag", box_id, start_ns, start_ns + length_ms * 1_000_000, 0, residual_percent=80.0)
    (known,) = put_findings(store, event_id, [sag])
    return known.finding_id, known.incident_id


def _theirs(db: Any, number: int, **fields: Any) -> None:
    """Stores an incident as the original does: first its samples, then its document."""
    GridFS(db).put(b"theirs", filename=f"incident_{number}", metadata={"incident_id": number})
    times = {"start_timestamp_ms": T_MS + 7_000_000.0, "end_timestamp_ms": T_MS + 7_000_100.0}
    document = {"incident_id": number, "event_id": 1, "box_id": "4", "annotations": [], **times, **fields}
    db.incidents.insert_one({"classifications": ["VOLTAGE_SWELL"], **document})


def test_no_incident_has_a_number_given_at_9777(store: MongoStore, db: Any) -> None:
    """Nor has one that a person split off, nor one whose number another process of ours drew."""
    given, incidents = [], []
    for step in range(4):
        given.append(store.next_finding_id())
        incidents.append(_put_sag(store, 100 * step)[1])
        incidents.append(_put_sag(store, 100 * step, "2")[1])
    editor = IncidentEditor(store)
    given.append(store.next_finding_id())
    whole = incidents[-1]
    *_, last = store.findings_of_incident(whole)
    incidents.append(editor.split_incident(whole, [last.finding_id]))
    given.append(store.next_finding_id())
    assert {*given}.isdisjoint(incidents) and len({*given}) == len(given)
    for number in given:
        _theirs(db, number)
    of_given = store.incidents_of(given)
    assert [one.incident_id for one in of_given] == given
    assert {one.box_ids for one in of_given} == {("4",)}
    assert {"4"}.isdisjoint(box for one in store.incidents_of(incidents) for box in one.box_ids)


def test_a_taken_number_leaves_the_others_samples(
    store: MongoStore, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both number services are on: the original stores a number while ours makes its finding."""
    given = store._server.next_number

    def taken_meanwhile(name: str) -> int:
        number = given(name)
        if number == 1:
            _theirs(db, number)
        return number

    monkeypatch.setattr(store._server, "next_number", taken_meanwhile)
    finding_id, _ = _put_sag(store, 0)
    assert finding_id > 1_000_000, "the next numbers are left to the other"
    assert [file.read() for file in GridFS(db).find({"filename": "incident_1"})] == [b"theirs"]
    ours = db.incidents.find_one({"incident_id": finding_id})
    (file,) = GridFS(db).find({"filename": ours["gridfs_filename"]})
    assert file.length > 0 and ours["gridfs_filename"] == f"incident_{finding_id}"


def test_a_lost_incident_of_the_original_is_counted(store: MongoStore, db: Any, tmp_path: Path) -> None:
    """Ours is stored first, so the original's document is refused; its file of samples stays as the trace."""
    finding_id, _ = _put_sag(store, 0)
    assert store.lost_incidents() == 0 and store.numbers_problem is None
    _theirs(db, 43)
    with pytest.raises(DuplicateKeyError):
        _theirs(db, finding_id)
    assert store.lost_incidents() == 1
    assert "1 incident of the original is lost" in str(store.numbers_problem)
    _put_sag(store, 0)  # analysed again: our file is replaced, and the trace stays
    assert db["fs.files"].count_documents({"filename": f"incident_{finding_id}"}) == 2
    assert store.lost_incidents() == 1
    assert _put_sag(store, 500)[0] > 1_000_000
    with closing(open_store(store.place[0], tmp_path, untouched=True)) as other:
        assert other.lost_incidents() == 1


def test_a_number_of_both_systems_is_counted(store: MongoStore, db: Any) -> None:
    """No finding has the number of an incident that was split off, so the original's document is stored."""
    _put_sag(store, 0)
    whole = _put_sag(store, 0, "2")[1]
    *_, last = store.findings_of_incident(whole)
    number = IncidentEditor(store).split_incident(whole, [last.finding_id])
    assert store.lost_incidents() == 0
    _theirs(db, number)
    assert store.lost_incidents() == 1 and "not listed" in str(store.numbers_problem)
    assert _put_sag(store, 500)[0] > 1_000_000


def test_a_boxs_deleted_finding_shortens_its_incident(store: MongoStore, db: Any) -> None:
    """The original's collector deletes one of two findings of a Box."""
    first, (later_id, later) = _put_sag(store, 0)[1], _put_sag(store, 500)
    IncidentEditor(store).merge_incidents([first, later])
    db.incidents.delete_one({"incident_id": later_id})
    store.follow_original()
    (entry,) = store.find_incidents(IncidentFilter(), 9)
    found = store.incident(entry.incident_id)
    assert found is not None and found.end_ns - found.start_ns == 50_000_000
    assert (entry.start_ns, entry.end_ns) == (found.start_ns, found.end_ns)


def test_a_number_taken_after_a_deletion_is_listed(store: MongoStore, db: Any) -> None:
    """The original gives the number of an incident of ours that its collector deleted."""
    finding_id, number = _put_sag(store, 0)
    _theirs(db, number + 1, box_id="5")
    assert [store.index_slice() for _ in range(2)] == [1, 0], "what was there before is indexed"
    db.incidents.delete_one({"incident_id": finding_id})
    _theirs(db, number)
    store.follow_original()
    (entry,) = store.find_incidents(IncidentFilter(box_id="4"), 9)
    assert (entry.incident_id, entry.start_ns) == (number, (T_MS + 7_000_000) * 1_000_000)
    assert store.find_incidents(IncidentFilter(box_id="1"), 9) == []


def test_what_a_killed_process_stored_is_listed(
    store: MongoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last finding has no index, and its event may be gone before it is analysed again."""
    _put_sag(store, 0)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(store, "_index_plan", lambda *_: 1 // 0)
        _put_sag(store, 500)
    with closing(open_store(store.place[0], tmp_path)) as other:
        assert other.follow_original() == 1
        assert other.count_incidents(IncidentFilter(), 9) == 2
        assert len(list(other.incident_parts(["1"], IncidentFilter()))) == 2


def test_a_killed_merge_loses_no_notes(
    store: MongoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another process follows the original between the findings' move and the index."""
    numbers = [_put_sag(store, second)[1] for second in (0, 500)]
    for number in numbers:
        store.put_note(IncidentNote(0, number, 1, "x", "note", f"of {number}"))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(store, "_index_plan", lambda *_: 1 // 0)
        IncidentEditor(store).merge_incidents(numbers)
    with closing(open_store(store.place[0], tmp_path)) as other:
        other.follow_original()
        assert {note.text for note in other.notes(numbers[0])} >= {f"of {number}" for number in numbers}
        assert other.successor(numbers[1]) == numbers[0]


def test_an_unreadable_finding_keeps_its_rows(store: MongoStore, db: Any) -> None:
    finding_id, _ = _put_sag(store, 0)
    db.incidents.update_one({"incident_id": finding_id}, {"$set": {"end_ns": "x"}})
    assert store.follow_original() == 0
    assert db.opq_incident_index.count_documents({}) == db.opq_incident_boxes.count_documents({}) == 1


def test_an_old_incidents_late_finding_is_completed(
    store: MongoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original_index, "COMPLETED", 3)
    for second in (0, 40, 80, 120, 160):
        _put_sag(store, second)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(store, "_index_plan", lambda *_: 1 // 0)
        _put_sag(store, 0, "2")
    with closing(open_store(store.place[0], tmp_path)) as other:
        assert other.follow_original() == 1
        assert len(list(other.incident_parts(["2"], IncidentFilter()))) == 1


def test_a_kill_between_tags_and_rows_is_completed(
    store: MongoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(MongoDocuments, "add_values", lambda *_: 1 // 0)
        _put_sag(store, 0)
    with closing(open_store(store.place[0], tmp_path)) as other:
        assert other.follow_original() == 1
        assert other.count_incidents(IncidentFilter(box_id="1"), 9) == 1


def test_a_number_taken_beside_is_listed(store: MongoStore, db: Any) -> None:
    finding_id, number = _put_sag(store, 0)
    _theirs(db, number + 1, box_id="5")
    while store.index_slice():
        continue
    db.incidents.delete_one({"incident_id": finding_id})
    _theirs(db, number, box_id="1")
    store.follow_original()
    (entry,) = store.find_incidents(IncidentFilter(box_id="1"), 9)
    assert (entry.kind, entry.start_ns) == ("swell", (T_MS + 7_000_000) * 1_000_000)


def test_a_changed_finding_stays_one_document(mongo_uri: str, tmp_path: Path) -> None:
    """Also without a unique index, which the original's own double numbers prevent."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        db = client.get_default_database()
        db.incidents.insert_many([{"incident_id": 5, "event_id": 1} for _ in range(2)])
        store = open_store(mongo_uri, tmp_path)
        assert isinstance(store, MongoStore)
        _store_an_event(store)
        finding_id, incident_id = _put_sag(store, 0)
        assert _put_sag(store, 0, length_ms=70) == (finding_id, incident_id)
        (one,) = db.incidents.find({"incident_id": finding_id})
        assert one["end_ns"] - one["start_ns"] == 70_000_000 and one["annotations"] == []
        store.close()


def test_a_shared_number_shows_our_own_samples(store: MongoStore, db: Any) -> None:
    """The original has stored the samples of a number; its document comes after ours, and is refused."""
    GridFS(db).put(b"theirs", filename="incident_1", metadata={"incident_id": 1})
    assert _put_sag(store, 100) == (1, 1)
    (incident,) = store.incidents_of([1])
    (wave,) = store.copied_samples(incident)
    assert wave.box_id == "1" and len(wave.counts) > 50
    assert store.lost_incidents() == 1


def test_no_number_of_ours_is_another_services(store: MongoStore, db: Any) -> None:
    """FerretDB may lose the step of a counter, so the next number is one that ours has stored already."""
    first, _ = _put_sag(store, 0)
    db.opq_counters.update_one({"_id": "incident_id"}, {"$set": {"value": first - 1}})
    second, _ = _put_sag(store, 100)
    assert second == first + 1 and store.numbers_problem is None
    _theirs(db, second + 1)
    assert _put_sag(store, 200)[0] > 1_000_000
    assert "another service" in str(store.numbers_problem)


def test_numbers_drawn_at_once_are_different(
    store: MongoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of two processes, also on a server whose find_one_and_update is not atomic."""
    for wait in ("LEASE_S", "LOCK_WAIT_S"):  # a slow machine draws for longer than a lease
        monkeypatch.setattr(mongo_server, wait, 240.0)
    with (
        closing(open_store(store.place[0], tmp_path, untouched=True)) as other,
        ThreadPoolExecutor(4) as pool,
    ):
        drawn = list(pool.map(lambda each: each.next_finding_id(), [store, other] * 12))
    assert sorted(drawn) == list(range(1, 25))
    assert store.numbers_problem is None and other.numbers_problem is None


def _store_a_day(store: CloudStore) -> None:
    """Boxes by hand and by Makai, places, rows, trends, findings of event 1."""
    store.put_box(BoxRecord("1", "", "lab", description="Lab"))
    store.put_box(BoxRecord("2", "", gateway_id=9))
    store.put_location(LocationRecord("lab", 21.3, -157.8))
    store.put_region("oahu", "lab")
    metrics = {"rms": Metric(119.0, 121.0, 120.0), "f": Metric(60.0, 60.0, 60.0)}
    days = range(0, 86_400_000, 600_000)
    rows = [Measurement("1", T_MS + each, metrics, sequence=each) for each in days]
    crossing = Measurement("2", T_MS + 1, {"rms": Metric(1.0, 1.0, 1.0)}, sequence=1, crossing=True)
    store.append_measurements([*rows, crossing])
    three = {"rms": (119.0, 121.0, 120.0), "f": (60.0, 60.0, 60.0), "thd": (0.01, 0.02, 0.01)}
    store.put_trends([Trend(box_id, T_MS + each, three) for each in days for box_id in ("1", "2")])
    kinds = ("sag", "frequency_deviation", "oscillatory_transient", "harmonics", "outage", "of a plug-in")
    for place, kind in enumerate(kinds):
        start_ns = (T_MS + 5000 + place * 60_000) * 1_000_000
        put_findings(store, 1, [Finding(kind, "1", start_ns, start_ns + 10**8, 0)])


def _unreadable(db: Any, names: Iterable[str]) -> dict[str, object]:
    """What the original misses in documents of these collections, each of which has some."""
    problems: dict[str, object] = {}
    for name in names:
        documents = list(db[name].find())
        assert documents, name
        problems |= {line: each["_id"] for each in documents for line in missing_fields(name, each)}
    return problems


def test_the_original_can_read_every_document(store: MongoStore, db: Any, tmp_path: Path) -> None:
    """Of a day, with settings, health and statistics."""
    _store_a_day(store)
    with closing(CloudContext(lambda: open_store(store.place[0], tmp_path))) as shared:
        record_health(shared, tmp_path)
        now_s = [0.0]
        statistics = SystemStatsPlugin(
            {}, lambda: shared.store, SystemStatsSection(), tmp_path, lambda: now_s[0]
        )
        for now_s[0] in (5.0, 60.0):
            statistics.on_idle()
    for change in (None, MakaiConfig(TriggeringLimits()), None):  # stated, and taken back
        store.put_makai_config(change)
        read = [missing_fields("makai_config", each) for each in db.makai_config.find()]
        assert read == [[]]
    assert _unreadable(db, READ_FIELDS) == {}


def test_the_original_can_read_copied_documents(db: Any, cleared_uri: str, tmp_path: Path) -> None:
    """A day that an embedded store had."""
    with (
        closing(open_store(None, tmp_path)) as embedded,
        closing(open_store(cleared_uri, tmp_path)) as target,
    ):
        _store_an_event(embedded)
        _store_a_day(embedded)
        copy_store(embedded, target, "a")
        assert _unreadable(db, READ_FIELDS.keys() - {"health", "laha_stats"}) == {}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, f"in a form of before 0.2.0, .* commit {READING_COMMIT} reads; choose another database"),
        (SCHEMA + 1, f"has schema {SCHEMA + 1}, this program knows up to {SCHEMA}"),
        (SCHEMA - 1, f"has schema {SCHEMA - 1}, this program knows up to {SCHEMA}"),
    ],
    ids=["none", "newer", "older"],
)
def test_a_database_of_another_schema_is_refused(
    db: Any, cleared_uri: str, schema: int | None, words: str
) -> None:
    MongoStore(cleared_uri).close()
    db.opq_counters.insert_one({"_id": "joins", "value": 1})
    db.opq_schema.delete_many({})
    if schema is not None:
        db.opq_schema.insert_one({"_id": SCHEMA_ID, "version": schema})
    before = sorted(db.list_collection_names())
    for untouched in (False, True):
        with pytest.raises(StoreError, match=f"MongoDB database {db.name}: .*{words}"):
            MongoStore(cleared_uri, untouched)
    assert sorted(db.list_collection_names()) == before


def test_the_optimiser_leaves_settings_of_triggers(store: MongoStore, db: Any) -> None:
    """The original's plug-in writes `makai_config` again, with the fields that it knows."""
    assert store.makai_config() is None
    store.put_makai_config(MakaiConfig(TriggeringLimits(), triggers={"sag": {"a": 1.5}}, limited=False))
    config = store.makai_config()
    assert config is not None and not config.limited and config.triggers == {"sag": {"a": 1.5}}
    found = db.makai_config.find_one()
    triggering = {**found["triggering"], "default_ref_v": 230.0}
    db.makai_config.replace_one({"_id": found["_id"]}, {"_id": found["_id"], "triggering": triggering})
    config = store.makai_config()
    assert config is not None and config.limited and config.default.ref_v == 230.0
    assert config.triggers == {"sag": {"a": 1.5}}


def test_samples_stay_with_an_incident(store: MongoStore, db: Any, tmp_path: Path) -> None:
    """Its event has expired: those of ours with their rate and gain, those of the original at 12 kS/s."""
    at_ms = T_MS + 100_020
    store.append_measurements([Measurement("1", at_ms, {"rms": Metric(96.0, 96.0, 96.0)}, sequence=1)])
    numbered, number = _put_sag(store, 100)
    db.incidents.update_one({"incident_id": numbered}, {"$set": {"annotations": ["a crane"]}})
    _theirs(db, 500)
    data = np.arange(-50, 50, dtype="<i2").tobytes()
    GridFS(db).put(data, filename="incident_501")
    db.incidents.update_one({"incident_id": 500}, {"$set": {"gridfs_filename": "incident_501"}})
    store.put_box(BoxRecord("4", "", calibration_constant=100.0))
    for name in ("events", "box_events", "measurements"):  # as the original's collector does
        db[name].delete_many({})
    ours, theirs = store.incident(number), store.incident(500)
    assert ours is not None and theirs is not None
    assert ours.findings[0].finding.because.endswith("annotation: a crane")
    (wave,) = store.copied_samples(ours)
    assert (wave.rate_millihz, wave.v_per_lsb, len(wave.counts)) == (1_000_000, 0.01, 74)
    assert wave.start_ns == (T_MS + 100_000 - 12) * 1_000_000
    (wave,) = store.copied_samples(theirs)
    assert (wave.box_id, wave.rate_millihz, wave.v_per_lsb) == ("4", 12_000_000, 0.01)
    assert (wave.start_ns, wave.counts[0]) == ((T_MS + 7_000_000 - 1) * 1_000_000, -50)
    rows = db.incidents.find_one({"incident_id": numbered})["measurements"]
    with closing(open_store(f"{store.place[0]}_copy", tmp_path)) as target:
        assert isinstance(target, MongoStore)
        report = copy_store(store, target, "a")
        assert report.problems == [] and report.copied["samples of findings"].count == 2
        for incident in (ours, theirs):
            (kept,), (copied,) = (each.copied_samples(incident) for each in (store, target))
            assert (copied.start_ns, copied.v_per_lsb) == (kept.start_ns, kept.v_per_lsb)
            assert copied.counts.tolist() == kept.counts.tolist()
        copied_document = target._db.incidents.find_one({"incident_id": numbered})
        assert len(rows) == 1 and copied_document["measurements"] == rows
        db.client.drop_database(target._db.name)
    counts = {name: each.count for name, each in report.copied.items()}
    dry = ("store", "copy", "--dry-run", "--json", "--from", store.place[0], "--to")
    for place, there in (("mongodb://not.asked/x", counts), ("y", counts | {"samples of findings": 0})):
        done = run_in_process(*dry, place)
        assert json.loads(done.stdout)["copied"] == there, done.stderr
    db["fs.files"].delete_one({"filename": "incident_501"})
    assert "file incident_501: is not in the store" in check_store(store).problems
