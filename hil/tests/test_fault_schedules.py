"""Schedules of faults of all suites: drawn by seed, made of kinds that the world knows, tallied alike."""

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest

from opq_sim.faults import runner
from opq_sim.faults.draws import (
    ALONE,
    AMBIGUOUS_S,
    APART_S,
    AWAY_S,
    CLOCK_KINDS,
    CLOCK_STEP_S,
    CLOUD_BOXES,
    CLOUD_SPANS_S,
    FERRETDB_KINDS,
    GATEWAY_SPANS_S,
    LAST_END_S,
    PAUSE_S,
    RESTARTED,
    SHARED_S,
    SILENCE_SPANS_S,
    TOGETHER,
    draw_clocks,
    draw_cloud,
    draw_gateway,
    draw_restarts,
    draw_silences,
)
from opq_sim.faults.kinds import FAULTS
from opq_sim.faults.schedule import ClockDip, ClockStep, ClockTrial
from opq_sim.faults.suites import SUITES

DRAWN_KINDS = {
    "gateway-faults": {*GATEWAY_SPANS_S},
    "cloud-faults": {*CLOUD_SPANS_S},
    "silence-faults": {*SILENCE_SPANS_S, *SHARED_S},
    "clock-faults": {*CLOCK_KINDS},
    "restart-faults": {*TOGETHER, *ALONE},
}


@pytest.mark.parametrize("name", SUITES)
def test_a_seed_determines_the_draw(name: str) -> None:
    draw = SUITES[name].draw
    assert draw(7) == draw(7) and draw(7).drawn != draw(8).drawn


@pytest.mark.parametrize("name", SUITES)
def test_two_hundred_seeds_draw_every_kind(name: str) -> None:
    """A world knows how each kind begins and ends."""
    schedules = [SUITES[name].draw(seed) for seed in range(1, 201)]
    assert {kind for schedule in schedules for kind in schedule.kinds} == DRAWN_KINDS[name]
    assert {fault.kind for schedule in schedules for fault in schedule.faults} <= FAULTS.keys()


def test_no_kind_is_left_that_no_suite_plays() -> None:
    played = {
        fault.kind for suite in SUITES.values() for seed in range(80) for fault in suite.draw(seed).faults
    }
    assert played == FAULTS.keys()


@pytest.mark.parametrize("draw", [draw_gateway, draw_cloud])
def test_faults_end_in_time(draw) -> None:
    faults = [fault for seed in range(200) for fault in draw(seed).faults]
    assert max(fault.end_s for fault in faults) <= LAST_END_S + 1e-3
    assert {fault.step_s for fault in faults} == {-3600, 0, 3600}


def test_every_gateway_schedule_has_a_kill() -> None:
    assert all("gateway_killed" in draw_gateway(seed).kinds for seed in range(200))


def test_the_last_cloud_dip_comes_after_recovery() -> None:
    for schedule in map(draw_cloud, range(200)):
        begins = [dip.at_s for dip in schedule.dips]
        assert min(np.diff(begins)) > 1.5 and begins[-1] > LAST_END_S
        assert all(set(dip.box_ids) <= set(CLOUD_BOXES) and dip.box_ids for dip in schedule.dips)


def test_each_silence_is_drawn_often() -> None:
    kinds = Counter(trial.kind for seed in range(1, 43) for trial in draw_silences(seed).drawn)
    assert min(kinds.values()) >= 30
    pair = [fault for fault in draw_silences(1).faults if fault.kind == "two_gateways_dark"]
    assert len(pair) == 2 and len({(fault.at_s, fault.for_s) for fault in pair}) == 1


def test_clock_steps_and_dips_are_distinct() -> None:
    """Small and large steps; each dip can be told from the others."""
    trials = [trial for seed in range(1, 26) for trial in draw_clocks(seed).clocks]
    assert len(trials) == 200 and min(Counter(trial.kind for trial in trials).values()) >= 20
    steps = [step.by_s for trial in trials for step in trial.steps]
    assert min(map(abs, steps)) < 2 * CLOCK_STEP_S[0] and max(map(abs, steps)) > CLOCK_STEP_S[1] / 2
    assert {step > 0 for step in steps} == {True, False} and {len(each.steps) for each in trials} == {1, 2}
    for trial in trials:
        moments = [dip.at_s for dip in trial.dips]
        assert moments and all(b - a >= APART_S for a, b in pairwise(moments))
        assert len({dip.residual_percent for dip in trial.dips}) == len(trial.dips)
        if trial.dark is not None:
            begin_s, end_s = trial.dark[0], sum(trial.dark)
            assert not any(begin_s - AWAY_S[0] < at < end_s + AWAY_S[1] for at in moments)


