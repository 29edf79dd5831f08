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
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import Measurement
from opq_proto.wire.frames import measurement_from_frames
from opq_proto.wire.measurement_rows import batches_from_wire
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

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


def read_twice(bodies: list[bytes]) -> int:
    """By both ways; how many rows the arrays hold all of."""
    messages = [[b"%d" % box_of(each), each] for each in bodies]
    batches, malformed = batches_from_wire(messages, lambda *_: Nominal(120.0, 60.0))
    wanted: list[str] = []
    for frames in messages:
        try:
            wanted.append(repr(in_order(measurement_from_frames(frames))))
        except FrameError:
            continue
    found = [repr(in_order(row)) for columns in batches for row in columns.measurements()]
    assert sorted(found) == sorted(wanted) and len(malformed) == len(bodies) - len(found)
    for columns in batches:
        assert len(set(columns.ids)) == len(columns)
        for at, row in columns.others.items():
            assert tuple(int(each[at]) for each in (columns.start_ns, columns.end_ns)) == window_ns(row)
    return sum(len(columns) - len(columns.others) for columns in batches)


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


def test_regular_measurements_are_arrays_in_the_form_of_the_original_too() -> None:
    turned = tuple(reversed(METRIC_NAMES))
    ours = [body(1001 + at, END_NS + at, METRIC_NAMES if at % 2 else turned) for at in range(40)]
    untimed = [WireMeasurement.FromString(each) for each in ours]
    for each in untimed:
        for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence"):
            each.ClearField(name)
    assert read_twice(ours) == read_twice([each.SerializeToString() for each in untimed]) == 40


def test_what_says_more_or_less_is_kept_as_an_object() -> None:
    for each in (
        body(crossing=True), body(names=METRIC_NAMES[:3]), body(names=(*METRIC_NAMES, "pst")),
        body(value=float("nan")), body(start_ns=END_NS + 1), body(gateway_id=3),
    ):  # fmt: skip
        assert read_twice([each]) == 0


def test_a_boxs_rows_come_in_order_and_apart_from_those_sent_again() -> None:
    rows = [(1, False), (1, True), (2, False), (1, False), (2, True), (1, True)]
    messages = [
        [b"%04d" % box, body(box, END_NS + at, backfilled=late)] for at, (box, late) in enumerate(rows)
    ]
    batches, _ = batches_from_wire(messages, lambda *_: Nominal(120.0, 60.0))
    found = [(columns.backfilled, columns.ids) for columns in batches]
    assert found == [(False, ["1", "2"]), (True, ["1", "2"]), (False, ["1"]), (True, ["1"])]
