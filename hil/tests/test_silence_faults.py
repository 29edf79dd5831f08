"""Boxes that fall silent for every reason: only a loss of supply is an outage; each gap has its reason."""

from collections import Counter
from pathlib import Path

import pytest

from opq_sim.faults.gateway.verdict import ScheduleVerdict
from opq_sim.faults.silence.evidence import FoundOutage, StoredRow
from opq_sim.faults.silence.schedule import SHARED_S, SPANS_S, SilenceSchedule, SilenceTrial, draw_silences
from opq_sim.faults.silence.verdict import judge, play_silences
from opq_sim.faults.silence.world import SilenceEvidence

S = 10**9
DARK = SilenceTrial("box_dark", 0, 3.0, 20.0, has_gps=True, has_battery=False)


def test_a_seed_always_draws_the_same_and_all_seeds_draw_every_kind() -> None:
    assert draw_silences(7) == draw_silences(7)
    kinds = Counter(trial.kind for seed in range(1, 43) for trial in draw_silences(seed).trials)
    assert kinds.keys() == {*SPANS_S, *SHARED_S} and min(kinds.values()) >= 30
    pair = [trial for trial in draw_silences(1).trials if trial.kind == "two_gateways_dark"]
    assert len(pair) == 2 and len({(trial.at_s, trial.for_s) for trial in pair}) == 1


def verdict_of(
    trial: SilenceTrial,
    outages: tuple[FoundOutage, ...] = (),
    metrics: dict[str, float] | None = None,
    withdrawn: tuple[str, ...] = (),
    skipped_s: float = 0.0,
) -> ScheduleVerdict:
    dark_ns = dict.fromkeys(trial.dark_ids, (10 * S, 30 * S))
    evidence = SilenceEvidence(
        dark_ns,
        dict.fromkeys(trial.box_ids, skipped_s),
        0,
        [StoredRow("1", 30 * S, 31 * S, 5, metrics or {})],
        list(outages),
        list(withdrawn),
    )
    verdict = ScheduleVerdict(SilenceSchedule(1, (trial,)))
    judge(verdict, SilenceSchedule(1, (trial,)), evidence)
    return verdict


FOUND = FoundOutage("1", 10 * S, 30 * S, "its gateway reports it")


@pytest.mark.parametrize(
    ("verdict", "problem"),
    [
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0}), None),
        (verdict_of(DARK, (), {"missing_dark_s": 20.0}), "its outage is missing"),
        (verdict_of(DARK, (FOUND,), {"missing_line_s": 20.0}), "missing_line_s is 20.000"),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 5.0}), "5.0 s are reported as missing"),
        (
            verdict_of(DARK, (FOUND, FoundOutage("2", 10 * S, 30 * S, "?")), {"missing_dark_s": 20.0}),
            "false: ?",
        ),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0}, ("2",)), "reported and withdrawn"),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_overrun_s": 3.0}), "missing_overrun_s"),
        (
            verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_overrun_s": 3.0}, skipped_s=3.0),
            None,
        ),
    ],
)
def test_the_verdict_names_what_is_false_missing_or_has_another_reason(
    verdict: ScheduleVerdict, problem: str | None
) -> None:
    assert verdict.ok == (problem is None), verdict.problems
    assert problem is None or any(problem in each for each in verdict.problems), verdict.problems


def test_fifteen_gateways_fall_silent_and_only_losses_of_supply_are_outages(tmp_path: Path) -> None:
    verdict = play_silences(draw_silences(1, longest_s=15.0), tmp_path)
    assert verdict.ok, "\n".join(verdict.problems)
    assert verdict.figures["trials"] == 15 and verdict.figures["outages_found"] == verdict.figures["outages"]
    assert verdict.figures["outages_false"] == 0 and int(verdict.figures["outages"]) >= 6
