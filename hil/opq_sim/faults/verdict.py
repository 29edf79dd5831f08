"""ScheduleVerdict: what of a played schedule is not accounted for, by the rules that each suite asks."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from opq_sim.faults.draws import GATEWAY_BOXES
from opq_sim.faults.evidence import Evidence
from opq_sim.faults.parts.cabled_boxes import CabledBoxes
from opq_sim.faults.parts.hostile_peers import HOSTILE_ID
from opq_sim.faults.parts.restarted_boxes import RestartedBoxes
from opq_sim.faults.rules import data_lost
from opq_sim.faults.rules.dips import (
    dips_of_box,
    incidents_of,
    joined_incident,
    shared_dips,
    unexplained,
)
from opq_sim.faults.rules.gaps import gap_reasons, unexplained_gaps
from opq_sim.faults.rules.ledger_intervals import intervals
from opq_sim.faults.rules.outages import WITHDRAWN, outages_by_number, outages_by_time
from opq_sim.faults.rules.restarts import RestartTruth, restarts
from opq_sim.faults.schedule import FaultSchedule, boxes_of
from opq_sim.faults.settling import UNMEASURED_NS
from opq_sim.faults.world.surroundings import LONGEST_TURN

GUESSED_NS: Final = 60_000_000
"""A Box without GPS gets its time from the gateway, by arrival; after a restart it may differ by this, and by
how late this machine let the Boxes send.
"""
BETWEEN_NS: Final = 120_000_000
"""A Measurement of 6 cycles: cycles of Measurements before and after a restart do not meet."""
LATE_S: Final = 2.0
"""Boxes that stop this long answer too late for an event, which waits 7 s in all, or are taken for silent."""


@dataclass(slots=True)
class ScheduleVerdict:
    """`problems` is empty if all is accounted for.

    Attributes:
        paused_s: the longest time for which this machine let the Boxes wait.
    """

    schedule: FaultSchedule
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)
    paused_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def undecided(self) -> bool:
        """Whether there are problems that a machine too busy to play the Boxes may have made."""
        return not self.ok and self.paused_s >= LATE_S

    def document(self) -> dict[str, object]:
        """The verdict in JSON's types."""
        problems = list(self.problems)
        if self.undecided:
            problems.append(
                f"the simulated Boxes themselves paused for {self.paused_s:g} s: this machine was too busy, "
                "which may be all that is wrong"
            )
        return {
            **self.schedule.document(),
            "ok": self.ok,
            "undecided": self.undecided,
            "problems": problems,
            "figures": self.figures,
        }

    def add(self, evidence: Evidence) -> None:
        """Adds what was found while the schedule was played."""
        self.problems += evidence.problems
        self.figures |= evidence.figures
        self.paused_s = max(evidence.held_s, float(evidence.figures.get(LONGEST_TURN, 0.0)))


def judge_gateway(verdict: ScheduleVerdict, evidence: Evidence, boxes: CabledBoxes) -> None:
    """Each sample is in ring or gap, each Measurement is stored once."""
    guessed_ns = GUESSED_NS + round(boxes.longest_held_s * 1e9)
    problems, figures = verdict.problems, verdict.figures
    reasons: Counter[str] = Counter()
    sent = in_ring = 0
    for box_id, box in boxes.boxes.items():
        ring = evidence.ring[box_id]
        account = data_lost.samples(box_id, evidence.sent[box_id], ring.blocks, ring.gaps, box.truth)
        problems += account.problems
        sent, in_ring = sent + account.sent, in_ring + account.in_ring
        reasons.update(account.in_gaps)
        problems += data_lost.revised(box_id, evidence.early.get(box_id, ()), ring.blocks)
        has_gps = box_id == GATEWAY_BOXES[0]
        if has_gps:
            problems += data_lost.stamps(box_id, ring.blocks, box.own_time_ns)
        stored = [each for each in evidence.stored if each.box_id == box_id]
        problems += data_lost.overlaps(box_id, stored, data_lost.SAME_AXIS_NS if has_gps else guessed_ns)
        problems += data_lost.unmeasured(box_id, ring.blocks, stored, BETWEEN_NS, UNMEASURED_NS)
        jumps, starts = data_lost.jumps(ring.blocks), evidence.starts[box_id]
        if jumps >= starts:
            problems.append(f"Box {box_id}: time jumped {jumps} times in {starts} starts")
        figures[f"holes_{box_id}"] = data_lost.missing_sequences(stored)
    judge_intervals(verdict, evidence)
    longest_s = max(evidence.recovery_s.values())
    problems += unexplained_gaps(verdict.schedule, reasons, longest_s)
    problems += data_lost.once(evidence.stored, evidence.received)
    problems += data_lost.kept_promise(evidence.stored, evidence.queued)
    if evidence.contradicted:
        problems.append(f"copies of a Measurement differ: {data_lost.shown(evidence.contradicted)}")
    figures |= {
        "samples_sent": sent,
        "samples_in_ring": in_ring,
        "samples_in_gaps": reasons.total(),
        "gaps": "; ".join(f"{reason}: {count}" for reason, count in reasons.items()),
        "longest_deaf_s": round(longest_s, 1),
        "stored": len(evidence.stored),
    }


def judge_intervals(verdict: ScheduleVerdict, evidence: Evidence) -> None:
    """Each interval and disturbance of the Boxes on cables is stored once, as its gateway wrote it."""
    for box_id in evidence.ledger:
        verdict.problems += intervals(box_id, evidence)
    verdict.figures["intervals"] = sum(map(len, evidence.intervals.values()))
    verdict.figures["intervals_unsent"] = sum(each.total() for each in evidence.unsent.values())


