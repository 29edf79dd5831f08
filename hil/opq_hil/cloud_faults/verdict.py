"""Verdict: one schedule, lived through and held to account."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from opq_hil.cloud_faults import accounts
from opq_hil.cloud_faults.known_defects import sorted_out
from opq_hil.cloud_faults.schedule import CloudFaultSchedule
from opq_hil.cloud_faults.world import HOSTILE_ID, LONGEST_TURN, CloudEvidence, CloudWorld
from opq_hil.gateway_faults.fork_server import ForkServer
from opq_proto.errors import OpqError

LATE_S = 2.0
"""Boxes that stand still for so long answer too late for an event, which waits 7 s in all."""


@dataclass(slots=True)
class CloudVerdict:
    """`problems` is empty when all is accounted for, but for `known` ones, by the name of their defect."""

    schedule: CloudFaultSchedule
    problems: list[str] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def document(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            **self.schedule.document(),
            "ok": self.ok,
            "problems": self.problems,
            "known": self.known,
            "figures": self.figures,
        }


def play_cloud(
    schedule: CloudFaultSchedule, folder: Path, mounted: bool, server: ForkServer | None = None
) -> CloudVerdict:
    """Live through a schedule; what the cloud does never raises."""
    begin_s = time.monotonic()
    verdict = CloudVerdict(schedule)
    problems: list[str] = []
    try:
        with CloudWorld(schedule, folder, mounted, server) as world:
            lived = world.live()
            problems += lived.problems
            problems += judge(lived, schedule.kinds, verdict.figures)
            problems += late_boxes(problems, lived)
            verdict.problems, verdict.known = sorted_out(problems, schedule.kinds)
            if problems and mounted:  # the file system ends with this process
                shutil.copytree(folder / "disk", folder / "disk_kept", dirs_exist_ok=True)
    except (OpqError, OSError) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
    return verdict


def late_boxes(problems: list[str], lived: CloudEvidence) -> list[str]:
    """Beside other problems: that the Boxes themselves were late, which no fault of the schedule makes."""
    longest_s = float(lived.figures.get(LONGEST_TURN, 0.0))
    if not problems or longest_s < LATE_S:
        return []
    text = f"the simulated Boxes themselves stood still for {longest_s:g} s: this machine was too busy, "
    return [text + "which may be all that is wrong; play the seed again when it is not"]


def judge(lived: CloudEvidence, kinds: frozenset[str], figures: dict[str, float | int | str]) -> list[str]:
    """What is wrong in what a schedule left behind; figures are added."""
    problems = []
    for box_id, held in lived.held.items():
        stored = [each.sequence for each in lived.stored if each.box_id == box_id and each.sequence]
        elsewhere = [each.sequence for each in lived.elsewhere if each.box_id == box_id and each.sequence]
        problems += accounts.measurements(box_id, held, stored, elsewhere)
    # a Box that says 0 V of itself and is silent from then on is believed: nobody else is named with it
    of_others = [each for each in lived.incidents if (each.kind, set(each.boxes)) != ("outage", {HOSTILE_ID})]
    account = accounts.dips(lived.truth, of_others, lived.events)
    problems += account.problems + accounts.unexcused(account.excused, lived.truth, kinds)
    figures |= lived.figures
    figures |= {
        "stored": sum(each.box_id in lived.held for each in lived.stored),
        "held": sum(each.next - each.floor for each in lived.held.values()),
        "dips": len(lived.truth),
        "dips_found": account.found,
        "dips_excused": len(account.excused),
        "events": len(lived.events),
        "incidents": len(lived.incidents),
    }
    return problems
