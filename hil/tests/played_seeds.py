"""Seeds and schedules of a suite of faults that a test plays."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opq_sim.faults import runner
from opq_sim.faults.schedule import FaultSchedule
from opq_sim.faults.suites import SUITES
from opq_sim.faults.verdict import ScheduleVerdict


def played(name: str, seeds: Sequence[int], folder: Path, side_by_side: int | None = None) -> dict[str, Any]:
    """The tally of the seeds; those that failed are also in the summary of a run that goes on well."""

    def ended(document: runner.Document) -> None:
        print(runner.line(name, document), flush=True)

    documents = runner.play(name, seeds, folder, ended, side_by_side)
    for document in documents:
        if not document["ok"]:
            warnings.warn(runner.line(name, document), stacklevel=2)
    found = runner.summarise(name, documents)
    print(found)
    return found


def played_schedule(name: str, schedule: FaultSchedule, folder: Path) -> ScheduleVerdict:
    """The verdict of a schedule played in this process; again where a busy machine left it undecided."""
    for play in range(runner.PLAYS):
        place = folder / str(play)
        place.mkdir()
        verdict = SUITES[name].play(schedule, place)
        if not verdict.undecided:
            break
    return verdict
