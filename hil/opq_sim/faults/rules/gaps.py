"""Gaps: each has its true reason, and no sample is missing that a Box could have sent again."""

from collections.abc import Mapping
from typing import Final

from opq_gateway.ring.lost import BEFORE_CONTACT
from opq_sim.box.box import RING_SAMPLES
from opq_sim.faults.evidence import Evidence
from opq_sim.faults.schedule import Fault, FaultSchedule

CONTACT_SAMPLES: Final = 72_000
"""Three Boxes, two seconds each: data sent before the gateway first opened a port have no receiver, and the
gateway looks once a second for a port that does not exist yet.
"""
RESENT_S: Final = RING_SAMPLES / 12_000 - 0.5
"""A Box whose gateway was away for less sends all again that it sampled meanwhile."""
REASONS: Final = {
    "starved": {"gateway"},
    "gateway_stopped": {"gateway"},
    "gateway_killed": {"gateway"},
    "line_pulled": {"line"},
}
"""Kind -> reasons that its gaps may have; every other kind loses nothing, or is dark."""
ROUNDED_S: Final = 0.1
"""What a Box had not sent yet when its supply went is shorter, too."""
LATE_S: Final = 6.0
"""Without a clock, the gateway measures a loss of supply by arrivals. A busy machine brings them late by
this, and by as long as it held the Boxes up.
"""
WHOLE_SHARE: Final = 0.2
"""A line out for 30 s, or a loss of supply without a battery, is reported with its length to this share."""


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
    if lost and "disk_full" not in schedule.kinds and recovery_s < RESENT_S:
        problems += [f"{count} samples in gaps without need: {reason}" for reason, count in lost.items()]
    return problems


def gap_reasons(fault: Fault, box_id: str, evidence: Evidence) -> tuple[list[str], int, int]:
    """Problems of the gaps that a Box's Measurements report; their number, and that of the right ones."""
    allowed = REASONS.get(fault.kind, set())
    is_dark = box_id in evidence.dark_ns
    if is_dark and not fault.has_battery:
        allowed = {"dark"}
    problems: list[str] = []
    count = right = 0
    reported_s = overrun_s = gateway_s = line_s = 0.0
    for row in evidence.stored:
        if row.box_id != box_id or (row.end_ns or 0) < evidence.begun_ns:
            continue
        for name, metric in row.metrics.items():
            reason, seconds = name.removeprefix("missing_").removesuffix("_s"), metric.average
            overrun_s += seconds * (reason == "overrun")
            gateway_s += seconds * (reason == "gateway")
            line_s += seconds * (reason == "line")
            reported_s += seconds * (reason != "overrun")
            unread_s = evidence.unread_s.get(box_id, 0.0)  # beside what was skipped it is one gap with that
            skipped = reason == "overrun" and overrun_s < evidence.skipped_s[box_id] + unread_s + ROUNDED_S
            cut_off = reason == "line" and is_dark and seconds < ROUNDED_S
            # a machine that is too busy makes any gateway read late, and its Box count it
            read_late = reason == "gateway" and gateway_s <= unread_s
            # what a Box still has when its gateway runs again, a busy machine lets it send too late: the
            # gateway, which reads by then, takes that for the line
            sent_late = reason == "line" and "gateway" in allowed and line_s <= RESENT_S + evidence.held_s
            is_right = reason in allowed or skipped or cut_off or read_late or sent_late
            count, right = count + 1, right + is_right
            if not is_right:
                problems.append(f"{name} is {seconds:.3f}")
    whole = fault.kind == "line_pulled" or "dark" in allowed
    # what a starved Box skipped meanwhile, and reports as an overrun, is not reported as this loss too
    shortest_s = fault.for_s - evidence.skipped_s[box_id]
    beyond_s = max(shortest_s - reported_s, reported_s - fault.for_s)
    late_s = evidence.held_s + evidence.unread_s.get(box_id, 0.0)  # what a full machine adds to the gap
    if whole and beyond_s > max(LATE_S, WHOLE_SHARE * fault.for_s) + late_s:
        problems.append(f"{reported_s:.1f} s are reported as missing")
    return problems, count, right
