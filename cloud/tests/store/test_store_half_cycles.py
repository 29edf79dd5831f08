"""Urms(1/2) of a Box with its event, in both stores: once, whole, and gone with the event."""

import time
from dataclasses import replace

import numpy as np
from store_cases import NOW_NS, SECOND_NS, TRIGGER

from opq_cloud.store import CloudStore
from opq_proto.messages import TimeSource
from opq_proto.wire.half_cycles import HalfCycleRms

SPAN = NOW_NS, NOW_NS + 300 * SECOND_NS


def found(box_id: str = "1", volts: float = 72.5) -> HalfCycleRms:
    t_ns = NOW_NS + 5_000 + np.arange(18_000, dtype=np.int64) * 16_666_000
    least_v = np.full(18_000, volts, dtype=np.float32)
    return HalfCycleRms(box_id, *SPAN, t_ns, least_v, least_v + 1, 2, 900, TimeSource.GPS)


def test_half_cycles_return_unchanged_and_once(store: CloudStore) -> None:
    """Half-cycles are returned as they were put, and only once."""
    event_id = store.open_event(replace(TRIGGER, half_cycles_ns=SPAN), "x")
    store.finish_event(event_id)
    store.mark_analysed(event_id)
    assert store.half_cycles(event_id) == {}
    store.mark_no_half_cycles(event_id, "1", "no answer")
    assert store.put_half_cycles(event_id, found()) and not store.put_half_cycles(event_id, found(volts=1.0))
    store.mark_no_half_cycles(event_id, "1", "no answer")
    store.mark_no_half_cycles(event_id, "4", "its gateway stores no half cycles")
    record = store.event_record(event_id)
    assert record is not None and record.half_cycles_ns == SPAN and not record.analysed
    assert record.half_cycles == {"1": "", "4": "its gateway stores no half cycles"}
    there = store.half_cycles(event_id)["1"]
    assert (there.start_ns, there.end_ns, there.every, there.uncertainty_ns) == (*SPAN, 2, 900)
    assert np.array_equal(there.t_ns, found().t_ns) and there.source is TimeSource.GPS
    assert np.array_equal(there.least_v, found().least_v) and np.array_equal(there.most_v, found().most_v)
    store.expire(int(time.time()) + 400 * 86_400, 1000)
    assert store.event_record(event_id) is None and store.counts()["fs.files"] == 0
    assert store.half_cycles(event_id) == {}


def test_an_older_event_has_no_half_cycles(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "x")
    record = store.event_record(event_id)
    assert record is not None and record.half_cycles_ns is None and record.half_cycles == {}
    assert store.half_cycles(event_id) == {} and store.half_cycles(999) == {}
