"""Intake of a Box that does not know the time, or whose time is in doubt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from intake_bench import HELLO, T0_NS, Bench, samples

from opq_proto.link.messages import (
    FLAG_RESENT,
    Crossing,
    CrossingKind,
    Resend,
)
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


UNKNOWN = {"t_ns": 0, "uncertainty_ns": UNKNOWN_UNCERTAINTY_NS, "source": TimeSource.FREE}


def test_a_timeless_box_fills_the_rings_gap(
    tmp_path: Path,
) -> None:
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 36_000, **UNKNOWN)
    after = Bench(tmp_path)
    after.now_s, after.off_ns = before.now_s + 2.0, 3600 * 10**9
    after.intake.accept_message(HELLO)
    after.feed(60_000, 96_000, **UNKNOWN)
    assert after.sent[0] == Resend(36_000, 8000)


def test_a_timeless_box_follows_the_system(bench: Bench) -> None:
    """It gets the system's time once two seconds have shown it."""
    bench.intake.accept_message(HELLO)
    bench.feed(0, 23_800, **UNKNOWN)
    assert bench.counters["samples"] == 0  # what stood in a buffer came late: the first arrivals say little
    bench.feed(23_800, 48_000, **UNKNOWN)
    blocks = bench.ring.read_blocks(0, 2**62)
    assert sum(len(block.counts) for block in blocks) == 48_000
    assert {block.source for block in blocks} == {TimeSource.NTP}
    for block in blocks:
        assert abs(block.end_ns - T0_NS - block.first_sample * 10**12 // 12_000_000) < 6_000_000
        assert 6_000_000 < block.uncertainty_ns < 30_000_000


def test_untimed_blocks_are_kept_at_the_end(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 2000, **UNKNOWN)
    bench.intake.close()
    assert bench.counters["samples"] == 2000


def test_after_a_restart_missed_samples_are_requested(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 48_000, **UNKNOWN)
    after = Bench(tmp_path)
    after.now_s = before.now_s + 1.0
    after.intake.accept_message(HELLO)
    after.intake.accept_message(replace(samples(60_000), **UNKNOWN))  # type: ignore[arg-type]
    assert after.sent == [Resend(48_000, 8000)]
    for at in range(48_000, 60_000, 200):
        after.intake.accept_message(replace(samples(at), flags=FLAG_RESENT, **UNKNOWN))  # type: ignore[arg-type]
    wave = after.ring.read(0, 2**62)
    assert wave is not None and not wave.gaps and len(wave.counts) == 60_200


def test_a_timeless_crossing_gets_its_blocks_time(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 48_000, **UNKNOWN)
    free = Crossing(40_000, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, CrossingKind.DIP, True, 90.0, 108.0)
    bench.intake.accept_message(free)
    bench.intake.accept_message(replace(free, t_ns=T0_NS, uncertainty_ns=200, source=TimeSource.GPS))
    ours, theirs = bench.behind.crossings
    assert abs(ours.t_ns - T0_NS - 40_000 * 10**12 // 12_000_000) < 30_000_000
    assert ours.source is TimeSource.NTP and theirs.t_ns == T0_NS


def test_an_untimed_crossing_is_not_of_1970(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    early = Crossing(600, 50, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, CrossingKind.DIP, True, 90.0, 108.0)
    bench.intake.accept_message(early)
    bench.feed(0, 1200, **UNKNOWN)
    bench.intake.accept_message(early)
    assert bench.behind.crossings == [] and bench.counters["crossings_untimed"] == 2
    bench.feed(1200, 48_000, **UNKNOWN)
    bench.intake.accept_message(replace(early, sample=40_000))
    assert len(bench.behind.crossings) == 1


def test_a_free_stamp_near_the_present_is_kept(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    free = replace(samples(600), uncertainty_ns=UNKNOWN_UNCERTAINTY_NS, source=TimeSource.FREE)
    bench.intake.accept_message(free)
    block = bench.ring.read_blocks(0, 2**62)[0]
    assert (block.t_ns, block.source, block.uncertainty_ns) == (
        free.t_ns,
        TimeSource.FREE,
        UNKNOWN_UNCERTAINTY_NS,
    )


def test_a_continuing_free_stamp_is_kept(
    tmp_path: Path,
) -> None:
    """It continues where the ring ends, although the clock was set."""
    free = {"uncertainty_ns": UNKNOWN_UNCERTAINTY_NS, "source": TimeSource.FREE}
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 5000, **free)
    after = Bench(tmp_path)
    after.off_ns = 3600 * 10**9
    after.intake.accept_message(HELLO)
    after.feed(5000, 8000, **free)
    wave = after.ring.read(0, 2**62)
    assert wave is not None and len(wave.counts) == 8000


@pytest.mark.parametrize(("share", "wrong"), [(1.0, False), (0.99, False), (0.96, True), (1.04, True)])
def test_a_wrong_crystals_rate_is_reported(bench: Bench, share: float, wrong: bool) -> None:
    """The gateway stood still for 4 s, which does not count."""
    bench.intake.accept_message(HELLO)
    bench.status.serial_open = bench.status.connected = True
    second, rate = np.zeros(12_000, np.int16), 12_000
    for k in range(65):
        bench.now_s = 100.0 + k / share + (4.0 if k == 7 else 0.0)
        first = k * rate
        block = replace(samples(0), first_sample=first, t_ns=T0_NS + first * 10**12 // 12_000_000)
        bench.intake.accept_message(replace(block, counts=second))
    problem = bench.status.problem(bench.now_s)
    expected = f"its samples come at {share:.3f} of the rate that it states"
    assert (problem or "").startswith(expected) if wrong else problem is None
    assert ("emulator" in (problem or "")) is (wrong and share < 1)
    assert bench.counters["rate_wrong"] == wrong
