"""A captured link becomes messages and arrays, with every hole and double counted. No emulator needed."""

from pathlib import Path

import numpy as np
import pytest

from opq_hil.world.capture import Capture, holes, overruns, read_log, waveform
from opq_proto.link import frames as link
from opq_proto.link.messages import FLAG_OVERRUN_BEFORE, FLAG_RESENT, Log, Samples
from opq_proto.messages import TimeSource


def block(first: int, values: list[int], flags: int = 0) -> Samples:
    return Samples(first, 0, 0, TimeSource.GPS, 12_000_000, flags, np.array(values, np.int16))


def test_logged_bytes_become_timed_messages(tmp_path: Path) -> None:
    frame = link.encode(Log(3, 1, 2, 10), 5)
    path = tmp_path / "log"
    path.write_text(f"100 {frame[:4].hex()}\n200 {frame[4:].hex()}\n300 {frame[:-3].hex()}00\n")
    capture = read_log(path)
    assert [(received.t_ns, received.sequence, received.message) for received in capture.received] == [
        (200, 5, Log(3, 1, 2, 10))
    ]
    assert capture.counters["crc_errors"] == 1 and capture.counters["frames"] == 1
    assert capture.of(Log) == [Log(3, 1, 2, 10)] and capture.of(Log, after_ns=201) == []
    assert capture.data.startswith(frame)


def test_blocks_in_any_order_are_one_waveform() -> None:
    blocks = [block(10, [1, 2]), block(14, [5, 6]), block(10, [1, 2], FLAG_RESENT)]
    found = waveform(blocks)
    assert found.first_sample == 10 and found.missing == 2 and found.conflicts == 0
    assert found.counts.tolist() == [1, 2, 0, 0, 5, 6]
    assert holes(blocks) == [(12, 2)]


def test_a_sample_with_two_values_conflicts() -> None:
    assert waveform([block(0, [1, 2]), block(1, [3])]).conflicts == 1


def test_overruns_are_what_the_box_admits() -> None:
    assert overruns([block(0, [1]), block(5, [1], FLAG_OVERRUN_BEFORE)]) == 1


def test_fresh_blocks_are_those_not_sent_again() -> None:
    frames = [link.encode(block(0, [1]), 0), link.encode(block(0, [1], FLAG_RESENT), 1)]
    assert [found.flags for found in Capture([(1, b"".join(frames))]).fresh] == [0]


def test_no_block_is_no_waveform() -> None:
    with pytest.raises(ValueError, match="no block"):
        waveform([])
