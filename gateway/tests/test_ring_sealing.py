"""Sealed segments: the same samples, stamps and losses in less room; damage costs a chunk."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telling_blocks import T0_NS, block, blocks, ns
from waiting import wait_for

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.ring import sealed
from opq_gateway.ring.codec import pack, unpack
from opq_gateway.ring.lost import NOT_ON_DISK, Lost
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.sealer import Sealer
from opq_gateway.ring.sealing import NotSealableError, seal
from opq_gateway.ring.segment import ROW, RecordColumns, StatedFacts
from opq_proto.errors import READING_COMMIT, OtherFormError
from opq_proto.messages import Gap, TimeSource

ALL = (0, 2**62)


def of_many_kinds(seconds: int = 20) -> list[SampleBlock | Gap]:
    """A Box's stream with holes, other lengths, sources, rates, a jitter of the stamps."""
    draw = np.random.default_rng(5)
    out: list[SampleBlock | Gap] = []
    at = 0
    while at < 12_000 * seconds:
        if draw.random() < 0.02:
            missing = int(draw.integers(1, 3000))
            if draw.random() < 0.5:
                out.append(Gap(at, missing, f"reason {missing}"))
            at += missing
        count = 200 if draw.random() < 0.9 else int(draw.integers(1, 200))
        facts = {
            "source": TimeSource(int(draw.integers(0, 4))),
            "uncertainty_ns": int(draw.integers(0, 2**32)),
            "rate_millihz": int(12_000_000 + draw.integers(-500, 500)),
            "overrun_before": bool(draw.random() < 0.1),
            "clipped": bool(draw.random() < 0.1),
        }
        out.append(block(at, count, t0_ns=T0_NS + int(draw.integers(0, 900)), **facts))
        at += count
    return out


def filled(folder: Path, stream: list[SampleBlock | Gap]) -> Ring:
    """A ring with one ended segment of the stream, and a live one."""
    ring = Ring(folder, "1", 24.0)
    for one in stream:
        (ring.gap if isinstance(one, Gap) else ring.append)(one)  # type: ignore[arg-type]
    ring.append(block(0, boot=8, t0_ns=T0_NS + 10**12))
    return ring


def same(left: list[SampleBlock], right: list[SampleBlock]) -> bool:
    names = SampleBlock.__slots__
    return len(left) == len(right) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(left, right, strict=True)
        for name in names
    )


def sealed_ring(folder: Path, stream: list[SampleBlock | Gap]) -> tuple[Ring, Path]:
    ring = filled(folder, stream)
    (segment,) = ring.unsealed()
    made = seal(segment.path)
    assert made is not None and ring.replace(segment, made) and not ring.unsealed()
    return ring, segment.path


def test_a_sealed_segment_is_bit_exact(tmp_path: Path) -> None:
    ring = filled(tmp_path, of_many_kinds())
    spans = [ALL, (ns(30_000), ns(30_001)), (ns(50_000), ns(170_000)), (ns(-900), ns(1))]
    before = [(ring.read_blocks(*span), ring.read_lost(*span)) for span in spans]
    wave = ring.read(ns(24_000), ns(48_000))
    (segment,) = ring.unsealed()
    raw_bytes = segment.file_bytes
    made = seal(segment.path)
    assert made is not None and ring.replace(segment, made)
    for reader in (ring, Ring(tmp_path, "1", 24.0)):
        for span, (had_blocks, had_lost) in zip(spans, before, strict=True):
            assert same(reader.read_blocks(*span), had_blocks) and reader.read_lost(*span) == had_lost
        again = reader.read(ns(24_000), ns(48_000))
        assert wave is not None and again is not None
        assert (again.start_ns, again.rate_millihz, again.gaps) == (
            wave.start_ns,
            wave.rate_millihz,
            wave.gaps,
        )
        assert np.array_equal(again.counts, wave.counts)
    assert segment.file_bytes < raw_bytes and ring.sealed_segments == 1
    assert not list(tmp_path.glob("*.sealing"))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**62),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 65535),
            st.integers(0, 255),
            st.integers(0, 255),
        ),
        max_size=40,
    ),
    reason=st.text(max_size=200),
)
def test_rows_of_any_values_round_trip(rows: list[tuple[int, ...]], reason: str) -> None:
    lost = (Lost(2**32 - 1, 2**62, 2**62, -5, 7, reason),) if reason else ()
    part = RecordColumns(StatedFacts(7, 1.0), np.array(rows, ROW), np.zeros(0, np.int16), lost)
    again, losses = sealed.rows_of_bytes(sealed.rows_to_bytes(part))
    assert np.array_equal(again, part.rows) and losses == lost


def test_a_chunks_front_is_read_alone() -> None:
    draw = np.random.default_rng(2)
    times = np.arange(24_000) / 12_000
    mains = np.rint(20_000 * np.sin(2 * np.pi * 60.01 * times) + draw.normal(0, 2, 24_000)).astype(np.int16)
    for counts in (mains, draw.integers(-32768, 32767, 24_000, np.int16), np.arange(24_000, dtype=np.int16)):
        data = pack(counts)
        for most in (0, 1, 200, 4321, 23_999, 24_000, 99_999):
            assert np.array_equal(unpack(data, most), counts[:most])


