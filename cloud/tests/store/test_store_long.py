"""A dip that outlasts its first waveform: both stores tell it by the event that saw all of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gridfs import GridFS
from pymongo import MongoClient

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.messages import Finding, TimeSource, Trigger, Waveform

NOW_NS = 1_765_792_486_013_000_000
SECOND_NS = 10**9
ONSET = Finding(
    "sag",
    "1",
    NOW_NS,
    NOW_NS + 2 * SECOND_NS,
    1_000_000,
    False,
    84.0,
    70.0,
    120.0,
    "momentary sag",
    "no_damage",
    "not_applicable",
    0.9,
    "the onset, still open",
)
ALL = Finding(
    "interruption",
    "1",
    NOW_NS + 30_000,
    NOW_NS + 5 * SECOND_NS,
    1_000_000,
    True,
    1.2,
    1.0,
    300.0,
    "temporary interruption",
    "no_damage",
    "not_applicable",
    1.0,
    "all of it",
)


def test_the_longest_event_gives_the_incidents_figures(store: CloudStore) -> None:
    """The event that saw all gives class figures and verdicts."""
    (first,) = put_findings(store, 1, [ONSET])
    (second,) = put_findings(store, 2, [ALL])
    assert (second.finding_id, second.incident_id) == (first.finding_id, first.incident_id) == (1, 1)
    (incident,) = store.incidents()
    assert (incident.kind, incident.closed, incident.residual_percent) == ("interruption", True, 1.0)
    assert incident.event_ids == (1, 2)
    assert [item.finding for item in incident.findings] == [ALL]
    before = store.incidents()
    put_findings(store, 1, [ONSET])
    assert store.incidents() == before
    assert store.counts()["incidents"] == 1


def test_the_events_order_does_not_matter(store: CloudStore) -> None:
    put_findings(store, 2, [ALL])
    put_findings(store, 1, [ONSET])
    (incident,) = store.incidents()
    assert [item.finding for item in incident.findings] == [ALL]


def test_pieces_are_kept_for_a_covering_event(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    late = replace(ALL, kind="sag", start_ns=ONSET.end_ns - SECOND_NS, duration_cycles=240.0)
    put_findings(store, 1, [ONSET])
    (pieced,) = put_findings(store, 2, [late])
    assert pieced.finding.because.startswith("put together from 2")
    assert (pieced.finding.start_ns, pieced.finding.end_ns) == (ONSET.start_ns, ALL.end_ns)
    assert pieced.finding.duration_cycles == pytest.approx(300.0)
    (known,) = put_findings(open_again(), 3, [ALL])
    assert known.finding == ALL


def test_the_original_words_and_slice_reach_mongodb(mongo_uri: str) -> None:
    def wave(seconds: int) -> Waveform:
        counts = np.arange(seconds * 12_000).astype(np.int16)
        return Waveform("1", NOW_NS - SECOND_NS, 0, TimeSource.NTP, 12_000_000, 0.02, 0, counts)

    store = MongoStore(mongo_uri)
    try:
        for token, seconds in (("a" * 30, 3), ("b" * 30, 7)):
            span = (NOW_NS - SECOND_NS, NOW_NS + (seconds - 1) * SECOND_NS)
            event_id = store.open_event(Trigger(token, *span, ("1",), "1", "x"), "x")
            store.put_waveform(event_id, wave(seconds))
        put_findings(store, 1, [ONSET])
        put_findings(store, 2, [ALL])
        with MongoClient[dict[str, Any]](mongo_uri) as client:
            db = client.get_default_database()
            (document,) = db.incidents.find()
            assert document["classifications"] == ["VOLTAGE_INTERRUPTION", "ITIC_NO_DAMAGE"]
            assert (document["class"], document["ieee_duration"]) == ("interruption", "TEMPORARY")
            assert (document["itic"], document["duration_cycles"]) == (ALL.itic, 300.0)
            assert [piece["because"] for piece in document["pieces"]] == [ONSET.because, ALL.because]
            data = GridFS(db).find_one({"filename": "incident_1"}).read()
            assert len(data) == pytest.approx(2 * (5 * 12_000 + 24), abs=4)
    finally:
        store.close()
