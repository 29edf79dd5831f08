"""What analyses ask for beyond an event: kept once, answered once, and owed by the Boxes that are asked."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from opq_cloud.store import CloudStore
from opq_cloud.store.sample_requests import (
    ASKED,
    LONGER,
    REFUSED,
    SamplesAnswer,
    StoredSampleRequest,
    new_requests,
)
from opq_proto.messages import TimeSource, Trigger, Waveform

NOW_NS = 1_765_792_486_013_000_000
S = 10**9
OWN = NOW_NS, NOW_NS + 2 * S
TRIGGER = Trigger("a" * 30, *OWN, ("1", "4"), "1", "threshold: rms 80 V below 114 V")
LATER = OWN[1] - S // 2, OWN[1] + 3 * S
WANTED = StoredSampleRequest("rms_voltage", "the sag lasts", spans={"1": LATER}, requested_ns=NOW_NS)
BESIDE = StoredSampleRequest("rms_voltage", "its border", beside=("1", "4"), most_boxes=3, span_ns=OWN)
MADE_NS = NOW_NS + 9 * S


def wave(box_id: str, start_ns: int = NOW_NS, seconds: int = 2) -> Waveform:
    first = (start_ns - NOW_NS) * 12_000 // S
    counts = (np.arange(first, first + 12_000 * seconds) % 30_000).astype(np.int16)
    return Waveform(box_id, start_ns, 900, TimeSource.GPS, 12_000_000, 0.02, first, counts)


@pytest.fixture
def event_id(store: CloudStore) -> int:
    """A finished event of Boxes 1 and 4."""
    number = store.open_event(TRIGGER, "Makai id x")
    for box_id in ("1", "4"):
        store.put_waveform(number, wave(box_id))
    store.finish_event(number)
    return number


def test_a_request_is_kept_once_after_restart(
    store: CloudStore, open_again: Callable[[], CloudStore], event_id: int
) -> None:
    assert store.request_samples(event_id, [WANTED, BESIDE], 2) == 2
    assert store.request_samples(event_id, [replace(WANTED, analysis="another"), BESIDE], 2) == 0
    store.close()
    again = open_again()
    (record,) = again.events_with_requests()
    assert record.more == {1: WANTED, 2: BESIDE} and record.finished
    assert again.request_samples(999, [WANTED], 2) == 0, "an event that is gone stays away"


def test_requested_boxes_owe_an_event_their_samples(store: CloudStore, event_id: int) -> None:
    """Boxes that are asked owe the event their samples until they come."""
    store.request_samples(event_id, [WANTED, BESIDE], 2)
    assert store.answer_request(event_id, 1, SamplesAnswer({"1": LATER}, {}, MADE_NS))
    assert store.answer_request(event_id, 2, SamplesAnswer({"7": OWN}, {"bound": 2}, MADE_NS))
    assert not store.answer_request(event_id, 2, SamplesAnswer({"8": OWN}, {}, MADE_NS)), "it is answered"
    (record,) = store.unfinished_events()
    assert (record.boxes_triggered, record.asked_as) == (("1", "4", "7"), {"analysis": ("7",)})
    assert (record.short, record.owed) == ({"1": LONGER}, {"1": LATER})
    assert record.span_of("1") == LATER and record.span_of("7") == OWN
    assert store.events_with_requests() == []
    assert (record.more[2].state, record.more[2].boxes, record.more[2].refused) == (
        ASKED,
        ("7",),
        {"bound": 2},
    )
    store.put_waveform(event_id, wave("1", LATER[0], 3))
    store.put_waveform(event_id, wave("7"))
    assert store.finish_event(event_id), "the event that has grown is finished once more"
    found = store.event(event_id)
    assert found is not None
    assert [len(each.counts) for each in found.waveforms] == [12_000 * 9 // 2, 24_000, 24_000]
    assert [each.event_id for each in store.unanalysed_events()] == [event_id]


def test_what_is_refused_opens_nothing(store: CloudStore, event_id: int) -> None:
    store.request_samples(event_id, [WANTED], 2)
    assert store.answer_request(event_id, 1, SamplesAnswer({}, {"budget_of_box": 1}, MADE_NS))
    record = store.event_record(event_id)
    assert record is not None and record.finished
    assert (record.more[1].state, record.more[1].refused) == (REFUSED, {"budget_of_box": 1})
    assert record.more[1].answer_words == "no Box asked, refused: budget_of_box 1"
    assert store.unfinished_events() == []


def test_a_repeated_or_late_request_is_ignored() -> None:
    """A repeated request, or one of a later round, is ignored."""
    known = {1: replace(WANTED, state=ASKED)}
    inside = replace(WANTED, spans={"1": (LATER[0] + 1, LATER[1] - 1)})
    assert new_requests(known, [inside], 3) == {}
    further = replace(WANTED, spans={"1": (LATER[1], LATER[1] + S), "4": LATER})
    ((number, made),) = new_requests(known, [further], 2).items()
    assert (number, made.round, made.spans) == (2, 2, further.spans)
    assert (
        new_requests({**known, 2: replace(made, state=REFUSED)}, [replace(further, spans={"9": OWN})], 2)
        == {}
    )
