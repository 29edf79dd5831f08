"""Waveforms on the wire: ours with gaps and time, the original's packed and unpacked."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.errors import FrameError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource, Waveform
from opq_proto.wire import frames as wire
from opq_proto.wire import opqbox3_pb2 as pb

NS = 1_700_000_000_000_000_000


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


def test_an_original_reader_reads_our_response_and_cycles(original: dict[str, Any]) -> None:
    frames = wire.waveform_to_frames(wave(range(-300, 300)), "1003", 9, 5, NS, NS + 10**9)
    kinds = original
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


@settings(max_examples=40)
@given(st.integers(0, 1500), st.integers(0, 2**40), st.sampled_from([12_000_000, 12_000_123, 11_999_000]))
def test_cycles_are_sorted_and_deduplicated(length: int, first: int, rate_millihz: int) -> None:
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


def test_a_gap_drops_cycles_and_keeps_reason() -> None:
    """A gap costs the cycles that would span it and keeps its reason."""
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


def test_lost_cycles_are_a_gap() -> None:
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
def test_original_cycles_are_neighbours(packed: bool, original: dict[str, Any]) -> None:
    counts = [[-32768, 32767, 0, -1, *range(196)], [-5] * 200]
    kinds = original
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


@pytest.mark.parametrize("by_ms", [-34, -13_913, -60_371_200])
def test_after_a_clock_set_back_later_cycles_count(by_ms: int) -> None:
    """It answers with all that it read in the span, by whichever clock."""
    t_ms = 1_795_667_563_000
    times_ms = [t_ms + 17 * each for each in range(4)] + [t_ms + by_ms + 17 * each for each in range(4, 7)]
    cycles = [
        pb.Cycle(datapoints=[number] * 200, timestamp_ms=at).SerializeToString()
        for number, at in enumerate(times_ms)
    ]
    header = pb.Response(box_id=3, seq=7)
    header.get_data_response.SetInParent()
    _, got = wire.waveform_from_frames(header.SerializeToString(), cycles, 0.01)
    assert got is not None and list(got.counts[::200]) == [4, 5, 6]
    assert got.start_ns == times_ms[4] * 10**6 - 16_666_666


def test_packed_is_what_we_write() -> None:
    [cycle] = wire.waveform_to_cycles(wave([0] * 200))
    assert cycle.startswith(b"\x0a\xc8\x01" + bytes(200))


def test_a_sine_has_its_measured_size() -> None:
    """docs/reference/opq-interop.md B: a 200-sample sine cycle of amplitude 23520 is 1251 bytes packed."""
    counts = np.round(23520 * np.sin(2 * np.pi * np.arange(200) / 200))
    assert len(pb.Cycle(datapoints=counts.astype(int).tolist()).SerializeToString()) == pytest.approx(
        1251, abs=10
    )


def test_a_box_without_gain_needs_calibration() -> None:
    header = pb.Response(box_id=7, get_data_response=pb.GetDataResponseHeader()).SerializeToString()
    with pytest.raises(FrameError, match="Box 7: volts_per_lsb is not sent"):
        wire.waveform_from_frames(header, [unpacked([1] * 200, 5)])


@pytest.mark.parametrize("gain", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_gain_counts_as_unreported(gain: float) -> None:
    header = pb.Response(box_id=7, get_data_response=pb.GetDataResponseHeader(volts_per_lsb=gain))
    _, got = wire.waveform_from_frames(header.SerializeToString(), [unpacked([1] * 200, 5)], 0.25)
    assert got is not None
    assert got.v_per_lsb == 0.25


def test_no_match_has_header_32_00() -> None:
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


def ours(**fields: int) -> bytes:
    return pb.Cycle(datapoints=[0] * 200, **{"start_ns": NS, "first_sample": 0, **fields}).SerializeToString()


@pytest.mark.parametrize(
    ("header", "cycles"),
    [
        ({"rate_millihz": 0}, [ours()]),
        ({"rate_millihz": 2**64 - 1}, [ours()]),
        ({}, [ours(start_ns=2**63 - 1)]),
        ({}, [ours(start_ns=-(2**63))]),
        ({}, [ours(first_sample=2**64 - 1)]),
        ({}, [ours(), ours(first_sample=2**40)]),
        ({}, [unpacked([1] * 200, 2**64 - 1)]),
        ({"start_ts": 2**64 - 1}, [unpacked([1] * 200, 0)]),
    ],
)
def test_impossible_times_rates_and_indices_are_refused(header: dict[str, int], cycles: list[bytes]) -> None:
    data = pb.GetDataResponseHeader(volts_per_lsb=1.0, **header)
    frame = pb.Response(box_id=1, get_data_response=data).SerializeToString()
    with pytest.raises(FrameError, match="Box 1: "):
        wire.waveform_from_frames(frame, cycles)


@pytest.mark.parametrize("told", [0.0, -1e308, math.nan, math.inf, 1e300, 1e-300])
def test_an_impossible_gain_is_dropped(told: float) -> None:
    data = pb.GetDataResponseHeader(volts_per_lsb=told)
    frame = pb.Response(box_id=1, get_data_response=data).SerializeToString()
    _, found = wire.waveform_from_frames(frame, [ours()], 0.25)
    assert found is not None and found.v_per_lsb == 0.25
    with pytest.raises(FrameError, match="volts_per_lsb"):
        wire.waveform_from_frames(frame, [ours()])
