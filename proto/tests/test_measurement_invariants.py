"""What cannot be true is refused where it is read: the value or the Measurement, whichever loses less."""

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.decision import Nominal
from opq_proto.errors import FrameError
from opq_proto.measurement.fields import (
    LIMITS,
    METRIC_NAMES,
    MOST_NUMBER,
    OTHER_LIMITS,
    QUANTITIES,
)
from opq_proto.measurement.invariants import (
    MAX_AHEAD_NS,
    MAX_METRIC_NAME,
    MAX_METRICS,
    MAX_WINDOW_NS,
    refused_words,
)
from opq_proto.measurement.wire import MeasurementReader, measurement_from_frames
from opq_proto.messages import Measurement
from opq_proto.wire import opqbox3_pb2 as pb

NOW_NS = time.time_ns()
DAY_NS = 86_400 * 10**9
RAW = (-math.inf, -1e38, -1.0, -0.0, 0.0, 1e-38, 1.0, 120.0, 1e5, 3e38, math.inf, math.nan)
"""Values that a float of the wire can have."""


def sent(**fields: Any) -> pb.Measurement:
    """A Measurement of Box 7 that just ended."""
    times = {"start_ns": NOW_NS - 10**9, "end_ns": NOW_NS, "uncertainty_ns": 1000, "sequence": 9}
    made = pb.Measurement(box_id=7, timestamp_ms=NOW_NS // 10**6, **{**times, **fields})
    if not (fields.get("interval") or fields.get("disturbance")):
        for name, value in zip(METRIC_NAMES, (60.0, 120.0, 0.02, 1.5), strict=True):
            entry = made.metrics[name]
            entry.min = entry.max = entry.average = value
    return made


def read(message: pb.Measurement, topic: bytes = b"0007") -> tuple[MeasurementReader, list[Measurement]]:
    """Reads a message as the cloud does; returns the reader and its rows."""
    reader = MeasurementReader()
    reader.read([[topic, message.SerializeToString()]])
    rows = [row for batch in reader.batches(lambda *_: Nominal(120.0, 60.0)) for row in batch.rows()]
    return reader, rows + reader.intervals


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"start_ns": NOW_NS, "end_ns": NOW_NS - 1}, "time"),
        ({"start_ns": NOW_NS, "end_ns": NOW_NS}, "time"),
        ({"start_ns": -1}, "time"),
        ({"end_ns": 2**62}, "time"),
        ({"start_ns": NOW_NS - MAX_WINDOW_NS - 1, "end_ns": NOW_NS}, "length"),
        ({"start_ns": 0}, "length"),
        ({"start_ns": NOW_NS + 2 * DAY_NS, "end_ns": NOW_NS + 2 * DAY_NS + 1}, "time_ahead"),
        ({"timestamp_ms": NOW_NS // 10**6 + 3 * 86_400_000}, "time_ahead"),
        ({"sequence": MOST_NUMBER + 1}, "sequence"),
        ({"oldest_sequence": 2**64 - 1}, "sequence"),
        ({"disturbance": {"class": "dip", "closed": True}, "end_ns": NOW_NS - 2 * 10**9}, "time"),
        ({"disturbance": {"class": "dip"}, "start_ns": None}, "time"),
        ({"interval": {"length_ms": 3000}, "start_ns": NOW_NS - 7 * 10**9}, "length"),
        ({"interval": {"length_ms": 5}, "start_ns": NOW_NS - DAY_NS}, "length"),
    ],
)
def test_an_impossible_row_is_refused_and_counted(fields: dict[str, Any], what: str) -> None:
    """Its number stays known, so that it is acknowledged and not sent for ever."""
    message = pb.Measurement(box_id=7, timestamp_ms=NOW_NS // 10**6)
    message.CopyFrom(sent(**{name: value for name, value in fields.items() if name != "timestamp_ms"}))
    message.timestamp_ms = fields.get("timestamp_ms", message.timestamp_ms)
    reader, rows = read(message)
    assert (rows, reader.malformed) == ([], [])
    assert reader.refusals == {("7", what): 1}
    [refused] = reader.refused
    assert refused.sequence == (None if what == "sequence" else 9)
    assert refused_words(what) in str(refused)
    with pytest.raises(FrameError):
        measurement_from_frames([b"0007", message.SerializeToString()])


@pytest.mark.parametrize(
    ("fields", "ago_ns"),
    [
        ({}, -MAX_AHEAD_NS + 60 * 10**9),
        ({}, 30 * DAY_NS),
        ({"backfilled": True}, 400 * DAY_NS),
        ({"disturbance": {"class": "interruption", "closed": True}}, DAY_NS),
        ({"interval": {"length_ms": 3000, "names": ["rms_v"], "averages": [120.0]}}, DAY_NS),
    ],
)
def test_a_wrong_clock_and_a_queue_are_kept(fields: dict[str, Any], ago_ns: int) -> None:
    """A clock in a wrong time zone, one set back, and a queue of months are honest."""
    times = {"start_ns": NOW_NS - ago_ns - 10**9, "end_ns": NOW_NS - ago_ns}
    reader, [row] = read(sent(**times, **fields))
    assert (row.start_ns, row.end_ns) == tuple(times.values()) and not reader.refusals


def test_an_original_without_times_is_kept() -> None:
    message = sent()
    for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence"):
        message.ClearField(name)
    reader, [row] = read(message)
    assert len(row.metrics) == 4 and not reader.refusals


@pytest.mark.parametrize("key", [*LIMITS, "rule_mine"])
def test_an_impossible_metric_leaves_the_others(key: str) -> None:
    least, most = LIMITS.get(key, OTHER_LIMITS)
    name = key if key in LIMITS else "other"
    cases = [(least, most, 0.0), (least, least, least), (most, most, most)]
    wrong = [(least, most * 2, most), (least - 2e12, most, least), (most, least, least)]
    wrong += [(math.nan, most, most), (least, math.inf, least), (least, most, -math.inf)]
    for is_wrong, values in [*((False, each) for each in cases), *((True, each) for each in wrong)]:
        message = sent()
        entry = message.metrics[key]
        entry.min, entry.max, entry.average = values
        reader, [row] = read(message)
        assert (key in row.metrics) is not is_wrong, values
        assert {*METRIC_NAMES} - {key} <= row.metrics.keys()
        assert reader.refusals == (Counter({("7", name): 1}) if is_wrong else {}), values


def test_a_metric_of_nan_is_not_known() -> None:
    message = sent()
    entry = message.metrics["f"]
    entry.min = entry.max = entry.average = math.nan
    reader, [row] = read(message)
    assert row.metrics.keys() == {"rms", "thd", "trans"} and not reader.refusals


@pytest.mark.parametrize("name", ["", "x" * (MAX_METRIC_NAME + 1), "a\x00b", "a\nb", "$set", "\u202eabc"])
def test_an_impossible_name_is_refused(name: str) -> None:
    message = sent()
    message.metrics[name].average = 1.0
    reader, [row] = read(message)
    assert row.metrics.keys() == set(METRIC_NAMES) and reader.refusals == {("7", "other"): 1}


def test_metrics_without_end_are_cut() -> None:
    message = sent()
    for number in range(2 * MAX_METRICS):
        message.metrics[f"own_{number}"].average = 1.0
    _, [row] = read(message)
    assert len(row.metrics) <= MAX_METRICS + len(METRIC_NAMES)


def test_a_foreign_row_counts_against_nobody() -> None:
    """Box 8 sends a row of Box 7 that cannot be true: Box 7 is neither acknowledged nor counted."""
    reader, rows = read(sent(end_ns=2**62), topic=b"0008")
    assert (rows, reader.refused, reader.refusals, len(reader.malformed)) == ([], [], {}, 1)


def test_every_quantity_has_limits() -> None:
    for each in QUANTITIES:
        assert -math.inf < each.least < each.most < math.inf, each.key


def holds(row: Measurement) -> None:
    """Fails unless a row satisfies the invariants."""
    for key, metric in row.metrics.items():
        least, most = LIMITS.get(key, OTHER_LIMITS)
        assert least <= metric.min <= metric.max <= most and least <= metric.average <= most
        assert 0 < len(key) <= MAX_METRIC_NAME and key.isprintable()
    latest_ns = time.time_ns() + MAX_AHEAD_NS
    assert 0 <= row.timestamp_ms * 10**6 <= latest_ns
    if row.start_ns is not None:
        assert 0 <= row.start_ns < (row.end_ns or row.timestamp_ms * 10**6) <= latest_ns
    for number in (row.sequence, row.oldest_sequence, row.first_sample):
        assert number is None or 0 <= number <= MOST_NUMBER
    if row.interval is not None:
        assert row.interval.coverage is None or 0 <= row.interval.coverage <= 1.01
        assert row.interval.place.isprintable()
        for value in row.interval.values.values():
            for each in value if isinstance(value, tuple) else (value,):
                assert math.isnan(each) or OTHER_LIMITS[0] <= each <= OTHER_LIMITS[1]
    if (dip := row.disturbance) is not None:
        assert math.isnan(dip.residual_v) or 0 <= dip.residual_v < 1e9
        assert dip.end_ns is None or dip.end_ns > dip.start_ns


def in_ms(t_ns: int) -> int:
    return t_ns // 10**6


def filled(message: Message, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Gives some fields of a message any value that its type allows, often one near what is usual."""
    number = st.sampled_from([0, 1, NOW_NS - 10**9, NOW_NS, NOW_NS + 2 * DAY_NS, 2**62, 2**63 - 1])
    for field in message.DESCRIPTOR.fields:
        if field.name == "box_id" or not draw(st.booleans()):
            continue
        own = getattr(message, field.name)
        many = hasattr(own, "append")
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in draw(st.lists(st.sampled_from(["rms", "f", "thd", "trans", "pst", "x", "\x07"]))):
                entry = own[key]
                entry.min, entry.max, entry.average = (draw(st.sampled_from(RAW)) for _ in range(3))
        elif field.message_type is not None:
            own.SetInParent()
            filled(own, draw)
        else:
            made = {
                field.CPPTYPE_STRING: st.sampled_from(["rms_v", "h3", "dip", "", "\n", "x" * 200]),
                field.CPPTYPE_FLOAT: st.sampled_from(RAW),
                field.CPPTYPE_DOUBLE: st.sampled_from((*RAW, 1e308)),
                field.CPPTYPE_BOOL: st.booleans(),
                field.CPPTYPE_ENUM: st.integers(0, 3),
                field.CPPTYPE_UINT32: st.sampled_from([0, 1, 3000, 600_000, 2**32 - 1]),
                field.CPPTYPE_INT64: st.one_of(number, st.just(-1)),
                field.CPPTYPE_UINT64: number.map(in_ms) if field.name == "timestamp_ms" else number,
            }[field.cpp_type]
            if many:
                own.extend(draw(st.lists(made, max_size=4)))
            else:
                setattr(message, field.name, draw(made))


@given(st.data())
def test_what_is_accepted_satisfies_the_invariants(data: st.DataObject) -> None:
    message = sent() if data.draw(st.booleans()) else pb.Measurement(box_id=7)
    filled(message, data.draw)
    reader, rows = read(message)
    for row in rows:
        holds(row)
    if not rows:
        assert len(reader.refused) + len(reader.malformed) == 1
