"""Events, from open to analysed, and their waveforms, held by both stores."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from store_cases import NOW_NS, SAG, SECOND_NS, TRIGGER, wave

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_cloud.store.records.part import NUMBERS_BEGIN_S, StorePart
from opq_plugins.sdk.nouns import to_plain
from opq_proto.errors import StoreError
from opq_proto.messages import Gap


def test_event_ids_only_rise_over_a_restart(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    first = store.next_event_id()
    second = store.open_event(TRIGGER, "Makai id x")
    store.close()
    assert (first, second, open_again().next_event_id()) == (1, 2, 3)


def test_numbers_are_seconds_once_a_part_is_seen(store: CloudStore) -> None:
    """Numbers are consecutive until a Box is claimed; afterwards a gap counts nothing that is hidden."""
    assert isinstance(store, StorePart)
    assert (store.next_event_id(), store.next_event_id()) == (1, 2)
    store.people.claim_box("1", "somebody")
    seconds = [NUMBERS_BEGIN_S + after_s for after_s in (1000, 1000, 1600, 1500, 2000)]
    store.now_s = iter(seconds).__next__
    assert [store.next_event_id() for _ in seconds] == [1000, 1001, 1600, 1601, 2000]
    store.now_s = lambda: NUMBERS_BEGIN_S + 2600.9
    (finding,) = put_findings(store, 2000, [SAG])
    assert (finding.finding_id, finding.incident_id) == (2600, 2600)


def test_finding_numbers_come_from_the_counter(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    """Numbers of findings come from the counter when they are put."""
    (first,) = put_findings(store, 1, [SAG])
    assert store.next_finding_id() == first.finding_id + 1
    store.close()
    again = open_again()
    assert again.next_finding_id() == first.finding_id + 2
    (later,) = put_findings(again, 2, [replace(SAG, start_ns=NOW_NS + 10**12, end_ns=NOW_NS + 10**12 + 1)])
    assert later.finding_id == first.finding_id + 3


def test_an_event_that_completes_another_names_it(store: CloudStore) -> None:
    first = store.open_event(TRIGGER, "Makai id x")
    second = store.open_event(replace(TRIGGER, token="b" * 30, completes=first), "Makai id x")
    records = [store.event_record(event_id) for event_id in (first, second)]
    assert [record and record.completes for record in records] == [None, first]


def test_waveform_locations_are_read_newest_event_first(store: CloudStore) -> None:
    """Where the waveforms of a Box lie is read newest event first."""
    numbers = []
    for number in range(4):
        event_id = store.open_event(replace(TRIGGER, token=f"{number}" * 30), "Makai id x")
        if number != 1:
            store.put_waveform(event_id, wave("1", first_sample=1000 * number))
        store.put_waveform(event_id, wave("2"))
        numbers.append(event_id)
    places = store.waveform_places("1", numbers[3], 2)
    assert [place.event_id for place in places] == [numbers[3], numbers[2]]
    assert [place.event_id for place in store.waveform_places("1", numbers[2], 9)] == [numbers[2], numbers[0]]
    newest, held = places[0], store.waveform(numbers[3], "1")
    assert held is not None and np.array_equal(held.counts, wave("1").counts)
    assert (newest.first_sample, newest.start_ns, newest.rate_millihz) == (3000, held.start_ns, 12_000_125)
    assert 0 <= newest.end_sample - (3000 + len(held.counts)) <= 12
    assert newest.stored_ns is not None and abs(time.time_ns() - newest.stored_ns) < 60 * SECOND_NS
    assert store.waveform(numbers[1], "1") is None
    assert store.waveform_places("3", numbers[3], 9) == []


def test_an_event_has_its_boxes_reason_and_time(store: CloudStore) -> None:
    """Which Boxes it asks, why, and when."""
    asked = (("saw", ("1",)), ("feeder", ("4",)))
    trigger = replace(
        TRIGGER, asked_as=asked, not_asked=(("bound", 7),), onset_ns=(NOW_NS, NOW_NS + 5), decided_ns=NOW_NS
    )
    event_id = store.open_event(trigger, "Makai id x")
    before_ns = time.time_ns()
    store.put_waveform(event_id, wave("1"))
    store.finish_event(event_id)
    store.mark_analysed(event_id)
    record = store.event_record(event_id)
    assert record is not None
    assert (record.opened_by, record.asked_as, record.not_asked) == ("1", dict(asked), {"bound": 7})
    assert (record.onset_ns, record.decided_ns) == ((NOW_NS, NOW_NS + 5), NOW_NS)
    stored_ns = store.waveform_times(event_id)
    assert record.finished_ns and record.analysed_ns and list(stored_ns) == ["1"]
    assert before_ns <= stored_ns["1"] <= record.finished_ns <= record.analysed_ns <= time.time_ns()
    plain = store.event_record(store.open_event(replace(TRIGGER, token="b" * 30), "Makai id x"))
    assert plain is not None
    assert (plain.asked_as, plain.not_asked, plain.onset_ns, plain.decided_ns) == ({}, {}, None, None)


def test_more_requested_boxes_reopen_an_event(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    for box_id in ("1", "4"):
        store.put_waveform(event_id, wave(box_id))
    assert store.finish_event(event_id)
    for _ in range(2):
        store.widen_event(event_id, {"saw": ("10", "11")}, {"saw": 3})
    record = store.event_record(event_id)
    assert record is not None and not record.finished
    assert record.boxes_triggered == ("1", "4", "10", "11")
    assert (record.asked_as, record.not_asked) == ({"saw": ("10", "11")}, {"saw": 3})
    store.mark_missing(event_id, "10", "no answer")
    assert store.finish_event(event_id)
    store.widen_event(event_id, {"saw": ("1", "4")}, {"saw": 4})
    assert store.unfinished_events() == [], "they have answered"
    store.widen_event(event_id, {"saw": ("10",)}, {"saw": 4})
    (record,) = store.unfinished_events()
    assert record.missing == {} and record.not_asked == {"saw": 4}
    store.widen_event(99, {"saw": ("1",)}, {})
    assert store.event_record(99) is None


def test_an_event_moves_once_with_its_clock(store: CloudStore) -> None:
    onset_ns = TRIGGER.start_ns + 5, TRIGGER.start_ns + 25
    trigger = replace(TRIGGER, onset_ns=onset_ns, onset_sample=360_000)
    event_id = store.open_event(trigger, "Makai id x")
    opened = store.event_record(event_id)
    assert opened is not None and opened.onset_stamp == (360_000, onset_ns[0])
    for _ in range(2):  # its answer came twice
        store.move_event(event_id, -3_603_000_000_001)
    record = store.event_record(event_id)
    assert record is not None
    assert (record.start_ns, record.end_ns) == (
        TRIGGER.start_ns - 3_603_000_000_001,
        TRIGGER.end_ns - 3_603_000_000_001,
    )
    assert record.onset_stamp == (360_000, onset_ns[0] - 3_603_000_000_001)
    assert [each.event_id for each in store.events(record.start_ns, record.end_ns)] == [event_id]
    assert store.events(TRIGGER.start_ns, TRIGGER.end_ns) == []
    with pytest.raises(StoreError):
        store.move_event(99, 1)


def test_the_same_token_is_the_same_event(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    assert store.open_event(TRIGGER, "Makai id x") == event_id
    assert open_again().open_event(TRIGGER, "again") == event_id
    other = replace(TRIGGER, token="b" * 30)
    assert store.open_event(other, "Makai id x") == event_id + 1
    assert store.counts()["events"] == 2


def test_an_event_goes_from_open_to_analysed(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    (record,) = store.unfinished_events()
    assert (record.event_id, record.boxes_triggered, record.boxes_received) == (event_id, ("1", "4"), ())
    assert (record.start_ns, record.end_ns, record.token) == (TRIGGER.start_ns, TRIGGER.end_ns, TRIGGER.token)
    assert record.because == TRIGGER.because
    store.mark_missing(event_id, "4", "no answer within 10 s")
    assert store.put_waveform(event_id, wave("1"))
    assert store.finish_event(event_id)
    assert not store.finish_event(event_id)
    assert store.unfinished_events() == []
    (record,) = store.unanalysed_events()
    assert record.finished and not record.analysed
    assert record.boxes_received == ("1",)
    assert record.missing == {"4": "no answer within 10 s"}
    store.mark_analysed(event_id)
    store.mark_analysed(event_id)
    assert store.unanalysed_events() == []
    known = store.event_record(event_id)
    assert known is not None and known.analysed
    assert store.event_record(99) is None


def test_a_waveform_returns_exactly_and_is_stored_once(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    gaps = (Gap(77_200, 400, "serial link"), Gap(78_000, 200, "overrun"))
    long = wave("4", samples=400_000)
    short = wave("1", gaps=gaps)
    assert store.put_waveform(event_id, long)
    assert store.put_waveform(event_id, short)
    assert not store.put_waveform(event_id, wave("1", samples=200))
    event = store.event(event_id)
    assert event is not None
    assert (event.start_ns, event.end_ns) == (TRIGGER.start_ns, TRIGGER.end_ns)
    assert [w.box_id for w in event.waveforms] == ["1", "4"]
    for found, put in zip(event.waveforms, (short, long), strict=True):
        assert found.counts.dtype == np.int16
        assert found.counts.tobytes() == put.counts.tobytes()
        assert replace(found, counts=put.counts) == put
    assert store.event(99) is None


def test_a_plugin_gets_plain_values_of_waveforms(store: CloudStore) -> None:
    """MongoDB gives whole numbers of 64 bits as a class of its own, which a plug-in would not get."""
    event_id = store.open_event(TRIGGER, "sag")
    store.put_waveform(event_id, replace(wave(), start_id=2**40))
    event = store.event(event_id)
    assert event is not None and event.waveforms[0].start_id == 2**40
    assert to_plain(event)


def test_a_late_answer_is_no_longer_missing(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    store.mark_missing(event_id, "1", "no answer within 10 s")
    store.finish_event(event_id)
    store.put_waveform(event_id, wave("1"))
    store.mark_missing(event_id, "1", "too late to say so")
    event = store.event(event_id)
    assert event is not None and event.missing == {}


def test_parts_of_a_waveform_are_put_together(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    whole = wave("1")
    end, begin = whole.counts[1400:], whole.counts[:1500]
    late = replace(whole, counts=end, first_sample=78_400, start_ns=whole.time_ns(1400))
    assert store.put_waveform(event_id, late)
    store.mark_missing(event_id, "1", "ends early")
    known = store.event_record(event_id)
    assert known is not None
    assert (known.missing, known.short) == ({}, {"1": "ends early"})
    assert store.put_waveform(event_id, replace(whole, counts=begin))
    assert not store.put_waveform(event_id, replace(whole, counts=begin))
    event, known = store.event(event_id), store.event_record(event_id)
    assert event is not None and known is not None
    (found,) = event.waveforms
    assert found.counts.tobytes() == whole.counts.tobytes()
    assert replace(found, counts=whole.counts) == whole
    assert (known.boxes_received, known.short) == (("1",), {})
    assert store.counts()["box_events"] == 1


def test_a_late_waveform_is_to_be_analysed(store: CloudStore) -> None:
    """A waveform that comes after the analysis is to be analysed."""
    event_id = store.open_event(TRIGGER, "Makai id x")
    store.put_waveform(event_id, wave("1"))
    store.finish_event(event_id)
    (before,) = store.unanalysed_events()
    assert store.mark_analysed(event_id, before.revision)
    store.put_waveform(event_id, wave("1"))
    assert store.unanalysed_events() == [], "nothing new"
    store.put_waveform(event_id, wave("4"))
    (after,) = store.unanalysed_events()
    assert not store.mark_analysed(event_id, before.revision), "it came while the event was analysed"
    assert store.unanalysed_events() == [after]
    assert store.mark_analysed(event_id, after.revision)
    store.unmark_analysed(event_id)
    (again,) = store.unanalysed_events()
    assert not store.mark_analysed(event_id, after.revision)
    assert store.mark_analysed(event_id, again.revision)
    assert store.unanalysed_events() == []


def test_an_event_without_any_waveform_is_marked(store: CloudStore) -> None:
    event_id = store.open_event(TRIGGER, "Makai id x")
    store.finish_event(event_id)
    (record,) = store.unanalysed_events()
    assert store.mark_analysed(event_id, record.revision)
    assert store.unanalysed_events() == []


def test_an_unknown_event_is_named(store: CloudStore) -> None:
    for call in (
        lambda: store.put_waveform(42, wave()),
        lambda: store.finish_event(42),
        lambda: store.mark_missing(42, "1", "x"),
        lambda: store.mark_analysed(42),
        lambda: store.unmark_analysed(42),
    ):
        with pytest.raises(StoreError, match="event 42: is not in the store"):
            call()


def test_events_are_listed_newest_first_and_by_time(store: CloudStore) -> None:
    for n in range(4):
        start_ns = NOW_NS + n * 10 * SECOND_NS
        store.open_event(replace(TRIGGER, token=f"t{n}", start_ns=start_ns, end_ns=start_ns + SECOND_NS), "x")
    assert [e.event_id for e in store.events()] == [4, 3, 2, 1]
    assert [e.event_id for e in store.events(limit=2)] == [4, 3]
    inside = store.events(NOW_NS + SECOND_NS, NOW_NS + 20 * SECOND_NS)
    assert [e.event_id for e in inside] == [2]
