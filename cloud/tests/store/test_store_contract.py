"""The contract of `store.Store`, held by both implementations."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from opq_cloud.mauka.finding_writer import put_findings
from opq_cloud.mauka.joining import plan_join
from opq_cloud.mauka.outages.plugin import NO_EVENT
from opq_cloud.mauka.outages.withdrawal import plan_withdrawal
from opq_cloud.mauka.replacing import ReplacedEvent, Replacement, plan_replacement
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, Trend
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.cause_words import cause_sentence
from opq_cloud.store.documents import incident_document, known_from_document
from opq_cloud.store.incident_index import IncidentNote
from opq_cloud.store.incident_json import found_by, incident_json
from opq_cloud.store.join_plan import KnownFinding
from opq_cloud.store.seen_incident import incident_at
from opq_proto.decision import Nominal
from opq_proto.errors import StoreError
from opq_proto.measurement_columns import MeasuredBoxes, NumberedColumns
from opq_proto.messages import Finding, Gap, Measurement, Metric, TimeSource, Trigger, Waveform

NOW_MS = 1_765_792_486_013
NOW_NS = NOW_MS * 1_000_000
SECOND_NS = 10**9
TRIGGER = Trigger("a" * 30, NOW_NS, NOW_NS + SECOND_NS, ("1", "4"), "1", "threshold: rms 80 V below 114 V")
SAG = Finding(
    "sag", "1", NOW_NS, NOW_NS + 100_000_000, 1_000_000, True, 84.1, 70.08333333333333, 6.0,
    "instantaneous sag", "no_interruption_in_function", "pass", 0.9, "residual 70.1% for 6 cycles",
)  # fmt: skip


def measured(sequence: int | None, box_id: str = "1", **changes: object) -> Measurement:
    at_ms = NOW_MS + 1000 * (sequence or 0)
    rms_v = Metric(118.5, 121.25, 120.125)
    row = Measurement(
        box_id, at_ms, {"rms": rms_v, "f": Metric(59.5, 60.5, 60.0), "thd": Metric(0.0, 0.5, 0.25)},
        at_ms * 1_000_000 - SECOND_NS, at_ms * 1_000_000 + 77, 1500, TimeSource.GPS, sequence,
        None if sequence is None else 0,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def wave(box_id: str = "1", samples: int = 2400, **changes: object) -> Waveform:
    counts = (np.arange(samples) % 30_000 - 15_000).astype(np.int16)
    whole = Waveform(box_id, NOW_NS + 5, 900, TimeSource.GPS, 12_000_125, 0.0203, 77_000, counts)
    return replace(whole, **changes)  # type: ignore[arg-type]


def numbered(first: int, count: int, boxes: int = 3) -> NumberedColumns:
    """Numbers from `first` on, `count` of each Box, turn by turn."""
    ids = tuple(str(1 + number) for number in range(boxes))
    which = np.tile(np.arange(boxes), count)
    sequence = np.repeat(np.arange(first, first + count), boxes)
    told_ms = NOW_MS + 1000 * sequence
    metrics = (
        100 + np.arange(12).reshape(4, 3) + which[:, None, None] + sequence[:, None, None] / 64
    ).astype("f4")
    end_ns = told_ms * 1_000_000 - 123_456 + which
    return NumberedColumns(
        MeasuredBoxes(ids, (Nominal(120.0, 60.0),) * boxes), which, end_ns - SECOND_NS, end_ns, metrics, 0,
        TimeSource.FREE, told_ms, sequence, np.where(which > 0, sequence // 2, -1), 1000 + which, which % 4,
        np.where(which > 1, 77_000_000_000, 0), np.tile(np.array([120.0, 60.0], "f4"), (len(which), 1)),
    )  # fmt: skip


def stored_rows(columns: NumberedColumns) -> list[Measurement]:
    """A store keeps no nominal values: they are the Box's."""
    return [replace(row, nominal_v=None, nominal_hz=None) for row in columns.measurements()]


