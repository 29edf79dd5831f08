"""Packed counts are the bytes that protobuf itself writes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from opq_proto.messages import TimeSource, Waveform
from opq_proto.wire.opqbox3_pb2 import Cycle
from opq_proto.wire.packed_counts import packed_rows, varint
from opq_proto.wire.waveforms import waveform_to_cycles


def by_protobuf(counts: np.ndarray) -> bytes:
    """Without key and length (two bytes and one, or one and one)."""
    data = Cycle(datapoints=counts.tolist()).SerializeToString()
    return data[1 + len(varint(len(data) - 2 if len(data) < 130 else len(data) - 3)) :]


def test_every_count_there_is_has_protobufs_bytes() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    for packed, value in zip(packed_rows(every, 1), every, strict=True):
        assert packed == by_protobuf(value[np.newaxis])


@given(arrays.arrays(np.int16, st.integers(0, 450)))
def test_a_waveform_has_protobufs_frames(counts: np.ndarray) -> None:
    wave = Waveform("1", 10**18, 7, TimeSource.GPS, 12_000_000, 0.01, 400, counts)
    frames = waveform_to_cycles(wave)
    assert len(frames) == len(counts) // 200
    for number, frame in enumerate(frames):
        first = number * 200
        assert (
            frame
            == Cycle(
                datapoints=counts[first : first + 200].tolist(),
                timestamp_ms=(wave.time_ns(first + 200) + 500_000) // 1_000_000,
                start_ns=wave.time_ns(first),
                uncertainty_ns=7,
                first_sample=400 + first,
                time_source=3,
            ).SerializeToString()
        )


def test_rows_that_are_not_whole_are_left_out() -> None:
    assert list(packed_rows(np.zeros(199, np.int16), 200)) == []
    assert list(packed_rows(np.zeros(5, np.int16), 2)) == [b"\0\0", b"\0\0"]
