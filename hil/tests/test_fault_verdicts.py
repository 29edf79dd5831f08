"""What a busy machine may have made: a schedule is undecided and played again, a gap has its reason."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from opq_proto.messages import Measurement, Metric
from opq_sim.faults import runner
from opq_sim.faults.draws import draw_cloud
from opq_sim.faults.evidence import Evidence
from opq_sim.faults.rules.gaps import gap_reasons
from opq_sim.faults.schedule import Fault, FaultSchedule
from opq_sim.faults.verdict import ScheduleVerdict


@pytest.mark.parametrize(
    ("problems", "longest_turn_s", "held_s", "undecided"),
    [
        (["dip 2: no event"], 8.3, 0.0, True),
        (["dip 2: no event"], 0.4, 2.5, True),
        (["dip 2: no event"], 0.4, 0.0, False),
        ([], 8.3, 0.0, False),
    ],
)
def test_a_busy_machine_leaves_problems_undecided(
    problems: list[str], longest_turn_s: float, held_s: float, undecided: bool
) -> None:
    verdict = ScheduleVerdict(FaultSchedule(1, (Fault("garbage_box", 1.0),)))
    verdict.add(Evidence(problems=problems, figures={"longest_turn_s": longest_turn_s}, held_s=held_s))
    assert (verdict.ok, verdict.undecided) == (not problems, undecided)
    assert ("this machine was too busy" in str(verdict.document()["problems"])) is undecided


@pytest.mark.parametrize(("undecided", "plays"), [(1, 2), (2, 3), (3, 3)])
def test_an_undecided_seed_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undecided: int, plays: int
) -> None:
    played = list[int]()

    def ended(_name: str, _world: object, seed: int) -> runner.Document:
        played.append(seed)
        open_one = len(played) <= undecided
        return {**draw_cloud(seed).document(), "ok": not open_one, "undecided": open_one, "problems": []}

    monkeypatch.setattr(runner, "_started", lambda *_: nullcontext())
    monkeypatch.setattr(runner, "_ended", ended)
    (document,) = runner.play("cloud-faults", [7], tmp_path)
    assert (played, document["ok"]) == ([7] * plays, undecided < plays)


@pytest.mark.parametrize(
    ("kind", "held_s", "right"),
    [("gateway_stopped", 1.5, True), ("gateway_stopped", 0.5, False), ("garbage_box", 1.5, False)],
)
def test_late_boxes_explain_gaps_of_the_line(kind: str, held_s: float, right: bool) -> None:
    """Beside a stopped gateway, and no longer in all than a Box's ring and the time that it was held up."""
    rows = [
        Measurement("17", number, {"missing_line_s": Metric(seconds, seconds, seconds)}, end_ns=number)
        for number, seconds in enumerate((2.6, 1.2), 1)
    ]
    evidence = Evidence(stored=rows, skipped_s={"17": 0.0}, held_s=held_s)
    problems, count, right_ones = gap_reasons(Fault(kind, 1.0, 9.811), "17", evidence)
    assert (not problems, count, right_ones == 2) == (right, 2, right)
