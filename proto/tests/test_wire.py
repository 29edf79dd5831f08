"""Protobuf frames of Boxes and brokers: ours, the original's, and what is neither."""

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.decision import Nominal
from opq_proto.errors import FrameError
from opq_proto.measurement.fields import LIMITS, MOST_NUMBER, OTHER_LIMITS
from opq_proto.measurement.invariants import MAX_WINDOW_NS
from opq_proto.measurement.wire import (
    MeasurementReader,
    measurement_from_wire,
    measurement_to_wire,
)
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Disturbance,
    Interval,
    Measurement,
    Metric,
    TimeSource,
    Waveform,
)
from opq_proto.wire import frames as wire
from opq_proto.wire import opqbox3_pb2 as pb

NS = 1_700_000_000_000_000_000
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ns = st.integers(2**40, 2**61)
sequences = st.none() | st.integers(0, MOST_NUMBER)


@st.composite
def possible_metrics(draw: st.DrawFn) -> dict[str, Metric]:
    """Metrics that can be true: some of the table, and one that is not in it."""
    found = {}
    for key in draw(st.sets(st.sampled_from([*LIMITS, "new"]), max_size=6)):
        least, most = LIMITS.get(key, OTHER_LIMITS)
        value = st.floats(least, most, width=32) if key in LIMITS else st.floats(-1e9, 1e9, width=32)
        low, average, high = sorted(draw(st.tuples(value, value, value)))
        found[key] = Metric(low, high, average)
    return found


