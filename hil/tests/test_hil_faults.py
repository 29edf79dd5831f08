"""The faulty wire: deterministic by seed, as often wrong and as slow as configured."""

import contextlib
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_sim.box.port import BUFFER_BYTES, PtyPort
from opq_sim.box.wire_faults import HARDWARE, FaultyLine, LineFaults, for_box


def carried(line: FaultyLine, data: bytes, sizes: list[int]) -> bytes:
    parts, at = [], 0
    for size in [*sizes, len(data)]:
        parts.append(line.carry(data[at : at + size]))
        at += size
    return b"".join(parts)


@given(st.lists(st.integers(1, 300), max_size=20), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_hit_bytes_do_not_depend_on_cutting(sizes: list[int], seed: int):
    faults = LineFaults(corruption=0.02, dropping=0.01, seed=seed)
    data = bytes(range(256)) * 12
    assert carried(FaultyLine(faults), data, sizes) == FaultyLine(faults).carry(data)


def test_bytes_are_damaged_as_often_as_asked():
    count = 400_000
    corrupting = FaultyLine(LineFaults(corruption=1e-3))
    arrived = corrupting.carry(bytes(count))
    hits = int(np.count_nonzero(np.frombuffer(arrived, np.uint8)))
    assert len(arrived) == count
    assert hits == corrupting.corrupted_bytes
    assert 300 < hits < 500  # 400 expected, 5 sigma = 100
    dropping = FaultyLine(LineFaults(dropping=1e-3))
    assert len(dropping.carry(bytes(count))) == count - dropping.dropped_bytes
    assert 300 < dropping.dropped_bytes < 500


def test_a_perfect_wire_changes_nothing():
    data = bytes(range(256)) * 40
    assert FaultyLine(LineFaults()).carry(data) == data
    faults = LineFaults(corruption=0.01)
    assert FaultyLine(faults, 0).carry(data) != FaultyLine(faults, 1).carry(data)
    assert FaultyLine(for_box(faults, 1)).carry(data) != FaultyLine(for_box(faults, 2)).carry(data)


def test_the_wire_keeps_its_baud_rate():
    port = PtyPort(HARDWARE)
    sent = bytes(range(1, 251)) * 40
    read = b""
    sizes = []
    now_ns = 0
    try:
        reader = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        port.send(sent)
        while port.waiting_bytes and now_ns < 10**9:
            before = port.sent_bytes
            port.flush(now_ns)
            now_ns += 50_000
            sizes.append(port.sent_bytes - before)
            while len(read) < port.sent_bytes:  # a pty hands on what it was given a little later
                with contextlib.suppress(BlockingIOError):
                    read += os.read(reader, 4096)
        os.close(reader)
    finally:
        port.close()
    assert read == sent
    assert max(sizes) <= 64
    assert now_ns / 1e9 == pytest.approx(10_000 * 10 / 921_600, rel=0.02)


def test_an_unread_port_keeps_whole_frames():
    port = PtyPort()
    try:
        for _ in range(400):
            port.send(b"x" * 400)
            port.flush(time.monotonic_ns())
        assert port.waiting_bytes <= BUFFER_BYTES
        assert port.lost_bytes > 0
        assert port.sent_bytes + port.waiting_bytes + port.lost_bytes == 400 * 400
        assert port.lost_bytes % 400 == 0
    finally:
        port.close()


@pytest.mark.parametrize(
    "wrong",
    [{"corruption": 2.0}, {"dropping": -0.1}, {"baud": -1}, {"chunk_bytes": (0, 5)}, {"chunk_bytes": (9, 5)}],
)
def test_an_impossible_wire_is_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"want|probabilities"):
        LineFaults(**wrong)
