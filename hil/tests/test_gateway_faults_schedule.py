"""Schedules of faults at a real gateway: drawn by seed, lived through, and held to account."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from played_seeds import played, played_schedule

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import BEFORE_CONTACT
from opq_proto.messages import Gap, Measurement, TimeSource
from opq_sim.faults.draws import GATEWAY_BOXES, GATEWAY_SPANS_S, draw_gateway
from opq_sim.faults.rules import data_lost
from opq_sim.faults.rules.gaps import unexplained_gaps
from opq_sim.faults.schedule import Fault, FaultSchedule
from opq_sim.faults.verdict import ScheduleVerdict

SUITE = "gateway-faults"
RATE_MILLIHZ = 12_000_000


def truth(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64).astype(np.int16)


def block(first: int, count: int, t_ns: int = 10**18) -> SampleBlock:
    start_ns = t_ns + first * 10**12 // RATE_MILLIHZ
    return SampleBlock(1, 0.01, first, start_ns, 100, TimeSource.GPS, RATE_MILLIHZ, truth(first, count))


def measured(sequence: int, start_ms: int, end_ms: int) -> Measurement:
    start_ns, end_ns = 10**18 + start_ms * 10**6, 10**18 + end_ms * 10**6
    return Measurement("1", end_ns // 10**6, {}, start_ns, end_ns, sequence=sequence)


def test_all_samples_in_the_ring_leave_no_problem() -> None:
    account = data_lost.samples("1", 600, [block(0, 200), block(200, 400)], [], truth)
    assert (account.sent, account.in_ring, account.problems) == (600, 600, [])


def test_a_lost_sample_is_named_by_index() -> None:
    account = data_lost.samples("1", 600, [block(0, 200), block(400, 200)], [], truth)
    assert "200 samples are neither" in account.problems[0] and "200..399" in account.problems[0]


def test_a_recorded_gap_accounts_for_its_samples() -> None:
    gap = Gap(200, 200, "the disk was full")
    account = data_lost.samples("1", 600, [block(0, 200), block(400, 200)], [gap], truth)
    assert account.in_gaps == {"the disk was full": 200} and not account.problems


def test_the_last_samples_are_missed_too() -> None:
    assert "400..599" in data_lost.samples("1", 600, [block(0, 400)], [], truth).problems[0]


def test_a_wrong_count_is_reported() -> None:
    wrong = replace(block(0, 200), counts=truth(1, 200))
    account = data_lost.samples("1", 400, [wrong, block(200, 200), block(200, 200)], [], truth)
    assert "200 samples in the ring are not what was sent" in account.problems[0]
    assert "200 samples are in the ring twice" in account.problems[1]


def test_an_avoidable_gap_needs_an_excuse() -> None:
    lived = {BEFORE_CONTACT: 800, "lost": 200}
    assert "200 samples" in unexplained_gaps(FaultSchedule(1, ()), lived, 0.0)[0]
    assert not unexplained_gaps(FaultSchedule(1, (Fault("disk_full", 2.0, 3.0),)), lived, 0.0)
    assert not unexplained_gaps(FaultSchedule(1, ()), lived, 12.0)
    assert "400000 samples" in unexplained_gaps(FaultSchedule(1, ()), {BEFORE_CONTACT: 400_000}, 0.0)[0]


def test_a_revised_stamp_is_reported() -> None:
    moved = replace(block(200, 200), t_ns=block(200, 200).t_ns + 1)
    own = [block(0, 200), moved]
    problems = data_lost.stamps("1", own, lambda sample: 10**18 + sample * 10**12 // RATE_MILLIHZ)
    assert "sample 200 by 1 ns" in problems[0]
    assert data_lost.revised("1", [block(200, 200)], own) and not data_lost.revised("1", own, own)


def test_an_unstored_measurement_is_reported() -> None:
    first, second = measured(1, 0, 100), measured(2, 100, 200)
    received = {("1", 1): first, ("1", 2): second}
    assert not data_lost.once([first, second], received)
    assert "1 Measurements were received and not stored" in data_lost.once([first], received)[0]
    assert "1 Measurements are stored twice" in data_lost.once([first, second, second], received)[0]
    assert "another time" in data_lost.once([first, measured(2, 100, 201)], received)[0]


def test_a_queued_unstored_measurement_is_reported() -> None:
    assert (
        "1 Measurements were queued" in data_lost.kept_promise([measured(1, 0, 100)], [("1", 1), ("1", 2)])[0]
    )


def test_overlapping_windows_are_reported() -> None:
    both = [measured(1, 0, 100), measured(2, 90, 190)]
    assert "10.000 ms" in data_lost.overlaps("1", both, 1000)[0]
    assert not data_lost.overlaps("1", [both[0], replace(both[1], crossing=True)], 1000)


def test_unmeasured_samples_are_reported() -> None:
    blocks = [block(first, 1200) for first in range(0, 12_000, 1200)]  # one second
    whole = [measured(number, 100 * number, 100 * number + 100) for number in range(10)]
    assert not data_lost.unmeasured("1", blocks, whole, 1000, 1000)
    assert "0.50 s" in data_lost.unmeasured("1", blocks, whole[:3] + whole[8:], 1000, 1000)[0]
    assert not data_lost.unmeasured("1", blocks, whole[5:], 1000, 600_000_000)
    assert data_lost.unmeasured("1", blocks, whole[:5], 1000, 400_000_000)


def test_a_jump_between_neighbours_is_counted() -> None:
    """A jump at a hole is not."""
    hour_later = 10**18 + 3600 * 10**9
    assert data_lost.jumps([block(0, 200), block(200, 200, hour_later)]) == 1
    assert data_lost.jumps([block(0, 200), block(400, 200, hour_later)]) == 0


def test_holes_between_sequence_numbers_are_counted() -> None:
    assert data_lost.missing_sequences([measured(number, number, number + 1) for number in (5, 6, 9)]) == 2


def problems_without_starving(verdict: ScheduleVerdict) -> list[str]:
    """Without the gaps of a machine that is too busy to read a line, or to play a Box."""
    starved = verdict.figures.get("bytes_unread")
    return [each for each in verdict.problems if not (starved and "in gaps without need" in each)]


@pytest.mark.slow  # a schedule with faults, whose account is the same, always runs
def test_without_faults_everything_is_accounted_for(tmp_path: Path) -> None:
    verdict = played_schedule(SUITE, FaultSchedule(0, (), length_s=3.0), tmp_path)
    figures = verdict.figures
    assert problems_without_starving(verdict) == []
    assert int(figures["samples_in_ring"]) + int(figures["samples_in_gaps"]) == figures["samples_sent"]
    assert int(figures["stored"]) >= int(figures["received"]) > 60
    assert [figures[f"holes_{box_id}"] for box_id in GATEWAY_BOXES] == [0, 0, 0]


@pytest.mark.slow
def test_an_unplugged_end_costs_no_sample(tmp_path: Path) -> None:
    unplugged = Fault("unplugged", 1.6, 3.95, "10")
    verdict = played_schedule(SUITE, FaultSchedule(0, (unplugged,), length_s=5.6), tmp_path)
    assert verdict.ok, verdict.problems


@pytest.mark.timeout(3600)
def test_a_schedule_of_every_fault_loses_nothing(tmp_path: Path) -> None:
    schedule = draw_gateway(43)
    assert {fault.kind for fault in schedule.faults} == set(GATEWAY_SPANS_S)
    assert problems_without_starving(played_schedule(SUITE, schedule, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twelve_gateway_schedules_lose_nothing(tmp_path: Path) -> None:
    assert played(SUITE, range(1, 13), tmp_path)["failed_seeds"] == []


@pytest.mark.soak
@pytest.mark.timeout(10_000)
def test_two_hundred_gateway_schedules_lose_nothing(tmp_path: Path) -> None:
    assert played(SUITE, range(1, 201), tmp_path)["failed_seeds"] == []
