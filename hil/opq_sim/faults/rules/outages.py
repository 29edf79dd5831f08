"""Outages: each loss of supply is one finding `outage`, and nothing else is an outage."""

from dataclasses import dataclass, field
from typing import Final

from opq_sim.faults.evidence import SILENCE, Evidence
from opq_sim.faults.rules.dips import Incidents
from opq_sim.faults.schedule import ClockTrial

BESIDE_NS: Final = 3 * 10**9
"""A finding belongs to a loss of supply that it overlaps, or nearly."""
WITHDRAWN: Final = "an outage was reported and withdrawn"


@dataclass(slots=True)
class OutageAccount:
    """The result for one Box."""

    outages: int = 0
    found: int = 0
    false: int = 0
    problems: list[str] = field(default_factory=list)


def outages_by_time(box_id: str, evidence: Evidence) -> OutageAccount:
    """Compares a Box's outages with its loss of supply, by their spans."""
    dark = evidence.dark_ns.get(box_id)
    begin_ns, end_ns = dark or (0, 0)
    account = OutageAccount(outages=int(dark is not None))
    for each in evidence.findings:
        if each.box_id == box_id and each.kind == "outage":
            account.found = account.outages
            if not (each.start_ns < end_ns + BESIDE_NS and begin_ns - BESIDE_NS < each.end_ns):
                account.false += 1
                account.problems.append(f"false: {each.because}")
    if account.found < account.outages:
        account.problems.append("its outage is missing")
    return account


def outages_by_number(
    trial: ClockTrial, box_id: str, incidents: Incidents, evidence: Evidence
) -> OutageAccount:
    """Compares the incidents of a Box whose clock is set with its loss of supply: whatever is left over when
    its dips are taken out is false.
    """
    is_dark = box_id in trial.dark_ids
    account = OutageAccount(outages=int(is_dark))
    outages = [number for number, findings in incidents.items() if findings[0].kind == "outage"]
    if is_dark and outages:
        account.found = 1
        incidents.pop(outages[0])
    elif trial.dark is not None and is_dark:
        account.problems.append(f"its outage at {trial.dark[0]:g} s is missing")
    wrong = [f"false: {each.kind}: {each.because}" for one in incidents.values() for each in one]
    wrong += [WITHDRAWN] * evidence.withdrawn.count(box_id)
    asked = [
        event.because for event in evidence.events if event.opened_by == box_id and SILENCE in event.because
    ]
    if len(asked) > is_dark:
        wrong += [f"false trigger: {why}" for why in asked]
    account.false = len(wrong)
    account.problems += wrong
    return account
