"""How much a ring holds, what it takes of the disk, who sees it; files of the first format."""

import os
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from telling_blocks import T0_NS, block, blocks, ns, pattern

from opq_gateway.counters import BoxCounters
from opq_gateway.ring.ring import MAX_BROKEN, Ring
from opq_gateway.ring.sealing import seal
from opq_gateway.ring.segment import Segment
from opq_gateway.ring.segment_catalogue import LASTING_NS, MAX_FILES, due
from opq_gateway.ring.syncing import Syncing

ALL = (0, 2**62)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_a_byte_limit_counts_preallocated_room(tmp_path: Path) -> None:
    most = 1_200_000
    ring = Ring(tmp_path, "1", 24.0, most_bytes=most)
    for first in range(0, 12_000 * 120, 12_000):
        ring.append_all(blocks(first, first + 12_000))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= most
        assert disk_bytes(tmp_path) <= most * 1.02 + 13 * 4096
    span = ring.span()
    assert span is not None and span.end_ns - span.start_ns > 0.8 * most / 25_920 * 1e9
    assert ring.deleted_segments > 10


def test_sealing_extends_the_byte_limits_reach(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 24.0, most_bytes=300_000)
    for first in range(0, 12_000 * 20, 12_000):
        ring.append_all(blocks(first, first + 12_000))
        for segment in ring.unsealed():
            made = seal(segment.path)
            assert made is not None and ring.replace(segment, made)
    span = ring.span()
    assert span is not None and (span.start_ns, ring.deleted_segments) == (ns(0), 0)
    assert ring.file_bytes() < 300_000


def test_an_hours_clock_swing_deletes_nothing(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 0.02)  # 72 s
    hour = 3600 * 10**9
    for number, t0_ns in enumerate((T0_NS, T0_NS + hour, T0_NS - hour, T0_NS)):
        ring.append_all(blocks(120_000 * number, 120_000 * (number + 1), t0_ns=t0_ns))
    assert ring.deleted_segments == 0
    assert sum(len(one.counts) for one in ring.read_blocks(*ALL)) == 480_000
    assert ring.read_lost(*ALL) == []


def test_a_laptop_preallocates_16_mb_at_most(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 24.0)
    ring.append(block(0))
    assert 3_000_000 < disk_bytes(tmp_path) < 16_000_000
    ring.close()
    assert disk_bytes(tmp_path) <= 4096


def test_boxes_change_files_at_different_times(tmp_path: Path) -> None:
    ends = set()
    for number in range(40):
        ring = Ring(tmp_path / str(number), str(number), 0.02)  # segments of 6 s
        ring.append_all(blocks(0, 12_000 * 7))
        ends.add(ring.unsealed()[0].records)
        assert 12_000 * 6 // 200 // 4 <= ring.unsealed()[0].records <= 12_000 * 6 // 200
    assert len(ends) > 30


def test_another_reader_sees_new_blocks(tmp_path: Path) -> None:
    reader = Ring(tmp_path, "1", 0.01)
    ring = Ring(tmp_path, "1", 0.01)  # segments of 3 s
    for first in range(0, 12_000 * 40, 4000):
        ring.append_all(blocks(first, first + 4000))
        wave = reader.read(ns(first), ns(first + 4000))
        assert wave is not None and np.array_equal(wave.counts, pattern(first, 4000))
        assert reader.span() == ring.span()


