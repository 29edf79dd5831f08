"""What a Measurement reports of the time before it: gaps with their reasons, and a clock that was set."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_measuring_thread import HELLO, RATE_HZ, T0_NS, Bench, blocks_of

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.inbox import MAX_S
from opq_gateway.ring.lost import ENDED, MACHINE_PAUSED, NOT_RESENT, NOT_RUNNING, OVERRUN
from opq_gateway.ring.segment import Segment, StatedFacts
from opq_proto.link.log_codes import STARTED
from opq_proto.link.messages import BoxMeasurement, Health, Log
from opq_proto.measurement.continuity import (
    DARK_AFTER,
    TOUCHES_EVENT,
    TOUCHES_GAP,
    GapReason,
    clock_set_s,
    dark_s,
    goes_on,
    is_flagged,
    missing_s,
)
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, Measurement, TimeSource
from opq_sim.mains import mains

BLOCK_S = 200 / RATE_HZ
VOLTS, _ = mains(22, RATE_HZ, voltage_v=120.0, frequency_hz=60.0)


def cut(blocks: list[SampleBlock], *holes: tuple[float, float]) -> list[SampleBlock]:
    """The blocks outside of the holes, in seconds after T0_NS."""
    return [
        block
        for block in blocks
        if not any(first <= (block.t_ns - T0_NS) / 1e9 < end for first, end in holes)
    ]


def lost_s(before: SampleBlock, after: SampleBlock) -> float:
    return (after.first_sample - before.end_sample) / RATE_HZ


def sent(bench: Bench) -> list[Measurement]:
    """The Measurements as the cloud reads them."""
    return [measurement_from_wire(measurement_to_wire(each)) for each in bench.end().measurements]


def first_after(rows: list[Measurement], second: float) -> Measurement:
    return next(row for row in rows if (row.start_ns or 0) >= T0_NS + round(second * 1e9))


@settings(max_examples=15)
@given(
    holes=st.lists(st.tuples(st.floats(0.3, 5), st.floats(0.02, 3)), min_size=1, max_size=4),
    at_once=st.sampled_from((1, 7, 60, 3000)),
    battery_v=st.sampled_from((None, 4.1)),
    knows_health=st.booleans(),
)
def test_each_gap_is_reported_once_and_whole(
    holes: list[tuple[float, float]], at_once: int, battery_v: float | None, knows_health: bool
) -> None:
    bench, places, at_s = Bench(), [], 0.0
    if knows_health:
        bench.status.health = Health(0, None, 5.0, battery_v, 0, 0, 0, 0, 0, 0, 0, 0)
    for after_s, for_s in holes:
        places.append((at_s + after_s, at_s + after_s + for_s))
        at_s += after_s + for_s
    blocks = cut(blocks_of(VOLTS), *places)
    bench.feed(blocks, at_once)
    rows = sent(bench)
    pairs = [pair for pair in pairwise(blocks) if lost_s(*pair) > 0]
    reported = {row.start_ns: missing_s(row.metrics) for row in rows if missing_s(row.metrics)}
    assert sum(each[GapReason.GATEWAY] for each in reported.values()) == pytest.approx(
        sum(lost_s(*pair) for pair in pairs if pair[1].t_ns < (rows[-1].end_ns or 0)), abs=1e-3
    )
    ends = [after.t_ns for _, after in pairs]
    for row in rows:
        between = [end for end in ends if end <= (row.start_ns or 0)]
        ends = ends[len(between) :]
        inside = [end for end in ends if end < (row.end_ns or 0)]
        assert not inside, "no Measurement reaches over a gap"
        assert bool(between) == bool(missing_s(row.metrics)) == is_flagged(row.metrics, TOUCHES_GAP) or (
            is_flagged(row.metrics, TOUCHES_GAP) and row.end_ns is not None
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OVERRUN, GapReason.OVERRUN),
        (NOT_RESENT, GapReason.LINE),
        (MACHINE_PAUSED, GapReason.GATEWAY),
        (NOT_RUNNING, GapReason.GATEWAY),
        (ENDED, GapReason.GATEWAY),
    ],
)
def test_a_gap_has_its_origins_reason(text: str, reason: GapReason) -> None:
    bench, blocks = Bench(), blocks_of(VOLTS[: 10 * RATE_HZ])
    before, after = cut(blocks, (4, 99)), cut(blocks, (0, 6))
    bench.feed(before)
    bench.measuring.gap("1", Gap(before[-1].end_sample, 2 * RATE_HZ, text))
    bench.feed(after)
    row = first_after(sent(bench), 6)
    assert missing_s(row.metrics) == {reason: pytest.approx(2.0)}
    assert dark_s(row.metrics) is None


def test_gaps_of_several_reasons_add_up() -> None:
    bench, blocks = Bench(), blocks_of(VOLTS[: 12 * RATE_HZ])
    before, after = cut(blocks, (4, 99)), cut(blocks, (0, 10))
    bench.feed(before)
    first = before[-1].end_sample
    bench.measuring.gap("1", Gap(first, RATE_HZ, OVERRUN))
    for block in cut(blocks, (0, 5), (6, 99)):  # too many wait: dropped between two gaps
        bench.measuring._boxes["1"].inbox.most_s = 0.0
        bench.measuring.accept_block("1", block)
    bench.measuring._boxes["1"].inbox.most_s = MAX_S
    bench.feed(after)
    row = first_after(sent(bench), 10)
    found = missing_s(row.metrics)
    assert found == {GapReason.OVERRUN: pytest.approx(1.0), GapReason.GATEWAY: pytest.approx(5.0, abs=0.02)}


@pytest.mark.parametrize(
    ("cause", "by_health", "reason"),
    [
        (1, False, GapReason.DARK),
        (2, False, GapReason.DARK),
        (3, False, GapReason.RESTART),
        (4, False, GapReason.RESTART),
        (5, False, GapReason.RESTART),
        (0, False, GapReason.RESTART),
        (1, True, GapReason.DARK),
        (4, True, GapReason.RESTART),
    ],
)
def test_only_a_lost_supply_is_dark(cause: int, by_health: bool, reason: GapReason) -> None:
    """A start of the Box is dark only if its supply was lost."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 4 * RATE_HZ])
    bench.feed(blocks)
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    if not by_health:
        bench.status.started = Log(STARTED, 77, cause, 120)
    again = [replace(block, start_id=77, t_ns=block.t_ns + 30 * 10**9) for block in blocks]
    bench.feed(again[:120])
    if by_health:  # it comes with the second second
        bench.status.hello = replace(HELLO, boot_id=77)
        bench.status.health = Health(0, None, 5.0, None, 0, 0, 0, 0, 0, 0, 0, cause)
    bench.feed(again[120:])
    rows = [row for row in sent(bench) if missing_s(row.metrics)]
    assert [missing_s(row.metrics) for row in rows] == [{reason: pytest.approx(26.0, abs=0.01)}]
    dark_after = [row.metrics[DARK_AFTER].average for row in rows if DARK_AFTER in row.metrics]
    ended = blocks[-1].first_sample + len(blocks[-1].counts)
    assert dark_after == ([pytest.approx(ended / RATE_HZ)] if reason is GapReason.DARK else [])


