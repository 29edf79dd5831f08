"""The view of a person who does not see every Box: the visible Boxes, and the part of an incident at them.

Pages, API, live feed and notifications show no more than this. An incident is made again from the findings
at the seen Boxes, so that it shows no class, residual or time of another Box. Pure.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from opq_cloud.store.incidents.join_plan import worst_of
from opq_cloud.store.incidents.severity import highest_severity
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.rights import Action, Way, may
from opq_cloud.store.stated_facts import LAST_NS
from opq_proto.messages import Incident, StoredFinding


class Sight(Protocol):
    """The Boxes that somebody sees; with `t_ns`, in what was measured at that moment."""

    def sees(self, box_id: str, t_ns: int | None = None) -> bool: ...

    def sees_place(self, box_id: str, t_ns: int | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class BoxSight:
    """The Boxes that an account sees now."""

    everything: bool
    boxes: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    """Boxes whose location the account sees too."""
    since_ns: Mapping[str, int] = field(default_factory=dict)
    """Box -> since when it has its present owner."""

    def sees(self, box_id: str, t_ns: int | None = None) -> bool:
        return self.everything or (box_id in self.boxes and self._is_present(box_id, t_ns))

    def sees_place(self, box_id: str, t_ns: int | None = None) -> bool:
        return self.everything or (box_id in self.places and self._is_present(box_id, t_ns))

    def _is_present(self, box_id: str, t_ns: int | None) -> bool:
        return t_ns is None or t_ns >= self.since_ns.get(box_id, 0)


def box_sight(account: Account, accesses: Iterable[BoxAccess]) -> BoxSight:
    """Returns what may be reported to an account now: everything by its role, or the Boxes related to it."""
    standing = account.standing(Way.MESSAGE)
    if may(standing, Action.SEE):
        return BoxSight(True)
    known = {each.box_id: each for each in accesses}
    related = {box_id: each.relation_to(account.account_id) for box_id, each in known.items()}
    seen = {box_id: relation for box_id, relation in related.items() if may(standing, Action.SEE, relation)}
    placed = frozenset(box_id for box_id, each in seen.items() if may(standing, Action.SEE_PLACE, each))
    since_ns = {box_id: known[box_id].since_ns for box_id in seen if known[box_id].since_ns}
    return BoxSight(False, frozenset(seen), placed, since_ns)


def box_starts_ns(incident: Incident) -> dict[str, int]:
    """Returns Box -> when the incident began there, which decides whose it is at that Box."""
    found = dict.fromkeys(incident.box_ids, LAST_NS)
    for each in incident.findings:
        box_id, start_ns = each.finding.box_id, each.finding.start_ns
        found[box_id] = min(start_ns, found.get(box_id, start_ns))
    return {box_id: incident.start_ns if at_ns == LAST_NS else at_ns for box_id, at_ns in found.items()}


def seen_incident(incident: Incident, sight: Sight) -> Incident | None:
    """Returns the part of an incident at those Boxes of which somebody sees what was measured when it began
    there; None if there are none."""
    starts_ns = box_starts_ns(incident)

    def moment_ns(box_id: str) -> int:
        return starts_ns.get(box_id, incident.start_ns)

    return incident_at(
        incident,
        lambda box_id: sight.sees(box_id, moment_ns(box_id)),
        lambda box_id: sight.sees_place(box_id, moment_ns(box_id)),
    )


def incident_at(
    incident: Incident, sees: Callable[[str], bool], sees_place: Callable[[str], bool] | None = None
) -> Incident | None:
    """Returns the part of an incident at visible Boxes; None where no Box of it is visible.

    Statements of a finding that also concern a hidden Box are left out, and so are the causes, a hidden Box
    whose clock was the reference, and the reach of a steady state that includes one. The centre is a mean of
    places (for one Box it is that place), so it is kept only where the place of every Box may be seen
    (`sees_place`, by default `sees`).
    """
    unhidden = not any(each.finding.beside and _is_hidden(each, sees) for each in incident.findings)
    whole = all(sees(box_id) for box_id in incident.box_ids)
    placed = incident.centre is None or (whole and all(map(sees_place or sees, incident.box_ids)))
    references = {each.finding.alignment.box_id for each in incident.findings if each.finding.alignment}
    references |= {each.aligned_to for each in incident.arrivals if each.aligned_to}
    if whole and unhidden and placed and all(map(sees, references)):
        return incident
    findings = tuple(_as_seen(each, sees) for each in incident.findings if sees(each.finding.box_id))
    arrivals = tuple(
        each if each.aligned_to is None or sees(each.aligned_to) else replace(each, aligned_to=None)
        for each in incident.arrivals
        if sees(each.box_id)
    )
    if whole:
        return replace(
            incident,
            findings=findings,
            arrivals=arrivals,
            scope=incident.scope,
            hypotheses=incident.hypotheses if unhidden else (),
            centre=incident.centre if placed else None,
        )
    if not findings:
        return None
    kept = [each.finding for each in findings]
    worst = worst_of(kept)
    return replace(
        incident,
        kind=worst.kind,
        machine_kind=None,
        box_ids=tuple(box_id for box_id in incident.box_ids if sees(box_id)),
        event_ids=tuple(sorted({each.event_id for each in findings})),
        start_ns=min(each.start_ns for each in kept),
        end_ns=max(each.end_ns for each in kept),
        closed=all(each.closed for each in kept),
        residual_percent=worst.residual_percent,
        findings=findings,
        scope=None,  # these two depend on all its Boxes
        severity=highest_severity(kept),
        centre=None,
        hypotheses=(),  # their evidence includes what other Boxes recorded
        sides=(),  # they compare with hidden Boxes
        follows=None,  # it may be at a hidden Box
        arrivals=arrivals,
    )


def _as_seen(item: StoredFinding, sees: Callable[[str], bool]) -> StoredFinding:
    """Returns a finding without statements about Boxes that are not seen."""
    one = item.finding
    if _is_hidden(item, sees):
        one = replace(one, because="", figures=(), beside=())
    if one.alignment is not None and not sees(one.alignment.box_id):
        of_pair = one.clock_id == one.alignment.common_id  # made from the number of that Box
        one = replace(one, alignment=None, clock_id=None if of_pair else one.clock_id)
    return item if one is item.finding else replace(item, finding=one)


def _is_hidden(item: StoredFinding, sees: Callable[[str], bool]) -> bool:
    """Whether its reasons and figures also concern a Box that is not seen."""
    return not all(map(sees, item.finding.beside))