def test_columns_with_numbers_are_stored_with_single_rows_and_come_back_exactly(store: CloudStore) -> None:
    columns = numbered(10, 12)
    assert (
        store.append_measurements(
            [measured(9), measured(None, "2")], [columns.part(np.arange(18)), numbered(5, 2)]
        )
        == 26
    )
    assert store.append_measurements([measured(11)], [columns]) == 18, "the rest of them"
    for box_id in ("1", "2", "3"):
        own = [row for row in stored_rows(columns) if row.box_id == box_id]
        assert store.measurements(box_id, NOW_MS + 10_000, NOW_MS + 10**6) == own
        assert store.sequences(box_id, 0, 100) == [5, 6, *([9] if box_id == "1" else []), *range(10, 22)]
        assert store.highest_sequence(box_id) == 21
        assert store.latest_measurements()[box_id] == own[-1]
        assert store.measurements(box_id, NOW_MS + 12_000, NOW_MS + 13_000) == own[2:3]
    assert store.counts()["measurements"] == 44


# Boxes


def test_a_box_comes_back_as_it_was_put(store: CloudStore) -> None:
    box = BoxRecord("10", "Cellar", "oahu-1", 146.8, 230.0, 50.0, unplugged=True)
    store.put_box(box)
    store.put_box(BoxRecord("9", "Roof"))
    found = store.box("10")
    assert found is not None
    assert replace(found, location_start_time_ms=None) == box
    assert [known.box_id for known in store.boxes()] == ["9", "10"]
    assert store.box("11") is None


