"""`laha_stats` as SystemStatsPlugin writes it: every key that the original's readers take, in both stores."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from store_cases import SAG, TRIGGER, numbered, wave

from opq_cloud.core.settings.mauka import SystemStatsSection
from opq_cloud.mauka.bus.bus_messages import heartbeat, new_message
from opq_cloud.mauka.bus_plugins import system_stats
from opq_cloud.mauka.bus_plugins.system_stats import KEPT_S, SystemStatsPlugin
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_cloud.store.records.accounts.account_records import LAHA_STATS
from opq_proto.messages import Measurement, Metric, Trend
from opq_proto.wire.mauka_pb2 import MEASUREMENTS, PHENOMENA, MaukaMessage

SUMMARY = {"min", "max", "mean", "var", "cnt", "start_timestamp_s", "end_timestamp_s"}
STORED = {"ttl", "count", "size_bytes"}
LIMITS = {
    "box_id",
    "ref_f",
    "ref_v",
    "threshold_percent_f_low",
    "threshold_percent_f_high",
    "threshold_percent_v_low",
    "threshold_percent_v_high",
    "threshold_percent_thd_high",
}


def gc_stat(domain: Any, count: int) -> MaukaMessage:
    message = new_message("LahaGcPlugin")
    message.laha.gc_stat.gc_domain = domain
    message.laha.gc_stat.gc_cnt = count
    return message


def rate(box_id: str, cycles: int) -> MaukaMessage:
    message = new_message("box_optimization_plugin")
    message.box_measurement_rate_response.box_id = box_id
    message.box_measurement_rate_response.measurement_rate = cycles
    return message


def test_a_document_has_every_original_key(store: CloudStore, tmp_path: Path) -> None:
    now_s = [0.0]
    plugin = SystemStatsPlugin({}, lambda: store, SystemStatsSection(), tmp_path, lambda: now_s[0])
    now_ms = time.time_ns() // 10**6
    fresh = Measurement("1", now_ms + 60_000, {"rms": Metric(119.0, 121.0, 120.0)}, sequence=1)
    old = Measurement("2", now_ms - 60_000, {"rms": Metric(119.0, 121.0, 120.0)}, sequence=1)
    store.append_measurements([fresh, old])
    store.put_makai_config(MakaiConfig(TriggeringLimits(), {"1": TriggeringLimits(ref_v=230.0)}))
    numbers = {"messages_received": 3, "messages_published": 2, "bytes_received": 30, "bytes_published": 20}
    plugin.on_message("heartbeat", heartbeat("ThdPlugin", "IDLE", 0, 0, {**numbers, "more": 1}))
    plugin.on_message("heartbeat", heartbeat("a.b", "IDLE", 0, 0, {}))
    plugin.on_message("gc_stat", gc_stat(MEASUREMENTS, 5))
    plugin.on_message("gc_stat", gc_stat(MEASUREMENTS, 2))
    plugin.on_message("gc_stat", gc_stat(PHENOMENA, 1))
    plugin.on_message("BoxMeasurementRateResponse", rate("1", 60))
    plugin.on_message("BoxMeasurementRateResponse", rate("2", 10))
    plugin.on_message("heartbeat", new_message("unknown"))
    assert plugin.counters.total("malformed") == 1
    documents = store.people.documents
    before_key = f"{round(time.time()) - KEPT_S - 60:012d}"
    documents.insert(LAHA_STATS, before_key, {"timestamp_s": int(before_key)})
    for at_s in (5.0, 10.0, 60.0):
        now_s[0] = at_s
        plugin.on_idle()
    (found,) = documents.find(LAHA_STATS)
    assert abs(found["timestamp_s"] - time.time()) < 60
    nothing = dict.fromkeys(numbers, 0)
    assert found["plugin_stats"] == {"ThdPlugin": numbers, "a_b": nothing}
    machine = found["system_stats"]
    assert machine.keys() == {"cpu_load_percent", "memory_use_bytes", "disk_use_bytes"}
    assert all(summary.keys() == SUMMARY for summary in machine.values())
    assert machine["memory_use_bytes"]["cnt"] == 3 and machine["memory_use_bytes"]["min"] > 1e6
    laha = found["laha_stats"]
    stored = [
        laha["instantaneous_measurements_stats"]["box_samples"],
        laha["detections_stats"]["events"],
        laha["aggregate_measurements_stats"]["measurements"],
        laha["aggregate_measurements_stats"]["trends"],
        laha["incidents_stats"]["incidents"],
        laha["phenomena_stats"]["phenomena"],
    ]
    assert all(each.keys() == STORED for each in stored)
    assert stored[2]["count"] == 2 and stored[2]["ttl"] == store.ttls().measurements
    nothing_gone = dict.fromkeys(("samples", "trends", "events", "incidents"), 0)
    assert laha["gc_stats"] == {**nothing_gone, "measurements": 7, "phenomena": 1, "phenomena:": 1}
    assert laha["active_devices"] == 1
    assert laha["box_measurement_rates"] == [{"box_id": "1", "measurement_rate": 60}]
    (limits,) = laha["box_triggering_thresholds"]
    assert limits.keys() == LIMITS and (limits["box_id"], limits["ref_v"]) == ("1", 230.0)
    meters = found["other_stats"]["ground_truth"]
    assert meters.keys() == {"count", "size_bytes"} and meters["count"] == 0
    assert json.dumps(found)


def test_rates_are_requested_in_turn(
    store: CloudStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates are requested in turn and a known one not for 15 minutes."""
    now_s, requested = [0.0], list[list[str]]()
    plugin = SystemStatsPlugin({}, lambda: store, SystemStatsSection(), tmp_path, lambda: now_s[0])
    monkeypatch.setattr(system_stats, "RATES_PER_DOCUMENT", 2)
    monkeypatch.setattr(
        plugin, "produce", lambda _, made: requested.append([*made.box_measurement_rate_request.box_ids])
    )
    later_ms = time.time_ns() // 10**6 + 60_000
    store.append_measurements([Measurement(each, later_ms, {}, sequence=1) for each in "123"])
    for minute in range(1, 18):
        now_s[0] = 60.0 * minute
        plugin.on_idle()
        for box_id in requested[-1] if len(requested) == minute else ():
            if box_id != "3":  # one of the original's, whose answers are lost
                plugin.on_message("BoxMeasurementRateResponse", rate(box_id, 60))
    assert requested == [["1", "2"], *[["3"]] * 14, ["1", "2"], ["3"]]