measurements = st.builds(
    Measurement,
    box_id=st.integers(0, 2**31 - 1).map(str),
    timestamp_ms=st.integers(1, 2**62 // 10**6 - 1),
    metrics=possible_metrics(),
    start_ns=st.none() | ns,
    end_ns=st.none(),
    uncertainty_ns=st.none() | st.integers(0, UNKNOWN_UNCERTAINTY_NS),
    source=st.sampled_from(TimeSource),
    sequence=sequences,
    oldest_sequence=sequences,
    backfilled=st.booleans(),
    crossing=st.booleans(),
    nominal_v=st.none() | st.floats(1, 1e6, width=32),
    nominal_hz=st.none() | st.floats(10, 400, width=32),
)
lengths_ns = st.integers(1, MAX_WINDOW_NS)


def ending(measurement: Measurement, length_ns: int) -> Measurement:
    """The measurement with the end of a window of that length."""
    return replace(measurement, end_ns=(measurement.start_ns or NS) + length_ns)


@given(st.builds(ending, measurements, lengths_ns))
def test_a_measurement_comes_back_as_it_went(measurement: Measurement) -> None:
    assert measurement_from_wire(measurement_to_wire(measurement)) == measurement


def test_the_topic_is_padded_to_four_digits() -> None:
    assert [wire.topic(box_id) for box_id in ("1", "42", "1001", "12345")] == [
        b"0001",
        b"0042",
        b"1001",
        b"12345",
    ]


@pytest.mark.parametrize("box_id", ["", "-1", "a", "1.0", "2147483648", "٣", " 1", "9" * 100])
def test_a_fractional_box_id_is_refused(box_id: str) -> None:
    with pytest.raises(FrameError, match="want a whole number"):
        wire.topic(box_id)


def test_an_original_reader_skips_our_fields(original: dict[str, Any]) -> None:
    metrics = {"rms": Metric(119.5, 120.5, 120.0)}
    data = measurement_to_wire(
        Measurement(
            "1003",
            1_700_000_000_000,
            metrics,
            start_ns=NS - 10**9,
            end_ns=NS,
            uncertainty_ns=5,
            source=TimeSource.GPS,
            sequence=7,
            oldest_sequence=3,
            backfilled=True,
            crossing=True,
            nominal_v=230.0,
            nominal_hz=50.0,
        )
    )
    kind = original["Measurement"]
    assert {field.number for field in kind.DESCRIPTOR.fields} == {1, 2, 3}
    read = kind.FromString(data)
    assert (read.box_id, read.timestamp_ms) == (1003, 1_700_000_000_000)
    assert read.metrics["rms"].average == 120.0
    handed_on = measurement_from_wire(read.SerializeToString())
    assert (handed_on.sequence, handed_on.nominal_v, handed_on.nominal_hz) == (7, 230.0, 50.0)


def interval_body(**fields: Any) -> bytes:
    interval = Interval(600_000, True, 0.5, {"rms_v": 120.5, "harmonics_v": (120.0, 0.25)}, "mill")
    return measurement_to_wire(
        Measurement("7", 1, {}, NS - 600 * 10**9, NS, 5, sequence=9, interval=interval, **fields)
    )


def test_original_readers_pass_over_intervals_and_disturbances(original: dict[str, Any]) -> None:
    dip = Disturbance("7", "dip", NS - 10**9, NS, 5, 80.0, 2**42 + 1)
    of_dip = measurement_to_wire(Measurement("7", 1, {}, dip.start_ns, NS, 5, disturbance=dip))
    for data in (interval_body(), of_dip):
        read = original["Measurement"].FromString(data)
        assert (read.box_id, dict(read.metrics)) == (7, {})
        assert measurement_from_wire(read.SerializeToString()) == measurement_from_wire(data)


def test_readers_before_the_instants_pass_over_them() -> None:
    """Fields 9 and 10 of an interval: a reader that has 1 to 8 reads the same as without them."""
    values: dict[str, float | tuple[float, ...]] = {"rms_v": 120.5, "harmonics_v": (120.0, 0.25)}
    at_instants = {"angles_deg": (-179.5, math.nan, 30.25), "phasors_v": (119.5, math.nan, 120.0)}
    bodies = []
    for each in (values, {**values, **at_instants}):
        ten = Interval(600_000, False, 1.0, each)
        bodies.append(measurement_to_wire(Measurement("7", 1, {}, NS - 600 * 10**9, NS, 5, interval=ten)))
    read = measurement_from_wire(bodies[1])
    assert read.interval is not None and read.interval.values["rms_v"] == 120.5
    for name, sent in at_instants.items():
        np.testing.assert_array_equal(read.interval.values[name], sent)
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        if message.name == "Interval":
            del message.field[8:]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    older = message_factory.GetMessageClass(pool.FindMessageTypeByName("opq.opqbox3.Measurement"))
    for body in bodies:
        message = older.FromString(body)
        message.DiscardUnknownFields()
        assert message.SerializeToString() == bodies[0]


def test_an_interval_is_no_row_of_measurements() -> None:
    reader = MeasurementReader()
    window = measurement_to_wire(Measurement("7", 1, {"rms": Metric(1.0, 1.0, 1.0)}))
    messages = [[b"0007", interval_body()], [b"0007", window], [b"0008", interval_body()]]
    reader.read(messages)
    batches = reader.batches(lambda *_: Nominal(120.0, 60.0))
    assert [len(each) for each in batches] == [1] and len(reader.malformed) == 1
    assert [each.sequence for each in reader.intervals] == [9] and not reader.intervals[0].is_window


def test_a_two_hour_window_is_refused() -> None:
    interval = Interval(7_200_000, False, None, {"plt": 0.5})
    sent = Measurement("7", 1, {}, NS - 7200 * 10**9, NS, 5, interval=interval)
    assert measurement_from_wire(measurement_to_wire(sent)) == sent
    with pytest.raises(FrameError):
        measurement_from_wire(measurement_to_wire(replace(sent, interval=None)))


def test_an_original_measurement_has_no_new_fields(original: dict[str, Any]) -> None:
    message = original["Measurement"](box_id=5, timestamp_ms=10)
    message.metrics["f"].average = 60.0
    read = measurement_from_wire(message.SerializeToString())
    assert read == Measurement("5", 10, {"f": Metric(0.0, 0.0, 60.0)})


def test_unknown_values_are_absent_and_never_nan() -> None:
    metrics = {
        "f": Metric(math.nan, math.nan, math.nan),
        "rms": Metric(1.0, 2.0, 1.5),
        "thd": Metric(0, math.inf, 0),
    }
    data = measurement_to_wire(Measurement("1", 0, metrics))
    assert set(pb.Measurement.FromString(data).metrics) == {"rms"}
    message = pb.Measurement(box_id=1)
    message.metrics["trans"].max = math.nan
    assert measurement_from_wire(message.SerializeToString()).metrics == {}


@pytest.mark.parametrize("value", [0.0, -230.0, 0.5, 2e6, math.nan, math.inf, -math.inf])
def test_impossible_nominal_values_are_left_out(value: float) -> None:
    message = pb.Measurement(box_id=1, timestamp_ms=5, nominal_v=value, nominal_hz=value)
    assert measurement_from_wire(message.SerializeToString()) == Measurement("1", 5, {})
    written = measurement_to_wire(Measurement("1", 5, {}, nominal_v=value, nominal_hz=value))
    assert not pb.Measurement.FromString(written).HasField("nominal_v")
    assert not pb.Measurement.FromString(written).HasField("nominal_hz")


def test_an_uncertainty_too_large_for_the_wire_saturates() -> None:
    data = measurement_to_wire(Measurement("1", 0, {}, uncertainty_ns=2**40))
    assert measurement_from_wire(data).uncertainty_ns == UNKNOWN_UNCERTAINTY_NS


def test_a_future_time_source_counts_as_free() -> None:
    data = pb.Measurement(box_id=1).SerializeToString() + bytes.fromhex("d83e63")  # field 1003 = 99
    assert pb.Measurement.FromString(data).time_source == 99
    assert measurement_from_wire(data).source is TimeSource.FREE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\x08",
        b"\x0a\x05ab",
        pb.Measurement(box_id=1, timestamp_ms=2**62 // 10**6 + 1).SerializeToString(),
        pb.Measurement(box_id=1, start_ns=-1).SerializeToString(),
        pb.Measurement(box_id=1, end_ns=2**62).SerializeToString(),
        pb.Measurement(box_id=1, start_ns=NS, end_ns=NS + MAX_WINDOW_NS + 1).SerializeToString(),
        pb.Measurement(box_id=1, sequence=2**64 - 1).SerializeToString(),
    ],
    ids=["empty", "bad_tag", "cut", "cut_block", "time", "start", "end", "window_of_years", "sequence"],
)
def test_foreign_bytes_raise_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        measurement_from_wire(data)


