"""Problems that a busy machine may have made leave a schedule undecided; it is played again."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from opq_sim.faults import runner
from opq_sim.faults.draws import draw_cloud
from opq_sim.faults.evidence import Evidence
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
