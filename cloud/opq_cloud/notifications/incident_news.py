"""Whether an incident is news to a rule, once over all its growth. Pure.

What was said is remembered by findings, not by the incident's number: Mauka may put a finding into another
incident when an earlier onset comes late, and what was reported stays so under its new number.
So any order, repetition and grouping of what comes of one disturbance is news once; with `updates` once more
for each level of severity that it reaches.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from opq_cloud.store.notification_records import NotificationRule
from opq_cloud.store.seen_incident import incident_at
from opq_cloud.store.severity import severity_of
from opq_proto.messages import Incident

SEVERITY_LEVELS = (0.0, 4.0, 7.0)
"""Where a level begins: equipment goes on, may stop, may be harmed (docs/mauka.md)."""
MOST_REMEMBERED = 10_000
"""Findings of one rule; the oldest are forgotten."""


def severity_level(severity: float | None) -> int:
    """0, 1 or 2; of an unknown severity 0."""
    return sum((severity or 0.0) >= least for least in SEVERITY_LEVELS[1:])


def shown_severity(incident: Incident) -> float | None:
    """Mauka's; of a part of an incident that of its own findings."""
    if incident.severity is not None or not incident.findings:
        return incident.severity
    return max(severity_of(each.finding) for each in incident.findings)


def mismatch(rule: NotificationRule, incident: Incident) -> str:
    """Why a rule does not speak of an incident as its account sees it; empty: it does."""
    at = incident
    if rule.box_ids:
        found = incident_at(incident, frozenset(rule.box_ids).__contains__)
        if found is None:
            return "at other Boxes"
        at = found
    if incident.start_ns // 1_000_000 < rule.since_ms:
        return "it began before the rule was made or changed"
    classes = {part for each in at.findings for part in each.finding.kind.split("+")}
    if rule.classes and not classes.union(at.kind.split("+")).intersection(rule.classes):
        return "of another class"
    if rule.scopes and incident.scope not in rule.scopes:
        return "of another scope, or of one that is not known"
    if rule.least_severity and (shown_severity(at) or 0.0) < rule.least_severity:
        return "less severe"
    return ""


@dataclass(frozen=True, slots=True)
class IncidentNews:
    """What a rule has to say of an incident now."""

    kind: str
    """`incident`, or `incident_changed`: it has become worse."""
    level: int
    finding_ids: tuple[int, ...]


class ReportedFindings:
    """What one rule has said: finding -> the highest level of severity that was said of its incident."""

    def __init__(self) -> None:
        self._levels: OrderedDict[int, int] = OrderedDict()

    def add(self, finding_ids: Iterable[int], level: int) -> None:
        for number in finding_ids:
            self._levels[number] = max(level, self._levels.get(number, 0))
            self._levels.move_to_end(number)
        while len(self._levels) > MOST_REMEMBERED:
            self._levels.popitem(last=False)

    def level(self, finding_ids: Iterable[int]) -> int | None:
        """The highest that was said of any of them; None: nothing."""
        return max((self._levels[each] for each in finding_ids if each in self._levels), default=None)


def incident_news(rule: NotificationRule, incident: Incident, said: ReportedFindings) -> IncidentNews | None:
    """What the rule has to say of the incident now; None where it has said so, or does not speak of it.

    Whoever says it adds it to `said`.
    """
    numbers = tuple(sorted(each.finding_id for each in incident.findings))
    known = said.level(numbers)
    if known is not None:
        said.add(numbers, known)  # what joins a reported incident is reported
    level = severity_level(shown_severity(incident))
    if known is not None and not (rule.updates and level > known):
        return None
    if mismatch(rule, incident):
        return None
    return IncidentNews("incident" if known is None else "incident_changed", level, numbers)
