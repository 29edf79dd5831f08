"""Urms(1/2) of a Box with its event, in both stores: once, whole, and gone with it; its completeness."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from store_cases import NOW_NS, SECOND_NS, TRIGGER, wave

from opq_cloud.store import CloudStore
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
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


ORDERS = {
    "finish": False,
    "finish analyse": True,
    "finish request analyse": False,
    "finish request analyse refuse": True,
    "finish request analyse ask": False,
    "finish request analyse ask finish": True,  # its Box sent nothing
    "finish request analyse ask wave finish": False,
    "finish request analyse ask wave finish analyse": True,
    "finish request analyse ask finish wave": False,
    "finish request ask analyse": False,
    "finish request request analyse ask refuse": False,
    "finish request request analyse ask refuse wave finish analyse": True,
    "finish analyse request": False,
    "finish analyse widen": False,
    "long finish analyse": False,
    "long finish analyse none half": False,
    "long finish analyse half none analyse": True,
}
"""Steps of an event in their order -> whether it is complete."""


@pytest.mark.parametrize("order", ORDERS)
def test_an_event_is_complete_once_all_is_analysed(store: CloudStore, order: str) -> None:
    """`long`: the half cycles of both Boxes are asked for too; `none`: one of them is given up."""
    trigger = replace(TRIGGER, half_cycles_ns=SPAN if order.startswith("long") else None)
    event_id = store.open_event(trigger, "Makai id x")
    store.put_waveform(event_id, wave("1"))
    asked, answered = iter(range(1, 9)), iter(range(1, 9))

    def answer(spans: dict[str, tuple[int, int]]) -> None:
        assert store.answer_request(event_id, next(answered), SamplesAnswer(spans, {}, NOW_NS))

    def request() -> None:
        spans = {"4": (NOW_NS, NOW_NS + next(asked) * SECOND_NS)}
        assert store.request_samples(event_id, [StoredSampleRequest("rapid", "more", spans=spans)], 3) == 1

    steps: dict[str, Callable[[], object]] = {
        "long": lambda: None,
        "finish": lambda: store.finish_event(event_id),
        "analyse": lambda: store.mark_analysed(event_id),
        "request": request,
        "ask": lambda: answer({"4": (NOW_NS, NOW_NS + SECOND_NS)}),
        "refuse": lambda: answer({}),
        "wave": lambda: store.put_waveform(event_id, wave("4")),
        "widen": lambda: store.widen_event(event_id, {"saw": ["9"]}, {}),
        "half": lambda: store.put_half_cycles(event_id, found("1")),
        "none": lambda: store.mark_no_half_cycles(event_id, "4", "no answer"),
    }
    for step in order.split():
        steps[step]()
    record = store.event_record(event_id)
    assert record is not None and record.is_complete is ORDERS[order]
