"""Schedules of faults at a real cloud: drawn by seed, lived through, and held to account."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from played_seeds import played

from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.source import RunClock
from opq_sim.faults.draws import CLOUD_SPANS_S, draw_cloud
from opq_sim.faults.evidence import Evidence, StoredEvent, StoredFinding
from opq_sim.faults.parts.dips import NOMINAL_HZ, dipping_grid, placed_dips, true_dips
from opq_sim.faults.parts.held_numbers import HeldNumbers
from opq_sim.faults.parts.hostile_peers import HOSTILE_ID
from opq_sim.faults.rules.data_lost import held_or_stored
from opq_sim.faults.rules.dips import joined_incident, shared_dips, unexplained
from opq_sim.faults.schedule import DrawnDip, Fault, FaultSchedule
from opq_sim.faults.verdict import ScheduleVerdict, judge_cloud
from opq_sim.fleet.fleet_meter import FleetMeter
from opq_sim.score.records import BoxSpan, FoundIncident, TrueDisturbance

S = 10**9


def test_every_box_has_its_dips_everywhere() -> None:
    """In its samples, its voltage and the truth."""
    dips = placed_dips((DrawnDip(0.5, 6, 0.3, ("1",)), DrawnDip(2.0, 12, 0.5, ("1", "20"))), 1.0)
    grid = dipping_grid(("1", "20"), dips, seed=3)
    truth = true_dips(dips, RunClock(0, 10 * S, 0, TimeSource.GPS))
    first, second = truth[0].boxes["1"], truth[1].boxes["20"]
    assert (set(truth[0].boxes), set(truth[1].boxes)) == ({"1"}, {"1", "20"})
    assert 11.5 * S <= first.start_ns < 11.5 * S + S / NOMINAL_HZ
    assert second.end_ns - second.start_ns == pytest.approx(12 / NOMINAL_HZ * S, abs=2)
    for outlet, own in zip(grid.outlets, (dips, dips[1:]), strict=True):
        edges = tuple(t_s for dip in own for t_s in (dip.start_s, dip.end_s))
        assert outlet.voltage.changes(0.0, 10.0) == edges
        samples = outlet.samples()
        steady = outlet.voltage.steady(0.0, own[0].start_s)
        assert steady is not None
        for dip, depth in zip(own, (0.3, 0.5)[-len(own) :], strict=True):
            assert outlet.voltage.steady(dip.start_s - 0.1, dip.start_s + 0.01) is None
            begin, end = (round(t_s * samples.rate_millihz / 1000) for t_s in (dip.start_s, dip.end_s))
            volts = samples.counts(begin, end - begin) * samples.v_per_lsb
            assert np.sqrt(np.mean(volts**2)) == pytest.approx((1 - depth) * steady.rms_v, rel=0.002)


def test_a_late_fleet_still_measures_the_dip() -> None:
    dips = placed_dips((DrawnDip(0.5, 6, 0.3, ("1",)),), 1.0)
    clock = RunClock(0, 10 * S, 0, TimeSource.GPS)
    meter = FleetMeter(dipping_grid(("1",), dips, seed=3), clock, cycles=12, seed=1)
    meter.begin(0, 0.0)
    quiet = [meter.measure_quiet(t_s) for t_s in np.arange(0.05, 1.3, 0.05)]
    assert any(quiet) and meter.disturbed == 0
    while meter.measure_quiet(2.6) is not None:  # more than a second late
        pass
    assert meter.disturbed == 1
    rms_v = [each.metrics["rms"].min for _, each in meter.measure_disturbed(2.6) if not each.crossing]
    assert min(rms_v) == pytest.approx(0.7 * 120, rel=0.03)


def test_a_stored_or_held_measurement_is_right() -> None:
    assert held_or_stored("1", HeldNumbers(100, 103, 105), [100, 101, 102]) == []
    assert held_or_stored("1", HeldNumbers(100, 103, 105), [100, 101, 102, 104]) == []


def test_a_lost_or_doubled_measurement_is_named() -> None:
    held = HeldNumbers(100, 104, 105)
    assert held_or_stored("1", held, [100, 102, 103]) == [
        "Box 1: 1 Measurements were acknowledged and are in no store: 101"
    ]
    assert held_or_stored("1", held, [100, 102, 103], [101, 102]) == [
        "Box 1: 1 Measurements were acknowledged and are in the other Makai's store alone: 101"
    ]
    assert "stored twice: 102" in held_or_stored("1", held, [100, 101, 102, 102, 103])[0]
    forged = held_or_stored("1", held, [99, 100, 101, 102, 103, 105])
    assert "2 Measurements are stored and were never made: 99, 105" in forged[0]


DIP = TrueDisturbance(
    "3", "sag", None, {"1": BoxSpan("sag", 5 * S, 6 * S), "4": BoxSpan("sag", 5 * S, 6 * S)}
)
EVENT = StoredEvent(9, 4 * S, 7 * S, ("1", "4"), {})
FOUND = FoundIncident(2, "sag", None, dict(DIP.boxes))


def test_a_dip_with_one_incident_is_found() -> None:
    account = shared_dips([DIP], [FOUND], [EVENT])
    assert (account.found, account.excused, account.problems) == (1, {}, [])


def test_a_dip_without_a_box_needs_the_reason() -> None:
    part = FoundIncident(2, "sag", None, {"1": DIP.boxes["1"]})
    silent = replace(EVENT, received=("1",), missing={"4": "no answer within 8 s"})
    account = shared_dips([DIP], [part], [silent])
    assert (account.found, account.problems) == (0, [])
    assert account.excused == {"3": "Box 4: no answer within 8 s"}
    mute = shared_dips([DIP], [part], [EVENT]).problems
    assert "Boxes 4 saw it and are in no incident (event 9 analysed, received 1, 4)" in mute[0]
    short = replace(EVENT, missing={"4": "ends 900 ms early, without a reason"})
    assert shared_dips([DIP], [part], [short]).excused == {"3": "Box 4: ends 900 ms early, without a reason"}
    assert shared_dips([DIP], [], []).problems == ["dip 3: no event was opened"]
    elsewhere = replace(EVENT, start_ns=6 * S, end_ns=8 * S)
    assert shared_dips([DIP], [], [elsewhere]).problems == ["dip 3: no event was opened"]


def test_a_reason_counts_only_during_its_fault() -> None:
    """After the faults it counts no more."""
    excused, last = {"3": "Box 4: no answer"}, replace(DIP, number="4")
    assert unexplained(excused, [DIP, last], {"slow_box"}) == []
    assert "dip 3: a Box is missing without need" in unexplained(excused, [DIP, last], {"garbage_box"})[0]
    assert len(unexplained(excused, [last, DIP], {"slow_box"})) == 1


def test_a_wrong_incident_of_a_dip_is_named() -> None:
    halves = [FoundIncident(n, "sag", None, {box: DIP.boxes[box]}) for n, box in ((2, "1"), (5, "4"))]
    assert shared_dips([DIP], halves, [EVENT]).problems == ["dip 3: split in 2 incidents"]
    more = replace(FOUND, boxes={**DIP.boxes, "12": DIP.boxes["1"]})
    assert "Boxes 12 did not see it" in shared_dips([DIP], [more], [EVENT]).problems[0]
    swell = replace(FOUND, kind="swell", boxes={box: replace(DIP.boxes[box], kind="swell") for box in "14"})
    assert shared_dips([DIP], [swell], [EVENT]).problems == ["dip 3: is called swell"]
    deep = replace(FOUND, kind="interruption")
    assert shared_dips([DIP], [deep], [EVENT]).problems == []
    late = FoundIncident(7, "sag", None, {"1": BoxSpan("sag", 60 * S, 61 * S)})
    assert shared_dips([DIP], [FOUND, late], [EVENT]).problems == [
        "incident 7 (sag, Boxes 1): there was no dip"
    ]
    wide = replace(FOUND, boxes={"1": BoxSpan("sag", 5 * S, 9 * S), "4": DIP.boxes["4"]})
    other = TrueDisturbance("4", "sag", None, {"1": BoxSpan("sag", 8 * S, 9 * S)})
    joined = shared_dips([DIP, other], [wide], [EVENT, replace(EVENT, end_ns=10 * S)]).problems
    assert any("joins dips 3, 4" in problem for problem in joined)


def finding(box_id: str, kind: str, at_s: int, incident: int = 3) -> StoredFinding:
    return StoredFinding(box_id, incident, kind, None, (), "", at_s * S, (at_s + 1) * S)


def test_one_groups_findings_are_an_incident() -> None:
    rows = [
        finding(box_id, kind, at)
        for box_id, kind, at in (("1", "sag", 5), ("1", "interruption", 6), ("4", "sag", 5))
    ]
    found = joined_incident(3, rows)
    assert found.kind == "interruption+sag"
    assert found.boxes["1"] == BoxSpan("interruption+sag", 5 * S, 7 * S)
    assert found.boxes["4"] == BoxSpan("sag", 5 * S, 6 * S)


def problems_of(evidence: Evidence) -> tuple[list[str], dict[str, float | int | str]]:
    verdict = ScheduleVerdict(FaultSchedule(1, (Fault("garbage_box", 1.0),)))
    verdict.add(evidence)
    judge_cloud(verdict, evidence)
    return verdict.problems, verdict.figures


def test_a_world_is_judged_box_by_box() -> None:
    row = Measurement("1", 1, {}, sequence=100)
    evidence = Evidence(
        held={"1": HeldNumbers(100, 102, 103)},
        stored=[row, replace(row, sequence=101)],
        truth=[DIP],
        findings=[finding("1", "sag", 5, 2), finding("4", "sag", 5, 2)],
        events=[EVENT],
    )
    problems, figures = problems_of(evidence)
    assert problems == []
    assert (figures["stored"], figures["held"], figures["dips_found"]) == (2, 1, 1)
    evidence.findings.append(finding(HOSTILE_ID, "outage", 5))
    assert problems_of(evidence)[0] == []
    evidence.findings[-1] = finding(HOSTILE_ID, "sag", 5)
    assert f"Boxes {HOSTILE_ID}" in problems_of(evidence)[0][0]
    evidence.findings.pop()
    evidence.stored.pop()
    assert "were acknowledged and are in no store: 101" in problems_of(evidence)[0][0]


SUITE = "cloud-faults"
SEEDS = (4, 16, 17)
"""The fewest that have every kind of fault."""
SIDE_BY_SIDE = 3
"""A world takes a quarter of a core; other tests run beside."""


def test_three_seeds_have_every_kind_of_fault() -> None:
    assert {kind for seed in SEEDS for kind in draw_cloud(seed).kinds} == {*CLOUD_SPANS_S}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("seeds", "least_frames"),
    [(SEEDS[:1], 1), pytest.param(SEEDS, 1000, marks=pytest.mark.slow)],
    ids=["one", "three"],
)
def test_cloud_schedules_lose_nothing(tmp_path: Path, seeds: tuple[int, ...], least_frames: int) -> None:
    found = played(SUITE, seeds, tmp_path, SIDE_BY_SIDE)
    assert found["hostile_frames"] >= least_frames  # garbage, strangers and copies went out
    assert found["failed_seeds"] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifteen_cloud_schedules_lose_nothing(tmp_path: Path) -> None:
    assert played(SUITE, range(1, 16), tmp_path, SIDE_BY_SIDE)["failed_seeds"] == []


@pytest.mark.soak
@pytest.mark.timeout(20_000)
def test_three_hundred_cloud_schedules_lose_nothing(tmp_path: Path) -> None:
    found = played(SUITE, range(1, 301), tmp_path)
    assert found["failed_seeds"] == []
