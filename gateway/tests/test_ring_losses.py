"""Every sample is in the ring or in a recorded loss with its reason: line, restart, full disk."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telling_blocks import T0_NS, block, blocks, ns, pattern

from opq_gateway.ring.lost import BEFORE_CONTACT, NOT_ON_DISK, NOT_RESENT, NOT_RUNNING, OVERRUN, Lost
from opq_gateway.ring.raw import HEAD_BYTES
from opq_gateway.ring.record import stride_bytes
from opq_gateway.ring.ring import Ring
from opq_proto.messages import Gap

ALL = (0, 2**62)


def told(lost: list[Lost]) -> list[tuple[int, int, str]]:
    return [(one.first_sample, one.samples, one.reason) for one in lost]


def accounted(ring: Ring, end: int, boot: int = 7) -> bool:
    """Whether each of the samples 0 .. end - 1 of a boot is in the ring or in a loss, and in one of them."""
    seen = np.zeros(end, int)
    for one in ring.read_blocks(*ALL):
        if one.start_id == boot:
            assert np.array_equal(one.counts, pattern(one.first_sample, len(one.counts)))
            seen[one.first_sample : one.end_sample] += 1
    for lost in ring.read_lost(*ALL):
        if lost.start_id == boot:
            assert lost.reason and lost.end_ns >= lost.start_ns
            seen[lost.first_sample : lost.end_sample] += 1
    return bool((seen == 1).all())


def test_a_reported_gap_is_read_with_reason(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(0))
    ring.gap(Gap(200, 400, "the cat sat on the cable"))
    ring.append(block(600))
    for reader in (ring, Ring(tmp_path, "1", 1.0)):
        wave = reader.read(ns(0), ns(800))
        assert wave is not None and wave.gaps == (Gap(200, 400, "the cat sat on the cable"),)
        assert reader.read_lost(*ALL) == [Lost(7, 200, 400, ns(200), ns(600), "the cat sat on the cable")]
        assert len(reader.read_lost(ns(300), ns(301))) == 1 and not reader.read_lost(ns(0), ns(200))
        assert accounted(reader, 800)


def test_silent_holes_are_recorded(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(1000))
    ring.append_all([block(1400), block(1800, overrun_before=True)])
    ring.close()
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(2600))
    assert told(ring.read_lost(*ALL)) == [
        (0, 1000, BEFORE_CONTACT),
        (1200, 200, NOT_RESENT),
        (1600, 200, OVERRUN),
        (2000, 600, NOT_RUNNING),
    ]
    assert accounted(ring, 2800)
    assert ring.lost_records == 1


def test_a_partly_explained_hole_is_divided(tmp_path: Path) -> None:
    """Only a part of it has a reason."""
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(0))
    ring.gap(Gap(400, 200, "told"))
    ring.gap(Gap(700, 5000, "told, and longer than the hole"))
    ring.append(block(1000))
    assert told(ring.read_lost(*ALL)) == [
        (200, 200, NOT_RESENT),
        (400, 200, "told"),
        (600, 100, NOT_RESENT),
        (700, 300, "told, and longer than the hole"),
    ]
    wave = ring.read(*ALL)
    assert wave is not None and [gap.samples for gap in wave.gaps] == [200, 200, 100, 300]


def test_a_new_start_separates_its_losses(tmp_path: Path) -> None:
    """A start of the Box does not mix its losses with those before."""
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(block(0))
    ring.append(block(400, boot=8, t0_ns=T0_NS + 10**9))
    ring.append(block(800, boot=8, t0_ns=T0_NS + 10**9))
    found = ring.read_lost(*ALL)
    assert [(one.start_id, one.first_sample, one.samples) for one in found] == [(8, 0, 400), (8, 600, 200)]
    assert accounted(ring, 200) and accounted(ring, 1000, boot=8)


def test_an_absurd_first_index_has_unknown_age(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append(replace(block(0), first_sample=2**61))
    (lost,) = ring.read_lost(*ALL)
    assert (lost.samples, lost.start_ns, lost.reason) == (2**61, 0, BEFORE_CONTACT)


def test_a_damaged_record_is_an_explained_hole(tmp_path: Path) -> None:
    ring = Ring(tmp_path, "1", 1.0)
    ring.append_all(blocks(0, 2000))
    path = next(tmp_path.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + 3 * stride_bytes(200) + 50] ^= 1
    path.write_bytes(data)
    assert told(ring.read_lost(*ALL)) == [(600, 200, NOT_ON_DISK)]
    wave = ring.read(*ALL)
    assert wave is not None and wave.gaps == (Gap(600, 200, NOT_ON_DISK),)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(("blocks", "hole", "told", "restart", "boot", "bigger")), st.integers(1, 9)
        ),
        max_size=30,
    )
)
def test_whatever_happens_each_sample_is_accounted_for_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    ring = Ring(folder, "1", 1.0)
    boot, at, t0_ns = 7, 0, T0_NS
    ends: dict[int, int] = {}
    for what, many in steps:
        if what == "hole":
            at += 100 * many
        elif what == "told":
            ring.gap(Gap(at, 100 * many, "told"))
            at += 100 * many
        elif what == "restart":
            ring.close()
            ring = Ring(folder, "1", 1.0)
        elif what == "boot":
            t0_ns += 10**12
            boot, at = boot + 1, 0
            ring.append(block(0, boot=boot, t0_ns=t0_ns))
            at = 200
        else:
            step = 200 if what == "blocks" else 350
            ring.append_all(blocks(at, at + step * many, step, boot=boot, t0_ns=t0_ns))
            at += step * many
            ends[boot] = at
    for number, end in ends.items():
        assert accounted(ring, end, number)


FULL = """
import errno, json, resource, sys
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
from opq_gateway.ring.ring import Ring
from telling_blocks import blocks
now_s = [0.0]
ring = Ring(Path(sys.argv[1]), "1", 1.0, monotonic_s=lambda: now_s[0])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
failed = []
for first in range(0, 240_000, 400):
    if first == 12_000:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    if first == 60_000:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    now_s[0] = first / 12_000
    try:
        ring.append_all(blocks(first, first + 400))
    except OSError as error:
        failed.append([first, errno.errorcode[error.errno]])
lost = [[one.first_sample, one.samples, one.reason] for one in ring.read_lost(0, 2**62)]
print(json.dumps({"failed": failed, "lost": lost, "files": len(list(Path(sys.argv[1]).iterdir()))}))
"""


def test_a_full_disks_loss_is_recorded(tmp_path: Path) -> None:
    modules = str(Path(__file__).parent)
    command = [sys.executable, "-c", FULL, str(tmp_path), modules]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=240).stdout)
    refused = [first for first, _ in said["failed"]]
    assert refused == list(range(12_000, 60_000, 400)) and {why for _, why in said["failed"]} == {"EFBIG"}
    assert said["lost"] == [[12_000, 48_000, "the disk did not take them: File too large"]]
    assert said["files"] == 2  # nothing is left of what was tried meanwhile
    assert accounted(Ring(tmp_path, "1", 1.0), 240_000)


def test_a_small_disk_is_used_to_its_end(tmp_path: Path) -> None:
    """Where a whole segment finds no room, smaller ones do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ring = Ring(tmp_path, "1", 24.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        ring.append_all(blocks(0, 24_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert accounted(ring, 24_000) and next(tmp_path.iterdir()).stat().st_size < 2_000_000
