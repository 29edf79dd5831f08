"""Verdict: each dip is one incident with the waveform that shows it, each loss of supply one outage, and
nothing else is reported. Pure but for `play_clocks`."""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from opq_proto.errors import OpqError
from opq_sim.faults.clock.evidence import SILENCE, StoredFinding, StoredWaveform
from opq_sim.faults.clock.schedule import COUNTED, ClockDip, ClockSchedules, ClockTrial
from opq_sim.faults.clock.world import ClockEvidence, ClockWorld
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.verdict import ScheduleVerdict

RESIDUAL_PERCENT = 1.5
"""A dip is known again by its residual within this."""
SPAN_SAMPLES = 400
"""The ends of a stored span are those of blocks."""


def play_clocks(schedules: ClockSchedules, folder: Path, server: ForkServer | None = None) -> ScheduleVerdict:
    """Plays the schedules; nothing that the services do raises an error."""
    begin_s = time.monotonic()
    verdict = ScheduleVerdict(schedules)
    try:
        with ClockWorld(schedules, folder, server) as world:
            judge_clocks(verdict, schedules.trials, world.find_evidence())
    except (OpqError, OSError, sqlite3.Error) as error:
        verdict.problems.append(f"{type(error).__name__}: {error}")
    verdict.figures["wall_s"] = round(time.monotonic() - begin_s, 1)
    return verdict


def judge_clocks(verdict: ScheduleVerdict, trials: Sequence[ClockTrial], evidence: ClockEvidence) -> None:
    """Compares what was found with what was done."""
    verdict.problems += evidence.problems
    counts = dict.fromkeys(COUNTED, 0)
    counts["schedules_played"], counts["clocks_set"] = len(trials), evidence.clocks_set
    for trial in trials:
        for box_id in trial.box_ids:
            steps = ", ".join(f"{step.by_s:+g} s at {step.at_s:g} s" for step in trial.steps)
            where = f"Box {box_id}, {trial.kind} ({steps})"
            wrong = _judge_box(trial, box_id, evidence, counts)
            verdict.problems += [f"{where}: {each}" for each in wrong]
    verdict.figures |= counts


def _judge_box(trial: ClockTrial, box_id: str, evidence: ClockEvidence, counts: dict[str, int]) -> list[str]:
    incidents: dict[int, list[StoredFinding]] = {}
    for each in evidence.stored.findings:
        if each.box_id == box_id:
            incidents.setdefault(each.incident, []).append(each)
    wrong: list[str] = []
    for dip in trial.dips:
        counts["dips"] += 1
        if (box_id, dip.at_s) in evidence.not_sampled:
            counts["dips_not_sampled"] += 1
            incidents = {number: each for number, each in incidents.items() if not _shows(each, dip)}
            continue
        found = [number for number, findings in incidents.items() if _shows(findings, dip)]
        if not found and (box_id, dip.at_s) in evidence.not_shown:
            counts["dips_not_shown"] += 1
            continue
        problem = f"{len(found)} incidents" if len(found) != 1 else None
        for number in found:
            findings = incidents.pop(number)
            waves = [
                wave
                for each in findings
                for event_id in each.event_ids
                if (wave := evidence.stored.waveforms.get((event_id, box_id))) is not None
            ]
            problem = problem or _wave_problem(waves, dip, trial.kind != "original")
        counts["dips_found"] += problem is None
        if problem:
            wrong.append(f"dip to {dip.residual_percent:g} % at {dip.at_s:g} s: {problem}")
    outages = [number for number, findings in incidents.items() if findings[0].kind == "outage"]
    dark = trial.dark is not None and box_id == trial.box_ids[0]
    counts["outages"] += dark
    counts["outages_found"] += dark and len(outages) > 0
    if dark and not outages:
        wrong.append(f"its outage at {trial.dark[0] if trial.dark else 0:g} s is missing")
    for number in outages[:1] if dark else []:
        incidents.pop(number)
    wrong += [f"false: {each.kind}: {each.because}" for one in incidents.values() for each in one]
    wrong += ["an outage was reported and withdrawn"] * evidence.withdrawn.count(box_id)
    asked = [why for opener, why in evidence.stored.because if opener == box_id and SILENCE in why]
    if len(asked) > dark:
        wrong += [f"false trigger: {why}" for why in asked]
    counts["false"] += sum(each.startswith(("false", "an outage")) for each in wrong)
    return wrong


def _shows(findings: Sequence[StoredFinding], dip: ClockDip) -> bool:
    return any(
        each.residual_percent is not None
        and abs(each.residual_percent - dip.residual_percent) < RESIDUAL_PERCENT
        for each in findings
    )


def _wave_problem(waves: Sequence[StoredWaveform], dip: ClockDip, numbered: bool) -> str | None:
    """What is wrong with the waveforms of a dip's incident; the one that is most nearly whole counts.

    `numbered`: the Box numbers its samples. Of one that does not, a clock that is set cuts the span.
    """
    if not waves:
        return "no waveform is stored"
    if not any(
        abs(each - dip.residual_percent) < RESIDUAL_PERCENT for one in waves for each in one.dips_percent
    ):
        return f"its waveforms show dips to {[one.dips_percent for one in waves]} %"
    best = max(waves, key=lambda wave: wave.samples - wave.asked)
    whole = best.samples - best.asked
    if numbered and whole < -SPAN_SAMPLES:
        return f"its waveform has {best.samples} of {best.asked} samples ({best.missing} in gaps)"
    return None