def judge_cloud(verdict: ScheduleVerdict, evidence: Evidence) -> None:
    """Each Measurement is stored or held, each dip is one incident."""
    for box_id, held in evidence.held.items():
        stored, elsewhere = (
            [each.sequence for each in rows if each.box_id == box_id and each.sequence]
            for rows in (evidence.stored, evidence.elsewhere)
        )
        verdict.problems += data_lost.held_or_stored(box_id, held, stored, elsewhere)
    incidents = [joined_incident(*each) for each in incidents_of(evidence.findings).items()]
    # the cloud believes a Box that reports 0 V of itself and is then silent; no other Box is named with it
    of_others = [each for each in incidents if (each.kind, set(each.boxes)) != ("outage", {HOSTILE_ID})]
    account = shared_dips(evidence.truth, of_others, evidence.events)
    verdict.problems += account.problems
    verdict.problems += unexplained(account.excused, evidence.truth, verdict.schedule.kinds)
    verdict.figures |= {
        "stored": sum(each.box_id in evidence.held for each in evidence.stored),
        "held": sum(each.next - each.floor for each in evidence.held.values()),
        "dips": len(evidence.truth),
        "dips_found": account.found,
        "dips_excused": len(account.excused),
        "events": len(evidence.events),
        "incidents": len(incidents),
    }


def judge_silences(verdict: ScheduleVerdict, evidence: Evidence) -> None:
    """Each loss of supply is an outage, nothing else is, and each gap has its reason."""
    counts: Counter[str] = Counter()
    for fault in verdict.schedule.faults:
        counts["trials"] += 1
        for box_id in boxes_of(fault.gateway):
            outages = outages_by_time(box_id, evidence)
            gaps, count, right = gap_reasons(fault, box_id, evidence)
            stored = [each for each in evidence.stored if each.box_id == box_id]
            holes = data_lost.missing_sequences(stored) - evidence.numbered.get(box_id, 0)
            # a killed gateway measures again, with new numbers, what it lost
            if holes > 0 and fault.kind != "gateway_killed":
                gaps.append(f"{holes} Measurements are not stored")
            counts["outages"] += outages.outages
            counts["outages_found"] += outages.found
            counts["outages_false"] += outages.false
            counts["gaps"] += count
            counts["gaps_right"] += right
            where = f"Box {box_id}, {fault.kind} for {fault.for_s} s"
            verdict.problems += [f"{where}: {each}" for each in (*outages.problems, *gaps)]
    counts["outages_false"] += len(evidence.withdrawn)
    verdict.problems += [f"Box {box_id}: {WITHDRAWN}" for box_id in evidence.withdrawn]
    verdict.figures |= counts
    judge_intervals(verdict, evidence)


def judge_restarts(verdict: ScheduleVerdict, evidence: Evidence, boxes: RestartedBoxes) -> None:
    """Each dip is one incident at its own time; outages are the real ones; the measured share is true."""
    schedule = verdict.schedule
    was_set = any(each.ahead_s is not None for each in schedule.restarts)
    free = frozenset(each.box_id for each in schedule.boxes if each.gateway == 1)
    truth = RestartTruth(
        boxes.dips,
        boxes.dark,
        boxes.spans_ns,
        free if was_set else frozenset(),
        boxes.skipped,
        round(boxes.longest_held_s * 1e9),
    )
    account = restarts(truth, evidence)
    verdict.problems += account.problems
    verdict.figures |= {
        "trials": len(schedule.restarts) * (len(schedule.boxes) - ("emulated" in verdict.figures)),
        "disturbances": account.dips,
        "told": account.told,
        "not_sampled": account.not_sampled,
        "incidents": account.incidents,
        "missed": account.missed,
        "merged": account.merged,
        "doubled": account.doubled,
        "false": account.false,
        "outages": account.outages,
        "outages_told": account.outages_told,
        "outages_false": account.outages_false,
        "shares": account.shares,
        "share_error": round(account.share_error, 4),
        "longest_held_s": round(boxes.longest_held_s, 2),
    }
    judge_intervals(verdict, evidence)


def judge_clocks(verdict: ScheduleVerdict, evidence: Evidence) -> None:
    """Each dip is one incident with the waveform that shows it, each loss of supply an outage; no more."""
    counts: Counter[str] = Counter()
    counts["clocks_set"] = sum("clock_set_s" in each.metrics for each in evidence.stored)
    for trial in verdict.schedule.clocks:
        counts["schedules_played"] += 1
        steps = ", ".join(f"{step.by_s:+g} s at {step.at_s:g} s" for step in trial.steps)
        for box_id in trial.box_ids:
            incidents = incidents_of([each for each in evidence.findings if each.box_id == box_id])
            dips = dips_of_box(trial, box_id, incidents, evidence)
            outages = outages_by_number(trial, box_id, incidents, evidence)
            counts["dips"] += len(trial.dips)
            counts["dips_found"] += dips.found
            counts["dips_not_sampled"] += dips.not_sampled
            counts["dips_not_shown"] += dips.not_shown
            counts["outages"] += outages.outages
            counts["outages_found"] += outages.found
            counts["false"] += outages.false
            where = f"Box {box_id}, {trial.kind} ({steps})"
            verdict.problems += [f"{where}: {each}" for each in (*dips.problems, *outages.problems)]
    verdict.figures |= counts
    judge_intervals(verdict, evidence)
