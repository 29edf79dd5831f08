"""A shared MongoDB with documents that cannot be read: the others of their collections are read."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo import MongoClient

from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import CloudContext
from opq_cloud.health.health_service import HealthService
from opq_cloud.store import open_store
from opq_cloud.store.documents.box_documents import box_from_document
from opq_cloud.store.documents.event_documents import event_record
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.upkeep.checking import check_store

T_MS = 1_536_961_980_000
GOOD: dict[str, dict[str, Any]] = {
    "opq_boxes": {"box_id": "1", "name": "Box 1", "calibration_constant": 152.1},
    "measurements": {"box_id": "1", "timestamp_ms": Int64(T_MS), "voltage": 120.5, "frequency": 60.02},
    "trends": {
        "box_id": "1",
        "timestamp_ms": Int64(T_MS),
        "voltage": {"min": 119.0, "max": 121.0, "average": 120.0},
    },
    "events": {
        "event_id": 1,
        "boxes_triggered": ["1"],
        "boxes_received": ["1"],
        "target_event_start_timestamp_ms": Int64(T_MS),
        "target_event_end_timestamp_ms": Int64(T_MS + 100),
    },
    "incidents": {
        "incident_id": 1,
        "event_id": 1,
        "box_id": "1",
        "start_timestamp_ms": T_MS + 10.5,
        "end_timestamp_ms": T_MS + 60.5,
        "classifications": ["VOLTAGE_SAG"],
    },
}
"""Documents as the original leaves them (docs/reference/opq-interop.md, part D), with the keys that are
read."""
BROKEN: dict[str, list[dict[str, Any]]] = {
    "opq_boxes": [{"name": "no id"}, {"box_id": "2", "location_archive": 7}],
    "measurements": [
        {"voltage": 1.0},
        {"box_id": {"id": 1}, "timestamp_ms": Int64(T_MS)},
        {"box_id": "1", "timestamp_ms": Int64(T_MS + 1), "voltage": "much"},
    ],
    "trends": [{"box_id": "1", "timestamp_ms": Int64(T_MS + 1), "voltage": 120.0}],
    "events": [
        {"event_id": "two"},
        {"event_id": 2, "missing": 5},
        {"event_id": 1e30},
        {
            "event_id": 3,
            "boxes_triggered": ["1"],
            "boxes_received": ["1"],
            "target_event_start_timestamp_ms": Int64(10**18),
            "target_event_end_timestamp_ms": Int64(10**18 + 100),
        },
    ],
    "incidents": [
        {"incident_id": 2, "box_id": "1", "start_timestamp_ms": "late", "end_timestamp_ms": 1},
        {"incident_id": 3, "box_id": "1"},
        {"incident_id": 4, "box_id": "1", "start_timestamp_ms": 1e18, "end_timestamp_ms": 1e18},
    ],
}


@pytest.fixture
def store(mongo_uri: str, tmp_path: Path) -> Iterator[MongoStore]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        for name, document in GOOD.items():
            client.get_default_database()[name].insert_many(
                [document | {}, *(each | {} for each in BROKEN[name])]
            )
    found = open_store(mongo_uri, tmp_path)
    assert isinstance(found, MongoStore)
    yield found
    found.close()


def test_one_that_cannot_be_read_hides_no_other(store: MongoStore) -> None:
    assert [box.box_id for box in store.boxes()] == ["1"]
    (row,) = store.measurements("1", T_MS, T_MS + 10)
    assert row.metrics["rms"].average == 120.5
    (trend,) = store.trends("1", T_MS - 60_000, T_MS)
    assert trend.metrics["rms"] == (119.0, 121.0, 120.0)
    assert [record.event_id for record in store.events()] == [1]
    for number in (2, 3):
        assert store.event_record(number) is None and store.event(number) is None
    assert [incident.incident_id for incident in store.incidents()] == [1]
    assert store.incident(2) is None
    found = store.find_incidents(IncidentFilter(), 9)
    assert [incident.incident_id for incident in found] == [1], "a time of no 64 bits stops no indexing"
    assert {*store.unreadable} == {"opq_boxes", "measurements", "trends", "events", "incidents"}
    assert min(store.unreadable.values()) >= 1


def test_a_field_that_is_invalid_is_unknown(store: MongoStore) -> None:
    """One metric of a minute, a fact of a Box, or Boxes as numbers, as Makai wrote them until 2019."""
    three = {"min": 59.9, "max": 60.1, "average": 60.0}
    minute = {"box_id": "1", "timestamp_ms": Int64(T_MS + 60_000), "frequency": three}
    store._db.trends.insert_one({**minute, "voltage": {"min": None, "max": 121.0, "average": 120.0}})
    (trend,) = store.trends("1", T_MS, T_MS + 60_000)
    assert trend.metrics == {"f": (59.9, 60.1, 60.0)}
    box = box_from_document(
        {"box_id": 3, "unplugged": "false", "location": {"slug": "lab"}, "calibration_constant": math.inf}
    )
    assert (box.box_id, box.unplugged, box.location, box.calibration_constant) == ("3", None, None, None)
    event = {"event_id": 9, "boxes_triggered": [1, "4", None], "boxes_received": [1]}
    record = event_record({**event, "description": None})
    assert (record.boxes_triggered, record.boxes_received, record.because) == (("1", "4"), ("1",), "")
    assert event_record({"event_id": 9, "boxes_received": None}).boxes_received == ()
    assert event_record({**event, "boxes_received": [1.0]}).boxes_received == ("1",)
    assert box_from_document({"box_id": 3.0}).box_id == "3", "as the legacy mongo shell writes a number"
    store._db.events.insert_one(event)
    store._db.incidents.insert_one({**GOOD["incidents"], "incident_id": 9, "event_id": None})
    assert "event 9: the waveform of Box 1 is missing" in check_store(store).problems
    part = {"event_id": 9, "box_id": 1.0, "event_start_timestamp_ms": T_MS, "data_fs_filename": "event_9_1"}
    store._db.box_events.insert_one(part)
    store._server.fs.put(b"\0\1" * 400, filename="event_9_1")
    found = store.event(9)
    assert found is not None and [each.box_id for each in found.waveforms] == ["1"]
    assert "event 9: the waveform of Box 1 is missing" not in check_store(store).problems
    store._db.box_events.insert_one({"event_id": 10, "box_id": "1"})
    store._db.events.insert_one({"event_id": 10, "boxes_received": None})
    store.delete_box("1")
    kept = store._db.events.find_one({"event_id": 10})
    assert kept is not None and kept["boxes_received"] == []


def test_metrics_count_them_by_collection(store: MongoStore) -> None:
    context = CloudContext(lambda: store)
    health = HealthService("127.0.0.1:0", ServiceBoard(context.unreadable), "opq")
    assert b"unreadable" not in health.reply("/metrics")[2], "the store is not open yet"
    assert context.store.boxes()
    text = health.reply("/metrics")[2].decode()
    assert 'opq_documents_unreadable_total{of="opq_boxes",service="store"} 2.0' in text


def test_the_latest_is_the_newest_readable_measurement(store: MongoStore) -> None:
    """One of a Box whose id is not text comes first in the order of MongoDB."""
    (row,) = store.latest_measurements().values()
    assert (row.box_id, row.timestamp_ms) == ("1", T_MS)
    assert store.unreadable["measurements"] == 1


def test_an_unreadable_waveform_document_is_named_missing(store: MongoStore) -> None:
    starts = {"1": "then", "4": Int64(10**18)}
    for box_id, start in starts.items():
        part = {"event_id": 1, "box_id": box_id, "data_fs_filename": f"event_1_{box_id}"}
        store._db.box_events.insert_one(part | {"event_start_timestamp_ms": start})
        store._server.fs.put(b"\0\1" * 400, filename=part["data_fs_filename"])
    event = store.event(1)
    assert event is not None and event.waveforms == ()
    assert event.missing == dict.fromkeys(starts, "its document in box_events cannot be read")