@pytest.mark.parametrize(
    "measurement",
    [Measurement("x", 0, {}), Measurement("1", -1, {}), Measurement("1", 0, {}, start_ns=2**70)],
    ids=["box", "time", "start"],
)
def test_an_oversized_measurement_raises_a_frame_error(measurement: Measurement) -> None:
    with pytest.raises(FrameError):
        measurement_to_wire(measurement)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_frame_error(data: bytes) -> None:
    for read in (measurement_from_wire, wire.command_from_wire, wire.response_from_wire):
        try:
            read(data)
        except FrameError as error:
            assert "\n" not in str(error)
    try:
        wire.waveform_from_frames(data, [data], 0.01)
    except FrameError as error:
        assert "\n" not in str(error)


def frame_of(parser: str) -> bytes:
    """One sound frame for each parser."""
    if parser in ("measurement", "arrays"):
        metrics = {name: Metric(1.0, 3.0, 2.0) for name in ("f", "rms", "thd", "trans")}
        return measurement_to_wire(
            Measurement("7", NS // 10**6, metrics, NS - 10**9, NS, 900, TimeSource.GPS, 5)
        )
    if parser == "command":
        return wire.data_command("7", NS, NS + 10**9, "data_t_i", now_ms=5)
    wave = Waveform("7", NS, 900, TimeSource.GPS, 12_000_000, 0.01, 5, np.arange(400, dtype=np.int16))
    head, cycle, *_ = wire.waveform_to_frames(wave, "7", 9, 5, NS, NS + 10**9)
    return cycle if parser == "cycle" else head


def read_as_arrays(data: bytes) -> None:
    reader = MeasurementReader()
    reader.read([[b"7", data]])
    reader.batches(lambda *_: Nominal(120.0, 60.0))
    for error in reader.malformed:
        raise error


@pytest.mark.parametrize("messages", [300, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("parser", ["measurement", "arrays", "command", "response", "head", "cycle"])
def test_damaged_bytes_parse_or_raise_frame_error(
    damaged: Callable[[bytes], bytes], parser: str, messages: int
) -> None:
    golden, head = frame_of(parser), frame_of("head")
    read: dict[str, Callable[[bytes], object]] = {
        "measurement": measurement_from_wire,
        "arrays": read_as_arrays,
        "command": wire.command_from_wire,
        "response": wire.response_from_wire,
        "head": lambda data: wire.waveform_from_frames(data, [frame_of("cycle")], 0.01),
        "cycle": lambda data: wire.waveform_from_frames(head, [data], 0.01),
    }
    read[parser](golden)
    refused = 0
    for _ in range(messages):
        try:
            read[parser](damaged(golden))
        except FrameError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > messages / 10


def test_a_data_command_covers_whole_milliseconds() -> None:
    command = wire.command_from_wire(wire.data_command("7", 1_999_999, 3_000_001, "data_t_i", now_ms=5))
    assert (command.box_id, command.timestamp_ms, command.identity, command.seq) == (7, 5, "data_t_i", 0)
    asked = command.data_command
    assert (asked.start_ms, asked.end_ms, asked.wait) == (1, 4, True)


def test_the_other_commands_are_what_they_say() -> None:
    assert wire.command_from_wire(wire.info_command("1", "i")).WhichOneof("command") == "info_command"
    rate = wire.command_from_wire(wire.rate_command("1", 60, "i"))
    assert rate.sampling_rate_command.measurement_window_cycles == 60
    plugin = wire.command_from_wire(wire.plugin_command("1", "opq-ack", "88", "i")).send_command_to_plugin
    assert (plugin.plugin_name, plugin.message) == ("opq-ack", "88")
    with pytest.raises(FrameError):
        wire.data_command("1", -(10**9), 0, "i")
    with pytest.raises(FrameError):
        wire.rate_command("1", -1, "i")


def test_an_original_reader_reads_our_command(original: dict[str, Any]) -> None:
    command = wire.data_command("7", 0, 10**9, "data_t_i", now_ms=5, stamp=(360_000, 5 * 10**8))
    read = original["Command"].FromString(command)
    assert (read.box_id, read.data_command.end_ms, read.data_command.wait) == (7, 1000, True)


def test_a_float_metric_keeps_its_32_bits() -> None:
    value = struct.unpack("<f", struct.pack("<f", 59.97))[0]
    data = measurement_to_wire(Measurement("1", 0, {"f": Metric(59.97, 59.97, 59.97)}))
    assert measurement_from_wire(data).metrics["f"].min == value
