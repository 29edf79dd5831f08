"""Urms(1/2) of a Box with its event, in both stores: once, whole, and gone with it; its completeness."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from store_cases import NOW_NS, SECOND_NS, TRIGGER, wave

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.events import half_cycle_requests
from opq_cloud.makai.events.half_cycle_answers import HalfCycleAnswers
from opq_cloud.makai.events.half_cycle_requests import (
    LATEST_NS,
    NO_ANSWER,
    NO_ROOM,
    PAUSES_S,
    TOO_LATE,
)
from opq_cloud.store import CloudStore
from opq_cloud.store.records.events.waveforms import DELETED
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest
from opq_proto.errors import StoreError
from opq_proto.messages import TimeSource
from opq_proto.wire.frames import command_from_wire
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


class Asking:
    """An event of a long dip at Boxes 1 and 4 that is over; all but its half cycles is there."""

    def __init__(self, store: CloudStore, ended_ns: int = 10 * SECOND_NS) -> None:
        end_ns = time.time_ns() - ended_ns
        trigger = replace(TRIGGER, half_cycles_ns=(end_ns - 60 * SECOND_NS, end_ns))
        self.store, self.event_id, self.now_s = store, store.open_event(trigger, "x"), 0.0
        self.begin()

    def begin(self) -> None:
        """Also a restart of the service: what waited is forgotten."""
        self.asked: list[str] = []
        self._answers = HalfCycleAnswers(self.store, self._send, "i", ServiceCounters())

    def _send(self, command: bytes) -> bool:
        self.asked.append(str(command_from_wire(command).box_id))
        return True

    def pass_s(self, seconds: float) -> list[str]:
        """Returns the Boxes that are asked now."""
        self.now_s, before = self.now_s + seconds, len(self.asked)
        self._answers.note_events(self.store.events(), self.now_s)
        self._answers.request_due(self.now_s)
        return self.asked[before:]

    def is_complete(self) -> bool:
        self.store.finish_event(self.event_id)
        self.store.mark_analysed(self.event_id)
        record = self.store.event_record(self.event_id)
        assert record is not None
        return record.is_complete

    def reasons(self) -> dict[str, str]:
        record = self.store.event_record(self.event_id)
        return {} if record is None else record.half_cycles


def test_a_box_that_joins_later_is_asked(store: CloudStore) -> None:
    """Its event waits for it, and is complete with its answer."""
    asking = Asking(store)
    assert asking.pass_s(0.0) == ["1", "4"] and not asking.is_complete()
    for box_id in ("1", "4"):
        store.put_half_cycles(asking.event_id, found(box_id))
    assert asking.is_complete()
    store.widen_event(asking.event_id, {"saw": ["9"]}, {})
    assert not asking.is_complete()
    assert asking.pass_s(0.25) == ["9"] and not asking.is_complete()
    store.put_half_cycles(asking.event_id, found("9"))
    assert asking.is_complete()


def test_silent_boxes_are_given_up_once_recorded(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a restart between, and where the store takes the reason only later."""
    asking = Asking(store)
    assert asking.pass_s(0.0) == ["1", "4"]
    store.put_half_cycles(asking.event_id, found("1"))
    assert not asking.is_complete()
    asking.begin()
    assert asking.pass_s(0.0) == ["4"]
    for pause_s in PAUSES_S[:-1]:
        assert asking.pass_s(pause_s) == ["4"] and not asking.is_complete()

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "mark_no_half_cycles", full)
        with pytest.raises(StoreError):
            asking.pass_s(PAUSES_S[-1])
    assert not asking.is_complete() and asking.pass_s(0.25) == []
    assert asking.is_complete() and asking.reasons() == {"1": "", "4": NO_ANSWER}


def test_a_deleted_box_owes_no_half_cycles(store: CloudStore) -> None:
    """Its reason stays, also where a request ends later in any way, and nothing is counted as its own."""
    asking = Asking(store)
    for box_id in ("1", "4"):
        store.put_waveform(asking.event_id, wave(box_id))
    asking.pass_s(0.0)
    store.put_half_cycles(asking.event_id, found("1"))
    assert not asking.is_complete()
    for _ in range(2):
        store.delete_box("4")
        store.mark_no_half_cycles(asking.event_id, "4", NO_ANSWER)
        assert not store.put_half_cycles(asking.event_id, found("4"))
        assert asking.is_complete() and asking.reasons() == {"1": "", "4": DELETED}
        assert store.box_holdings("4").waveforms == 0
    store.delete_box("1")
    assert asking.is_complete() and asking.reasons() == {"1": DELETED, "4": DELETED}
    assert store.half_cycles(asking.event_id) == {}


def test_what_is_over_for_long_is_given_up(store: CloudStore) -> None:
    """A service that was away, a Box whose clock is in 1970: no Box is asked any more."""
    asking = Asking(store, LATEST_NS + SECOND_NS)
    assert not asking.is_complete()
    assert asking.pass_s(0.0) == [] and asking.is_complete()
    assert asking.reasons() == {"1": TOO_LATE, "4": TOO_LATE}


def test_requests_beyond_the_bound_are_given_up(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Boxes that are asked already stay, and an event that is gone does not keep others waiting."""
    monkeypatch.setattr(half_cycle_requests, "MAX_WAITING", 1)
    asking = Asking(store)
    assert asking.pass_s(0.0) == ["1"] and asking.reasons() == {"4": NO_ROOM}
    store.expire(int(time.time()) + 400 * 86_400, 1000)
    gone = asking.event_id
    asking.event_id = store.open_event(
        replace(TRIGGER, token="b" * 30, half_cycles_ns=(time.time_ns() - SECOND_NS, time.time_ns())), "x"
    )
    for pause_s in PAUSES_S:
        asking.pass_s(pause_s)
    assert store.event_record(gone) is None and asking.reasons() == {"1": NO_ROOM, "4": NO_ROOM}
    assert asking.is_complete()
