"""Samples in the ring that were not measured, and the Box's own measurements where samples are missing."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_measuring_thread import HELLO, RATE_HZ, T0_NS, Bench, blocks_of

from opq_gateway.blocks import SampleBlock
from opq_gateway.commands.half_cycle_command import read_half_cycles
from opq_gateway.measuring.backlog import RingBacklog, backlog_of
from opq_gateway.measuring.feed import Values
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import Segment
from opq_proto.link.messages import BoxMeasurement
from opq_proto.messages import Measurement, TimeSource
from opq_sim.mains import mains
from opq_sim.mains.rms_events import Sag


def ring_of(folder: Path, blocks: list[SampleBlock]) -> Ring:
    ring = Ring(folder, "1", 1.0)
    ring.append_all(blocks)
    return ring


def test_a_killed_gateway_continues_measuring(tmp_path: Path) -> None:
    volts, _ = mains(12, RATE_HZ, frequency_hz=60.02)
    blocks = blocks_of(volts)
    before = Bench(tmp_path / "ledger").feed(blocks[:300])
    last_ns = before.measurements[-1].end_ns or 0  # measured to 4 s; the ring has 7 s
    assert last_ns < T0_NS + 5 * 10**9
    ring = ring_of(tmp_path / "ring", blocks[:420])
    asked = []

    def backlog(box_id: str) -> RingBacklog:
        asked.append(box_id)
        return RingBacklog(ring, last_ns, ring.segments())

    after = Bench(tmp_path / "ledger", backlog=backlog).feed(blocks[420:]).end()
    assert asked == ["1"] and 48_000 <= after.counters["backfilled_samples"] <= 48_400
    first = after.measurements[0]
    assert first.start_ns == last_ns and first.backfilled
    assert [each.backfilled for each in after.measurements] == sorted(
        (each.backfilled for each in after.measurements), reverse=True
    )
    whole = [*before.measurements, *after.measurements]
    for one, other in pairwise(whole):
        assert one.end_ns == other.start_ns
        assert other.metrics["rms"].average == pytest.approx(120.0, rel=1e-4)
    assert not after.measurements[-1].backfilled and after.counters["unmeasured_samples"] == 0
    rows = list(after.ledger.read("window", 0, 2**62)) if after.ledger else []
    assert len({row.start_ns for row in rows}) == len(rows)
    assert all(one.start_ns >= other.start_ns for other, one in pairwise(rows))


def test_an_old_hole_is_not_measured_again(tmp_path: Path) -> None:
    """What the ledger lacks is read again, from before the hole; it was killed in the second after it."""
    blocks = blocks_of(mains(8, RATE_HZ)[0])
    held = [*blocks[:200], *blocks[202:360]]
    before = Bench(tmp_path / "ledger").feed(held[:120])
    before.measuring.ledgers.write()
    before.feed(held[120:])
    last_ns = before.measurements[-1].end_ns or 0
    assert last_ns > T0_NS + 4 * 10**9
    ring = ring_of(tmp_path / "ring", held)
    after = Bench(tmp_path / "ledger", backlog=lambda _: RingBacklog(ring, last_ns, ring.segments()))
    after.feed(blocks[360:]).end()
    assert after.counters["backfilled_samples"] > (360 - 120) * 200
    assert after.measurements[0].start_ns == last_ns
    spans = [_span(each) for each in after.measurements]
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert T0_NS + 8 * 10**9 - spans[-1][1] < 20e6


@pytest.mark.parametrize("frequency_hz", [60.0, 57.3])  # windows begin where they did before, or elsewhere
def test_half_cycles_survive_a_killed_ledger(tmp_path: Path, frequency_hz: float) -> None:
    """It is written once a second; Measurements leave at once, so that the last one ends behind it."""
    dip = Sag(depth=0.4, start_s=2.0, cycles=420)
    blocks = blocks_of(mains(10, RATE_HZ, frequency_hz=frequency_hz, disturbances=[dip])[0])
    before = Bench(tmp_path / "ledger")
    before.status.prompt = True
    before.feed(blocks[:313], at_once=12)
    before.measuring.ledgers.write()
    before.feed(blocks[313:380], at_once=12)
    assert before.ledger is not None
    last_ns, written_ns = before.measurements[-1].end_ns or 0, before.ledger.newest_ns() or 0
    assert last_ns - written_ns > 13 * 10**8
    ring = ring_of(tmp_path / "ring", blocks[:400])
    after = Bench(tmp_path / "ledger", backlog=lambda _: RingBacklog(ring, last_ns, ring.segments()))
    after.feed(blocks[400:]).end()
    assert after.measurements[0].start_ns == last_ns
    ledger = before.ledger  # reads what both have written
    found = read_half_cycles(lambda: ledger, "1", (T0_NS, T0_NS + 10**10))
    low = found.least_v < 108
    assert np.count_nonzero(low) == pytest.approx(2 * 420, abs=1)
    assert np.diff(found.t_ns[low]) == pytest.approx(5e8 / frequency_hz, rel=0.01)


def test_the_ring_waits_for_a_slow_disk(tmp_path: Path) -> None:
    blocks = blocks_of(mains(12, RATE_HZ)[0])
    ring = ring_of(tmp_path / "ring", blocks)
    bench = Bench(tmp_path / "ledger", backlog=lambda _: RingBacklog(ring, T0_NS, ring.segments()))
    assert bench.ledger is not None
    rows = 0
    while not bench.ledger.is_behind:
        rows += 1
        bench.ledger.append(Values("1", "window", rows, rows + 1, 1, TimeSource.GPS, False, {}))
    bench.feed([])
    assert bench.counters["backfilled_samples"] == 0
    bench.measuring.ledgers.write()
    bench.feed([]).end()
    assert bench.counters["backfilled_samples"] == 144_000 and bench.ledger.dropped == 0


def test_live_blocks_wait_until_the_ring_is_measured(tmp_path: Path) -> None:
    volts, _ = mains(30, RATE_HZ)
    blocks = blocks_of(volts)
    ring = ring_of(tmp_path / "ring", blocks[:1500])
    bench = Bench(backlog=lambda _: RingBacklog(ring, T0_NS, ring.segments()))
    bench.feed(blocks[1440:], at_once=1000).feed([]).end()  # the last second of the ring comes again
    for _ in range(4):
        bench.measuring.round(everything=True)
    spans = [(each.start_ns or 0, each.end_ns or 0) for each in bench.measurements]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[0][0] - T0_NS < 20e6 and T0_NS + 30 * 10**9 - spans[-1][1] < 20e6


@pytest.mark.parametrize("measured", ["nothing of it", "a part of it"])
def test_a_set_back_hours_samples_are_measured_once(tmp_path: Path, measured: str) -> None:
    """A gateway is killed; its next one, an hour back, too; the third measures what both left."""
    volts, _ = mains(20, RATE_HZ, frequency_hz=60.02)
    blocks = blocks_of(volts)
    back = [replace(block, t_ns=block.t_ns - 3600 * 10**9) for block in blocks]
    ring = ring_of(tmp_path / "ring", [*blocks[:300], *back[300:480]])
    first = Bench().feed(blocks[:300])
    last_ns = first.measurements[-1].end_ns or 0
    before = list(first.measurements)
    if measured == "a part of it":
        second = Bench(backlog=lambda _: RingBacklog(ring, last_ns, ring.segments()[:1])).feed(back[300:420])
        assert not second.measurements[-1].backfilled
        before += second.measurements
        last_ns = before[-1].end_ns or 0
        assert last_ns < T0_NS - 3590 * 10**9
    third = Bench(backlog=lambda _: RingBacklog(ring, last_ns, ring.segments())).feed(blocks[480:]).end()
    assert third.measurements[0].backfilled and not third.measurements[-1].backfilled
    spans = sorted(_span(each) for each in [*before, *third.measurements])
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    seconds = sum(end - start for start, end in spans) / 1e9
    assert 19.8 < seconds <= 20.0


def test_a_measured_ring_has_no_backlog(tmp_path: Path) -> None:
    ring = ring_of(tmp_path / "ring", blocks_of(mains(4, RATE_HZ)[0]))
    end_ns = T0_NS + 4 * 10**9
    assert backlog_of(ring, ring.segments(), lambda: end_ns) is None
    assert backlog_of(ring, ring.segments(), lambda: end_ns + 10**9) is None
    assert backlog_of(ring, ring.segments(), lambda: None) is None
    assert backlog_of(ring, ring.segments(), lambda: end_ns - 10**9) is not None


def box_figures(first: int, samples: int) -> BoxMeasurement:
    return BoxMeasurement(first, samples, 118.0, 60.1, 0.02, None)


def test_the_boxs_figures_replace_missing_samples() -> None:
    volts, _ = mains(9, RATE_HZ)
    blocks = blocks_of(volts)
    bench = Bench()
    bench.feed(blocks[:180])
    bench.measuring.figures("1", box_figures(24_000, 12_000))
    bench.end()
    bench.measuring.figures("1", box_figures(36_000, 12_000))
    bench.feed(blocks[300:])
    bench.measuring.figures("1", box_figures(48_000, 12_000))  # told behind the gap
    bench.measuring.figures("1", box_figures(60_000, 12_000))  # nothing is missing there
    bench.feed([]).end()
    made = [each for each in bench.measurements if each.metrics["rms"].average == 118.0]
    assert bench.counters["fallback_measurements"] == 2 == len(made)
    assert [set(each.metrics) for each in made] == [{"rms", "f", "thd", "flagged"}] * 2
    ours = [each for each in bench.measurements if each not in made]
    ends = max(each.end_ns or 0 for each in ours if (each.end_ns or 0) <= T0_NS + 3 * 10**9)
    begins = min(each.start_ns or 0 for each in ours if (each.start_ns or 0) >= T0_NS + 5 * 10**9)
    spans = sorted(_span(each) for each in made)
    assert spans[0][0] == ends and spans[0][1] == spans[1][0] and spans[1][1] == begins


def _span(measurement: Measurement) -> tuple[int, int]:
    return measurement.start_ns or 0, measurement.end_ns or 0


def test_figures_of_another_boot_stand_in_for_nothing() -> None:
    volts, _ = mains(4, RATE_HZ)
    bench = Bench().feed(blocks_of(volts))
    bench.measuring.figures("1", box_figures(48_000, 12_000))
    bench.measuring.restart("1", replace(HELLO, boot_id=6))
    bench.feed([replace(block, start_id=6) for block in blocks_of(volts, first=60_000)]).end()
    assert bench.counters["fallback_measurements"] == 0


class Broken:
    """A ring whose disk is gone."""

    def segment_blocks(self, segment: Segment, start_ns: int, end_ns: int) -> list[SampleBlock]:
        raise OSError(5, "Input/output error")


def test_an_unreadable_ring_is_reported_once() -> None:
    """Live samples are measured."""
    volts, _ = mains(4, RATE_HZ)
    held = [Segment(Path("gone.seg"), start_ns=T0_NS - 10**10, end_ns=T0_NS)]
    bench = Bench(backlog=lambda _: RingBacklog(Broken(), T0_NS - 10**10, held))
    bench.feed(blocks_of(volts)).end()
    assert bench.counters["failures"] == 1
    assert bench.measurements and (bench.measurements[-1].end_ns or 0) - T0_NS > 3.9e9


def test_killed_ten_minutes_are_completed_from_the_ring(tmp_path: Path) -> None:
    tick_ns = (T0_NS // (600 * 10**9) + 1) * 600 * 10**9
    dip = Sag(start_s=180.0, cycles=30, depth=0.3)
    volts, _ = mains(710, 2400, frequency_hz=60.02, disturbances=[dip])
    blocks = blocks_of(volts, t0_ns=tick_ns - 100 * 10**9, rate_millihz=2_400_000)  # 12 a second
    slow = replace(HELLO, rate_millihz=2_400_000)
    never = Bench(tmp_path / "never", hello=slow).feed(blocks).end()
    killed = Bench(tmp_path / "ledger", hello=slow).feed(blocks[: 300 * 12])
    killed.measuring.ledgers.write()
    last_ns = killed.measurements[-1].end_ns or 0
    ring = ring_of(tmp_path / "ring", blocks[: 301 * 12])

    def backlog(box_id: str) -> RingBacklog:
        return RingBacklog(ring, last_ns, ring.segments())

    after = Bench(tmp_path / "ledger", hello=slow, backlog=backlog)
    after.feed(blocks[301 * 12 :]).end()
    assert never.ledger is not None and after.ledger is not None
    for kind in ("10min", "dip"):
        span = tick_ns, tick_ns + 600 * 10**9
        wanted, found = list(never.ledger.read(kind, *span)), list(after.ledger.read(kind, *span))
        assert [each.start_ns for each in found] == [each.start_ns for each in wanted]
        for one, other in zip(wanted, found, strict=True):
            assert (one.end_ns, one.flagged, one.values.keys()) == (
                other.end_ns,
                other.flagged,
                other.values.keys(),
            )
            for name, value in one.values.items():
                close = 1e-3 if name in ("pst", "pinst_max") else 1e-6
                assert other.values[name] == pytest.approx(value, rel=close, abs=1e-6), name
    (ten,) = [each for each in after.ledger.read("10min", *span) if "rms_v" in each.values]
    assert ten.values["coverage_ratio"] == 1.0 and ten.flagged
    told = [each.t_ns for each in after.told_in.take_all() if not isinstance(each, Values)]
    assert all(at_ns >= last_ns for at_ns in told)  # the dip before the kill is not told again
