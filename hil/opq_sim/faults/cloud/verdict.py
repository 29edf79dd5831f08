"""Verdict: plays one schedule and checks that all is accounted for."""

import shutil
import time
from pathlib import Path

from opq_proto.errors import OpqError
from opq_sim.faults.cloud import accounts
from opq_sim.faults.cloud.schedule import CloudFaultSchedule
from opq_sim.faults.cloud.world import HOSTILE_ID, LONGEST_TURN, CloudEvidence, CloudWorld
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.verdict import ScheduleVerdict

LATE_S = 2.0
"""Boxes that stand still this long answer too late for an event, which waits 7 s in all."""


def play_cloud(
    schedule: CloudFaultSchedule, folder: Path, mounted: bool, server: ForkServer | None = None
) -> ScheduleVerdict:
    """Plays a schedule; nothing that the cloud does raises an error."""
    begin_s = time.monotonic()
    verdict = ScheduleVerdict(schedule)
    try:
        with CloudWorld(schedule, folder, mounted, server) as world:
            evidence = world.play()
            verdict.problems += evidence.problems
            verdict.problems += judge(evidence, schedule.kinds, verdict.figures)
            verdict.problems += late_boxes(verdict.problems, evidence)
            if not verdict.ok and mounted:  # the file system ends with this process
                shutil.copytree(folder / "disk", folder / "disk_kept", dirs_exist_ok=True)
    except (OpqError, OSError) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
    return verdict


def late_boxes(problems: list[str], evidence: CloudEvidence) -> list[str]:
    """Reports, if there are other problems, that the Boxes themselves were late, which no fault causes."""
    longest_s = float(evidence.figures.get(LONGEST_TURN, 0.0))
    if not problems or longest_s < LATE_S:
        return []
    text = f"the simulated Boxes themselves stood still for {longest_s:g} s: this machine was too busy, "
    return [text + "which may be all that is wrong; play the seed again when it is not"]


def judge(evidence: CloudEvidence, kinds: frozenset[str], figures: dict[str, float | int | str]) -> list[str]:
    """Problems in what a schedule left; adds figures."""
    problems = []
    for box_id, held in evidence.held.items():
        stored = [each.sequence for each in evidence.stored if each.box_id == box_id and each.sequence]
        elsewhere = [each.sequence for each in evidence.elsewhere if each.box_id == box_id and each.sequence]
        problems += accounts.measurements(box_id, held, stored, elsewhere)
    # the cloud believes a Box that reports 0 V of itself and is then silent; nobody else is named with it
    of_others = [
        each for each in evidence.incidents if (each.kind, set(each.boxes)) != ("outage", {HOSTILE_ID})
    ]
    account = accounts.dips(evidence.truth, of_others, evidence.events)
    problems += account.problems + accounts.unexplained(account.excused, evidence.truth, kinds)
    figures |= evidence.figures
    figures |= {
        "stored": sum(each.box_id in evidence.held for each in evidence.stored),
        "held": sum(each.next - each.floor for each in evidence.held.values()),
        "dips": len(evidence.truth),
        "dips_found": account.found,
        "dips_excused": len(account.excused),
        "events": len(evidence.events),
        "incidents": len(evidence.incidents),
    }
    return problems