def test_what_is_unknown_of_a_box_leaves_what_was_known(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", "oahu-1"))
    first = store.box("1")
    assert first is not None and first.location_start_time_ms is not None
    assert first == BoxRecord("1", "Cellar", "oahu-1", location_start_time_ms=first.location_start_time_ms)
    store.put_box(BoxRecord("1", "", nominal_v=230.0, nominal_hz=50.0))
    store.put_box(BoxRecord("1", "Cellar", calibration_constant=50.0))
    assert store.box("1") == replace(first, calibration_constant=50.0, nominal_v=230.0, nominal_hz=50.0)


def test_every_fact_of_a_box_comes_back_and_a_text_is_taken_away_by_an_empty_one(store: CloudStore) -> None:
    box = BoxRecord(
        "7", "Roof", "kailua", 146.8, 120.0, 60.0, unplugged=True, description="above the stairs",
        region="oahu", feeder="f2", phase="L1", grid="2", public_key="k" * 40,
        location_start_time_ms=NOW_MS, location_archive=(("manoa", NOW_MS - 5), ("lihue", None)),
        retired_ms=NOW_MS + 1,
    )  # fmt: skip
    store.put_box(box)
    assert store.box("7") == box
    store.put_box(BoxRecord("7", "", feeder="", phase="", grid="", description="", retired_ms=0))
    assert store.box("7") == replace(
        box, feeder=None, phase=None, grid=None, description=None, retired_ms=None
    )


def test_a_new_box_without_a_name_has_one(store: CloudStore) -> None:
    """The original's index on names is unique: two Boxes without one would be one too many."""
    store.put_box(BoxRecord("12", "", nominal_v=230.0))
    assert [(box.box_id, box.name) for box in store.boxes()] == [("12", "Box 12")]


def test_a_box_that_moves_has_its_former_places_in_the_archive(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", "manoa", location_start_time_ms=NOW_MS))
    store.put_box(BoxRecord("1", "Cellar", "manoa", region="campus"))
    known = store.box("1")
    assert known is not None and known.location_archive == () and known.location_start_time_ms == NOW_MS
    before_ms = time.time_ns() // 1_000_000
    store.put_box(BoxRecord("1", "", "kailua"))
    moved = store.box("1")
    assert moved is not None and moved.location_start_time_ms is not None
    assert moved.location_start_time_ms >= before_ms
    assert moved.location_archive == (("manoa", NOW_MS),)
    assert moved.region is None, "it was that of the former place"
    store.put_box(BoxRecord("1", "", "manoa", location_start_time_ms=moved.location_start_time_ms + 1))
    back = store.box("1")
    assert back is not None
    assert back.location_archive == (("manoa", NOW_MS), ("kailua", moved.location_start_time_ms))


def test_two_writers_of_one_box_keep_each_others_fields(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    other = open_again()
    store.put_box(BoxRecord("1", "Cellar", "place 0"))
    with ThreadPoolExecutor(2) as pool:
        moves = pool.submit(lambda: [store.put_box(BoxRecord("1", "", f"place {n}")) for n in range(1, 11)])
        gains = pool.submit(
            lambda: [other.put_box(BoxRecord("1", "", calibration_constant=n)) for n in range(1, 11)]
        )
        moves.result(), gains.result()
    box = other.box("1")
    assert box is not None
    assert (box.name, box.location, box.calibration_constant) == ("Cellar", "place 10", 10.0)
    assert [place for place, _ in box.location_archive] == [f"place {n}" for n in range(10)]


def test_places_and_regions_come_back(store: CloudStore) -> None:
    assert (store.locations(), store.regions()) == ({}, {})
    store.put_location(LocationRecord("manoa", 21.31, -157.81, "the campus"))
    store.put_location(LocationRecord("kailua", 21.4, -157.74))
    store.put_location(LocationRecord("manoa", 21.3125, -157.8125, "the campus"))
    assert store.locations() == {
        "kailua": LocationRecord("kailua", 21.4, -157.74, "kailua"),
        "manoa": LocationRecord("manoa", 21.3125, -157.8125, "the campus"),
    }
    for region in ("oahu", "campus", "oahu"):
        store.put_region(region, "manoa")
    assert store.regions() == {"manoa": ("campus", "oahu")}


# Measurements and trends


def test_measurements_come_back_equal_in_time_order_and_once(store: CloudStore) -> None:
    rows = [measured(sequence) for sequence in (3, 1, 2)]
    assert store.append_measurements(rows) == 3
    assert store.append_measurements([*rows, measured(4)]) == 1
    found = store.measurements("1", NOW_MS, NOW_MS + 10_000)
    assert found == [measured(sequence) for sequence in (1, 2, 3, 4)]
    assert store.measurements("2", 0, 2**52) == []
    assert store.append_measurements([]) == 0


def test_a_repeat_inside_one_batch_is_stored_once(store: CloudStore) -> None:
    plain = measured(None)
    assert store.append_measurements([measured(1), measured(1), plain, plain]) == 2


def test_a_span_of_time_holds_its_start_and_not_its_end(store: CloudStore) -> None:
    store.append_measurements([measured(sequence) for sequence in range(5)])
    found = store.measurements("1", NOW_MS + 1000, NOW_MS + 3000)
    assert [row.sequence for row in found] == [1, 2]
    assert [row.sequence for row in store.measurements("1", 0, 2**52, limit=2)] == [0, 1]


def test_an_original_box_without_sequence_is_unique_by_its_time(store: CloudStore) -> None:
    plain = Measurement("7", NOW_MS, {"rms": Metric(1.0, 1.0, 1.0)})
    later = replace(plain, timestamp_ms=NOW_MS + 1000)
    assert store.append_measurements([later]) == 1
    assert store.append_measurements([plain, later]) == 1
    assert store.append_measurements([plain, later]) == 0
    assert store.measurements("7", 0, 2**52) == [plain, later]
    assert store.highest_sequence("7") is None
    assert store.sequences("7", 0, 100) == []


def test_two_measurements_of_one_time_with_different_sequences_are_two(store: CloudStore) -> None:
    """A crossing is sent at once, and may carry the time of the regular one."""
    crossing = replace(measured(1), sequence=2, crossing=True, metrics={"rms": Metric(1.0, 2.0, 1.5)})
    assert store.append_measurements([measured(1), crossing]) == 2
    assert len(store.measurements("1", 0, 2**52)) == 2


def test_every_field_of_a_measurement_comes_back(store: CloudStore) -> None:
    rows = [
        measured(1, backfilled=True, crossing=True, metrics={}),
        measured(2, uncertainty_ns=0xFFFF_FFFF, source=TimeSource.HOLDOVER),
        measured(3, start_ns=None, end_ns=None, uncertainty_ns=None, oldest_sequence=None),
        measured(4, metrics={"rms": Metric(0.1, 0.3, 0.2), "harmonic_3": Metric(1.0, 3.0, 2.0)}),
        measured(5, start_ns=NOW_NS - 600 * SECOND_NS, oldest_sequence=5),
        replace(measured(6), sequence=2**33, oldest_sequence=2**33 - 2**20),
    ]
    assert store.append_measurements(rows) == len(rows)
    assert store.measurements("1", 0, 2**52) == rows


def test_every_double_of_a_measurement_comes_back_exactly(store: CloudStore) -> None:
    third = measured(
        1, metrics={"trans": Metric(-1 / 3, 1e300, 5e-324), "f": Metric(0.1, 0.2, 59.999999999999)}
    )
    odd = measured(2, metrics={"rms": Metric(float("-inf"), float("inf"), float("nan"))})
    store.append_measurements([third, odd])
    first, second = store.measurements("1", 0, 2**52)
    assert first == third
    assert second.metrics["rms"].max == float("inf")
    assert np.isnan(second.metrics["rms"].average)


def test_the_latest_of_each_box_is_the_newest_in_time(store: CloudStore) -> None:
    assert store.latest_measurements() == {}
    store.append_measurements([measured(5), measured(9, "2"), measured(7), measured(6)])
    store.append_measurements([measured(2, backfilled=True)])
    assert store.latest_measurements() == {"1": measured(7), "2": measured(9, "2")}


def test_sequences_show_what_is_stored_and_where_the_holes_are(store: CloudStore) -> None:
    store.append_measurements([measured(n) for n in (10, 11, 14, 15, 20)])
    store.append_measurements([measured(12, "2")])
    assert store.sequences("1", 11, 15) == [11, 14, 15]
    assert store.highest_sequence("1") == 20
    assert store.highest_sequence("3") is None


def test_a_trend_put_twice_is_widened_not_doubled(store: CloudStore) -> None:
    minute_ms = NOW_MS // 60_000 * 60_000
    first = Trend("1", minute_ms, {"rms": (119.0, 121.0, 120.0), "f": (59.9, 60.1, 60.0)})
    second = Trend("1", minute_ms, {"rms": (118.0, 120.5, 119.75), "thd": (0.01, 0.03, 0.02)})
    for trend in (first, second, second):
        store.put_trends([trend], "oahu-1")
    widened = {"rms": (118.0, 121.0, 119.75), "f": (59.9, 60.1, 60.0), "thd": (0.01, 0.03, 0.02)}
    assert store.trends("1", minute_ms, minute_ms + 60_000) == [Trend("1", minute_ms, widened)]
    assert store.trends("1", minute_ms + 60_000, minute_ms + 120_000) == []
    assert store.trends("2", minute_ms, minute_ms + 60_000) == []


# Events


def test_event_ids_only_rise_over_a_restart(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    first = store.next_event_id()
    second = store.open_event(TRIGGER, "Makai id x")
    store.close()
    assert (first, second, open_again().next_event_id()) == (1, 2, 3)


def test_numbers_of_findings_are_drawn_from_the_counter_of_those_that_are_put(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
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


def test_an_event_says_whom_it_asks_why_and_when(store: CloudStore) -> None:
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


def test_more_boxes_are_asked_for_an_event_and_open_it_again(store: CloudStore) -> None:
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


def test_a_waveform_comes_back_to_the_bit_and_is_stored_once(store: CloudStore) -> None:
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


def test_a_waveform_that_comes_after_the_analysis_is_to_be_analysed(store: CloudStore) -> None:
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


def test_an_event_that_is_not_there_is_an_error_that_names_it(store: CloudStore) -> None:
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


# Findings and incidents


def test_one_disturbance_at_two_boxes_is_one_incident(store: CloudStore) -> None:
    milder = replace(SAG, box_id="4", start_ns=SAG.start_ns + 150_000_000, end_ns=SAG.end_ns + 180_000_000,
                     residual_v=110.0, residual_percent=91.0)  # fmt: skip
    event_id = store.open_event(TRIGGER, "x")
    first, second = put_findings(store, event_id, [SAG, milder])
    assert (first.finding_id, second.finding_id) == (1, 2)
    assert first.incident_id == second.incident_id == 1
    assert first.event_id == second.event_id == event_id
    assert (first.finding, second.finding) == (SAG, milder)
    (incident,) = store.incidents()
    assert incident == store.incident(1)
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("sag", ("1", "4"), (event_id,))
    assert (incident.start_ns, incident.end_ns) == (SAG.start_ns, milder.end_ns)
    assert incident.residual_percent == SAG.residual_percent
    assert incident.closed
    assert [f.finding for f in incident.findings] == [SAG, milder]
    assert store.incident(2) is None


def test_the_same_findings_again_change_nothing(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    event_id = store.open_event(TRIGGER, "x")
    findings = [SAG, replace(SAG, box_id="4"), replace(SAG, kind="harmonics")]
    first = put_findings(store, event_id, findings)
    before = store.incidents()
    assert put_findings(store, event_id, findings) == first
    assert put_findings(open_again(), event_id, findings[::-1]) == first[::-1]
    assert store.incidents() == before
    assert sorted(one.kind for one in before) == ["harmonics", "sag"]  # a steady state is one of its own


def test_a_finding_seen_by_a_second_event_is_widened(store: CloudStore) -> None:
    open_end = replace(SAG, closed=False)
    whole = replace(SAG, start_ns=SAG.start_ns + 50_000_000, end_ns=SAG.end_ns + 3 * SECOND_NS,
                    residual_percent=60.0, residual_v=72.0)  # fmt: skip
    put_findings(store, 1, [open_end])
    (known,) = put_findings(store, 2, [whole])
    assert (known.finding_id, known.incident_id) == (1, 1)
    assert (known.finding.start_ns, known.finding.end_ns) == (SAG.start_ns, whole.end_ns)
    assert known.finding.closed and known.finding.residual_percent == 60.0
    (incident,) = store.incidents()
    assert incident.event_ids == (1, 2)
    assert store.counts()["incidents"] == 1


def test_a_widened_finding_keeps_its_doubles_exact(store: CloudStore) -> None:
    exact = replace(SAG, residual_v=119.99999237060547, residual_percent=100 / 3, confidence=0.1 + 0.2)
    put_findings(store, 1, [replace(exact, end_ns=SAG.end_ns - 1)])
    put_findings(store, 2, [exact])
    incident = store.incident(1)
    assert incident is not None and incident.findings[0].finding == exact


def test_where_a_finding_comes_from_is_kept_also_of_its_pieces(store: CloudStore) -> None:
    first = replace(SAG, closed=False, analysis="rms_voltage", analysis_version="1.2", settings_hash="5f3a")
    later = replace(SAG, start_ns=SAG.end_ns - 1, end_ns=SAG.end_ns + 3 * SECOND_NS, analysis="mine")
    put_findings(store, 1, [first])
    put_findings(store, 2, [later])
    (known,) = store.findings_of_incident(1)
    assert {(one.analysis, one.analysis_version, one.settings_hash) for one in known.pieces} == {
        ("rms_voltage", "1.2", "5f3a"),
        ("mine", None, None),
    }
    incident = store.incident(1)
    assert incident is not None
    (source,) = found_by(incident)
    assert source["findings"] == 1 and source["analysis"] in ("rms_voltage", "mine")


def test_what_is_found_again_takes_the_place_of_what_was_found(store: CloudStore) -> None:
    events = []
    for n, box_id in enumerate(("1", "4", "6")):
        trigger = replace(TRIGGER, token=f"t{n}", box_ids=(box_id,))
        events.append(store.open_event(trigger, "x"))
        put_findings(store, events[-1], [replace(SAG, box_id=box_id, analysis="rms_voltage")])
    store.put_note(IncidentNote(0, 1, NOW_MS, "", "note", "the crane"))
    deeper = replace(SAG, analysis="rms_voltage", residual_percent=50.0, analysis_version="2")
    late = replace(deeper, box_id="8")
    replaced = Replacement(
        tuple(
            ReplacedEvent(event_id, TRIGGER.start_ns, TRIGGER.end_ns, boxes, findings)
            for event_id, boxes, findings in (
                (events[0], ("1", "8"), (deeper, late)),
                (events[1], ("4",), ()),
            )
        ),
        frozenset({"rms_voltage"}),
    )  # fmt: skip
    for _ in range(2):
        plan, kept = plan_replacement(store, replaced, lambda box_id: BoxPlace())
        assert kept == []
        assert store.carry_out(plan) is not None
        (incident,) = store.incidents()
        assert incident.incident_id == 1, "its number and its notes stay"
        assert [(one.finding_id, one.finding.box_id) for one in incident.findings] == [
            (1, "1"),
            (3, "6"),
            (4, "8"),
        ]
        assert incident.findings[0].finding == deeper
        assert incident.residual_percent == 50.0
    assert not plan.changes, "the second time"
    assert [note.text for note in store.notes(1)] == ["the crane"]
    gone = Replacement(
        tuple(
            ReplacedEvent(n, TRIGGER.start_ns, TRIGGER.end_ns, boxes, ())
            for n, boxes in zip(events, (("1", "8"), ("4",), ("6",)), strict=True)
        ),
        frozenset({"rms_voltage"}),
    )
    plan, _ = plan_replacement(store, gone, lambda box_id: BoxPlace())
    assert store.carry_out(plan) is not None
    assert store.incidents() == [] and store.counts()["incidents"] == 0


def test_an_earlier_onset_that_comes_late_moves_findings_to_other_incidents(store: CloudStore) -> None:
    def at(start_ms: int, box_id: str) -> Finding:
        start_ns = NOW_NS + start_ms * 1_000_000
        return replace(SAG, box_id=box_id, start_ns=start_ns, end_ns=start_ns + 50_000_000, uncertainty_ns=0)

    put_findings(store, 1, [at(0, "1"), at(190, "2")])
    (last,) = put_findings(store, 2, [at(380, "4")])
    assert last.incident_id == 2
    (first,) = put_findings(store, 3, [at(-100, "3")])
    assert (first.finding_id, first.incident_id) == (4, 1)
    found = {one.incident_id: [f.finding_id for f in one.findings] for one in store.incidents()}
    assert found == {1: [4, 1], 2: [2, 3]}
    assert store.incident(1) == store.incidents()[1]
    (next_one,) = put_findings(store, 4, [at(10_000, "1")])
    assert next_one.incident_id == 3, "numbers only rise"
    known = store.incident(3)
    assert known is not None and known.follows == 1


def test_a_bridge_takes_the_later_finding_and_its_incident_in(store: CloudStore) -> None:
    def at(start_ms: int, end_ms: int) -> Finding:
        start_ns = NOW_NS + start_ms * 1_000_000
        return replace(SAG, start_ns=start_ns, end_ns=NOW_NS + end_ms * 1_000_000, uncertainty_ns=0)

    put_findings(store, 1, [at(0, 100)])
    put_findings(store, 2, [at(2000, 2100)])
    assert [one.incident_id for one in store.incidents()] == [2, 1]
    put_findings(store, 3, [at(90, 2010)])
    (incident,) = store.incidents()
    assert (incident.incident_id, incident.event_ids) == (1, (1, 2, 3))
    assert store.incident(2) is None and store.incident_facts(2) is None


def test_a_plan_made_for_another_revision_is_refused_whole(store: CloudStore) -> None:
    plan = plan_join(store, [SAG], 1, lambda box_id: BoxPlace())
    put_findings(store, 2, [replace(SAG, box_id="4")])
    assert store.carry_out(plan) is None
    assert len(store.incidents()) == 1
    again = plan_join(store, [SAG], 1, lambda box_id: BoxPlace())
    assert store.carry_out(again) is not None
    (incident,) = store.incidents()
    assert incident.box_ids == ("1", "4")


def test_a_finding_is_stored_with_its_severity(store: CloudStore) -> None:
    deep = replace(SAG, residual_percent=0.0, itic="no_damage", end_ns=SAG.start_ns + 10**9)
    put_findings(store, 1, [deep])
    (stored,) = store.incident(1).findings  # type: ignore[union-attr]
    assert stored.finding == deep, "what follows from the rest makes no other finding of it"
    assert stored.finding.severity == pytest.approx(4 + 4 * (0.6 + 0.4 * 0.5))
    assert incident_document(KnownFinding(1, 1, (1,), deep), 0)["severity"] == stored.finding.severity
    document = incident_document(KnownFinding(1, 1, (1,), deep), 0)
    del document["severity"]
    assert known_from_document(document).finding.severity == stored.finding.severity, "of an older version"


def test_what_is_said_of_an_incident_comes_back_with_it(store: CloudStore) -> None:
    for box_id, feeder in (("1", "north"), ("4", "south")):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", location=f"place{box_id}", feeder=feeder))
    store.put_location(LocationRecord("place1", 46.5, 7.25))
    late = replace(SAG, box_id="4", start_ns=SAG.start_ns + 5_000_000)
    put_findings(store, 1, [late, SAG])
    (incident,) = store.incidents()
    assert (incident.scope, incident.follows, incident.centre) == ("region", None, (46.5, 7.25))
    assert [(one.box_id, one.start_ns) for one in incident.arrivals] == [
        ("1", SAG.start_ns), ("4", late.start_ns),
    ]  # fmt: skip
    assert incident.severity is not None and 0 < incident.severity <= 10
    facts = store.incident_facts(1)
    assert facts is not None and facts.boxes == 2
    assert {one.box_id: (one.leads, one.incident_id) for one in store.onsets(0, 2**62)} == {
        "1": (True, 1), "4": (False, 1),
    }  # fmt: skip
    assert [one.box_id for one in store.onsets(0, 2**62, leading=True)] == ["1"]
    assert [one.finding for one in store.findings_of_box("4", late.end_ns, 2**62)] == [late]
    assert store.findings_of_box("4", late.end_ns + 1, 2**62) == []


def test_why_it_happened_is_stored_with_an_incident(store: CloudStore) -> None:
    figures = {"onset_change_percent": -30.0, "onset_lasting_s": 0.1, "onset_recovery_cycles": 0.7}
    put_findings(store, 1, [replace(SAG, figures=tuple(figures.items()))])
    (incident,) = store.incidents()
    first = incident.hypotheses[0]
    assert (first.cause, dict(first.details)) == ("fault", {"clearing_ms": 100.0})
    assert {each.name for each in first.evidence} >= {"dip", "sharp_end"}
    facts = store.incident_facts(incident.incident_id)
    assert facts is not None and facts.hypotheses == incident.hypotheses
    assert [each.box_id for each in facts.witnesses] == [SAG.box_id]
    assert dict(facts.witnesses[0].figures) == figures
    told = incident_json(incident)
    assert told["cause"] == {
        "name": "fault", "probability": first.probability, "sentence": cause_sentence(first),
        "clearing_ms": 100.0,
    }  # fmt: skip


def test_the_side_of_each_box_is_stored_with_an_incident(store: CloudStore) -> None:
    found = []
    for box_id, feeder, change in (("1", "north", -12.0), ("4", "south", -80.0), ("5", "south", -95.0)):
        store.put_box(BoxRecord(box_id, f"Box {box_id}", location=f"p{box_id}", feeder=feeder, phase="L1"))
        found.append(replace(SAG, box_id=box_id, figures=(("onset_change_percent", change),)))
    put_findings(store, 1, found)
    (incident,) = store.incidents()
    assert {each.box_id: each.side for each in incident.sides} == {
        "1": "upstream", "4": "upstream", "5": "downstream",
    }  # fmt: skip
    facts = store.incident_facts(incident.incident_id)
    assert facts is not None and facts.sides == incident.sides
    part = incident_at(incident, lambda box_id: box_id != "1")
    assert part is not None and (part.hypotheses, part.sides) == ((), ())
    sides = incident_json(incident)["sides"]
    assert isinstance(sides, dict) and sides["5"] == {"side": "downstream", "probability": 0.85}


def test_incidents_are_numbered_without_gaps(store: CloudStore) -> None:
    """An event that sees the tail of a long dip, and another dip behind it."""
    long = replace(SAG, end_ns=SAG.start_ns + 5 * SECOND_NS, uncertainty_ns=0)
    tail = replace(long, start_ns=SAG.start_ns + 4 * SECOND_NS)
    behind = replace(long, start_ns=SAG.start_ns + 7 * SECOND_NS, end_ns=SAG.start_ns + 8 * SECOND_NS)
    put_findings(store, 1, [long])
    first, second = put_findings(store, 2, [tail, behind])
    assert (first.finding_id, first.incident_id) == (1, 1)
    assert (second.finding_id, second.incident_id) == (2, 2)


def test_incidents_are_listed_newest_first_above_an_id_and_by_time(store: CloudStore) -> None:
    for n in range(4):
        start_ns = NOW_NS + n * 10 * SECOND_NS
        put_findings(store, n + 1, [replace(SAG, start_ns=start_ns, end_ns=start_ns + SECOND_NS)])
    assert [i.incident_id for i in store.incidents()] == [4, 3, 2, 1]
    assert [i.incident_id for i in store.incidents(limit=1)] == [4]
    assert [i.incident_id for i in store.incidents(after_id=2)] == [4, 3]
    assert [
        i.incident_id for i in store.incidents(start_ns=NOW_NS + SECOND_NS, end_ns=NOW_NS + 20 * SECOND_NS)
    ] == [2]
    assert put_findings(store, 9, []) == []


# Retention


def test_what_is_due_goes_in_slices_and_trends_stay(store: CloudStore) -> None:
    store.append_measurements([measured(n) for n in range(25)])
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave())
    put_findings(store, event_id, [SAG])
    store.put_trends([Trend("1", NOW_MS // 60_000 * 60_000, {"rms": (1.0, 3.0, 2.0)})])
    now_s = int(time.time())
    assert store.expire(now_s) == 0
    week_s = now_s + 7 * 86_400
    assert _all(store, week_s, 10) == 25
    assert store.counts()["measurements"] == 0
    assert store.event_record(event_id) is not None, "an incident keeps its event"
    assert store.event(event_id) is not None
    _all(store, now_s + 400 * 86_400, 10)
    counts = store.counts()
    assert counts["trends"] == 1
    assert {counts[name] for name in ("measurements", "events", "box_events", "incidents", "fs.files")} == {0}


def _all(store: CloudStore, now_s: int, slice_rows: int) -> int:
    gone = 0
    while slice_gone := store.expire(now_s, slice_rows):
        gone += slice_gone
    return gone


def test_counts_name_the_original_collections(store: CloudStore) -> None:
    names = {"measurements", "trends", "events", "box_events", "incidents", "opq_boxes", "fs.files"}
    assert names <= set(store.counts())


def test_everything_is_there_after_a_restart(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    store.append_measurements([measured(n) for n in range(5)])
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, wave())
    put_findings(store, event_id, [SAG])
    store.close()
    again = open_again()
    assert again.append_measurements([measured(n) for n in range(6)]) == 1
    event = again.event(event_id)
    assert event is not None and len(event.waveforms) == 1
    assert len(again.incidents()) == 1


def test_an_outage_has_no_event_and_can_be_withdrawn(store: CloudStore) -> None:
    outage = replace(SAG, kind="outage", residual_v=None, residual_percent=None, measurement_type="HEALTH")
    longer = replace(outage, box_id="4", end_ns=outage.end_ns + 10**9)
    put_findings(store, NO_EVENT, [outage, longer])
    (incident,) = store.incidents()
    assert (incident.kind, incident.box_ids, incident.event_ids) == ("outage", ("1", "4"), (NO_EVENT,))
    assert (store.event_record(NO_EVENT), store.event(NO_EVENT)) == (None, None)
    for one, left in ((outage, ("4",)), (outage, ("4",)), (longer, ())):
        plan = plan_withdrawal(store, one, NO_EVENT, lambda box_id: BoxPlace())
        assert store.carry_out(plan) is not None
        assert tuple(box_id for each in store.incidents() for box_id in each.box_ids) == left
