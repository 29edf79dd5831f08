"""Protobuf frames of Boxes and brokers: ours, the original's, and what is neither."""

import math
import random
import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto import opqbox3_pb2 as pb
from opq_proto import wire
from opq_proto.errors import FrameError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, Measurement, Metric, TimeSource, Waveform

NS = 1_700_000_000_000_000_000
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ns = st.integers(-(2**62), 2**62)
sequences = st.none() | st.integers(0, 2**63 - 1)
measurements = st.builds(
    Measurement,
    box_id=st.integers(0, 2**31 - 1).map(str),
    timestamp_ms=st.integers(1, 2**63 - 1),
    metrics=st.dictionaries(
        st.sampled_from(["f", "rms", "thd", "trans", "new"]), st.builds(Metric, *[finite] * 3)
    ),
    start_ns=st.none() | ns,
    end_ns=st.none() | ns,
    uncertainty_ns=st.none() | st.integers(0, UNKNOWN_UNCERTAINTY_NS),
    source=st.sampled_from(TimeSource),
    sequence=sequences,
    oldest_sequence=sequences,
    backfilled=st.booleans(),
    crossing=st.booleans(),
)


def wave(counts: Any, gaps: tuple[Gap, ...] = (), **changes: Any) -> Waveform:
    facts: dict[str, Any] = {
        "box_id": "1003",
        "start_ns": NS,
        "uncertainty_ns": 1500,
        "source": TimeSource.GPS,
        "rate_millihz": 12_000_000,
        "v_per_lsb": 0.0078125,
        "first_sample": 88_000,
        "counts": np.asarray(counts, dtype=np.int16),
        "gaps": gaps,
    }
    return Waveform(**{**facts, **changes})