def test_restarts_draw_every_end_and_store() -> None:
    """Each end, each Box, both stores, and pauses of all lengths."""
    schedules = [draw_restarts(seed) for seed in range(1, 25)]
    assert sum(len(each.restarts) * len(each.boxes) for each in schedules) >= 300
    ends = Counter(each.kind for schedule in schedules for each in schedule.restarts)
    assert ends.keys() == {*TOGETHER, *ALONE} and min(ends.values()) >= 4
    assert Counter(schedule.store for schedule in schedules) == {"sqlite": 18, "ferretdb": 6}
    together = [each for schedule in schedules for each in schedule.restarts if each.kind in TOGETHER]
    pauses = [each.pause_s for each in together]
    assert min(pauses) < 3 * PAUSE_S[0] and max(pauses) > PAUSE_S[1] / 3
    assert not any(
        AMBIGUOUS_S[0] < each.pause_s < AMBIGUOUS_S[1] for each in together if each.kind == "site_dark"
    )
    assert {each.ahead_s is None for each in together} == {True, False}
    assert sorted(chain(*FERRETDB_KINDS)) == sorted(list(RESTARTED)[:-1])
    for schedule in schedules:
        kinds = [each.kind for each in schedule.boxes]
        if schedule.store == "ferretdb":
            assert tuple(kinds) in FERRETDB_KINDS
        else:
            assert kinds == list(RESTARTED)[:-1] or kinds == ["quiet", "cur", "emulated"]
        assert len({each.residual_percent for each in schedule.boxes}) >= len(kinds) - 1
        cabled = [dip for each in schedule.boxes if each.gateway is not None for dip in each.dips_s]
        assert min(b - a for a, b in pairwise(sorted(cabled))) > 1.5


def test_a_clock_trial_has_single_faults() -> None:
    steps, dip = (ClockStep(5.0, -10.0), ClockStep(9.0, 4.0)), ClockDip(2.0, 60.0)
    trial = ClockTrial("gps_locks", 1, steps, (dip,), (20.0, 14.0), 3.0)
    assert (trial.box_ids, trial.ahead_s) == (("3",), 6.0)
    assert [(fault.kind, fault.at_s, fault.for_s) for fault in trial.faults] == [
        ("dip", 2.0, 0.0),
        ("gateway_clock_set", 5.0, 0.0),
        ("box_has_gps", 9.0, 0.0),
        ("box_dark", 20.0, 14.0),
        ("box_knows_no_time", 27.0, 0.0),
        ("box_has_gps", 37.0, 0.0),
    ]
    assert trial.faults[1].step_s == -4.0, "6 s ahead, set back by 10 s"
    restarted = ClockTrial("gateway_restarted", 1, steps[1:], ()).faults
    assert [(fault.kind, fault.step_s, fault.gateway) for fault in restarted] == [
        ("gateway_clock_set", 0.0, 1),
        ("gateway_killed", 0, 1),
    ]
    assert restarted[1].at_s < restarted[0].at_s < restarted[1].end_s
    for kind, found in (("original", "original_clock_set"), ("own_clock", "box_has_ntp")):
        assert [fault.kind for fault in ClockTrial(kind, 1, steps, ()).faults] == [found, found]


@pytest.mark.parametrize("name", SUITES)
def test_the_tally_names_failed_seeds(name: str) -> None:
    suite = SUITES[name]
    figures = {suite.added[0]: 5, "wall_s": 1.5}
    good = {**suite.draw(1).document(), "ok": True, "problems": [], "figures": figures}
    bad = {**suite.draw(2).document(), "ok": False, "problems": ["one is lost"], "figures": {}}
    found = runner.summarise(name, [good, bad])
    assert (found["schedules"], found["failed_seeds"], found[suite.added[0]]) == (2, [2], 5)
    assert runner.line(name, good).startswith("ok")
    assert runner.line(name, bad).startswith("FAILED seed 2") and "one is lost" in runner.line(name, bad)
