"""A Box is deleted: nothing of it is left but what other Boxes share, and all of the others stays."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bson.int64 import Int64
from store_cases import NOW_MS, NOW_NS, SAG, TRIGGER, measured, numbered, wave

from opq_cloud.health.stored_boxes import StoredBoxes
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.box_service import delete_box, deletion_refused, kept_words
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister
from opq_proto.messages import Disturbance, Interval, Measurement, Trend
from opq_proto.wire.half_cycles import HalfCycleRms

HOUR_NS = 3600 * 10**9
TEN_NS = 600 * 10**9
T0_NS = NOW_NS // (24 * HOUR_NS) * 24 * HOUR_NS


def _itself(store: CloudStore) -> CloudStore:
    return store


def ten(at: int, box_id: str, disturbance: Disturbance | None = None) -> Measurement:
    start_ns = T0_NS + at * TEN_NS
    interval = Interval(600_000, False, 1.0, {"rms_v": 120.0}) if disturbance is None else None
    span = start_ns, start_ns + TEN_NS
    more = {"sequence": 1000 + at, "interval": interval, "disturbance": disturbance}
    return Measurement(box_id, span[1] // 10**6, {}, *span, 1000, **more)  # type: ignore[arg-type]


def fill(store: CloudStore) -> tuple[int, int, int]:
    """Boxes 1 and 4 with one of everything; returns a shared event and incident, and an incident of 4."""
    for box_id in ("1", "4"):
        store.put_box(BoxRecord(box_id, f"name {box_id}", region="north"))
    store.append_measurements([measured(n, box_id) for n in range(5) for box_id in ("1", "4")])
    store.append_measurements((), [numbered(5, 40, 4)])
    minutes = [NOW_MS // 60_000 * 60_000 + 60_000 * k for k in range(70)]
    store.put_trends([Trend(box, at, {"rms": (1.0, 3.0, 2.0)}) for at in minutes for box in ("1", "4")])
    store.intervals.append([ten(at, box) for at in range(150) for box in ("1", "4")])
    for box_id in ("1", "4"):
        dip = Disturbance(box_id, "dip", NOW_NS, NOW_NS + 10**8, 1000, 70.0)
        store.intervals.append([ten(900, box_id, dip)])
    while store.roll_up(NOW_MS + 10 * 86_400_000):
        continue
    event = store.open_event(TRIGGER, "x")
    for box_id in ("1", "4"):
        store.put_waveform(event, wave(box_id))
        volts = np.array([1.0, 2.0], np.float32)
        times = NOW_NS + np.array([8, 16]) * 10**6
        store.put_half_cycles(event, HalfCycleRms(box_id, NOW_NS, NOW_NS + 10**8, times, volts, volts))
    put_findings(store, event, [SAG, replace(SAG, box_id="4")])
    alone = store.open_event(replace(TRIGGER, token="b" * 30), "y")
    store.put_waveform(alone, wave("4"))
    later = replace(SAG, box_id="4", start_ns=NOW_NS + HOUR_NS, end_ns=NOW_NS + HOUR_NS + 10**8)
    put_findings(store, alone, [later])
    limits = TriggeringLimits()
    store.put_makai_config(MakaiConfig(limits, {"1": limits, "4": limits}))
    store.people.claim_box("4", "somebody")
    for box_ids in (("1",), ("4",), ("1", "4")):
        change = StoredPhenomenon("step", box_ids, NOW_MS, NOW_MS + 1, {"analysis": "change"})
        store.replace_phenomena("change", box_ids[0], NOW_MS, NOW_MS + 1, [change])
    own, shared = sorted(store.incidents(), key=lambda each: len(each.box_ids))
    return event, shared.incident_id, own.incident_id


def test_a_deleted_box_leaves_only_shared_incidents(
    store: CloudStore,
    open_again: Callable[[], CloudStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event, shared, own = fill(store)
    held = store.box_holdings("4")
    assert (held.waveforms, held.disturbances, held.incidents, held.shared_incidents) == (2, 1, 1, 1)
    assert (held.phenomena, held.shared_phenomena) == (1, 1)
    before = {name: count for name, count in store.counts().items() if count}
    of_1 = store.intervals.read("1", 600_000, 0, 2**62)
    keys = KeyFolder(tmp_path / "keys")
    KeyRegister(keys).add("4")
    deletion = store.delete_box

    def without_key(box_id: str) -> None:
        assert not keys.listed_boxes(), "it cannot connect during its deletion"
        deletion(box_id)

    monkeypatch.setattr(store, "delete_box", without_key)
    with_place = len(store.trends("1", 0, 2**50)), store.measurements("1", 0, 2**50)

    delete_box(store, keys, "4")

    other = open_again()
    for each in (store, other):
        assert [box.box_id for box in each.boxes()] == ["1"] and sorted(each.latest_measurements()) == [
            "1",
            "2",
            "3",
        ]
        assert (len(each.trends("1", 0, 2**50)), each.measurements("1", 0, 2**50)) == with_place
        assert not each.measurements("4", 0, 2**50) and each.highest_sequence("4") is None
        assert not any(each.trend_rows("4", 0, NOW_MS + 10**9, length) for length in (60_000, 600_000))
        assert each.intervals.box_ids() == ["1"] and each.intervals.highest_sequence("4") is None
        assert len(each.intervals.read("1", 600_000, 0, 2**62).start_ns) == len(of_1.start_ns)
        assert {d.box_id for d in each.intervals.disturbances(None, 0, 2**62)} == {"1"}
        found = each.event(event)
        assert found is not None and [w.box_id for w in found.waveforms] == ["1"]
        assert found.missing == {"4": "the Box was deleted"} and list(each.half_cycles(event)) == ["1"]
        assert each.incident(own) is None
        assert (incident := each.incident(shared)) is not None and incident.box_ids == ("1", "4")
        assert [one.incident_id for one in each.find_incidents(IncidentFilter(), 10)] == [shared]
        assert (limits := each.makai_config()) is not None and list(limits.overrides) == ["1"]
        assert each.people.access("4").owner_ids == ()
        assert StoredBoxes(partial(_itself, each), keys).not_expected() == {"4": "was deleted here"}
        assert sorted(change.box_ids for change in each.phenomena(0, 2**50)) == [("1",), ("1", "4")]
    left = [path.name for path in (tmp_path / "keys").rglob("*box4*")]
    assert left == ["opqbox4.deleted"], "no key: public, private or revoked"
    after = store.counts()
    assert before["fs.files"] - after["fs.files"] >= 3, "two waveforms, one of half cycles"
    assert after["measurements"] == before["measurements"] - 45

    assert store.append_measurements([measured(0, "4")]) == 1, "the number can be given again"
    store.put_box(BoxRecord("4", ""))
    assert not StoredBoxes(partial(_itself, store), keys).not_expected()
    assert other.latest_measurements()["4"].sequence == 0


def test_a_box_that_may_send_is_not_deleted(store: CloudStore, tmp_path: Path) -> None:
    store.put_box(BoxRecord("4", ""))
    store.append_measurements([measured(0, "4")])
    keys, now_s = KeyFolder(tmp_path / "keys"), NOW_MS / 1000
    refused = partial(deletion_refused, store, keys)
    assert "retire it first" in refused("4", now_s)
    store.put_box(BoxRecord("4", "", unplugged=True, retired_ms=NOW_MS - 30_000))
    assert "sent a Measurement 60 s ago" in refused("4", now_s + 60)
    store.put_box(BoxRecord("4", "", retired_ms=NOW_MS + 60_000))
    assert "was retired 61 s ago; delete it in 59 s" in refused("4", now_s + 121), "it sent late"
    assert refused("4", now_s + 181) == ""
    KeyRegister(keys).add("4")
    assert "keys revoke 4" in refused("4", now_s + 181), "it may connect"
    KeyRegister(keys).revoke("4")
    assert "had its key revoked" in refused("4", time.time() + 1)
    assert refused("4", time.time() + 121) == ""
    store.append_measurements([measured(1, "7")])
    assert "retire it first" in refused("7", now_s + 10**6), "it has no record yet"
    assert "Back-up" in " ".join(kept_words(store, "4"))
    assert asdict(store.box_holdings("9")) | {"shared_until_s": 0} == dict.fromkeys(
        (
            "waveforms",
            "disturbances",
            "incidents",
            "shared_incidents",
            "shared_until_s",
            "phenomena",
            "shared_phenomena",
        ),
        0,
    )


@pytest.mark.parametrize("number", [Int64(4), 4.0])
def test_a_number_as_a_double_names_the_box(cleared_uri: str, number: float) -> None:
    """The legacy mongo shell stores it so: the Box is found by its text, and nothing of it is left."""
    with closing(MongoStore(cleared_uri)) as store:
        db, t_ms = store._db, 1_600_000_000_000
        span = {"target_event_start_timestamp_ms": t_ms, "target_event_end_timestamp_ms": t_ms + 500}
        both = [number, "5"]
        db.events.insert_one({"event_id": 9, "boxes_received": both, "boxes_triggered": both, **span})
        for whose, name in (({"box_id": number}, "event_9_4"), ({"box_id": "5"}, "event_9_5")):
            db.opq_boxes.insert_one({**whose, "name": "by hand", "calibration_constant": 150.0})
            part = {"event_id": 9, "event_start_timestamp_ms": t_ms, "data_fs_filename": name}
            db.box_events.insert_one({**whose, **part})
            store._server.fs.put(b"\0\1" * 400, filename=name)
            db.measurements.insert_one({**whose, "timestamp_ms": Int64(t_ms), "voltage": 119.0})
            three = {"min": 118.0, "max": 121.0, "average": 120.0}
            db.trends.insert_one({**whose, "timestamp_ms": Int64(t_ms + 60_000), "voltage": three})
        begun = {"incident_id": 3, "event_id": 9, "start_timestamp_ms": t_ms, "end_timestamp_ms": t_ms + 250}
        db.incidents.insert_one({"box_id": number, **begun, "classifications": ["VOLTAGE_SAG"]})
        box = store.box("4")
        assert box is not None and (box.box_id, box.name) == ("4", "by hand")
        assert store.waveform(9, "4") is not None
        assert len(store.measurements("4", 0, 2**50)) == len(store.trends("4", 0, 2**50)) == 1
        assert (held := store.box_holdings("4")).waveforms == held.incidents == 1
        store.put_box(replace(box, name="known"))
        assert db.opq_boxes.count_documents({}) == 2, "the document that is there is changed"
        assert db.opq_boxes.find_one({"name": "known"})["box_id"] == number, "and keeps its number"
        store.delete_box("4")
        for left in (db.opq_boxes, db.box_events, db.measurements, db.trends):
            assert [each["box_id"] for each in left.find()] == ["5"], left.name
        assert not db.incidents.count_documents({})
        assert [each["filename"] for each in db["fs.files"].find()] == ["event_9_5"]