def test_joined_blocks_are_written_as_single(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    one, many = Ring(tmp_path / "one", "1", 0.01), Ring(tmp_path / "many", "1", 0.01)
    stream = [*blocks(0, 50_000), *blocks(50_600, 60_000, 150), *blocks(60_000, 90_000, 350)]
    at = 0
    while at < len(stream):
        count = int(draw.integers(1, 30))
        many.append_all(stream[at : at + count])
        for each in stream[at : at + count]:
            one.append(each)
        at += count
    left, right = one.read_blocks(*ALL), many.read_blocks(*ALL)
    assert [(b.first_sample, b.t_ns) for b in left] == [(b.first_sample, b.t_ns) for b in right]
    assert one.read_lost(*ALL) == many.read_lost(*ALL) and one.span() == many.span()


def test_a_jumping_box_makes_few_files(
    tmp_path: Path,
) -> None:
    clock = [0.0]
    ring = Ring(tmp_path, "1", 24.0, monotonic_s=lambda: clock[0])
    ring.append_all(blocks(0, 12_000))
    refused = 0
    for first in range(12_000, 12_000 * 31, 200):
        clock[0] += 200 / 12_000
        try:
            ring.append(block(first, t0_ns=T0_NS - first // 200 % 2 * 10**9))
        except OSError as error:
            assert "changes with nearly every block" in str(error)
            refused += 200
    steady = block(12_000 * 31)
    clock[0] += 60.0
    ring.append(steady)
    assert len(list(tmp_path.glob("*.seg"))) <= MAX_BROKEN + 6
    held = sum(len(one.counts) for one in ring.read_blocks(*ALL))
    assert refused and held == 12_000 * 31 + 200 - refused
    assert sum(lost.samples for lost in ring.read_lost(*ALL)) == refused


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "000000000003.seg")
    (tmp_path / "000000000004.seg").mkdir()
    (tmp_path / "000000000005.seg").symlink_to("/dev/zero")
    (tmp_path / "000000000006.seg").symlink_to(tmp_path / "nowhere")
    ring = Ring(tmp_path, "1", 1.0)
    ring.append_all(blocks(0, 2000))
    ring.close()
    assert (tmp_path / "000000000007.seg").is_file()
    wave = Ring(tmp_path, "1", 1.0).read(*ALL)
    assert wave is not None and len(wave.counts) == 2000


def beheaded(folder: Path, at: int) -> Path:
    """One of the ring's files, its head overwritten."""
    path = sorted(folder.glob("*.seg"))[at]
    with path.open("r+b") as file:
        file.write(b"lost" * 16)
    return path


def test_a_headless_segment_is_reported_once(tmp_path: Path) -> None:
    """It is deleted when its turn comes."""
    ring = Ring(tmp_path, "1", 0.02)  # 72 s, segments of 6 s
    ring.append_all(blocks(0, 12_000 * 30))
    ring.close()
    headless = beheaded(tmp_path, 2)
    older = sorted(tmp_path.glob("*.seg"))[1]

    ring, counters = Ring(tmp_path, "1", 0.02), BoxCounters()
    present = []
    with capture_logs() as lines:
        syncing = Syncing({"1": ring}, {"1": counters}, 1.0)
        for first in range(12_000 * 30, 12_000 * 150, 12_000):
            ring.append_all(blocks(first, first + 12_000))
            syncing.sync()
            present.append((older.exists(), headless.exists(), counters["ring_unreadable_files"]))
    assert present[0] == (True, True, 1) and present[-1] == (False, False, 0)
    assert all(headless_is or not older_is for older_is, headless_is, _ in present)
    assert [(line["event"], line["box_id"], line["files"]) for line in lines] == [
        ("ring.unreadable_files", "1", 1)
    ]


def test_unreadable_files_count_and_go_first(tmp_path: Path) -> None:
    for number in (3, 900):
        (tmp_path / f"{number:012d}.seg").write_bytes(b"not ours" * 50_000)
    (tmp_path / "notes.seg").write_bytes(b"not a name of ours" * 1000)
    ring = Ring(tmp_path, "1", 24.0, most_bytes=1_000_000)
    for first in range(0, 12_000 * 30, 12_000):
        ring.append_all(blocks(first, first + 12_000))
        held = sum(path.stat().st_size for path in tmp_path.iterdir() if path.stem.isdecimal())
        assert held <= 1_000_000
        if ring.unreadable_files:
            span = ring.span()
            assert span is not None and span.start_ns == ns(0)
    assert ring.unreadable_files == 0 and ring.deleted_segments >= 2
    assert (tmp_path / "notes.seg").exists()


def test_unreadable_files_cost_no_readable_segment() -> None:
    segments = [
        Segment(Path(f"{number:012d}.seg"), end_ns=0 if number % 50 else LASTING_NS, file_bytes=100)
        for number in range(1, 20_000)
    ]
    going = due(segments, 144 * LASTING_NS * 10, None, 0)
    assert len(segments) - len(going) == MAX_FILES + 4 * 1440
    assert not any(one.end_ns for one in going)


@given(
    files=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1000)), max_size=40),
    keep=st.integers(0, 200),
    most_bytes=st.none() | st.integers(0, 20_000),
    coming=st.integers(0, 1000),
)
def test_kept_data_hold_the_time_or_limit(
    files: list[tuple[int, int]], keep: int, most_bytes: int | None, coming: int
) -> None:
    segments = [Segment(Path(str(at)), end_ns=span, file_bytes=size) for at, (span, size) in enumerate(files)]
    going = due(segments, keep, most_bytes, coming)
    kept = [one for one in segments if one not in going]
    taken = coming + sum(one.file_bytes for one in kept)
    fits = most_bytes is None or taken <= most_bytes
    assert fits or not kept
    if fits and not (most_bytes is not None and coming + sum(size for _, size in files) > most_bytes):
        assert sum(one.span_ns for one in kept) >= min(keep, sum(one.span_ns for one in segments))
        assert not kept or sum(one.span_ns for one in kept[1:]) < keep
        assert kept == segments[len(going) :]