def original(drop_from: int = 1000) -> dict[str, Any]:
    """The message classes as a reader has them who knows the original's fields only."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        kept = [field for field in message.field if field.number < drop_from]
        synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
        oneofs = [oneof for index, oneof in enumerate(message.oneof_decl) if index not in synthetic]
        del message.field[:], message.oneof_decl[:]
        message.field.extend(kept)
        message.oneof_decl.extend(oneofs)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"opq.opqbox3.{name}"))
        for name in ("Measurement", "Cycle", "Response", "Command")
    }


@given(measurements)
def test_a_measurement_comes_back_as_it_went(measurement: Measurement) -> None:
    assert wire.measurement_from_wire(wire.measurement_to_wire(measurement)) == measurement


def test_the_topic_is_padded_to_four_digits() -> None:
    assert [wire.topic(box_id) for box_id in ("1", "42", "1001", "12345")] == [
        b"0001",
        b"0042",
        b"1001",
        b"12345",
    ]


@pytest.mark.parametrize("box_id", ["", "-1", "a", "1.0", "2147483648", "٣", " 1", "9" * 100])
def test_a_box_id_that_is_no_whole_number_is_refused(box_id: str) -> None:
    with pytest.raises(FrameError, match="want a whole number"):
        wire.topic(box_id)


def test_an_original_reader_reads_our_measurement_and_skips_our_fields() -> None:
    metrics = {"rms": Metric(119.5, 120.5, 120.0)}
    data = wire.measurement_to_wire(
        Measurement(
            "1003", 1_700_000_000_000, metrics, start_ns=NS - 10**9, end_ns=NS, uncertainty_ns=5,
            source=TimeSource.GPS, sequence=7, oldest_sequence=3, backfilled=True, crossing=True,
        )
    )  # fmt: skip
    kind = original()["Measurement"]
    assert {field.number for field in kind.DESCRIPTOR.fields} == {1, 2, 3}
    read = kind.FromString(data)
    assert (read.box_id, read.timestamp_ms) == (1003, 1_700_000_000_000)
    assert read.metrics["rms"].average == 120.0
    assert wire.measurement_from_wire(read.SerializeToString()).sequence == 7  # it even hands them on


def test_an_original_reader_reads_our_response_and_cycles() -> None:
    frames = wire.waveform_to_frames(wave(range(-300, 300)), "1003", 9, 5, NS, NS + 10**9)
    kinds = original()
    response = kinds["Response"].FromString(frames[0])
    assert response.WhichOneof("response") == "get_data_response"
    assert {field.number for field in response.get_data_response.DESCRIPTOR.fields} == {1, 2}
    cycles = [kinds["Cycle"].FromString(frame) for frame in frames[1:]]
    assert [len(cycle.datapoints) for cycle in cycles] == [200, 200, 200]
    assert list(cycles[0].datapoints) == list(range(-300, -100))
    # 200 samples at 12 kS/s end after 16.67 ms, rounded
    assert [cycle.timestamp_ms - NS // 10**6 for cycle in cycles] == [17, 33, 50]
    assert response.get_data_response.start_ts == cycles[0].timestamp_ms
    assert response.get_data_response.end_ts == cycles[-1].timestamp_ms


def test_a_measurement_of_an_original_box_has_no_fields_of_ours() -> None:
    message = original()["Measurement"](box_id=5, timestamp_ms=10)
    message.metrics["f"].average = 60.0
    read = wire.measurement_from_wire(message.SerializeToString())
    assert read == Measurement("5", 10, {"f": Metric(0.0, 0.0, 60.0)})


def test_unknown_values_are_absent_and_never_nan() -> None:
    metrics = {
        "f": Metric(math.nan, math.nan, math.nan),
        "rms": Metric(1.0, 2.0, 1.5),
        "thd": Metric(0, math.inf, 0),
    }
    data = wire.measurement_to_wire(Measurement("1", 0, metrics))
    assert set(pb.Measurement.FromString(data).metrics) == {"rms"}
    message = pb.Measurement(box_id=1)
    message.metrics["trans"].max = math.nan
    assert wire.measurement_from_wire(message.SerializeToString()).metrics == {}


def test_an_uncertainty_too_large_for_the_wire_saturates() -> None:
    data = wire.measurement_to_wire(Measurement("1", 0, {}, uncertainty_ns=2**40))
    assert wire.measurement_from_wire(data).uncertainty_ns == UNKNOWN_UNCERTAINTY_NS


def test_a_time_source_from_the_future_counts_as_free() -> None:
    data = pb.Measurement(box_id=1).SerializeToString() + bytes.fromhex("d83e63")  # field 1003 = 99
    assert pb.Measurement.FromString(data).time_source == 99
    assert wire.measurement_from_wire(data).source is TimeSource.FREE


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\x08", b"\x0a\x05ab", pb.Measurement(box_id=1, timestamp_ms=2**63).SerializeToString(),
     pb.Measurement(box_id=1, sequence=2**64 - 1).SerializeToString()],
    ids=["empty", "bad_tag", "cut", "cut_block", "time", "sequence"],
)  # fmt: skip
def test_bytes_that_are_no_measurement_raise_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        wire.measurement_from_wire(data)


@pytest.mark.parametrize(
    "measurement",
    [Measurement("x", 0, {}), Measurement("1", -1, {}), Measurement("1", 0, {}, start_ns=2**70)],
    ids=["box", "time", "start"],
)
def test_a_measurement_that_does_not_fit_raises_a_frame_error(measurement: Measurement) -> None:
    with pytest.raises(FrameError):
        wire.measurement_to_wire(measurement)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_frame_error(data: bytes) -> None:
    for read in (wire.measurement_from_wire, wire.command_from_wire, wire.response_from_wire):
        try:
            read(data)
        except FrameError as error:
            assert "\n" not in str(error)
    try:
        wire.waveform_from_frames(data, [data], 0.01)
    except FrameError as error:
        assert "\n" not in str(error)


# Waveforms


@settings(max_examples=40)
@given(st.integers(0, 1500), st.integers(0, 2**40), st.sampled_from([12_000_000, 12_000_123, 11_999_000]))
def test_whole_cycles_of_a_waveform_come_back_in_any_order_and_doubled(
    length: int, first: int, rate_millihz: int
) -> None:
    rng = np.random.default_rng(length)
    sent = wave(rng.integers(-32768, 32768, length), first_sample=first, rate_millihz=rate_millihz)
    header, *cycles = wire.waveform_to_frames(sent, "1003", 1, 2)
    mixed = [*cycles, *cycles[:2]]
    random.Random(length).shuffle(mixed)
    response, got = wire.waveform_from_frames(header, mixed)
    assert (response.box_id, response.seq, response.timestamp_ms) == (1003, 1, 2)
    whole = length // 200 * 200
    if not whole:
        assert got is None
        return
    assert got is not None
    assert np.array_equal(got.counts, sent.counts[:whole])
    assert (got.box_id, got.start_ns, got.first_sample) == ("1003", NS, first)
    assert (got.rate_millihz, got.v_per_lsb) == (rate_millihz, 0.0078125)
    assert (got.uncertainty_ns, got.source, got.gaps) == (1500, TimeSource.GPS, ())


def test_a_gap_costs_the_cycles_that_would_span_it_and_keeps_its_reason() -> None:
    sent = wave(range(1000), gaps=(Gap(88_500, 30, "ring was full"),))  # 500 samples, hole of 30, 500 samples
    header, *cycles = wire.waveform_to_frames(sent, "1003", 1, 2)
    assert len(cycles) == 4
    _, got = wire.waveform_from_frames(header, cycles)
    assert got is not None
    assert got.gaps == (Gap(88_400, 130, "ring was full"),)
    runs = list(got.runs())
    assert [(run.first_sample, len(run.counts)) for run in runs] == [(88_000, 400), (88_530, 400)]
    assert runs[1].counts[0] == 500
    assert runs[1].start_ns == NS + 530 * 10**12 // 12_000_000


def test_cycles_lost_on_the_way_are_a_gap_too() -> None:
    header, *cycles = wire.waveform_to_frames(wave(range(1000)), "1003", 1, 2)
    _, got = wire.waveform_from_frames(header, cycles[:1] + cycles[3:])
    assert got is not None
    assert got.gaps == (Gap(88_200, 400, "not received"),)
    assert got.counts.tolist() == [*range(200), *range(600, 1000)]


def unpacked(counts: list[int], timestamp_ms: int) -> bytes:
    """A Cycle with a tag before every sample, as original Boxes write it."""

    def varint(value: int) -> bytes:
        value &= 2**64 - 1
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    return b"".join(b"\x08" + varint(count) for count in counts) + b"\x10" + varint(timestamp_ms)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_an_original_boxs_cycles_are_neighbours_and_begin_200_samples_before_their_time(packed: bool) -> None:
    counts = [[-32768, 32767, 0, -1, *range(196)], [-5] * 200]
    kinds = original()
    cycles = [
        kinds["Cycle"](datapoints=part, timestamp_ms=1_700_000_000_017 + 17 * index).SerializeToString()
        if packed
        else unpacked(part, 1_700_000_000_017 + 17 * index)
        for index, part in enumerate(counts)
    ]
    header = kinds["Response"](box_id=7, seq=1)
    header.get_data_response.start_ts = 1_700_000_000_017
    _, got = wire.waveform_from_frames(header.SerializeToString(), cycles, v_per_lsb_fallback=1 / 152.5)
    assert got is not None
    assert got.counts.tolist() == counts[0] + counts[1]
    # 200 samples at 12 kS/s last 16.666... ms
    assert got.start_ns == 1_700_000_000_017_000_000 - 16_666_666
    assert (got.source, got.uncertainty_ns) == (TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    assert (got.rate_millihz, got.v_per_lsb, got.first_sample, got.gaps) == (12_000_000, 1 / 152.5, 0, ())


def test_packed_is_what_we_write() -> None:
    [cycle] = wire.waveform_to_cycles(wave([0] * 200))
    assert cycle.startswith(b"\x0a\xc8\x01" + bytes(200))


def test_a_sine_has_the_size_that_the_reference_measured() -> None:
    """opq-interop B: a 200-sample sine cycle of amplitude 23520 is 1251 bytes packed."""
    counts = np.round(23520 * np.sin(2 * np.pi * np.arange(200) / 200))
    assert len(pb.Cycle(datapoints=counts.astype(int).tolist()).SerializeToString()) == pytest.approx(
        1251, abs=10
    )


def test_a_box_without_gain_needs_a_calibration_from_elsewhere() -> None:
    header = pb.Response(box_id=7, get_data_response=pb.GetDataResponseHeader()).SerializeToString()
    with pytest.raises(FrameError, match="Box 7: volts_per_lsb is not sent"):
        wire.waveform_from_frames(header, [unpacked([1] * 200, 5)])


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan, math.inf])
def test_a_gain_that_is_no_positive_number_counts_as_not_told(gain: float) -> None:
    header = pb.Response(box_id=7, get_data_response=pb.GetDataResponseHeader(volts_per_lsb=gain))
    _, got = wire.waveform_from_frames(header.SerializeToString(), [unpacked([1] * 200, 5)], 0.25)
    assert got is not None
    assert got.v_per_lsb == 0.25


def test_nothing_matched_is_a_header_of_32_00_and_no_waveform() -> None:
    [header] = wire.waveform_to_frames(None, "1", 7, 5)
    assert header.endswith(b"\x32\x00")
    response, got = wire.waveform_from_frames(header, [])
    assert got is None
    assert response.get_data_response.start_ts == 0


def test_an_answer_to_another_command_has_no_waveform() -> None:
    header = pb.Response(box_id=1, info_response=pb.GetInfoResponse(uptime=3)).SerializeToString()
    response, got = wire.waveform_from_frames(header, [])
    assert got is None
    assert response.info_response.uptime == 3


def test_samples_outside_int16_are_refused() -> None:
    header = pb.Response(
        box_id=1, get_data_response=pb.GetDataResponseHeader(volts_per_lsb=1)
    ).SerializeToString()
    with pytest.raises(FrameError, match="outside int16"):
        wire.waveform_from_frames(header, [unpacked([40_000] * 200, 5)])


def test_half_an_answer_of_ours_is_refused() -> None:
    header, *cycles = wire.waveform_to_frames(wave(range(400)), "1", 1, 1)
    with pytest.raises(FrameError, match="some Cycles"):
        wire.waveform_from_frames(header, [*cycles, unpacked([1] * 200, 5)])


# Commands


def test_a_data_command_covers_its_span_in_whole_milliseconds() -> None:
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


def test_an_original_reader_reads_our_command() -> None:
    read = original()["Command"].FromString(wire.data_command("7", 0, 10**9, "data_t_i", now_ms=5))
    assert (read.box_id, read.data_command.end_ms, read.data_command.wait) == (7, 1000, True)


def test_a_float_metric_keeps_its_32_bits() -> None:
    value = struct.unpack("<f", struct.pack("<f", 59.97))[0]
    data = wire.measurement_to_wire(Measurement("1", 0, {"f": Metric(59.97, 59.97, 59.97)}))
    assert wire.measurement_from_wire(data).metrics["f"].min == value
