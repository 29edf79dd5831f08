"""Measurements read as batches are those that are read one at a time, to the bit."""

import math
import random
import struct
from collections.abc import Callable
from dataclasses import replace

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.decision import Nominal, window_ns
from opq_proto.errors import FrameError
from opq_proto.measurement.batch import Measurements, split
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.measurement.wire import MeasurementReader, bodies_of, measurement_from_frames, sequence_tail
from opq_proto.messages import Measurement
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_proto.wire.packed_counts import varint

END_NS = 1_767_225_600_123_456_789


def body(
    box: int = 1001,
    at_ns: int = END_NS,
    names: tuple[str, ...] = METRIC_NAMES,
    value: float = 1.5,
    **fields: object,
) -> bytes:
    """The metrics stand in the order of `names`, which protobuf leaves open."""
    given = {"start_ns": at_ns - 10**9, "end_ns": at_ns, "uncertainty_ns": 1000, "sequence": 7, **fields}
    entries = b""
    for place, name in enumerate(names):
        floats = struct.pack(
            "<BfBfBf", 0x0D, value + place, 0x15, value + place + 1, 0x1D, value + place + 0.5
        )
        entry = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12\x0f" + floats
        entries += b"\x1a" + bytes([len(entry)]) + entry
    head = WireMeasurement(box_id=box, timestamp_ms=(at_ns + 500_000) // 10**6).SerializeToString()
    return head + entries + WireMeasurement(**given).SerializeToString()  # type: ignore[arg-type]


def read(messages: list[list[bytes]]) -> tuple[list[Measurements], list[FrameError]]:
    reader = MeasurementReader()
    reader.read(messages)
    assert reader.count == len(messages)
    return reader.batches(lambda *_: Nominal(120.0, 60.0)), [*reader.malformed, *reader.refused]


def read_twice(bodies: list[bytes]) -> int:
    """By both ways; how many rows the arrays hold all of."""
    messages = [[b"%d" % box_of(each), each] for each in bodies]
    batches, malformed = read(messages)
    wanted: list[str] = []
    for frames in messages:
        try:
            wanted.append(repr(in_order(measurement_from_frames(frames))))
        except FrameError:
            continue
    found = [repr(in_order(row)) for columns in batches for row in columns.rows()]
    assert sorted(found) == sorted(wanted) and len(malformed) == len(bodies) - len(found)
    for columns in batches:
        assert len(set(columns.ids)) == len(columns)
        for at, row in columns.extra.items():
            assert tuple(int(each[at]) for each in (columns.start_ns, columns.end_ns)) == window_ns(row)
    return sum(len(columns) - len(columns.extra) for columns in batches)


def box_of(data: bytes) -> int:
    try:
        return WireMeasurement.FromString(data).box_id
    except DecodeError:
        return 0


def in_order(row: Measurement) -> Measurement:
    return replace(row, metrics=dict(sorted(row.metrics.items())))


def strange(draw: random.Random) -> bytes:
    """Any of its fields may be there, with any number; the metrics in any order."""
    numbers: dict[str, Callable[[], object]] = {
        "uncertainty_ns": lambda: draw.randrange(2 ** draw.randint(1, 32)),
        "time_source": lambda: draw.randrange(4),
        "sequence": lambda: draw.randrange(2 ** draw.randint(1, 64)),
        "oldest_sequence": lambda: draw.randrange(2 ** draw.randint(1, 64)),
        "clock_id": lambda: draw.randrange(2 ** draw.randint(1, 64)),
        "first_sample": lambda: draw.randrange(2 ** draw.randint(1, 64)),
        "samples": lambda: draw.randrange(2 ** draw.randint(1, 32)),
        "nominal_v": lambda: draw.choice([120.0, 0.5, 1e6, 1e7, math.nan, -1.0]),
        "nominal_hz": lambda: draw.choice([60.0, 9.9, 400.0, math.inf]),
        "backfilled": lambda: draw.random() < 0.5,
        "crossing": lambda: draw.random() < 0.5,
        "start_ns": lambda: draw.choice([END_NS, END_NS - 121 * 10**9, draw.randrange(2**63), -1]),
        "end_ns": lambda: draw.choice([END_NS + 1, draw.randrange(2**63), 2**62]),
    }
    fields = {name: made() for name, made in numbers.items() if draw.random() < 0.2}
    names = tuple(draw.sample(METRIC_NAMES, 4))
    value = draw.choice([1.5, 1.5, 0.0, math.nan, math.inf, -1.0])
    return body(draw.randrange(2 ** draw.randint(1, 32)), END_NS, names, value, **fields)


def changed(data: bytes, draw: random.Random) -> bytes:
    """On the way: some bytes are others, or it is cut."""
    broken = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        broken[draw.randrange(len(broken))] = draw.randrange(256)
    return bytes(broken[: draw.choice([len(broken), len(broken), draw.randrange(len(broken))])])


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_batches_and_single_measurements_agree_on_every_message(seed: int) -> None:
    draw = random.Random(seed)
    bodies = [body(number) for number in range(1001, 1005)]
    for _ in range(10):
        each = strange(draw)
        bodies += [each] * 3 + [changed(each, draw)] * draw.randint(0, 3)
        bodies += [changed(body(), draw) for _ in range(5)]
    draw.shuffle(bodies)
    read_twice(bodies)


def test_regular_measurements_are_arrays() -> None:
    turned = tuple(reversed(METRIC_NAMES))
    ours = [body(1001 + at, END_NS + at, METRIC_NAMES if at % 2 else turned) for at in range(40)]
    untimed = [WireMeasurement.FromString(each) for each in ours]
    for each in untimed:
        for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence"):
            each.ClearField(name)
    assert read_twice(ours) == read_twice([each.SerializeToString() for each in untimed]) == 40


def test_irregular_measurements_stay_objects() -> None:
    for each in (
        body(crossing=True),
        body(names=METRIC_NAMES[:3]),
        body(names=(*METRIC_NAMES, "pst")),
        body(value=float("nan")),
        body(gateway_id=3),
    ):
        assert read_twice([each]) == 0


def test_rows_come_in_order_apart_from_resent() -> None:
    rows = [(1, False), (1, True), (2, False), (1, False), (2, True), (1, True)]
    messages = [
        [b"%04d" % box, body(box, END_NS + at, backfilled=late)] for at, (box, late) in enumerate(rows)
    ]
    batches, _ = read(messages)
    found = [(columns.backfilled, columns.ids) for columns in batches]
    assert found == [(False, ["1", "2"]), (True, ["1", "2"]), (False, ["1"]), (True, ["1"])]


def test_several_reads_make_one_batch() -> None:
    """What was read is returned once."""
    reader = MeasurementReader()
    for box in (1, 2):
        reader.read([[b"%04d" % box, body(box)]])
    nominal = Nominal(120.0, 60.0)
    assert [batch.ids for batch in reader.batches(lambda *_: nominal)] == [["1", "2"]]
    assert reader.batches(lambda *_: nominal) == [] and reader.count == 2


def pressing(*bodies: bytes) -> list[bool]:
    """Whether each may begin an event, read alone."""
    found = []
    for each in bodies:
        reader = MeasurementReader(0.05)
        reader.read([[b"%04d" % box_of(each), each]])
        found.append(bool(reader.pressing))
        assert reader.pressing <= {str(box_of(each))}
    return found


def swinging(low_v: float, high_v: float, names: tuple[str, ...] = METRIC_NAMES) -> bytes:
    message = WireMeasurement.FromString(body(names=names))
    message.metrics["rms"].min, message.metrics["rms"].max = low_v, high_v
    return message.SerializeToString()


def test_crossings_and_swings_may_begin_events() -> None:
    few = ("rms", "thd")
    steady = [swinging(115.0, 120.0), swinging(60.0, 60.5), swinging(115.0, 120.0, few)]
    assert pressing(*steady) == [False] * 3
    assert pressing(swinging(113.0, 120.0), swinging(60.0, 120.0, few)) == [True, True]
    original = WireMeasurement.FromString(swinging(60.0, 120.0))
    for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence"):
        original.ClearField(name)
    assert pressing(original.SerializeToString(), body(names=("f", "thd"))) == [True, True]
    crossing = WireMeasurement.FromString(steady[0])
    crossing.crossing = True
    assert pressing(crossing.SerializeToString()) == [True]
    assert pressing(b"", b"\x0a\x03rms\x12\x0f\x0d") == [False, False], "what cannot be read begins none"


def test_boxes_that_press_come_first_in_their_order() -> None:
    rows = [(1, False), (2, False), (3, True), (2, False), (1, False), (2, True)]
    messages = [
        [b"%04d" % box, body(box, END_NS + at, backfilled=late)] for at, (box, late) in enumerate(rows)
    ]
    batches, _ = read(messages)
    found = [(batch.ids, batch.end_ns.tolist()) for batch in split(batches, {"2"})]
    assert found == [
        (["2"], [END_NS + 1]),
        (["2"], [END_NS + 3]),
        (["2"], [END_NS + 5]),
        (["1"], [END_NS]),
        (["3"], [END_NS + 2]),
        (["1"], [END_NS + 4]),
    ]
    assert list(split(batches, ())) == batches


unknown_fields = st.lists(st.tuples(st.integers(1100, 2000), st.integers(0, 2**63 - 1)), max_size=3)


@settings(max_examples=30, deadline=None)
@given(added=unknown_fields, values=st.lists(st.floats(0, 1e4, width=32), min_size=4, max_size=4))
def test_unknown_fields_are_skipped(added: list[tuple[int, int]], values: list[float]) -> None:
    """An original Box sends float32 of two decimal places, no times and no numbers."""
    message = WireMeasurement(box_id=7, timestamp_ms=5)
    for name, value in zip(METRIC_NAMES, values, strict=True):
        metric = message.metrics[name]
        metric.min = metric.max = metric.average = round(value, 2)
    plain = message.SerializeToString()
    more = b"".join(varint(number << 3) + varint(value) for number, value in added)
    assert read_twice([plain]) == read_twice([plain + more]) == 1
    (batch,), _ = read([[b"0007", plain + more]])
    assert batch.row(0) == in_order(measurement_from_frames([b"7", plain]))
    assert (batch.stated.tolist(), batch.sequence.tolist(), batch.row(0).start_ns) == ([False], [-1], None)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_read_message_is_sent_on_unchanged(seed: int) -> None:
    bodies = [strange(random.Random(seed + number)) for number in range(5)]
    batches, _ = read([[b"%d" % box_of(each), each] for each in bodies if box_of(each) < 2**31])
    for batch in batches:
        again, malformed = read([[b"%d" % box_of(each), each] for each in bodies_of(batch)])
        assert not malformed
        rows = [in_order(row) for each in again for row in each.rows()]
        assert sorted(map(repr, rows)) == sorted(repr(in_order(row)) for row in batch.rows())


def test_numbers_follow_a_body() -> None:
    sent = body(sequence=0, oldest_sequence=0) + sequence_tail(9, 3, True)
    (batch,), _ = read([[b"1001", sent]])
    assert (batch.row(0).sequence, batch.row(0).oldest_sequence, batch.backfilled) == (9, 3, True)
