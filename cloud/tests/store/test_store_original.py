"""A database that the original services wrote opens as it is, and they can read ours."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import demo
import numpy as np
import pytest
import structlog
from account_scene import PASSWORD, FormBrowser, meteors_hash
from bson.int64 import Int64
from command_in_process import run_in_process
from gridfs import GridFS
from pymongo import MongoClient
from pymongo.database import Database

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, LocationRecord, open_store
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.view.pages.visible.registry import RegistryReader
from opq_proto.errors import StoreError
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Finding,
    Measurement,
    Metric,
    TimeSource,
    Trigger,
    Waveform,
)

T_MS = 1_536_961_980_000
"""September 2018, when the original ran."""
SAMPLES = np.arange(-600, 600, dtype=np.int16)


@pytest.fixture
def db(mongo_uri: str) -> Iterator[Database[dict[str, Any]]]:
    """As Makai, Mauka and their set-up scripts left it (docs/reference/opq-interop.md, part D)."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        db = client.get_default_database()
        db.laha_config.insert_one(
            {
                "ttls": {
                    "box_samples": 900,
                    "measurements": 86400,
                    "trends": 604800,
                    "events": 2592000,
                    "incidents": 31536000,
                }
            }
        )
        db.opq_boxes.insert_one(
            {
                "box_id": "1",
                "name": "Box 1",
                "description": "Lab",
                "unplugged": False,
                "calibration_constant": 152.1,
                "location": "uhm",
                "location_start_time_ms": Int64(T_MS),
                "location_archive": [],
            }
        )
        db.measurements.create_index([("box_id", 1), ("timetstamp_ms", 1)], unique=True)
        db.measurements.insert_one(
            {
                "box_id": "1",
                "timestamp_ms": Int64(T_MS),
                "voltage": 120.5,
                "frequency": 60.02,
                "thd": 0.021,
                "expire_at": Int64(T_MS // 1000 + 86400),
            }
        )
        db.trends.insert_one(
            {
                "box_id": "1",
                "timestamp_ms": Int64(T_MS + 60_000),
                "location": "uhm",
                "voltage": {"min": 119.0, "max": 121.0, "average": 120.0},
                "frequency": {"min": 59.9, "max": 60.1, "average": 60.0},
                "expire_at": Int64(T_MS // 1000 + 604800),
            }
        )
        fs = GridFS(db)
        data = SAMPLES.astype("<i2").tobytes()
        fs.put(data, filename="event_9354_1")  # EventService: no metadata
        fs.put(data[:400], filename="event_9355", metadata={"event_id": 9355})  # Mauka: no Box id
        for event_id, name in ((9354, "event_9354_1"), (9355, "event_9355")):
            db.events.insert_one(
                {
                    "event_id": event_id,
                    "description": "Makai id x",
                    "boxes_triggered": ["1"],
                    "boxes_received": ["1"],
                    "target_event_start_timestamp_ms": Int64(T_MS),
                    "target_event_end_timestamp_ms": Int64(T_MS + 100),
                    "expire_at": Int64(T_MS // 1000),
                }
            )
            db.box_events.insert_one(
                {
                    "event_id": event_id,
                    "box_id": "1",
                    "event_start_timestamp_ms": Int64(T_MS),
                    "event_end_timestamp_ms": Int64(T_MS + 100),
                    "location": "",
                    "data_fs_filename": name,
                }
            )
        db.incidents.insert_one(
            {
                "incident_id": 41,
                "event_id": 9354,
                "box_id": "1",
                "start_timestamp_ms": T_MS + 10.5,
                "end_timestamp_ms": T_MS + 60.5,
                "location": "uhm",
                "measurement_type": "VOLTAGE",
                "deviation_from_nominal": 24.0,
                "measurements": [],
                "gridfs_filename": "incident_41",
                "classifications": ["VOLTAGE_SAG"],
                "ieee_duration": "INSTANTANEOUS",
                "annotations": [],
                "metadata": {},
                "expire_at": T_MS // 1000,
            }
        )
        yield db


@pytest.fixture
def store(db: object, mongo_uri: str, tmp_path: Any) -> Iterator[MongoStore]:
    store = open_store(mongo_uri, tmp_path)
    assert isinstance(store, MongoStore)
    yield store
    store.close()


def test_an_original_database_opens_as_it_is(store: MongoStore) -> None:
    (box,) = store.boxes()
    assert (box.box_id, box.name, box.location, box.calibration_constant) == ("1", "Box 1", "uhm", 152.1)
    volts = Metric(120.5, 120.5, 120.5)
    (measurement,) = store.measurements("1", T_MS, T_MS + 1)
    assert measurement.metrics == {
        "rms": volts,
        "f": Metric(60.02, 60.02, 60.02),
        "thd": Metric(0.021, 0.021, 0.021),
    }
    assert (measurement.sequence, measurement.start_ns, measurement.source) == (None, None, TimeSource.FREE)
    assert store.latest_measurements() == {"1": measurement}
    (trend,) = store.trends("1", T_MS, T_MS + 60_000)
    assert (trend.start_ms, trend.metrics["rms"]) == (T_MS, (119.0, 121.0, 120.0))


def test_original_places_are_read_and_ours_written(store: MongoStore, db: Any) -> None:
    db.locations.insert_one({"slug": "uhm", "coordinates": [-157.8, 21.3], "description": "UH Manoa"})
    db.locations.insert_one({"slug": "nowhere", "coordinates": None, "description": "to be asked for"})
    db.regions.insert_one({"regionSlug": "oahu", "locationSlug": "uhm"})
    db.regions.insert_one({"regionSlug": "manoa", "locationSlug": "uhm"})
    assert store.locations() == {"uhm": LocationRecord("uhm", 21.3, -157.8, "UH Manoa")}
    assert store.regions() == {"uhm": ("manoa", "oahu")}
    registry = RegistryReader(store).now()
    assert registry.region_boxes == {"manoa": ("1",), "oahu": ("1",)}, "it is in each"
    store.put_box(BoxRecord("1", "", feeder="f2"))
    store.put_box(BoxRecord("1", "", "kailua"), T_MS + 9)
    store.put_location(LocationRecord("kailua", 21.4, -157.74))
    box = db.opq_boxes.find_one({"box_id": "1"})
    assert isinstance(box["location_start_time_ms"], Int64)
    assert (box["name"], box["description"], box["calibration_constant"]) == ("Box 1", "Lab", 152.1)
    assert box["location_archive"] == [{"location": "uhm", "location_start_time_ms": T_MS}]
    assert db.locations.find_one({"slug": "kailua"})["coordinates"] == [-157.74, 21.4]


@pytest.mark.usefixtures("cheap_argon2")
def test_an_original_user_signs_in_to_view(db: Any, mongo_uri: str, tmp_path: Path) -> None:
    """With Boxes, places, incidents and wishes."""
    db.locations.insert_one({"slug": "uhm", "coordinates": [-157.8, 21.3], "description": "UH Manoa"})
    password = {"password": {"bcrypt": meteors_hash(PASSWORD)}}
    db.users.insert_one({"_id": "u1", "username": "ada@example.org", "services": password})
    wishes = {"email": True, "max_per_day": "once a day", "notification_types": ["new incident"]}
    db.UserProfiles.insert_one(
        {
            "username": "ada@example.org",
            "firstName": "Ada",
            "lastName": "L",
            "role": "user",
            "unseen_notifications": True,
            "notification_preferences": wishes,
        }
    )
    db.BoxOwners.insert_one({"username": "ada@example.org", "boxId": "1"})
    theirs = ("users", "UserProfiles", "BoxOwners", "locations", "opq_boxes", "incidents")
    before = {name: list(db[name].find()) for name in theirs}
    with demo.Scene(tmp_path, poll_s=30.0, mongo_uri=mongo_uri) as scene:
        browser = FormBrowser(scene.url)
        assert browser.sign_in("ada@example.org", "wrong password") == 403
        assert browser.sign_in("ada@example.org") == 303
        for path, shown in (
            ("/boxes/1", "UH Manoa"),
            ("/boxes/1/settings", "21.3"),
            ("/incidents", "#41"),
            ("/incidents/41", "Box 1"),
            ("/map", "Box 1"),
            ("/account", "Ada L"),
            ("/account/notifications", "New incidents"),
        ):
            assert browser.get(path) == 200 and shown in browser.text, path
        assert {name: list(db[name].find()) for name in theirs} == before
        account = scene.store.people.account_of("ada@example.org")
        assert account is not None and account.password_hash.startswith("$argon2id$")
        db.users.update_one({"_id": "u1"}, {"$set": {"services.password.bcrypt": meteors_hash("another")}})
        again = FormBrowser(scene.url)
        assert again.sign_in("ada@example.org", "another") == 403, "Meteor's is accepted once"
        assert again.sign_in("ada@example.org") == 303


def test_the_originals_newest_row_is_a_whole_one(store: MongoStore, db: Any) -> None:
    """A crossing Measurement has `rms` alone: a row without frequency ends the original's readers."""
    whole = Measurement("1", T_MS + 400, {"rms": Metric(80.0, 81.0, 80.5), "f": Metric(60.0, 60.0, 60.0)})
    crossing = Measurement("1", T_MS + 500, {"rms": Metric(80.0, 81.0, 80.5)}, sequence=8, crossing=True)
    rows = [replace(whole, sequence=7), crossing, replace(whole, timestamp_ms=T_MS + 600, sequence=9)]
    assert store.append_measurements(rows) == 3 and store.append_measurements(rows) == 0
    assert store.measurements("1", T_MS + 400, T_MS + 601) == rows
    assert store.measurements("1", T_MS + 400, T_MS + 601, 2) == rows[:2]
    assert store.sequences("1", 0, 99) == [7, 8, 9] and store.highest_sequence("1") == 9
    assert [each.timestamp_ms for each in next(store.last_minutes(60_000, 2))] == [T_MS + 500, T_MS + 600]
    assert [row for _, some in store.all_measurements(print) for row in some][1:] == rows
    theirs = list(db.measurements.find({"timestamp_ms": {"$gt": T_MS}}))
    assert [(row["frequency"], row["voltage"]) for row in theirs] == [(60.0, 80.5)] * 2
    assert "thd" not in theirs[0], "absent, as the original writes it"
    store.append_measurements([replace(crossing, timestamp_ms=T_MS + 700, sequence=10)])
    assert store.latest_measurements()["1"].sequence == 10
    while store.expire(2**40):
        continue
    assert store.counts()["measurements"] == 0


def test_an_original_event_is_not_analysed_again(store: MongoStore) -> None:
    """An original event is read with its calibration and not analysed again."""
    event = store.event(9354)
    assert event is not None
    (wave,) = event.waveforms
    assert np.array_equal(wave.counts, SAMPLES)
    assert wave.v_per_lsb == pytest.approx(1 / 152.1)
    assert (wave.start_ns, wave.rate_millihz) == (T_MS * 1_000_000, 12_000_000)
    by_mauka = store.event(9355)
    assert by_mauka is not None and len(by_mauka.waveforms[0].counts) == 200
    assert store.unfinished_events() == store.unanalysed_events() == []
    assert [e.event_id for e in store.events(T_MS * 1_000_000, (T_MS + 1) * 1_000_000)] == [9355, 9354]


def test_an_original_incident_is_one_of_its_own(store: MongoStore) -> None:
    (incident,) = store.incidents()
    assert incident == store.incident(41) and store.incidents_of([40, 41]) == [incident]
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("sag", ("1",), (9354,))
    assert incident.start_ns == T_MS * 1_000_000 + 10_500_000
    assert incident.residual_percent == 80.0, "24 V off the 120 V of the original"
    finding = incident.findings[0].finding
    assert (finding.residual_v, finding.ieee1159) == (96.0, "instantaneous sag")
    assert finding.uncertainty_ns == UNKNOWN_UNCERTAINTY_NS, "none is stated"


def test_numbers_continue_above_the_originals(store: MongoStore, db: Any) -> None:
    """Also while the original still runs."""
    assert store.next_event_id() == 9356
    db.events.insert_one({"event_id": 9400, "boxes_triggered": [], "boxes_received": []})
    assert store.open_event(Trigger("t", 0, 10**9, ("1",), "1", "x"), "x") == 9401
    db.events.insert_one({"event_id": Int64(9500), "boxes_triggered": [], "boxes_received": []})
    assert store.next_event_id() == 9501
    sag = Finding("sag", "1", (T_MS + 10) * 1_000_000, (T_MS + 60) * 1_000_000, 0, residual_percent=80.0)
    (known,) = put_findings(store, 9401, [sag])
    assert (known.finding_id, known.incident_id) == (42, 42), "an original incident is left as it is"
    assert "group_id" not in db.incidents.find_one({"incident_id": 41})


def test_another_services_numbers_are_never_overwritten(
    store: MongoStore, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An original Mauka with its own id service gives the numbers after the highest stored, one by one."""

    def put(second: int) -> tuple[int, int]:
        start_ns = (T_MS + 1000 * 100 * second) * 1_000_000
        sag = Finding("sag", "1", start_ns, start_ns + 50_000_000, 0, residual_percent=80.0)
        (known,) = put_findings(store, 9354, [sag])
        return known.finding_id, known.incident_id

    def theirs(number: int) -> None:
        db.incidents.insert_one({"incident_id": number, "event_id": -1, "box_id": "9", "annotations": []})

    assert put(1) == (42, 42)
    assert store.numbers_problem is None
    theirs(43)
    with structlog.testing.capture_logs() as lines:
        ours = put(2)
    assert ours == (1_000_044, 1_000_044), "its next numbers are left to it, as incidents too"
    assert "set mauka.incident_id_endpoint to its address" in str(store.numbers_problem)
    assert [line["event"] for line in lines] == ["incident_numbers.foreign"]
    for number in range(44, 60):
        theirs(number)
    assert put(3) == (1_000_045, 1_000_045)
    theirs(1_000_046)  # it started again, above the highest number
    assert put(4) == (2_000_047, 2_000_047)

    given = store._server.next_number

    def taken_meanwhile(name: str, *args: Any, **options: Any) -> int:
        number = given(name, *args, **options)
        if name == "incident_id" and number == 2_000_048:
            theirs(number)
        return number

    monkeypatch.setattr(store._server, "next_number", taken_meanwhile)
    before = db.incidents.count_documents({})
    found = put(5)
    assert found[0] > 2_000_048
    assert db.incidents.count_documents({}) == before + 2, "theirs and ours"
    assert db.incidents.find_one({"incident_id": 2_000_048})["box_id"] == "9"
    assert store.incident(found[1]) is not None


def test_the_number_after_the_originals_is_next(store: MongoStore, db: Any) -> None:
    db.incidents.insert_one({"incident_id": 50, "event_id": -1, "box_id": "1"})
    assert store.next_finding_id() == 51
    assert store.numbers_problem is None


def test_a_database_with_doubled_event_ids_opens_too(db: Any, mongo_uri: str) -> None:
    for description in ("before", "after a restart"):
        db.events.insert_one({"event_id": 7, "description": description, "boxes_received": []})
    store = MongoStore(mongo_uri)
    assert len(store.events()) == 4
    assert store.next_event_id() == 9356
    store.close()


def test_an_outage_that_goes_on_is_open(db: Any, store: MongoStore) -> None:
    db.incidents.insert_one(
        {
            "incident_id": 50,
            "event_id": -1,
            "box_id": "1",
            "start_timestamp_ms": Int64(T_MS),
            "end_timestamp_ms": -1,
            "measurement_type": "HEALTH",
            "classifications": ["OUTAGE"],
        }
    )
    incident = store.incident(50)
    assert incident is not None
    assert (incident.kind, incident.closed, incident.start_ns) == ("outage", False, T_MS * 1_000_000)


def test_a_forbidden_second_measurement_is_stored(
    store: MongoStore,
) -> None:
    """A second measurement of a Box is stored though the original index forbids it."""
    rows = [
        Measurement("1", T_MS + n * 1000, {"rms": Metric(1.0, 2.0, 1.5)}, sequence=n, oldest_sequence=0)
        for n in range(1, 4)
    ]
    assert store.append_measurements(rows) == 3
    repeated = Measurement("1", T_MS, {"rms": Metric(1.0, 2.0, 1.5)})
    assert store.append_measurements([repeated]) == 0, "the original's own row has this Box and time"


def test_written_documents_have_original_fields_and_names(store: MongoStore, db: Any) -> None:
    """Documents that we write have the original's fields and file names."""
    at_ns = T_MS * 1_000_000
    wave = Waveform("1", at_ns, 0, TimeSource.GPS, 12_000_000, 0.01, 0, np.tile(SAMPLES, 10))
    rms_v = Metric(118.0, 122.0, 120.0)
    store.append_measurements([Measurement("1", T_MS + 500, {"rms": rms_v, "trans": rms_v}, sequence=7)])
    event_id = store.open_event(Trigger("tok", at_ns, at_ns + 10**9, ("1", "4"), "1", "rms"), "Makai id m")
    store.put_waveform(event_id, wave)
    sag = Finding(
        "sag",
        "1",
        at_ns + 450_000_000,
        at_ns + 550_000_000,
        1000,
        True,
        90.0,
        75.0,
        6.0,
        "instantaneous sag",
        "no_interruption_in_function",
        "pass",
        1.0,
        "because",
    )
    deviation = Finding("frequency_deviation", "1", sag.start_ns, sag.end_ns, 1000, residual_percent=101.0)
    (known, _) = put_findings(store, event_id, [sag, deviation])

    row = db.measurements.find_one({"sequence": 7})
    assert (row["box_id"], row["voltage"], row["transient"]) == ("1", 120.0, 120.0)
    assert "frequency" not in row, "unknown is absent, as where the original writes it"

    event = db.events.find_one({"event_id": event_id})
    assert event["description"] == "Makai id m"
    assert (event["boxes_triggered"], event["boxes_received"]) == (["1", "4"], ["1"])
    assert (event["target_event_start_timestamp_ms"], event["target_event_end_timestamp_ms"]) == (
        T_MS,
        T_MS + 1000,
    )

    part = db.box_events.find_one({"event_id": event_id})
    assert part["data_fs_filename"] == f"event_{event_id}_1"
    assert (part["event_start_timestamp_ms"], part["event_end_timestamp_ms"]) == (T_MS, T_MS + 1000)
    file = GridFS(db).find_one({"filename": part["data_fs_filename"]})
    assert file is not None
    data = file.read()
    assert struct.unpack_from("<2h", data) == (-600, -599)
    assert (file.metadata["event_id"], file.metadata["box_id"]) == (event_id, "1")

    incident = db.incidents.find_one({"incident_id": known.finding_id})
    assert (incident["event_id"], incident["group_id"], incident["class"]) == (
        event_id,
        known.incident_id,
        "sag",
    )
    assert (incident["start_timestamp_ms"], incident["end_timestamp_ms"]) == (T_MS + 450.0, T_MS + 550.0)
    assert incident["classifications"] == ["VOLTAGE_SAG"]
    assert (incident["ieee_duration"], incident["measurement_type"]) == ("INSTANTANEOUS", "VOLTAGE")
    assert incident["deviation_from_nominal"] == pytest.approx(30.0)
    assert (incident["annotations"], incident["metadata"], incident["location"]) == ([], {}, "uhm")
    assert [m["voltage"] for m in incident["measurements"]] == [120.0]
    sliced = GridFS(db).find_one({"filename": incident["gridfs_filename"]})
    assert sliced is not None and (sliced.metadata or {})["incident_id"] == known.finding_id
    assert sliced.read() == data[2 * (5400 - 12) : 2 * (6600 + 12)], "the original's margin of 12 samples"
    other = db.incidents.find_one({"class": "frequency_deviation"})
    assert other["classifications"] == ["FREQUENCY_SWELL"]


def test_whole_numbers_have_the_originals_width(store: MongoStore, db: Any) -> None:
    store.append_measurements([Measurement("1", T_MS + 500, {"rms": Metric(1.0, 2.0, 1.5)}, sequence=7)])
    row = db.measurements.find_one({"sequence": 7})
    assert isinstance(row["timestamp_ms"], Int64) and isinstance(row["expire_at"], Int64)
    event_id = store.open_event(Trigger("tok", 0, 10**9, ("1",), "1", "rms"), "Makai id m")
    event = db.events.find_one({"event_id": event_id})
    assert type(event["event_id"]) is int, "BSON Int32: the original restarts at 1 above anything else"
    assert isinstance(event["target_event_start_timestamp_ms"], Int64)


def test_an_original_database_keeps_its_retention(store: MongoStore, db: Any) -> None:
    ttls = db.laha_config.find_one()["ttls"]
    assert ttls["trends"] == 604800
    assert db.laha_config.count_documents({}) == 1
    while store.expire(T_MS // 1000 + 604_800):
        pass
    counts = store.counts()
    assert (counts["measurements"], counts["trends"], counts["events"], counts["fs.files"]) == (0, 0, 0, 0)


def test_a_new_database_has_the_originals_settings(mongo_uri: str) -> None:
    store = MongoStore(mongo_uri)
    store.close()
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        config = client.get_default_database().laha_config.find_one()
    assert config is not None
    names = {"box_samples", "measurements", "trends", "events", "incidents", "phenomena"}
    assert set(config["ttls"]) == names
    assert all(type(value) is int for value in config["ttls"].values()), "BSON Int32"


def test_a_damaged_file_is_named(store: MongoStore, db: Any) -> None:
    """A damaged file is named and the event is read."""
    event_id = store.open_event(Trigger("t", 0, 10**9, ("1",), "1", "x"), "x")
    store.put_waveform(event_id, Waveform("1", 0, 0, TimeSource.GPS, 12_000_000, 0.01, 0, SAMPLES))
    file = db["fs.files"].find_one({"filename": f"event_{event_id}_1"})
    db["fs.files"].update_one({"_id": file["_id"]}, {"$set": {"metadata.sha256": "0" * 64}})
    event = store.event(event_id)
    assert event is not None
    assert event.waveforms == ()
    assert "sha256 differs" in event.missing["1"]


def test_an_unreachable_server_is_reported_without_password() -> None:
    """No server and no address are one line without the password."""
    for uri in ("mongodb://user:secret@127.0.0.1:9/opq?serverSelectionTimeoutMS=300", "mongodb//nothing"):
        with pytest.raises(StoreError, match="MongoDB: ") as caught:
            MongoStore(uri)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def everything(db: Any) -> dict[str, object]:
    names = db.list_collection_names()
    return {name: (list(db[name].find()), db[name].index_information()) for name in names}


def test_an_original_database_is_adopted_after_a_rehearsal(db: Any, mongo_uri: str, tmp_path: Path) -> None:
    """An original database is adopted after a dry run that changes nothing."""
    db.users.insert_one({"_id": "u1", "username": "ada@example.org"})
    db.laha_stats.insert_one({"timestamp_s": 7})
    db.box_events.insert_one({"event_id": "?", "box_id": "1", "event_start_timestamp_ms": 1})
    before = everything(db)
    dry = run_in_process("store", "copy", "--from", mongo_uri, "--dry-run", "--json")
    assert everything(db) == before
    told = json.loads(dry.stdout)
    counts = {"measurements": 1, "trends": 1, "events": 2, "box_events": 2, "files": 2, "incidents": 1}
    assert counts.items() <= told["copied"].items() and told["left_out"] == {"box_events": 1, "laha_stats": 1}
    assert "users: 1 documents stay where they are" in told["problems"]
    done = run_in_process("store", "copy", "--from", mongo_uri, "--to", str(tmp_path), "--json")
    assert json.loads(done.stdout)["copied"] == told["copied"], done.stderr
    store = open_store(None, tmp_path)
    (box,), (measurement,) = store.boxes(), store.measurements("1", T_MS, T_MS + 1)
    assert (box.name, box.calibration_constant) == ("Box 1", 152.1)
    assert measurement.metrics["rms"] == Metric(120.5, 120.5, 120.5)
    event, collided = store.event(9354), store.event(9355)
    assert event is not None and collided is not None
    assert np.array_equal(event.waveforms[0].counts, SAMPLES) and len(collided.waveforms[0].counts) == 200
    assert event.waveforms[0].v_per_lsb == 1 / 152.1
    assert store.unanalysed_events() == store.unfinished_events() == []
    (incident,) = store.incidents()
    assert (incident.incident_id, incident.kind, incident.start_ns) == (41, "sag", T_MS * 10**6 + 10_500_000)
    assert [each.incident_id for each in store.find_incidents(IncidentFilter(kind="sag"), 9)] == [41]
    assert store.next_finding_id() == 42 and store.next_event_id() == 9356
    while store.roll_up(T_MS + 90 * 86_400_000):
        pass
    assert len(store.trend_rows("1", T_MS - 86_400_000, T_MS + 86_400_000, 86_400_000)) == 1
    store.close()
    well = run_in_process("store", "check", "--data-dir", str(tmp_path))
    assert well.returncode == 0, well.stdout