def test_reported_sizes_are_near_those_of_sqlite(tmp_path: Path) -> None:
    """Sizes of the embedded store are near SQLite's own."""
    from opq_cloud.store.embedded.embedded_store import EmbeddedStore

    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        assert not any(store.sizes().values())
        store.append_measurements((), [numbered(1, 2000)])
        store.seal()
        metrics = {"rms": (119.1, 121.3, 120.2), "f": (59.9, 60.1, 60.02), "thd": (0.01, 0.1, 0.05)}
        store.put_trends([Trend("1", k * 60_000, metrics) for k in range(400)])
        for number in range(20):
            event_id = store.open_event(replace(TRIGGER, token=f"{number:030d}"), "test")
            store.put_waveform(event_id, wave())
            put_findings(store, event_id, [SAG])
        sizes = store.sizes()
    tables = {
        "measurements": ("blocks",),
        "trends": ("trends", "trends_new"),
        "events": ("events",),
        "box_events": ("box_events",),
        "incidents": ("incidents",),
        "fs.chunks": ("chunks",),
    }
    with closing(sqlite3.connect(tmp_path / "opq.db")) as file:
        try:
            counted = dict(file.execute("SELECT name, sum(payload) FROM dbstat GROUP BY name"))
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite does not count: {error}")
    for name, parts in tables.items():
        true = sum(counted.get(each, 0) for each in parts)
        assert true > 1000 and sizes[name] == pytest.approx(true, rel=0.3), (name, sizes[name], true)


def test_mongo_has_it_as_the_originals_collection(mongo_uri: str, tmp_path: Path) -> None:
    from opq_cloud.store.mongo.mongo_store import MongoStore

    store = MongoStore(mongo_uri)
    store.append_measurements([Measurement("1", 1, {}, sequence=1)])
    plugin = SystemStatsPlugin({}, lambda: store, SystemStatsSection(), tmp_path)
    plugin._store_document(plugin.document([]))
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        found = client.get_default_database().laha_stats.find_one({"timestamp_s": {"$gt": 0}})
    assert found is not None
    sizes = store.sizes()
    assert "measurements" not in sizes or sizes["measurements"] > 0
    size = found["laha_stats"]["aggregate_measurements_stats"]["measurements"]["size_bytes"]
    assert (size is None) == ("measurements" not in sizes)
    store.close()
