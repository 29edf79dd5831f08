"""Each query that View and Mauka make finds what it wants by a key: the plans of both stores.

SQLite explains every statement that was run. A MongoDB server is not asked for its plan (the stand-ins have
none to show): every filter that was sent must begin an index, which is what such a plan rests on.
"""

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.documents.makai_documents import BrokerTraffic
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.incidents.index import IncidentFilter, IncidentNote, IndexPlace, SeenMarks
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.trends.pyramid import LEVELS_MS
from opq_proto.kit import sqlite_database
from opq_proto.messages import TREND_MS, Finding, Interval, Measurement, Metric, Trend, Trigger

NOW_MS = 1_767_225_600_000
NOW_NS = NOW_MS * 1_000_000
SMALL = {
    "json_each": "no table: the values of a list that is asked for",
    "measurements": "the append table: bounded by SEAL_ROWS, without an index by design",
    "parcels": "what waits to be sealed: bounded by SEAL_ROWS, some hundreds at most",
    "minutes": "the recursive table of minutes that have not settled",
    "segments": "one row per sealing, some hundreds a day",
    "box_marks": "one row per Box, all of them wanted",
    "opq_boxes": "one row per Box, all of them wanted",
    "locations": "one row per place, all of them wanted",
    "regions": "one row per place and region, all of them wanted",
    "laha_config": "one row",
    "intervals_damaged": "what is damaged: along its key to the newest, and to the most that are counted",
    "boxes": "the recursive table of Boxes",
    "sqlite_master": "the schema, when the file is opened",
    "CONSTANT": "no table",
}
"""Tables that a plan may scan, and why."""
PARTIAL = re.compile("USING INDEX (events_unfinished|events_unanalysed)")
"""Indexes of those rows alone that are wanted."""
NEWEST = re.compile(r"FROM events .*ORDER BY (start_ns / 1000000 DESC, )?event_id DESC LIMIT \d+")
"""Without a span, as View and Mauka ask: along the key, and no further than the limit."""
SMALL_COLLECTIONS = {"opq_boxes", "locations", "regions", "laha_config", "opq_removals"}


