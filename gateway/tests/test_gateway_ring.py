"""The ring on disk: bit-exact, readable while written, whole after kill -9 and garbage."""

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telling_blocks import RATE, T0_NS, block, ns, pattern

from opq_gateway.ring.raw import HEAD_BYTES
from opq_gateway.ring.record import stride_bytes
from opq_gateway.ring.ring import Ring
from opq_proto.messages import TimeSource


def test_written_blocks_are_read_bit_exact(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    for first in range(0, 24_000, 200):
        ring.append(block(first))
        wave = ring.read(0, 2**62)
        assert wave is not None and len(wave.counts) == first + 200
    wave = ring.read(ns(1000), ns(5000))
    assert wave is not None
    assert (wave.first_sample, wave.start_ns, wave.v_per_lsb) == (1000, ns(1000), 0.0068)
    assert np.array_equal(wave.counts, pattern(1000, 4000))
    assert (wave.source, wave.uncertainty_ns, wave.rate_millihz) == (TimeSource.GPS, 1000, RATE)
    other = Ring(tmp_path, "1", 1.0)  # another reader, the writer still open
    again = other.read(ns(0), ns(24_000))
    assert again is not None and np.array_equal(again.counts, pattern(0, 24_000))


def test_a_hole_in_indices_is_a_gap(tmp_path: Path) -> None:
    """It is not closed up."""
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(0))
    ring.append(block(600, overrun_before=True))
    wave = ring.read(ns(0), ns(800))
    assert wave is not None
    assert [(gap.first_sample, gap.samples) for gap in wave.gaps] == [(200, 400)]
    assert "overran" in wave.gaps[0].reason
    assert [run.start_ns for run in wave.runs()] == [ns(0), ns(600)]


def test_old_segments_go_when_later_ones_suffice(tmp_path: Path) -> None:
    hours = 12 / 3600  # 12 s: segments of 1 s
    ring = Ring(tmp_path, "1", hours)
    for first in range(0, 12_000 * 40, 200):
        ring.append(block(first))
    span = ring.span()
    assert span is not None
    assert 12e9 <= span.end_ns - span.start_ns <= 14.1e9
    assert len(list(tmp_path.glob("*.seg"))) <= 15
    assert ring.read(ns(0), ns(12_000)) is None
    assert ring.deleted_segments > 20


def test_a_restart_begins_a_segment(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(0))
    ring.append(block(0, boot=8, t0_ns=T0_NS + 10**9))
    ring.append(block(200, boot=8, t0_ns=T0_NS + 10**9))
    assert len(list(tmp_path.glob("*.seg"))) == 2
    ring.close()
    again = Ring(tmp_path, "1", 1.0)
    again.append(block(400, boot=8, t0_ns=T0_NS + 10**9))
    newest = again.newest()
    assert newest is not None and (newest.start_id, newest.end_sample) == (8, 600)
    wave = again.read(0, 2**62)  # two boots in the span: the longest is given
    assert wave is not None and np.array_equal(wave.counts, pattern(0, 600))


def test_a_clock_set_back_keeps_everything_readable(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    for first in range(0, 2000, 200):
        ring.append(block(first))
    for first in range(2000, 3000, 200):
        ring.append(block(first, t0_ns=T0_NS - 3600 * 10**9))
    old = ring.read(ns(0), ns(2000))
    back = ring.read(ns(2000) - 3600 * 10**9, ns(3000) - 3600 * 10**9)
    assert old is not None and np.array_equal(old.counts, pattern(0, 2000))
    assert back is not None and np.array_equal(back.counts, pattern(2000, 1000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 3 * stride_bytes(200)), garbage=st.binary(max_size=900))
def test_a_torn_tail_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    ring = Ring(folder, "1", 1.0)
    for first in range(0, 2000, 200):
        ring.append(block(first))
    ring.close()
    path = next(folder.glob("*.seg"))
    data = path.read_bytes()
    kept = len(data) - cut
    path.write_bytes(data[:kept] + garbage)
    whole = (kept - HEAD_BYTES) // stride_bytes(200)
    again = Ring(folder, "1", 1.0)
    again.append(block(2000))
    wave = again.read(ns(0), ns(2000))
    assert wave is not None and np.array_equal(wave.counts, pattern(0, 200 * whole))


def test_a_bad_record_is_a_counted_gap(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    for first in range(0, 1000, 200):
        ring.append(block(first))
    ring.close()
    path = next(tmp_path.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + 2 * stride_bytes(200) + 100] ^= 1
    path.write_bytes(data)
    again = Ring(tmp_path, "1", 1.0)
    wave = again.read(ns(0), ns(1000))
    assert wave is not None and [(g.first_sample, g.samples) for g in wave.gaps] == [(400, 200)]
    assert again.bad_records == 1


def test_foreign_and_empty_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "000000000005.seg").write_bytes(b"not ours" * 100)
    (tmp_path / "000000000006.seg").write_bytes(b"")
    (tmp_path / "000000000004.seg").mkdir()  # stands for what the disk cannot read
    (tmp_path / "note.txt").write_text("hello")
    ring = Ring(tmp_path, "1", 1.0)
    assert ring.span() is None
    ring.append(block(0))
    assert (tmp_path / "000000000007.seg").exists() and (tmp_path / "000000000005.seg").exists()


WRITER = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from telling_blocks import block
from opq_gateway.ring.ring import Ring
ring = Ring(Path(sys.argv[1]), "1", 24.0)
first = int(sys.argv[2])
while True:
    ring.append(block(first))
    first += 200
    print(first, flush=True)
"""


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_kill_9_loses_one_block_at_most(tmp_path: Path, kills: int) -> None:
    """The one that was being written."""
    seed = 4 if kills == 4 else secrets.randbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    modules = Path(__file__).parent
    first = 0
    for delay_s in [draw.uniform(0.0, 0.12) for _ in range(kills)]:
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "ring"), str(first), str(modules)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            told = int(writer.stdout.readline())
            time.sleep(delay_s)
            os.kill(writer.pid, signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        ring = Ring(tmp_path / "ring", "1", 24.0)
        wave = ring.read(ns(0), ns(10**12))
        assert wave is not None
        assert not wave.gaps and len(wave.counts) >= told
        assert np.array_equal(wave.counts, pattern(0, len(wave.counts)))
        first = len(wave.counts)