def test_damage_in_a_sealed_file_costs_a_chunk(tmp_path: Path) -> None:
    """The hole has a reason."""
    draw = np.random.default_rng(3)
    noise = draw.integers(-2000, 2000, (600, 200), np.int16)  # chunks of many sectors
    told = zip(blocks(0, 12_000 * 10), noise, strict=True)
    stream: list[SampleBlock | Gap] = [replace(one, counts=counts) for one, counts in told]
    ring, path = sealed_ring(tmp_path, stream)
    data = path.read_bytes()
    chunk = sealed.CHUNK_SAMPLES
    for at in [0, 3, 40, 130, len(data) - 1, len(data) - 200, *draw.integers(0, len(data), 60).tolist()]:
        hurt = bytearray(data)
        hurt[at : at + 512] = os.urandom(len(hurt[at : at + 512]))
        path.write_bytes(hurt)
        for reader in (ring, Ring(tmp_path, "1", 24.0)):
            found = [one for one in reader.read_blocks(*ALL) if one.start_id == 7]
            assert len(found) >= 600 - 2 * chunk // 200, at
            assert all(np.array_equal(one.counts, stream[one.first_sample // 200].counts) for one in found)  # type: ignore[union-attr]
            lost = [one for one in reader.read_lost(*ALL) if one.start_id == 7]
            first_to_last = found[-1].end_sample - found[0].first_sample
            assert sum(one.samples for one in lost) == first_to_last - 200 * len(found)
            assert {one.reason for one in lost} <= {NOT_ON_DISK}


def test_an_index_less_sealed_file_is_a_hole(tmp_path: Path) -> None:
    """It is counted."""
    ring = Ring(tmp_path, "1", 0.02)  # segments of 6 s
    ring.append_all(blocks(0, 12_000 * 18))
    hurt = ring.unsealed()[1]
    made = seal(hurt.path)
    assert made is not None and ring.replace(hurt, made)
    data = bytearray(hurt.path.read_bytes())
    data[:100] = data[-100:] = bytes(100)
    hurt.path.write_bytes(data)
    lost = ring.read_lost(*ALL)
    assert [(one.first_sample, one.end_sample) for one in lost] == [(hurt.first_sample, hurt.end_sample)]
    assert lost[0].reason == NOT_ON_DISK and ring.bad_records == 1


@pytest.mark.parametrize(("kind", "longest"), [("16 bits", 24_000), ("8 bits", 18_000)])
def test_small_packed_chunks_are_cut_small(tmp_path: Path, kind: str, longest: int) -> None:
    times = np.arange(12_000 * 10) / 12_000
    noise = np.random.default_rng(4).normal(0, 2 if kind == "16 bits" else 70, len(times))
    counts = np.rint(20_000 * np.sin(2 * np.pi * 60.01 * times) + noise).astype(np.int16)
    counts |= 0 if kind == "16 bits" else 0xFF
    told = blocks(0, len(counts))
    stream: list[SampleBlock | Gap] = [
        replace(one, counts=counts[one.first_sample : one.end_sample]) for one in told
    ]
    ring, path = sealed_ring(tmp_path, stream)
    data = path.read_bytes()
    chunks = int.from_bytes(data[8:12], "little")
    assert chunks - 2 <= len(counts) // longest <= chunks
    wave = ring.read(ns(0), ns(len(counts)))
    assert wave is not None and np.array_equal(wave.counts, counts)


def test_what_is_no_raw_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "000000000001.seg"
    for content in (b"", b"OPQRAW01", os.urandom(5000), bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(NotSealableError):
            seal(path)
    with pytest.raises(OSError):
        seal(tmp_path / "absent.seg")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("magic", [b"OPQRING3", b"OPQSEAL5"])
def test_a_ring_of_another_form_is_refused(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "000000000001.seg"
    path.write_bytes(magic + bytes(500))
    with pytest.raises(OtherFormError, match=f"{path.name}: .* commit {READING_COMMIT} reads"):
        Ring(tmp_path, "1", 24.0)
    assert path.exists()


def test_a_segment_deleted_while_sealing_stays_deleted(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 12 / 3600)  # segments of 1 s
    ring.append_all(blocks(0, 24_000))
    oldest = ring.unsealed()[0]
    made = seal(oldest.path)
    ring.append_all(blocks(24_000, 12_000 * 20))
    assert made is not None and not ring.replace(oldest, made) and not oldest.path.exists()


def test_reads_during_sealing_are_whole(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 0.02)  # segments of 6 s
    ring.append_all(blocks(0, 12_000 * 22))
    stop, wrong, rounds = threading.Event(), [], [0]

    def read() -> None:
        while not stop.is_set():
            wave = ring.read(ns(0), ns(12_000 * 22))
            rounds[0] += 1
            if wave is None or len(wave.counts) != 12_000 * 22 or wave.gaps:
                wrong.append(wave)

    reader = threading.Thread(target=read)
    reader.start()
    for segment in ring.unsealed():
        made = seal(segment.path)
        assert made is not None and ring.replace(segment, made)
    wait_for(lambda: rounds[0] > 1)
    stop.set()
    reader.join(240)
    assert not reader.is_alive() and not wrong


class Sealing:
    """A Sealer at work on one ring."""

    def __init__(self, ring: Ring, **facts: object) -> None:
        self.counters = {"1": BoxCounters()}
        quick = {"poll_s": 0.02, "first_wait_s": 0.01, "stay_raw": 0}
        self.sealer = Sealer({"1": ring}, self.counters, **(quick | facts))  # type: ignore[arg-type]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.sealer.run, args=(self.stop,))

    def __enter__(self) -> "Sealing":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(240)
        assert not self.thread.is_alive()

    def wait(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + 240
        while not what():
            assert time.monotonic() < until
            time.sleep(0.01)


def test_the_child_seals_newest_first(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 0.02)
    ring.append_all(blocks(0, 12_000 * 30))
    paths = [segment.path for segment in ring.unsealed()]
    with Sealing(ring) as work:
        work.wait(lambda: not ring.unsealed())
        work.wait(lambda: work.counters["1"]["ring_saved_bytes"] > 0)
        work.wait(lambda: work.counters["1"]["ring_sealed_segments"] == len(paths) == ring.sealed_segments)
    changed = [path.stat().st_ctime_ns for path in paths]
    assert changed == sorted(changed, reverse=True)
    wave = ring.read(*ALL)
    assert wave is not None and len(wave.counts) == 12_000 * 30 and not wave.gaps


def test_the_newest_segments_stay_raw(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 0.02)
    ring.append_all(blocks(0, 12_000 * 30))
    ended = ring.unsealed()
    with Sealing(ring, stay_raw=2) as work:
        work.wait(lambda: len(ring.unsealed()) == 2)
        time.sleep(0.1)
    assert ring.unsealed() == ended[-2:]


def test_an_idle_child_ends(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", "1", 0.02)
    ring.append_all(blocks(0, 12_000 * 10))
    told = tmp_path / "children"
    beginning = f"open({str(told)!r}, 'a').write(f'{{os.getpid()}}\\n')"
    program = f"import os; {beginning}; from opq_gateway.ring.sealing import main; main()"
    with Sealing(ring, idle_s=0.5, command=(sys.executable, "-c", program)) as work:
        work.wait(lambda: not ring.unsealed())
        before = told.read_text().split()  # two, where this machine stopped for longer than that
        work.wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))
        ring.append_all(blocks(12_000 * 10, 12_000 * 20))
        work.wait(lambda: not ring.unsealed())
        assert len(told.read_text().split()) > len(before)
    assert work.counters["1"]["ring_sealing_failed"] == 0


@pytest.mark.parametrize(
    "child",
    [
        (sys.executable, "-c", "raise SystemExit(3)"),
        (sys.executable, "-c", "import time; time.sleep(60)"),
        (sys.executable, "-c", "input(); print('no JSON')"),
        (sys.executable, "-c", 'input(); print(\'{"made": "/nowhere/at/all"}\')'),
        ("/no/such/program",),
    ],
)
def test_a_faulty_child_costs_only_the_saving(tmp_path: Path, child: tuple[str, ...]) -> None:
    ring = Ring(tmp_path, "1", 0.02)
    ring.append_all(blocks(0, 12_000 * 7))
    with Sealing(ring, command=child, answer_s=0.5) as work:
        work.wait(lambda: work.counters["1"]["ring_sealing_failed"] == 2)
        assert len(ring.unsealed()) == 1
    wave = ring.read(*ALL)
    assert wave is not None and len(wave.counts) == 12_000 * 7


def test_a_full_disk_delays_sealing(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", "1", 0.02)
    ring.append_all(blocks(0, 12_000 * 7))
    told = tmp_path / "pid"
    full = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from opq_gateway.ring import sealing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), str(os.getpid()).encode())\n"
        "sealing.main()\n"
    )
    with Sealing(ring, command=(sys.executable, "-c", full, str(told))) as work:
        work.wait(lambda: work.counters["1"]["ring_sealing_failed"] >= 4)
        assert len(ring.unsealed()) == 1
        everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(int(told.read_text()), resource.RLIMIT_FSIZE, everything)
        work.wait(lambda: not ring.unsealed())
    assert not list((tmp_path / "ring").glob("*.sealing"))


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append_all(blocks(0, 12_000 * 20))
    ring.close()
    parent = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'opq_gateway.ring.sealing']\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "child.stdin.write(sys.argv[1].encode() + b'\\n')\n"
        "child.stdin.flush()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    path = next(tmp_path.glob("*.seg"))
    command = [sys.executable, "-c", parent, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)

    until = time.monotonic() + 240
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < until
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
