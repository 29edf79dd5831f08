"""Clocks that are set in every way, with dips and losses of supply: each is found once, nothing else is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_proto.keys.key_files import KeyPair
from opq_sim.faults import runner
from opq_sim.faults.draws import SEEN_S
from opq_sim.faults.evidence import Evidence, StoredEvent, StoredFinding, StoredWaveform, dips_percent
from opq_sim.faults.parts.cabled_boxes import RATE_HZ, CabledBoxes
from opq_sim.faults.schedule import ClockDip, ClockStep, ClockTrial, FaultSchedule
from opq_sim.faults.verdict import ScheduleVerdict, judge_clocks
from opq_sim.foreign.host import COUNTS_PER_VOLT, ConnectedBox, ForeignEndpoints, ForeignHost
from opq_sim.foreign.leg_box import LegBox, lowest_mean
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid_events import disturbance

S = 10**9


TRIAL = ClockTrial(
    "gps_locks", 0, (ClockStep(5.0, -10.6),), (ClockDip(2.0, 60.0), ClockDip(7.0, 70.0)), (20.0, 14.0)
)
FOUND = (
    StoredFinding("1", 1, "sag", 60.01, (1,), "", 0, S),
    StoredFinding("1", 2, "sag", 69.99, (2,), "", 0, S),
    StoredFinding("1", 3, "outage", None, (-1,), "", 0, S),
)
WAVES = {
    (1, "1"): StoredWaveform(25_400, 25_800, 0, (60.0,)),
    (2, "1"): StoredWaveform(25_400, 25_800, 0, (70.0, 40.0)),
}

TWO_SILENCES = ("Box 1, silence: a", "Box 1, completes event 3: silence: b")
SCHEDULE = FaultSchedule(1, (TRIAL,))


def opened(*because: str) -> list[StoredEvent]:
    return [StoredEvent(each, 0, S, (), {}, "1", why) for each, why in enumerate(because)]


def problems_of(
    findings: tuple[StoredFinding, ...] = FOUND,
    waves: dict[tuple[int, str], StoredWaveform] | None = None,
    because: tuple[str, ...] = ("Box 1, silence: no supply",),
    withdrawn: tuple[str, ...] = (),
) -> list[str]:
    evidence = Evidence(
        findings=list(findings),
        waveforms=WAVES if waves is None else WAVES | waves,
        events=opened(*because),
        withdrawn=list(withdrawn),
    )
    verdict = ScheduleVerdict(SCHEDULE)
    judge_clocks(verdict, evidence)
    assert (verdict.figures["dips"], verdict.figures["outages"]) == (2, 1)
    return verdict.problems


def test_the_verdict_names_lost_doubled_and_false() -> None:
    assert problems_of() == []
    again = replace(FOUND[1], incident=4)
    for problems, wanted in (
        (problems_of(FOUND[1:]), "dip to 60 % at 2 s: 0 incidents"),
        (problems_of((*FOUND, again)), "dip to 70 % at 7 s: 2 incidents"),
        (problems_of(FOUND[:2]), "its outage at 20 s is missing"),
        (problems_of((*FOUND, replace(FOUND[2], incident=5, because="10796 s"))), "false: outage: 10796 s"),
        (problems_of((*FOUND, replace(FOUND[0], incident=6, residual_percent=86.3))), "false: sag"),
        (problems_of(withdrawn=("1",)), "reported and withdrawn"),
        (problems_of(because=TWO_SILENCES), "false trigger: Box 1, completes event 3: silence: b"),
        (problems_of(waves={(2, "1"): StoredWaveform(25_400, 25_800, 0, (60.0,))}), "show dips to [(60.0,)]"),
        (problems_of(waves={(2, "1"): StoredWaveform(25_400, 13_000, 0, (70.0,))}), "13000 of 25400 samples"),
        (problems_of((replace(FOUND[0], event_ids=(9,)), *FOUND[1:])), "no waveform is stored"),
    ):
        assert any(wanted in each for each in problems), (wanted, problems)


@pytest.mark.parametrize(
    ("first", "lowest"), [(0, 0.88), (4, 0.88), (5, 0.9), (7, 0.94), (8, 0.92), (9, 0.9)]
)
def test_ten_cycle_means_show_a_dips_part(first: int, lowest: float) -> None:
    """Six cycles to 80 %; `first`: the window of its ten in which the dip begins."""
    rms = np.ones(40)
    rms[10 + first : 16 + first] = 0.8
    assert lowest_mean(0, rms) == pytest.approx(lowest)
    assert lowest_mean(23, rms[3:]) == pytest.approx(lowest), "by the windows of the Box, not of the piece"


def test_a_boxs_next_windows_are_predicted() -> None:
    source = Generator(seed=5)
    box = ConnectedBox(LegBox("5", COUNTS_PER_VOLT), source, KeyPair(b"p" * 40, b"s" * 40))
    host = ForeignHost(ForeignEndpoints("", "", "", b""), [box])
    for _ in range(7):
        box.next_window()
    host.add_event("5", disturbance("sag", 0.2, 6))
    first, shares = host.coming_shares("5", 120)
    assert first == 7
    read = np.array([box.next_window() / COUNTS_PER_VOLT for _ in range(120)])
    assert np.sqrt(np.mean(read**2, axis=1)) / 120.0 == pytest.approx(shares, abs=0.02)
    assert shares.min() == pytest.approx(0.8, abs=0.001)


def test_an_unseen_dip_is_counted_apart() -> None:
    for not_shown, problems in ((set(), 1), ({("1", 2.0)}, 0), ({("1", 7.0)}, 1)):
        verdict = ScheduleVerdict(SCHEDULE)
        events = opened("silence: no supply")
        evidence = Evidence(findings=list(FOUND[1:]), waveforms=WAVES, events=events, not_shown=not_shown)
        judge_clocks(verdict, evidence)
        assert len(verdict.problems) == problems
        assert verdict.figures["dips_not_shown"] == 1 - problems


def test_the_lowest_rms_is_the_dips() -> None:
    made = Generator(seed=1)
    made.add(disturbance("sag", 0.3, 10))
    counts = made.counts(0, 12_000)
    assert dips_percent(counts * made.v_per_lsb) == pytest.approx((70.0,), abs=0.1)
    assert dips_percent(counts[:200] * made.v_per_lsb) == ()


def test_a_box_without_supply_has_no_samples(tmp_path: Path) -> None:
    with CabledBoxes({each: tmp_path / each for each in ("1", "2")}, in_1970=("1", "2")) as boxes:
        boxes.lose_supply(("1",), 12.0)
        assert all(boxes.not_sampled("1", at * RATE_HZ, (at + 1) * RATE_HZ) for at in (6, 11))
        assert not boxes.not_sampled("1", 60 * RATE_HZ, 61 * RATE_HZ)
        assert not boxes.not_sampled("2", 6 * RATE_HZ, 7 * RATE_HZ)


@pytest.mark.timeout(3600)
def test_observations_of_a_real_box_are_reproduced(tmp_path: Path) -> None:
    """Each row of the table with the real gateway and cloud: two dips are two incidents, and nothing else."""
    (document,) = runner.play("clock-faults", [0], tmp_path)
    assert document["ok"], "\n".join(document["problems"])
    figures = document["figures"]
    assert (figures["dips_found"], figures["false"], figures["outages"]) == (2 * len(SEEN_S), 0, 0)
    assert figures["clocks_set"] == len(SEEN_S)