@pytest.mark.parametrize("by_s", [0.1, 4.2, 3600.0, 10_796.0, 3.15e8, -0.1, -10.6, -3603.0, -3.15e8])
def test_a_clock_step_is_not_a_gap(by_s: float) -> None:
    bench, blocks = Bench(), blocks_of(VOLTS[: 10 * RATE_HZ])
    off_ns = round(by_s * 1e9)
    bench.feed([replace(each, source=TimeSource.FREE) for each in cut(blocks, (5, 99))])
    bench.feed([replace(each, t_ns=each.t_ns + off_ns) for each in cut(blocks, (0, 5))])
    rows = sent(bench)
    (at,) = [number for number, row in enumerate(rows) if clock_set_s(row.metrics) is not None]
    assert clock_set_s(rows[at].metrics) == pytest.approx(by_s, rel=1e-6)
    assert not any(missing_s(row.metrics) for row in rows)
    assert goes_on(rows[at - 1], rows[at]) and rows[at].source is TimeSource.GPS
    assert not is_flagged(rows[at].metrics, TOUCHES_GAP)


def test_a_step_across_a_gap_reports_both() -> None:
    bench, blocks = Bench(), blocks_of(VOLTS[: 10 * RATE_HZ])
    bench.feed(cut(blocks, (5, 99)))
    bench.feed([replace(each, t_ns=each.t_ns + 7 * 10**9) for each in cut(blocks, (0, 6))])
    row = next(row for row in sent(bench) if missing_s(row.metrics))
    assert missing_s(row.metrics) == {GapReason.GATEWAY: pytest.approx(1.0)}
    assert clock_set_s(row.metrics) == pytest.approx(7.0, rel=1e-6)


