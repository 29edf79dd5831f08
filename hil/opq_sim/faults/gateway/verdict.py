"""Verdict: plays one schedule and checks that all is accounted for."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from opq_gateway.ring.lost import BEFORE_CONTACT
from opq_proto.errors import OpqError
from opq_sim.box.box import RING_SAMPLES
from opq_sim.faults.gateway import accounts
from opq_sim.faults.gateway.evidence import Evidence
from opq_sim.faults.gateway.schedule import FaultSchedule
from opq_sim.faults.gateway.world import BOX_IDS, UNMEASURED_NS, FaultWorld

GUESSED_NS = 60_000_000
"""A Box without GPS gets its time from the gateway, by arrival; after a restart it may differ by this."""


BETWEEN_NS = 120_000_000
"""A Measurement of 6 cycles: cycles of Measurements before and after a restart do not meet."""
CONTACT_SAMPLES = 72_000
"""Three Boxes, two seconds each: data sent before the gateway first opened a port have no receiver, and the
gateway looks once a second for a port that does not exist yet.
"""

RESENT_S = RING_SAMPLES / 12_000 - 0.5
"""A Box whose gateway was away for less sends all again that it sampled meanwhile."""


class PlayedSchedule(Protocol):
    """A schedule of faults that was played, at a gateway or at a cloud."""

    def document(self) -> dict[str, object]: ...


@dataclass(slots=True)
class ScheduleVerdict:
    """`problems` is empty if all is accounted for."""

    schedule: PlayedSchedule
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def document(self) -> dict[str, object]:
        """The verdict in JSON's types."""
        return {**self.schedule.document(), "ok": self.ok, "problems": self.problems, "figures": self.figures}


def play_gateway(schedule: FaultSchedule, folder: Path, mounted: bool) -> ScheduleVerdict:
    """Plays a schedule; nothing that the gateway does raises an error."""
    begin_s = time.monotonic()
    verdict = ScheduleVerdict(schedule)
    try:
        with FaultWorld(schedule, folder, mounted) as world:
            evidence = world.play()
            _judge(verdict, schedule, world, evidence)
            if not verdict.ok and mounted:  # the file system ends with this process
                shutil.copytree(folder / "disk", folder / "disk_kept")
    except (OpqError, OSError) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
    return verdict


def _judge(verdict: ScheduleVerdict, schedule: FaultSchedule, world: FaultWorld, evidence: Evidence) -> None:
    problems, figures = verdict.problems, verdict.figures
    problems += evidence.problems
    figures |= evidence.figures
    sent = in_ring = 0
    reasons: dict[str, int] = {}
    for box_id, box in world.boxes.boxes.items():
        ring = evidence.ring[box_id]
        account = accounts.samples(box_id, evidence.sent[box_id], ring.blocks, ring.gaps, box.truth)
        problems += account.problems
        sent, in_ring = sent + account.sent, in_ring + account.in_ring
        for reason, count in account.in_gaps.items():
            reasons[reason] = reasons.get(reason, 0) + count
        problems += accounts.revised(box_id, evidence.early.get(box_id, ()), ring.blocks)
        knows = box_id == BOX_IDS[0]
        if knows:
            problems += accounts.stamps(box_id, ring.blocks, box.own_time_ns)
        stored = [each for each in evidence.stored if each.box_id == box_id]
        slack_ns = accounts.SAME_AXIS_NS if knows else GUESSED_NS
        problems += accounts.overlaps(box_id, stored, slack_ns)
        problems += accounts.unmeasured(box_id, ring.blocks, stored, BETWEEN_NS, UNMEASURED_NS)
        jumps = accounts.jumps(ring.blocks)
        if jumps >= world.gateway.starts:
            problems.append(f"Box {box_id}: time jumped {jumps} times in {world.gateway.starts} starts")
        figures[f"holes_{box_id}"] = accounts.missing_sequences(stored)
    problems += unexplained_gaps(schedule, reasons, max(evidence.recovery_s.values()))
    problems += accounts.once(evidence.stored, world.listener.received)
    problems += accounts.kept_promise(evidence.stored, evidence.queued)
    if world.listener.contradicted:
        problems.append(f"copies of a Measurement differ: {', '.join(world.listener.contradicted[:3])}")
    figures |= {
        "samples_sent": sent,
        "samples_in_ring": in_ring,
        "samples_in_gaps": sum(reasons.values()),
        "gaps": "; ".join(f"{reason}: {count}" for reason, count in reasons.items()),
        "stored": len(evidence.stored),
    }


def unexplained_gaps(schedule: FaultSchedule, in_gaps: Mapping[str, int], recovery_s: float) -> list[str]:
    """Gaps that no fault explains: anything shorter than the Box's own ring can be sent again.

    Args:
        in_gaps: reason -> samples of all Boxes.
        recovery_s: longest time from a kill, or from a pulled plug, until a Box got a request again.
    """
    problems = []
    if in_gaps.get(BEFORE_CONTACT, 0) > CONTACT_SAMPLES:
        problems.append(f"{in_gaps[BEFORE_CONTACT]} samples had come before the first was received")
    lost = {reason: count for reason, count in in_gaps.items() if count and reason != BEFORE_CONTACT}
    full = any(fault.kind == "disk_full" for fault in schedule.faults)
    if lost and not full and recovery_s < RESENT_S:
        problems += [f"{count} samples in gaps without need: {reason}" for reason, count in lost.items()]
    return problems
