"""The pure books of Makai: pending commands, open events, recent events, trends."""

from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from judged_triggers import batch, note_heard

from opq_cloud.core.service import HealthReport
from opq_cloud.health.neighbours import health_from_json
from opq_cloud.makai.acquisition_broker import PendingCommands, SharedBeginnings
from opq_cloud.makai.brokers.command_numbers import CommandNumbers, CommandNumbersError
from opq_cloud.makai.events.answers import AnswerReach
from opq_cloud.makai.events.event_requests import (
    OpenEvent,
    OpenEvents,
    new_token,
    parse_identity,
    request_identity,
)
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.completions import Completions
from opq_cloud.makai.openings.recent_events import EventSpan, RecentEvents
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.event_record import PERSON_ASKED, EventRecord
from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Measurement, Metric


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_command_numbers_wrap_at_32_bits(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text(f"{2**32 - 1}\n")
    numbers = CommandNumbers(tmp_path / "numbers", block=10)
    assert [next(numbers), next(numbers)] == [2**32 - 1, 0]
    assert (tmp_path / "numbers").read_text() == "9\n"


def test_a_command_number_is_never_used_twice(tmp_path: Path) -> None:
    """No command number comes twice whenever the broker is killed."""
    given: list[int] = []
    for used in (1, 9, 10, 11, 25, 0, 3):  # of blocks of 10; each start is one after a kill
        numbers = CommandNumbers(tmp_path / "numbers", block=10)
        given += [next(numbers) for _ in range(used)]
    steps = [(after - before) % 2**32 for before, after in pairwise(given)]
    assert all(1 <= step <= 10 for step in steps), "each is new, and no more than a block is lost"


def test_an_invalid_file_of_numbers_is_named(tmp_path: Path) -> None:
    """A file of numbers that holds something else is named."""
    for wrong in (b"twelve", b"\x98\xff\x00", b"9" * 5000, b""):
        (tmp_path / "numbers").write_bytes(wrong)
        with pytest.raises(CommandNumbersError, match=r"holds '.*'; want a whole number .* or remove it"):
            CommandNumbers(tmp_path / "numbers")


def test_numbers_are_given_out_without_a_writable_file(tmp_path: Path) -> None:
    """Numbers are given out even if they cannot be kept."""
    numbers = CommandNumbers(tmp_path / "numbers", block=2)
    (tmp_path / "numbers").unlink(missing_ok=True)
    (tmp_path / "numbers").mkdir()  # in the way of what is to be written
    first = next(numbers)
    assert [next(numbers) for _ in range(3)] == [(first + step) % 2**32 for step in (1, 2, 3)]


def test_an_id_that_begins_another_is_found() -> None:
    beginnings = SharedBeginnings()
    some = frozenset(("1", "4", "19", "190"))
    assert [beginnings.begins_another(box_id, some) for box_id in ("1", "4", "19", "190", "9")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert not beginnings.begins_another("19", frozenset(("1", "19")))
    assert beginnings.begins_another("4", some | {"40"})


def test_pending_commands_expire_and_are_bounded() -> None:
    pending = PendingCommands(2, 60)
    for second in range(3):
        pending.add_command(second, f"who{second}", "1", now_s=second)
    assert pending.get(0) is None
    assert pending.forgotten == 1
    assert pending.expire(now_s=61.5) == 1
    assert pending.get(1) is None
    request = pending.get(2)
    assert request is not None
    assert request.identity == "who2"


def test_pending_commands_that_were_answered_are_gone() -> None:
    pending = PendingCommands(2, 60)
    pending.add_command(7, "who", "1", now_s=0)
    pending.remove(7)
    assert pending.get(7) is None
    assert len(pending) == 0


def test_without_a_file_numbers_start_anywhere() -> None:
    assert len({next(CommandNumbers()) for _ in range(8)}) > 1


def record(token: str = "t", boxes: tuple[str, ...] = ("1", "4"), **fields: object) -> EventRecord:
    values: dict[str, object] = {
        "event_id": 1,
        "token": token,
        "start_ns": 0,
        "end_ns": 1,
        "boxes_triggered": boxes,
        "boxes_received": (),
        "missing": {},
        "finished": False,
        "analysed": False,
        "because": "",
    }
    return EventRecord(**{**values, **fields})  # type: ignore[arg-type]


def nothing_waits(*_: str) -> bool:
    return False


def due(events: OpenEvents, now_s: float) -> list[tuple[str, str]]:
    """(token, Box) of each that is asked now."""
    return [(event.token, box_id) for event, box_id in events.due_requests(now_s, nothing_waits)]


def test_an_open_event_is_over_when_everybody_answered() -> None:
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh([record()], now_s=0, utc_ns=1)
    event = events.get("t")
    assert event is not None
    assert events.remove_finished(1, nothing_waits) == []
    event.waiting.clear()
    assert events.remove_finished(1, nothing_waits) == [event]
    assert events.get("t") is None


def test_an_open_event_asks_again_and_gives_up() -> None:
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh([record(boxes_received=("1",))], now_s=0, utc_ns=1)
    assert due(events, 4.9) == []
    assert due(events, 5.0) == [("t", "4")]
    assert due(events, 9.9) == []
    assert due(events, 10.0) == [("t", "4")]
    assert len(events.remove_finished(20.0, nothing_waits)) == 1


def test_time_for_an_answer_begins_at_the_end() -> None:
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    ends_in_70_s = record(token="long", end_ns=100 * 10**9)
    of_a_wrong_clock = record(token="tomorrow", end_ns=86_400 * 10**9)
    events.refresh([ends_in_70_s, of_a_wrong_clock], now_s=0, utc_ns=30 * 10**9)
    assert events.remove_finished(89.9, nothing_waits) == []
    assert [event.token for event in events.remove_finished(90.0, nothing_waits)] == ["long"]
    assert [event.token for event in events.remove_finished(620.0, nothing_waits)] == ["tomorrow"]


def test_slow_clock_does_not_keep_an_event_open() -> None:
    """An event taken up while the clock was an hour slow does not stay open."""
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    hour_ns = 3600 * 10**9
    event = record(end_ns=2 * hour_ns)
    events.refresh([event], now_s=0, utc_ns=hour_ns)
    events.refresh([event], now_s=2, utc_ns=2 * hour_ns)
    events.refresh([event], now_s=15, utc_ns=2 * hour_ns)
    assert events.remove_finished(21.9, nothing_waits) == []
    assert len(events.remove_finished(22.0, nothing_waits)) == 1


def test_a_short_answer_is_requested_again_when_sampled() -> None:
    """A Box whose answer was short is asked for the rest when it is sampled."""
    second_ns = 10**9
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh([record(end_ns=10 * second_ns)], now_s=0, utc_ns=7 * second_ns)
    event = events.get("t")
    assert event is not None
    assert event.span_missing("1") == (0, 10 * second_ns)
    events.note_short(event, "1", AnswerReach(7 * second_ns, "cut", False), now_s=1, utc_ns=8 * second_ns)
    assert event.span_missing("1") == (6_500_000_000, 10 * second_ns)
    assert due(events, 3.4) == []
    assert due(events, 3.5) == [("t", "1")], "half a second after its end, and the other one later"
    events.note_short(event, "1", AnswerReach(10 * second_ns, "cut", False), now_s=4, utc_ns=12 * second_ns)
    assert event.span_missing("1") == (9_500_000_000, 10 * second_ns)


def test_box_with_a_waiting_answer_is_not_asked() -> None:
    """A Box whose answer is here is neither asked nor given up."""
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh([record()], now_s=0, utc_ns=1)
    found = events.due_requests(30.0, lambda token, box_id: (token, box_id) == ("t", "1"))
    assert [(event.token, box_id) for event, box_id in found] == [("t", "4")]
    assert events.remove_finished(30.0, lambda token: token == "t") == []
    assert len(events.remove_finished(30.0, nothing_waits)) == 1


def test_a_short_waveform_is_awaited_after_a_restart() -> None:
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    known = record(boxes=("1", "4", "9"), boxes_received=("1", "4"), short={"4": "ends early"})
    events.refresh([known], now_s=0, utc_ns=1)
    event = events.get("t")
    assert event is not None
    assert list(event.waiting) == ["4", "9"]


def test_old_event_is_asked_for_with_growing_intervals() -> None:
    """It is from before a restart; the first request goes out soon."""
    events = OpenEvents(answer_timeout_s=60, ask_again_s=5)
    events.refresh([record()], now_s=0, utc_ns=1, first_s=1.0)
    asked_at = [second for second in range(20) if due(events, second)]
    assert asked_at == [1, 2, 4, 8, 13, 18]


def test_a_known_event_is_not_added_twice() -> None:
    events = OpenEvents(20, 5)
    events.refresh([record()], now_s=0, utc_ns=1)
    first = events.get("t")
    events.refresh([record(boxes=("1",))], now_s=100, utc_ns=1)
    assert events.get("t") is first


def test_box_that_joins_an_open_event_is_awaited() -> None:
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    events.refresh([record(missing={"4": "no answer within 20 s"})], now_s=0, utc_ns=1)
    event = events.get("t")
    assert event is not None and list(event.waiting) == ["1"]
    events.refresh([record()], now_s=10, utc_ns=1)
    assert list(event.waiting) == ["1", "4"]
    assert due(events, 15.0) == [("t", "1"), ("t", "4")]
    assert events.remove_finished(29.9, nothing_waits) == []
    del event.waiting["4"]
    events.refresh([record(boxes_received=("4",)), record(missing={"4": "no samples"})], now_s=11, utc_ns=1)
    assert list(event.waiting) == ["1"]


def test_an_event_of_an_original_makai_waits() -> None:
    events = OpenEvents(20, 5)
    events.add_event(OpenEvent(1, "t", 0, 1, {}, give_up_s=20, foreign=True))
    assert events.remove_finished(19.9, nothing_waits) == []
    assert len(events.remove_finished(20, nothing_waits)) == 1


def test_a_window_inside_an_event_is_covered() -> None:
    recent = RecentEvents(10, [EventSpan(1, 100, 200, {"1", "4"})])
    found = recent.covering("4", 100, 200)
    assert found is not None
    assert found.event_id == 1
    assert recent.covering("2", 120, 130) is None
    assert recent.covering("1", 99, 150) is None
    assert recent.covering("1", 150, 201) is None


def test_recent_events_are_bounded() -> None:
    recent = RecentEvents(2)
    for k in range(3):
        recent.add_event(EventSpan(k, k, k + 1, {"1"}))
    assert recent.covering("1", 0, 1) is None
    assert recent.covering("1", 2, 3) is not None


def measured(timestamp_ms: int, low: float, high: float, average: float, box_id: str = "1") -> Measurement:
    return Measurement(box_id, timestamp_ms, {"rms": Metric(low, high, average)})


def add_to(trends: Trends, row: Measurement, now_s: float) -> None:
    trends.add(batch(row), now_s=now_s)


def test_a_trend_keeps_maximum_and_minimum_together() -> None:
    """A trend keeps a maximum that comes with a new minimum."""
    trends = Trends()
    add_to(trends, measured(60_000, 119, 121, 120), 0)
    add_to(trends, measured(61_000, 100, 130, 110), 1)
    (trend,) = trends.due(1, everything=True)
    assert (trend.box_id, trend.start_ms) == ("1", 60_000)
    assert trend.metrics == {"rms": (100, 130, 115)}


def test_a_minute_closes_after_the_next_began() -> None:
    trends = Trends()
    add_to(trends, measured(119_000, 1, 2, 1.5), 0)
    add_to(trends, measured(120_000, 3, 4, 3.5), 1)
    assert trends.due(4) == []
    assert [trend.start_ms for trend in trends.due(6)] == [60_000]


def test_last_minute_of_a_stopped_box_is_kept() -> None:
    trends = Trends()
    add_to(trends, measured(60_000, 1, 2, 1.5), 0)
    assert trends.due(60) == []
    assert len(trends.due(66)) == 1


def test_a_crossing_measurement_is_not_counted_twice() -> None:
    trends = Trends()
    add_to(trends, Measurement("1", 0, {"rms": Metric(1, 1, 1)}, crossing=True), 0)
    assert trends.due(0, everything=True) == []


def test_a_mean_is_weighted_by_covered_time() -> None:
    trends = Trends()
    minute = replace(measured(119_000, 119, 121, 120), start_ns=60 * 10**9, end_ns=119 * 10**9)
    second = replace(measured(119_500, 59, 61, 60), start_ns=119 * 10**9, end_ns=120 * 10**9)
    for each in (minute, second):
        add_to(trends, each, 0)
    (trend,) = trends.due(0, everything=True)
    assert trend.metrics["rms"] == (59, 121, pytest.approx(119.0))


def test_a_minute_with_a_stored_half_is_marked() -> None:
    trends = Trends()
    for timestamp_ms in (60_000, 120_000):
        add_to(trends, measured(timestamp_ms, 1, 2, 1.5), 0)
    add_to(trends, replace(measured(180_000, 1, 2, 1.5), backfilled=True), 0)
    found = {trend.start_ms: partial for trend, partial in trends.over(0, everything=True)}
    assert found == {60_000: True, 120_000: False, 180_000: True}  # the first after a start; a late one


def test_identities_have_three_parts() -> None:
    token = new_token()
    assert len(token) == 30
    assert token.isalnum()
    assert parse_identity(request_identity(token, "a-b")) == (token, "a-b")
    for wrong in ("data_x", "data_a_b_c", "mauka_a_b", "data__b", "data_a_", ""):
        assert parse_identity(wrong) is None


def test_boxes_are_alive_for_a_while() -> None:
    """For some time after its last Measurement a Box counts as alive, with its nominal voltage."""
    clock = Clock()
    boxes = BoxRegister(Nominal(120, 60), clock, lambda: round(1000 * clock.now_s))
    note_heard(boxes, "10", 1_000)
    clock.now_s = 5
    note_heard(boxes, "2", 6_000)
    assert boxes.alive(10) == ("2", "10")
    clock.now_s = 12
    assert boxes.alive(10) == ("2",)
    boxes.read_nominals([BoxRecord("2", "Two", nominal_v=230, nominal_hz=50)])
    assert boxes.nominal("2", None, None) == Nominal(230, 50)
    assert boxes.nominal("10", None, None) == Nominal(120, 60)
    clock.now_s = 30
    assert [(part.name, part.ok, part.timestamp_s) for part in boxes.health()] == [
        ("2", False, 6),
        ("10", False, 1),
    ]


def test_a_late_box_is_well_while_data_come() -> None:
    """A slow uplink: after 200 s what arrives is 100 s old. The time of its arrival goes with the report."""
    clock, utc_ms = Clock(), 1_765_792_486_000
    boxes = BoxRegister(Nominal(120, 60), clock, lambda: utc_ms + round(1000 * clock.now_s))
    for second in range(0, 201, 10):
        clock.now_s = second
        note_heard(boxes, "1", utc_ms + 500 * second)
        note_heard(boxes, "2", utc_ms + 1000 * second - 900)
        late, well = boxes.health()
        assert late.ok and late.timestamp_s == (utc_ms + 500 * second) // 1000
        assert late.received_s == utc_ms // 1000 + second
        assert late.info == (f"late by {second // 2} s, by its clock" if second >= 20 else None)
        assert well.ok and well.info is None
        assert all(health_from_json(each.as_json(), None, late.received_s + 1).ok for each in (late, well))
    clock.now_s = 200 + 79
    assert boxes.health()[0].ok, "what is late comes in bursts: 20 s, and a minute in addition"
    clock.now_s = 200 + 81
    late = boxes.health()[0]
    assert not late.ok and late.info == "nothing heard for 81 s"
    assert late.received_s == utc_ms // 1000 + 200


def test_a_box_from_before_the_start_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known to this process; a Box out of service is not expected, and one that is back is well."""
    clock, utc_ms = Clock(), 1_765_792_486_000
    boxes = BoxRegister(Nominal(120, 60), clock, lambda: utc_ms + round(1000 * clock.now_s))
    with closing(open_store(None, tmp_path)) as store:
        store.append_measurements(
            [measured(utc_ms - 7_200_000, 119, 121, 120, box_id) for box_id in ("1", "2", "3")]
        )
        store.put_box(BoxRecord("2", "", unplugged=True, retired_ms=1))
        boxes.read_before(store)
        boxes.read_places(store)
    first, second = boxes.health()
    assert (first.name, first.ok, second.name, second.ok) == ("1", True, "3", True), "they may come yet"
    clock.now_s = 80
    note_heard(boxes, "3", utc_ms + 80_000)
    back, gone = boxes.health()
    assert (back.name, back.ok) == ("3", True)
    assert (gone.name, gone.ok, gone.received_s) == ("1", False, (utc_ms - 7_200_000) // 1000)
    assert gone.info == "nothing heard since 2025-12-15 07:54:46 UTC, before the cloud's last start"
    clock.now_s = 90_000
    assert [(each.name, each.ok) for each in boxes.health()] == [("3", False), ("1", False)], (
        "a day later too"
    )
    of_3 = Measurement("3", 0, {}, 1, 10**9, sequence=1, first_sample=0, samples=1, start_id=9)
    boxes.starts.note_columns(batch(of_3))
    assert boxes.starts.present("3") == 9
    with closing(open_store(None, tmp_path)) as store:
        store.put_box(BoxRecord("3", "", unplugged=True, retired_ms=1))
        assert not boxes.read_places(store)
        for box_id, left in (("3", ["1"]), ("1", [])):  # while health reads them, in another thread
            store.delete_box(box_id)
            deleted = list[set[str]]()

            def order(name: str, deleted: list[set[str]] = deleted) -> tuple[int, str]:
                deleted += () if deleted else (set(boxes.read_places(store)),)
                return box_order(name)

            monkeypatch.setattr("opq_cloud.makai.triggering_boxes.box_order", order)
            assert [each.name for each in boxes.health()] == left and deleted == [{box_id}]
        store.put_box(BoxRecord("1", "given again"))
        assert not boxes.read_places(store), "each deletion once"
    assert boxes.starts.present("3") is None, "one that is given its number later begins again"


def test_a_component_without_arrival_counts_from_its_timestamp() -> None:
    """The original's services have none."""
    report = HealthReport("1", True, 1000)
    assert health_from_json(report.as_json(), None, 1010.0).ok
    assert not health_from_json(report.as_json(), None, 1040.0).ok
    assert "received" not in report.as_json()
    assert health_from_json(replace(report, received_s=1030).as_json(), None, 1040.0).ok


def test_a_box_with_one_minute_windows_is_alive() -> None:
    clock = Clock()
    boxes = BoxRegister(Nominal(120, 60), clock, lambda: round(1000 * clock.now_s))
    note_heard(boxes, "1", 1_000, (0, 60 * 10**9))
    clock.now_s = 60
    assert boxes.alive(10) == ("1",) and boxes.health()[0].ok
    note_heard(boxes, "1", 61_000, (60 * 10**9, 61 * 10**9))  # a change in between
    clock.now_s = 120
    assert boxes.alive(10) == ("1",)
    clock.now_s = 150
    assert boxes.alive(10) == () and not boxes.health()[0].ok
    for _ in range(60):  # a minute of changes: the next is a minute in one again
        note_heard(boxes, "1", 0, (0, 10**9))
    note_heard(boxes, "1", 200_000)
    clock.now_s += 59
    assert boxes.alive(10) == ("1",)
    for _ in range(1800):  # no longer in idle mode
        note_heard(boxes, "1", 0, (0, 10**9))
    note_heard(boxes, "1", 2_000_000)
    clock.now_s += 12
    assert boxes.alive(10) == ()


def test_a_long_dip_at_1970_is_completed() -> None:
    completions = Completions(RecentEvents(10), pre_ns=10**9, post_ns=10**9)
    dip = Decision("rms", 50.0, 108.0, "a dip", span_ns=(5, 9 * 10**9))
    completions.add_span("1", dip, due_s=1.0, tolerance_ns=0)
    ((trigger, _),) = completions.due(1.0, lambda boxes: 0)
    assert (trigger.start_ns, trigger.end_ns) == (0, 10 * 10**9)
    assert trigger.completes is None, "no event has its beginning"


def test_what_completes_an_event_names_it() -> None:
    recent = RecentEvents(10, [EventSpan(7, 0, 3 * 10**9, {"1"})])
    completions = Completions(recent, pre_ns=10**9, post_ns=10**9)
    dip = Decision("rms", 50.0, 108.0, "a dip", span_ns=(10**9, 9 * 10**9))
    completions.add_span("1", dip, due_s=1.0, tolerance_ns=0)
    ((trigger, _),) = completions.due(1.0, lambda boxes: 0)
    assert trigger.completes == 7


def test_a_persons_request_is_asked_when_sampled() -> None:
    """A person's request goes out at once, or when its samples exist."""
    events = OpenEvents(answer_timeout_s=20, ask_again_s=5)
    asked_as = {PERSON_ASKED: ("1", "4")}
    past = record(token="past", end_ns=10**9, asked_as=asked_as)
    ahead = record(token="ahead", end_ns=12 * 10**9, asked_as=asked_as)
    events.refresh([past, ahead], now_s=0, utc_ns=2 * 10**9)
    assert due(events, 0.0) == [("past", "1"), ("past", "4")]
    assert due(events, 4.9) == []
    assert due(events, 5.0) == [("past", "1"), ("past", "4")]
    assert ("ahead", "1") not in due(events, 10.4) and ("ahead", "1") in due(events, 10.5)