@pytest.mark.parametrize("ahead_s", [30.0, -200.0])
def test_a_clock_set_after_darkness_corrects_it(ahead_s: float) -> None:
    """A gateway without a battery clock starts with the time at which it went off, or an older one."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 8 * RATE_HZ])
    bench.feed(cut(blocks, (4, 99)))
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    bench.status.started = Log(STARTED, 77, 1, 120)

    def again(first_s: float, end_s: float, ahead_s: float, source: TimeSource) -> None:
        part = cut(blocks, (0, first_s), (end_s, 99))
        bench.feed(
            [
                replace(each, start_id=77, t_ns=each.t_ns + round((4 + ahead_s) * 1e9), source=source)
                for each in part
            ]
        )

    again(0, 4, ahead_s, TimeSource.FREE)
    again(4, 8, 10_800.0, TimeSource.GPS)
    rows = [row for row in sent(bench) if dark_s(row.metrics) is not None]
    assert [dark_s(row.metrics) for row in rows] == pytest.approx([max(0.0, ahead_s), 10_800.0], abs=0.02)
    assert clock_set_s(rows[1].metrics) == pytest.approx(10_800.0 - ahead_s, abs=0.02)


@pytest.mark.parametrize("ahead_s", [10_800.0, 30.0, -6.0, -200.0])
@pytest.mark.parametrize("source", [TimeSource.FREE, TimeSource.NTP])
def test_a_clock_set_during_darkness_changes_nothing(ahead_s: float, source: TimeSource) -> None:
    """A gateway that ran all the time measured it itself."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 8 * RATE_HZ])
    bench.feed([replace(each, source=source) for each in cut(blocks, (4, 99))])
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    bench.status.started, bench.status.silent_before = Log(STARTED, 77, 1, 120), (77, 14.5)
    again = [replace(each, start_id=77, source=source) for each in blocks]
    later = [replace(each, t_ns=each.t_ns + round((4 + 14.5 + ahead_s) * 1e9)) for each in again[:240]]
    bench.feed(later)
    bench.feed([replace(each, t_ns=each.t_ns + 10**15, source=TimeSource.GPS) for each in again[240:]])
    rows = [row for row in sent(bench) if dark_s(row.metrics) is not None]
    wanted_s = 8.5 if source is TimeSource.NTP and ahead_s == -6.0 else 14.5  # a clock that knows the time
    assert [dark_s(row.metrics) for row in rows][:1] == pytest.approx([wanted_s], abs=0.02)
    assert len(rows) == 1 or wanted_s != 14.5, "the lock of the GPS corrects nothing that was measured"


