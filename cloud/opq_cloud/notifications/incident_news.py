"""Decides whether an incident is news to a rule. It is news once, however it grows. Pure.

A rule remembers the reported findings, not the number of the incident, because Mauka may move a finding to
another incident when an earlier onset arrives late. So the findings of one disturbance are news once, in any
order, repetition and grouping. With `updates` they are news again for each higher level of severity."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from opq_cloud.store.records.accounts.notifications import NotificationRule
from opq_cloud.store.records.accounts.seen_incidents import incident_at
from opq_proto.messages import Incident

SEVERITY_LEVELS = (0.0, 4.0, 7.0)
"""Lower limits of the levels: equipment continues, may stop, may be damaged (docs/mauka.md)."""
MAX_REMEMBERED = 10_000
"""Findings that one rule remembers; beyond that, the oldest are forgotten."""


def severity_level(severity: float | None) -> int:
    """Returns the level 0, 1 or 2; 0 for an unknown severity."""
    return sum((severity or 0.0) >= least for least in SEVERITY_LEVELS[1:])


def mismatch(rule: NotificationRule, incident: Incident) -> str:
    """Returns why a rule does not cover an incident as its account sees it; "" where it does."""
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
        return "its scope is another one, or not known"
    if rule.least_severity and (at.severity or 0.0) < rule.least_severity:
        return "less severe"
    return ""


@dataclass(frozen=True, slots=True)
class IncidentNews:
    """The news of a rule about an incident."""

    kind: str
    """`incident`, or `incident_changed` where it has become worse."""
    level: int
    finding_ids: tuple[int, ...]


class ReportedFindings:
    """What one rule has reported: finding -> the highest reported severity level of its incident."""

    def __init__(self) -> None:
        self._levels: OrderedDict[int, int] = OrderedDict()

    def add(self, finding_ids: Iterable[int], level: int) -> None:
        for number in finding_ids:
            self._levels[number] = max(level, self._levels.get(number, 0))
            self._levels.move_to_end(number)
        while len(self._levels) > MAX_REMEMBERED:
            self._levels.popitem(last=False)

    def level(self, finding_ids: Iterable[int]) -> int | None:
        """Returns the highest level reported for any of the findings; None where none was reported."""
        return max((self._levels[each] for each in finding_ids if each in self._levels), default=None)


def incident_news(
    rule: NotificationRule, incident: Incident, reported: ReportedFindings
) -> IncidentNews | None:
    """Returns what the rule has to report; None where it has reported it, or does not cover the incident.

    The caller that sends the report adds its findings to `reported`.
    """
    numbers = tuple(sorted(each.finding_id for each in incident.findings))
    known = reported.level(numbers)
    if known is not None:
        reported.add(numbers, known)  # a finding that joins a reported incident counts as reported
    level = severity_level(incident.severity)
    if known is not None and not (rule.updates and level > known):
        return None
    if mismatch(rule, incident):
        return None
    return IncidentNews("incident" if known is None else "incident_changed", level, numbers)
