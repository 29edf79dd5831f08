"""Verdict: each true outage found, none false, each gap with the reason from where it arose. Pure but for
`play_silences`."""

import time
from pathlib import Path

from opq_proto.errors import OpqError
from opq_sim.faults.gateway.verdict import ScheduleVerdict
from opq_sim.faults.silence.schedule import SilenceSchedule, SilenceTrial
from opq_sim.faults.silence.world import SilenceEvidence, SilenceWorld

S = 10**9
BESIDE_NS = 3 * S
"""A finding belongs to a loss of supply that it overlaps, or nearly."""
REASONS = {
    "starved": {"gateway"},
    "gateway_stopped": {"gateway"},
    "gateway_killed": {"gateway"},
    "line_pulled": {"line"},
}
"""Kind -> reasons that its gaps may have; every other kind loses nothing, or is dark."""
ROUNDED_S = 0.1
"""What a Box had not sent yet when its supply went is shorter, too."""
LATE_S = 6.0
"""Without a clock, the gateway measures a loss of supply by arrivals; a busy machine brings them late."""
WHOLE_SHARE = 0.2
"""A line out for 30 s, or a loss of supply without a battery, is reported with its length to this share."""


def play_silences(schedule: SilenceSchedule, folder: Path) -> ScheduleVerdict:
    """Plays a schedule; nothing that its services do raises an error."""
    begin_s = time.monotonic()
    verdict = ScheduleVerdict(schedule)
    try:
        with SilenceWorld(schedule, folder) as world:
            judge(verdict, schedule, world.find_evidence())
    except (OpqError, OSError) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
    return verdict


def judge(verdict: ScheduleVerdict, schedule: SilenceSchedule, evidence: SilenceEvidence) -> None:
    """Compares what was found with what was done."""
    verdict.problems += evidence.problems
    counts = dict.fromkeys(("trials", "outages", "outages_found", "outages_false", "gaps", "gaps_right"), 0)
    for trial in schedule.trials:
        counts["trials"] += 1
        for box_id in trial.box_ids:
            _judge_outages(verdict, trial, box_id, evidence, counts)
            _judge_gaps(verdict, trial, box_id, evidence, counts)
    for box_id in evidence.withdrawn:
        counts["outages_false"] += 1
        verdict.problems.append(f"Box {box_id}: an outage was reported and withdrawn")
    verdict.figures |= counts


def _judge_outages(
    verdict: ScheduleVerdict,
    trial: SilenceTrial,
    box_id: str,
    evidence: SilenceEvidence,
    counts: dict[str, int],
) -> None:
    found = [each for each in evidence.outages if each.box_id == box_id]
    dark = evidence.dark_ns.get(box_id)
    for each in found:
        begin_ns, end_ns = dark or (0, 0)
        if not (each.start_ns < end_ns + BESIDE_NS and begin_ns - BESIDE_NS < each.end_ns):
            counts["outages_false"] += 1
            verdict.problems.append(f"Box {box_id}, {trial.kind} for {trial.for_s} s: false: {each.because}")
    if dark is not None:
        counts["outages"] += 1
        if found:
            counts["outages_found"] += 1
        else:
            verdict.problems.append(f"Box {box_id}, {trial.kind} for {trial.for_s} s: its outage is missing")


def _judge_gaps(
    verdict: ScheduleVerdict,
    trial: SilenceTrial,
    box_id: str,
    evidence: SilenceEvidence,
    counts: dict[str, int],
) -> None:
    allowed = REASONS.get(trial.kind, set())
    if box_id in evidence.dark_ns and not trial.has_battery:
        allowed = {"dark"}
    where = f"Box {box_id}, {trial.kind} for {trial.for_s} s"
    reported_s = overrun_s = 0.0
    for row in evidence.rows:
        if row.box_id != box_id or row.end_ns < evidence.begun_ns:
            continue
        for name, seconds in row.metrics.items():
            counts["gaps"] += 1
            reason = name.removeprefix("missing_").removesuffix("_s")
            overrun_s += seconds * (reason == "overrun")
            reported_s += seconds * (reason != "overrun")
            skipped = reason == "overrun" and overrun_s < evidence.skipped_s[box_id] + ROUNDED_S
            cut_off = reason == "line" and box_id in evidence.dark_ns and seconds < ROUNDED_S
            if reason in allowed or skipped or cut_off:
                counts["gaps_right"] += 1
            else:
                verdict.problems.append(f"{where}: {name} is {seconds:.3f}")
    whole = trial.kind == "line_pulled" or "dark" in allowed
    if whole and abs(reported_s - trial.for_s) > max(LATE_S, WHOLE_SHARE * trial.for_s):
        verdict.problems.append(f"{where}: {reported_s:.1f} s are reported as missing")