@pytest.mark.parametrize(
    "read_late_s",
    [
        -30.0,
        pytest.param(-12.0, marks=pytest.mark.slow),
        pytest.param(-0.5, marks=pytest.mark.slow),
        0.0,
        8.0,
    ],
)
@pytest.mark.parametrize("locks", ["at once", "after 3 s, in time", "after 3 s, by a step", "never"])
@pytest.mark.parametrize("cause", [1, 4])
def test_gps_stamps_measure_the_absence(read_late_s: float, locks: str, cause: int) -> None:
    """However late its gateway read the line: 40.2 s were reported as 28.2, 19.2 and 10.2 s."""
    away_s = 40.2
    bench, blocks = Bench(), blocks_of(VOLTS[: 20 * RATE_HZ])
    bench.feed(cut(blocks, (4, 99)))
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    bench.status.started = Log(STARTED, 77, cause, 120)
    bench.status.silent_before = 77, away_s + read_late_s
    began = [replace(each, start_id=77, t_ns=each.t_ns + round((4 + away_s) * 1e9)) for each in blocks]
    off_ns = round(-7.5e9) if locks == "after 3 s, by a step" else 0
    lock_s = {"at once": 0.0, "never": 99.0}.get(locks, 3.0)
    unlocked = [
        replace(each, source=TimeSource.FREE, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS, t_ns=each.t_ns + off_ns)
        for each in cut(began, (4 + away_s + lock_s, 999))
    ]
    bench.feed(unlocked).feed(began[len(unlocked) :])
    reason = GapReason.DARK if cause == 1 else GapReason.RESTART
    found = [missing_s(row.metrics) for row in sent(bench)]
    reported = [each[reason] for each in found if each]
    assert all(set(each) <= {reason} for each in found)
    if locks == "never":
        assert reported == [pytest.approx(away_s + read_late_s, abs=0.02)]
        return
    assert reported[-1] == pytest.approx(away_s, abs=0.02)
    off = locks != "at once" and abs(read_late_s) > 0.2
    assert len(reported) == (2 if off else 1), "once more where another length was reported"


def test_each_short_start_is_reported() -> None:
    """Although their cause is never known."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 4 * RATE_HZ])
    for number in range(5):
        off_ns = number * 24 * 10**9  # 20 s away each time
        bench.feed([replace(each, start_id=70 + number, t_ns=each.t_ns + off_ns) for each in blocks])
    more = blocks_of(VOLTS[4 * RATE_HZ :], first=4 * RATE_HZ)
    bench.feed([replace(each, start_id=74, t_ns=each.t_ns + 96 * 10**9) for each in more])
    found = [missing_s(row.metrics) for row in sent(bench)]
    assert sum(each.get(GapReason.RESTART, 0.0) for each in found) == pytest.approx(80.0, abs=0.05)
    assert all(set(each) <= {GapReason.RESTART} for each in found)


@pytest.mark.parametrize("was", [TimeSource.FREE, TimeSource.NTP])
def test_a_late_lock_says_nothing_about_before(was: TimeSource) -> None:
    bench, blocks = Bench(), blocks_of(VOLTS[: 16 * RATE_HZ])
    bench.feed([replace(each, source=was) for each in cut(blocks, (4, 99))])
    bench.measuring.restart("1", replace(HELLO, boot_id=77))
    bench.status.started, bench.status.silent_before = Log(STARTED, 77, 1, 120), (77, 25.0)
    bench.feed([replace(each, start_id=77, t_ns=each.t_ns + 3600 * 10**9) for each in blocks])
    assert [dark_s(row.metrics) for row in sent(bench) if dark_s(row.metrics)] == [pytest.approx(25.0)]


@pytest.mark.parametrize("boot_id", [5, 6])
def test_a_restarted_gateway_knows_its_rings_end(boot_id: int) -> None:
    end_sample = 3 * RATE_HZ
    end = Segment(
        Path("none"),
        StatedFacts(boot_id, 0.01),
        end_sample=end_sample,
        end_ns=T0_NS + 3 * 10**9,
        start_ns=T0_NS,
    )
    bench = Bench(ring_end=lambda _: end)
    bench.status.started = Log(STARTED, 5, 1, 0)
    if boot_id == 5:
        bench.measuring.gap("1", Gap(end_sample, 9 * RATE_HZ, NOT_RUNNING))
    bench.feed(cut(blocks_of(VOLTS[: 20 * RATE_HZ]), (0, 12)))
    row = sent(bench)[0]
    assert missing_s(row.metrics) == {
        GapReason.GATEWAY if boot_id == 5 else GapReason.DARK: pytest.approx(9.0, abs=0.02)
    }


@pytest.mark.parametrize(("silent_s", "wanted_s"), [(9.0, 9.0), (None, 0.0)])
def test_a_set_back_gateway_measures_the_darkness(silent_s: float | None, wanted_s: float) -> None:
    """Its ring ends hours ahead of its clock; if the machine was off too, the length is not known."""
    end_ns = T0_NS + 8351 * 10**9
    end = Segment(
        Path("none"), StatedFacts(6, 0.01), end_sample=3 * RATE_HZ, end_ns=end_ns, start_ns=end_ns - 3 * 10**9
    )
    bench = Bench(ring_end=lambda _: end)
    bench.status.started = Log(STARTED, 5, 1, 0)
    bench.status.silent_before = None if silent_s is None else (5, silent_s)
    bench.feed([replace(each, source=TimeSource.FREE) for each in blocks_of(VOLTS[: 8 * RATE_HZ])])
    assert dark_s(sent(bench)[0].metrics) == pytest.approx(wanted_s, abs=0.02)


@pytest.mark.parametrize("low_v", [0.0, 3.9])
def test_a_gateways_losses_on_battery_are_dark(low_v: float) -> None:
    """Samples that a gateway lost while the Box is on its battery are dark."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 10 * RATE_HZ])
    bench.status.health = Health(0, None, low_v, 3.8, 0, 0, 0, 0, 0, 0, 0, 0)
    bench.feed(cut(blocks, (4, 99)))
    bench.status.health = Health(0, None, 5.0, 3.8, 0, 0, 0, 0, 0, 0, 0, 0)
    bench.feed(cut(blocks, (0, 7)))
    assert dark_s(first_after(sent(bench), 7).metrics) == pytest.approx(3.0)