def use(store: CloudStore) -> None:
    """What View and Mauka do with a store."""
    store.put_box(BoxRecord("1", "kitchen", "oahu-1"))
    metrics = {"rms": Metric(119.0, 121.0, 120.0)}
    store.append_measurements([Measurement("1", NOW_MS + k, metrics, sequence=k) for k in range(1, 9)])
    if isinstance(store, EmbeddedStore):
        store.seal()
    store.put_trends([Trend("1", NOW_MS + k * TREND_MS, {"rms": (1.0, 3.0, 2.0)}) for k in range(30)])
    while store.roll_up(NOW_MS + 2 * 86_400_000):
        pass
    event_id = store.open_event(Trigger("t" * 30, NOW_NS, NOW_NS + 10**9, ("1",), "1", "test"), "test")
    store.finish_event(event_id)
    sag = Finding("sag", "1", NOW_NS, NOW_NS + 10**8, 1000, True, 84.1, 70.1, 6.0, None, None, None, 0.9, "")
    (stored,) = put_findings(store, event_id, [sag])
    store.unfinished_events()
    store.unanalysed_events()
    store.mark_analysed(event_id)
    store.unmark_analysed(event_id)
    store.event(event_id)
    store.event_record(event_id)
    store.next_finding_id()
    store.incident(stored.incident_id)
    store.incidents_of([stored.incident_id, 7])
    store.incidents(limit=1)
    store.incidents(after_id=1, limit=200)
    store.find_incidents(IncidentFilter("sag", "1"), 25, IndexPlace(NOW_NS, 9))
    store.count_incidents(IncidentFilter("sag"), 100)
    list(store.incident_parts(["1"], IncidentFilter("sag", "1"), IndexPlace(NOW_NS, 9)))
    store.boxes_revision()
    list(store.last_minutes(300_000, 10))
    store.put_note(IncidentNote(0, stored.incident_id, NOW_MS, "ada", "label", "swell"))
    store.put_note(IncidentNote(0, stored.incident_id, NOW_MS, "bob", "assign", "ada"))
    store.find_incidents(IncidentFilter(work="open", assigned_to="ada", cause_known=True), 25)
    marks = SeenMarks(1, frozenset({7, 9}), NOW_NS)
    for account in (IncidentFilter(unseen=marks), IncidentFilter(unseen=marks, box_id="1")):
        store.find_incidents(account, 25, IndexPlace(NOW_NS, 9))
        store.count_incidents(account, 100)
        list(store.incident_parts(["1"], account))
    store.incident_work([stored.incident_id])
    store.notes(stored.incident_id)
    store.notes_of("ada")
    store.forget_author("ada")
    store.incident_cells(IncidentFilter(box_id="1"))
    store.events(limit=5)
    store.events_by_start(5)
    store.events_by_start(5, IndexPlace(NOW_MS, 9), NOW_NS)
    store.waveform_times(event_id)
    store.waveform_places("1", event_id, 5)
    store.waveform(event_id, "1")
    store.findings_of_box("1", NOW_NS, NOW_NS + 10**9)
    store.findings_of_incident(stored.incident_id)
    for leading in (False, True):
        store.onsets(NOW_NS, NOW_NS + 10**9, leading)
    store.incident_facts(stored.incident_id)
    change = StoredPhenomenon("step", ("1",), NOW_MS, NOW_MS + 1, {"analysis": "a", "quantity": "rms_v"})
    store.replace_phenomena("a", "1", NOW_MS, NOW_MS + 10, [change])
    store.phenomena(NOW_MS, NOW_MS + 1, "1")
    use_intervals(store)
    store.put_traffic(BrokerTraffic("tb", NOW_MS, 10_000, {"bytes": 1}))
    store.traffic(NOW_MS, NOW_MS + 10_000)
    while store.expire(NOW_MS // 1000):
        pass
    store.boxes()
    store.box("1")
    store.latest_measurements()
    store.newest_ms()
    store.measurements("1", NOW_MS, NOW_MS + 3_600_000)
    store.highest_sequence("1")
    store.sequences("1", 1, 5)
    store.trends("1", NOW_MS, NOW_MS + 3_600_000)
    for length_ms in LEVELS_MS:
        store.trend_rows("1", NOW_MS, NOW_MS + 86_400_000, length_ms)


def use_intervals(store: CloudStore) -> None:
    interval = Interval(600_000, False, 1.0, {"rms_v": 120.0})
    span_ns = NOW_NS, NOW_NS + 600 * 10**9
    row = Measurement("1", NOW_MS, {}, *span_ns, 1000, sequence=20, interval=interval)
    store.intervals.append([row])
    store.intervals.read("1", 600_000, *span_ns)
    while store.roll_up(NOW_MS + 80 * 86_400_000):
        pass
    store.intervals.summary("1", 600_000, 0, NOW_NS + 80 * 86_400 * 10**9)
    store.intervals.days("1", 600_000, *span_ns)
    store.intervals.newest_ns("1", 600_000)
    store.intervals.sequences("1", 1, 30)
    store.intervals.highest_sequence("1")
    store.intervals.disturbances(None, *span_ns)
    store.intervals.disturbances("1", *span_ns)
    store.intervals.damaged_words()


def test_no_query_scans_a_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No query of the embedded store reads a table from end to end."""
    path = tmp_path / "opq.db"
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **details: Any) -> sqlite3.Connection:
        connection = connect(*args, **details)
        connection.set_trace_callback(statements.append)
        return connection

    EmbeddedStore(path).close()
    monkeypatch.setattr(sqlite_database.sqlite3, "connect", traced)
    store = EmbeddedStore(path)
    use(store)
    plans: dict[str, set[str]] = {}
    with connect(path) as connection:
        for statement in {text for text in statements if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)", text)}:
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                wanted = PARTIAL.search(detail) or NEWEST.search(" ".join(statement.split()))
                if (scan := re.match(r"SCAN (\w+)", detail)) and not wanted:
                    plans.setdefault(scan[1], set()).add(" ".join(statement.split())[:200])
    connection.close()
    store.close()
    assert len(statements) > 60, "the trace saw the store's own statements"
    assert {table: found for table, found in plans.items() if table not in SMALL} == {}


class Filters(monitoring.CommandListener):
    """(collection, fields of the filter) of each read, update and delete."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, tuple[str, ...]]] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        collection = str(event.command.get(event.command_name, ""))
        for change in event.command.get("updates", event.command.get("deletes", ())):
            self._note(collection, change["q"])
        if event.command_name in ("find", "findAndModify"):
            command: Mapping[str, Any] = event.command
            self._note(collection, command.get("filter", command.get("query", {})), command.get("sort", {}))

    def _note(self, collection: str, query: Mapping[str, Any], sort: Mapping[str, Any] | None = None) -> None:
        parts = [key for each in query.get("$and", [query]) for key in each]
        self.seen.add((collection, tuple(parts) or tuple(sort or ())))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


def test_every_mongo_filter_uses_an_index(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every filter of the MongoDB store begins an index."""
    filters = Filters()
    from opq_cloud.store.mongo import mongo_server

    def listened(*args: Any, **details: Any) -> MongoClient[Any]:
        return MongoClient(*args, **details, event_listeners=[filters])

    MongoStore(mongo_uri).close()
    monkeypatch.setattr(mongo_server, "MongoClient", listened)
    store = MongoStore(mongo_uri)
    filters.seen.clear()
    use(store)
    store.close()
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        firsts = {
            name: {"_id", *(str(each["key"][0][0]) for each in database[name].index_information().values())}
            for name in {collection for collection, _ in filters.seen}
        }
    missing = {
        (collection, fields)
        for collection, fields in filters.seen
        if collection not in SMALL_COLLECTIONS and fields and not (set(fields) & firsts[collection])
    }
    assert len(filters.seen) > 15, "the listener saw the store's own commands"
    assert missing == set()
