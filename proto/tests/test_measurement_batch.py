"""Measurements read many at a time are those that the library reads one at a time, to the bit."""

import math
import random
import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, TimeSource
from opq_proto.wire.frames import measurement_from_wire
from opq_proto.wire.measurement_batch import MIN_EQUAL_LENGTH, MeasurementBatch, WireRows
from opq_proto.wire.measurement_columns import METRIC_NAMES, MeasuredBoxes, NumberedColumns
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


def objects(wire: WireRows) -> list[Measurement]:
    boxes = MeasuredBoxes(tuple(map(str, wire.box.tolist())), (Nominal(0.0, 0.0),) * len(wire))
    said = np.stack((wire.nominal_v, wire.nominal_hz), axis=1)
    rows = NumberedColumns(
        boxes, np.arange(len(wire)), wire.start_ns, wire.end_ns, wire.metrics, 0, TimeSource.FREE,
        wire.timestamp_ms, wire.sequence, wire.oldest, wire.uncertainty_ns, wire.source, wire.clock_id,
        np.stack((wire.first_sample, wire.samples), axis=1), said,
    ).measurements()  # fmt: skip
    late = wire.backfilled.tolist()
    return [replace(row, backfilled=bool(each)) for row, each in zip(rows, late, strict=True)]


def read_twice(bodies: list[bytes]) -> int:
    """By both ways; how many were read as arrays."""
    wire, others = MeasurementBatch().read(bodies)
    found = {} if wire is None else dict(zip(wire.at.tolist(), objects(wire), strict=True))
    assert sorted([*found, *others]) == list(range(len(bodies)))
    for at, row in found.items():  # FrameError: what the library refuses is not read
        library = measurement_from_wire(bodies[at])
        library = replace(library, metrics={name: library.metrics[name] for name in METRIC_NAMES})
        assert repr(row) == repr(library)
    return len(found)


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
def test_arrays_and_the_library_agree_on_every_message(seed: int) -> None:
    draw = random.Random(seed)
    bodies = [body(number) for number in range(1001, 1005)]
    for _ in range(10):
        each = strange(draw)
        bodies += [each] * MIN_EQUAL_LENGTH + [changed(each, draw)] * draw.randint(0, MIN_EQUAL_LENGTH)
        bodies += [changed(body(), draw) for _ in range(5)]
    draw.shuffle(bodies)
    read_twice(bodies)


def test_regular_measurements_are_read_as_arrays_whatever_the_order_of_their_metrics() -> None:
    turned = tuple(reversed(METRIC_NAMES))
    bodies = [
        body(1001 + number, END_NS + number, METRIC_NAMES if number % 2 else turned) for number in range(40)
    ]
    assert read_twice(bodies) == 40


def test_what_is_not_regular_is_left_to_the_library() -> None:
    for each in (
        body(crossing=True), body(backfilled=True), body(names=METRIC_NAMES[:3]), body() + b"\x00",
        body(names=(*METRIC_NAMES, "pst")), body(value=float("nan")), body(start_ns=END_NS + 1), b"", b"\x08",
        body(start_ns=END_NS - 121 * 10**9), body(sequence=2**63), body(uncertainty_ns=7) + b"\x08\x05",
    ):  # fmt: skip
        wire, others = MeasurementBatch().read([each] * 5)
        assert wire is None and others == list(range(5)), each


def test_a_flood_of_shapes_is_bounded() -> None:
    batch = MeasurementBatch()
    for size in range(300):
        batch.read([body(sequence=1, clock_id=1) + b"\x08\x01" * size] * MIN_EQUAL_LENGTH)
        batch.read([body(sequence=2**40 + size, oldest_sequence=size + 1)] * MIN_EQUAL_LENGTH)
    assert len(batch._shapes) <= 64