def test_values_at_gaps_or_dips_are_flagged() -> None:
    volts = VOLTS[: 12 * RATE_HZ].copy()
    volts[round(8.2 * RATE_HZ) : round(8.5 * RATE_HZ)] *= 0.7
    bench = Bench(hello=HELLO)
    bench.feed(cut(blocks_of(volts), (3.5, 5.0)))
    rows = sent(bench)
    gap = [row for row in rows if is_flagged(row.metrics, TOUCHES_GAP)]
    dips = [row for row in rows if is_flagged(row.metrics, TOUCHES_EVENT)]
    assert len(gap) == 2, "the one before the gap and the one after it"
    assert abs((gap[0].end_ns or 0) - T0_NS - 3.5e9) < 0.05e9
    assert abs((gap[1].start_ns or 0) - T0_NS - 5.0e9) < 0.05e9
    assert dips and all(row.metrics["rms"].min < 108 or row.metrics["f"].min for row in dips)
    quiet = [row for row in rows if row not in gap and row not in dips]
    assert len(quiet) >= 6 and np.ptp([row.metrics["f"].average for row in quiet]) < 0.002


def test_figures_over_the_boxs_losses_are_refused() -> None:
    """A Box that joins its samples over a hole states 48 to 52 Hz; no figure crosses a hole."""
    bench, blocks = Bench(), blocks_of(VOLTS[: 10 * RATE_HZ])
    before, after = cut(blocks, (4, 99)), cut(blocks, (0, 6))
    bench.feed(before)
    for first, f_hz in ((4 * RATE_HZ, 51.6), (3 * RATE_HZ, 48.2), (6 * RATE_HZ, 60.0)):
        bench.measuring.figures(
            "1",
            BoxMeasurement(
                first_sample=first, samples=RATE_HZ, rms_v=120.0, f_hz=f_hz, thd=0.06, trans_v=1.0
            ),
        )
    bench.measuring.gap("1", Gap(before[-1].end_sample, 2 * RATE_HZ, OVERRUN))
    bench.feed(after)
    rows = sent(bench)
    assert bench.counters["fallback_measurements"] == 0 and bench.counters["box_figures_refused"] == 1
    assert all(abs(row.metrics["f"].average - 60.0) < 0.05 for row in rows if "f" in row.metrics)
