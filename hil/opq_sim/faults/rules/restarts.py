"""Restarts: each dip is reported once, at its time; no false outage; the measured share is true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opq_proto.time_units import HOUR_NS
from opq_sim.faults.evidence import Evidence, StoredFinding
from opq_sim.faults.parts.restarted_boxes import TrueDark, TrueDip
from opq_sim.faults.rules.dips import RESIDUAL_PERCENT
from opq_sim.score.records import FAMILIES

RESOLVED_NS: Final = 30_000_000
"""A dip begins within a cycle and a half of what Urms(1/2) shows."""
UNKNOWN_NS: Final = 3 * 10**9
"""Where a time's quality is not stated, it is that of the gateway's clock, or of the Box, within this."""
JOINED_NS: Final = 2 * 10**9
"""Dips of several Boxes that begin so near to each other may be one incident."""
BESIDE_NS: Final = 3 * 10**9
DARK_NS: Final = 10 * 10**9
"""`[mauka.outages] silence_s`."""
RECEIVER_NS: Final = 300_000_000
"""An outage of a Box with a locked receiver is as long as its two stamps say, and the samples that were not
sent yet."""
ARRIVAL_TIMED_BOXES: Final = frozenset({"free", "quiet", "voltage"})
"""Boxes whose samples get their time from their gateway."""
BY_ARRIVAL_NS: Final = 6 * 10**9
SHARE_TOLERANCE: Final = 0.01


@dataclass(slots=True)
class RestartTruth:
    """What happened, in true time."""

    dips: Sequence[TrueDip]
    dark: Sequence[TrueDark]
    spans_ns: Mapping[str, Sequence[Sequence[int]]]
    """By Box on a cable, [begin, end] of each time in which it sampled; the last one is open."""
    clock_was_set: frozenset[str] = frozenset()
    """Boxes whose only clock is that of a gateway, which was set meanwhile."""
    not_sampled: frozenset[int] = frozenset()
    """Places in `dips` of those that their Box itself skipped."""
    held_ns: int = 0
    """The longest time for which this machine kept the Boxes from sending: a wire would not have waited."""


@dataclass(slots=True)
class RestartAccount:
    """The result of a schedule."""

    dips: int = 0
    told: int = 0
    """Dips with one incident of their own, at their own time."""
    not_sampled: int = 0
    missed: int = 0
    merged: int = 0
    doubled: int = 0
    false: int = 0
    incidents: int = 0
    outages: int = 0
    outages_told: int = 0
    outages_false: int = 0
    share_error: float = 0.0
    shares: int = 0
    problems: list[str] = field(default_factory=list)


def restarts(truth: RestartTruth, evidence: Evidence) -> RestartAccount:
    """Compares what is reported with what happened."""
    account = RestartAccount(
        dips=len(truth.dips), incidents=len({each.incident for each in evidence.findings})
    )
    owners = _dips(truth, evidence, account)
    _outages(truth, evidence, account, owners)
    _shares(truth, evidence, account)
    return account


def _dips(truth: RestartTruth, evidence: Evidence, account: RestartAccount) -> dict[int, list[TrueDip]]:
    """Incident -> the dips that it reports."""
    owners: dict[int, list[TrueDip]] = {}
    pairs = sorted(
        (min(abs(each.start_ns - dip.at_ns - ahead_ns) for ahead_ns in (0, dip.ahead_ns)), place, number)
        for number, dip in enumerate(truth.dips)
        for place, each in enumerate(evidence.findings)
        if _tells(each, dip, truth.held_ns)
    )
    taken: set[int] = set()
    found: dict[int, int] = {}
    for _, place, number in pairs:
        if place not in taken and number not in found:
            taken.add(place)
            found[number] = place
            owners.setdefault(evidence.findings[place].incident, []).append(truth.dips[number])
    again = {
        place: number
        for _, place, number in pairs
        if place not in taken
        and evidence.findings[place].incident != evidence.findings[found[number]].incident
    }
    for place, number in again.items():
        account.doubled += 1
        owners.setdefault(evidence.findings[place].incident, [])
        account.problems.append(f"{_words(truth.dips[number])}: reported once more")
    for number, dip in enumerate(truth.dips):
        if number in found:
            own = owners[evidence.findings[found[number]].incident]
            if any(_are_apart(dip, other) for other in own):
                account.merged += 1
                account.problems.append(f"{_words(dip)}: one incident with {len(own) - 1} others")
            else:
                account.told += 1
            continue
        if number in truth.not_sampled:
            account.not_sampled += 1
            continue
        event = _event_of(dip, evidence)
        holders = [number for number, events in evidence.incident_events.items() if event in events]
        if event is None or not holders:
            account.missed += 1
            what = "no event" if event is None else f"event {event} without an incident"
            account.problems.append(f"{_words(dip)}: missed, {what}")
        else:
            account.merged += 1
            told = [
                each
                for each in evidence.findings
                if each.incident == holders[0] and each.box_id == dip.box_id
            ]
            account.problems.append(f"{_words(dip)}: reported as {_told(told, dip)} of incident {holders[0]}")
    return owners


def _outages(
    truth: RestartTruth, evidence: Evidence, account: RestartAccount, owners: Mapping[int, list[TrueDip]]
) -> None:
    left = list(truth.dark)
    lasting = [each for each in left if each.to_ns - each.from_ns >= DARK_NS]
    account.outages = len(lasting)
    others: dict[int, list[StoredFinding]] = {}
    for each in evidence.findings:
        if each.incident in owners:
            continue
        of_outage = "outage" in each.kind.split("+")
        real = next((dark for dark in left if of_outage and _is_of(each, dark, truth)), None)
        if real is None:
            others.setdefault(each.incident, []).append(each)
            continue
        left.remove(real)
        account.outages_told += real in lasting
        wrong_ns = abs((each.end_ns - each.start_ns) - (real.to_ns - real.from_ns))
        most_ns = (
            RECEIVER_NS
            if each.box_id in truth.spans_ns and _has_receiver(each.box_id, truth)
            else BY_ARRIVAL_NS
        )
        if wrong_ns > most_ns + 2 * truth.held_ns and each.box_id not in truth.clock_was_set:
            account.problems.append(
                f"Box {each.box_id}: its outage of {(real.to_ns - real.from_ns) / 1e9:.1f} s is reported as "
                f"{(each.end_ns - each.start_ns) / 1e9:.1f} s"
            )
    for dark in lasting:
        if dark in left and dark.box_id not in truth.clock_was_set:
            account.problems.append(
                f"Box {dark.box_id}: its outage of {(dark.to_ns - dark.from_ns) / 1e9:.1f} s is missing"
            )
    for number, findings in others.items():
        first = findings[0]
        is_outage = "outage" in first.kind
        account.outages_false += is_outage
        account.false += not is_outage
        boxes = ", ".join(sorted({each.box_id for each in findings}))
        account.problems.append(f"false: incident {number}, {first.kind} at {boxes}: {first.because}")
    account.outages_false += len(evidence.withdrawn)
    account.problems += [
        f"Box {box_id}: an outage was reported and withdrawn" for box_id in evidence.withdrawn
    ]


def _shares(truth: RestartTruth, evidence: Evidence, account: RestartAccount) -> None:
    for box_id, (share, until_ns) in evidence.shares.items():
        rows = evidence.measured.get(box_id, [])
        if box_id not in truth.spans_ns or not rows:
            continue
        if box_id in truth.clock_was_set:
            continue  # its stamps do not say when it was
        true = _share(rows, until_ns)
        account.shares += 1
        account.share_error = max(account.share_error, abs(share - true))
        if abs(share - true) > SHARE_TOLERANCE:
            account.problems.append(f"Box {box_id}: measured share {share:.1%}, it is {true:.1%}")


def _share(spans_ns: Sequence[tuple[int, int]], end_ns: int) -> float:
    """The measured share of the last hour before `end_ns`."""
    since_ns = max(min(start for start, _ in spans_ns), end_ns - HOUR_NS)
    covered_ns = sum(max(0, min(end, end_ns) - max(start, since_ns)) for start, end in spans_ns)
    return covered_ns / (end_ns - since_ns)


def _tells(finding: StoredFinding, dip: TrueDip, held_ns: int) -> bool:
    if finding.box_id != dip.box_id or not _is_sag(finding) or finding.residual_percent is None:
        return False
    if abs(finding.residual_percent - dip.residual_percent) > RESIDUAL_PERCENT:
        return False
    if finding.uncertainty_ns is None:  # by the gateway's clock, or by that of the Box itself
        return any(
            abs(finding.start_ns - dip.at_ns - ahead_ns) <= UNKNOWN_NS for ahead_ns in (0, dip.ahead_ns)
        )
    late_ns = held_ns if dip.kind in ARRIVAL_TIMED_BOXES else 0
    return abs(finding.start_ns - dip.at_ns) <= finding.uncertainty_ns + RESOLVED_NS + dip.within_ns + late_ns


def _is_sag(finding: StoredFinding) -> bool:
    return "sag" in {FAMILIES.get(part, part) for part in finding.kind.split("+")}


def _are_apart(one: TrueDip, other: TrueDip) -> bool:
    if one is other:
        return False
    return one.box_id == other.box_id or abs(one.at_ns - other.at_ns) > JOINED_NS


def _event_of(dip: TrueDip, evidence: Evidence) -> int | None:
    """The event in whose span the dip lies, by either clock, and which its Box opened or answered."""
    for event in evidence.events:
        if event.opened_by != dip.box_id and dip.box_id not in event.received:
            continue
        if any(
            event.start_ns - UNKNOWN_NS <= at_ns <= event.end_ns + UNKNOWN_NS
            for at_ns in (dip.at_ns, dip.at_ns + dip.ahead_ns)
        ):
            return event.event_id
    return None


def _is_of(finding: StoredFinding, dark: TrueDark, truth: RestartTruth) -> bool:
    if finding.box_id != dark.box_id:
        return False
    if dark.box_id in truth.clock_was_set:
        return True
    from_ns, to_ns = dark.from_ns + dark.ahead_ns, dark.to_ns + dark.ahead_ns
    return finding.start_ns < to_ns + BESIDE_NS and from_ns - BESIDE_NS < finding.end_ns


def _has_receiver(box_id: str, truth: RestartTruth) -> bool:
    return any(dip.box_id == box_id and dip.kind == "gps" for dip in truth.dips)


def _words(dip: TrueDip) -> str:
    return f"Box {dip.box_id} ({dip.kind}), start {dip.start + 1}, dip to {dip.residual_percent:g} %"


def _told(findings: Sequence[StoredFinding], dip: TrueDip) -> str:
    if not findings:
        return "another Box's"
    nearest = min(findings, key=lambda each: abs(each.start_ns - dip.at_ns - dip.ahead_ns))
    residual = nearest.residual_percent
    off_s = (nearest.start_ns - dip.at_ns - dip.ahead_ns) / 1e9
    how = "?" if residual is None else f"{residual:.1f} %"
    bound = "unknown" if nearest.uncertainty_ns is None else f"{nearest.uncertainty_ns / 1e9:g} s"
    return f"{nearest.kind} to {how}, {off_s:+.3f} s beside its time (stated uncertainty {bound}),"
