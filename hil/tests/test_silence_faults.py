"""Boxes that fall silent for every reason: only a loss of supply is an outage; each gap has its reason."""

from pathlib import Path

import pytest
from played_seeds import played_schedule

from opq_proto.messages import Measurement, Metric
from opq_sim.faults.draws import SILENCE_SPANS_S, draw_silences
from opq_sim.faults.evidence import Evidence, StoredFinding
from opq_sim.faults.schedule import Fault, FaultSchedule, boxes_of
from opq_sim.faults.verdict import ScheduleVerdict, judge_silences

S = 10**9
DARK = Fault("box_dark", 3.0, 20.0, box_ids=("1",), has_gps=True)


def outage(box_id: str, because: str) -> StoredFinding:
    return StoredFinding(box_id, 1, "outage", None, (), because, 10 * S, 30 * S)


def verdict_of(
    fault: Fault,
    outages: tuple[StoredFinding, ...] = (),
    metrics: dict[str, float] | None = None,
    withdrawn: tuple[str, ...] = (),
    skipped_s: float = 0.0,
    unread_s: float = 0.0,
) -> ScheduleVerdict:
    means = {name: Metric(mean, mean, mean) for name, mean in (metrics or {}).items()}
    evidence = Evidence(
        dark_ns=dict.fromkeys(fault.boxes, (10 * S, 30 * S)),
        skipped_s=dict.fromkeys(boxes_of(0), skipped_s),
        unread_s=dict.fromkeys(boxes_of(0), unread_s),
        stored=[Measurement("1", 31_000, means, 30 * S, 31 * S, sequence=5)],
        findings=list(outages),
        withdrawn=list(withdrawn),
    )
    verdict = ScheduleVerdict(FaultSchedule(1, (fault,)))
    judge_silences(verdict, evidence)
    return verdict


FOUND = outage("1", "its gateway reports it")


@pytest.mark.parametrize(
    ("verdict", "problem"),
    [
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0}), None),
        (verdict_of(DARK, (), {"missing_dark_s": 20.0}), "its outage is missing"),
        (verdict_of(DARK, (FOUND,), {"missing_line_s": 20.0}), "missing_line_s is 20.000"),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 5.0}), "5.0 s are reported as missing"),
        (
            verdict_of(DARK, (FOUND, outage("2", "?")), {"missing_dark_s": 20.0}),
            "false: ?",
        ),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0}, ("2",)), "reported and withdrawn"),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_overrun_s": 3.0}), "missing_overrun_s"),
        (
            verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_overrun_s": 3.0}, skipped_s=3.0),
            None,
        ),
        (
            verdict_of(DARK, (FOUND,), {"missing_dark_s": 12.0, "missing_overrun_s": 3.0}, skipped_s=3.0),
            None,
        ),
        (
            verdict_of(DARK, (FOUND,), {"missing_dark_s": 10.0, "missing_overrun_s": 3.0}, skipped_s=3.0),
            "10.0 s are reported as missing",
        ),
        (verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_gateway_s": 0.3}, unread_s=0.4), None),
        (
            verdict_of(DARK, (FOUND,), {"missing_dark_s": 20.0, "missing_gateway_s": 0.3}, unread_s=0.2),
            "missing_gateway_s is 0.300",
        ),
    ],
)
def test_the_verdict_names_wrong_reasons(verdict: ScheduleVerdict, problem: str | None) -> None:
    assert verdict.ok == (problem is None), verdict.problems
    assert problem is None or any(problem in each for each in verdict.problems), verdict.problems


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "gateways",
    [
        9,  # each kind of silence; the six others have a kind for the second time
        pytest.param(15, marks=pytest.mark.slow),
    ],
)
def test_only_lost_supplies_are_outages(tmp_path: Path, gateways: int) -> None:
    schedule = draw_silences(1, gateways, longest_s=15.0)
    assert {fault.kind for fault in schedule.faults} == set(SILENCE_SPANS_S)
    verdict = played_schedule("silence-faults", schedule, tmp_path)
    assert verdict.ok, "\n".join(verdict.problems)
    assert verdict.figures["trials"] == gateways
    assert verdict.figures["outages_found"] == verdict.figures["outages"]
    assert verdict.figures["outages_false"] == 0 and int(verdict.figures["outages"]) >= 6
