"""Which Boxes are silent and which services fail, since when, and which of these outages are news. Pure.

The facts come from the health reports (the original's contract). The state of a component that is absent
from a report is unknown and does not change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opq_cloud.core.service import HealthReport
from opq_cloud.store.records.accounts.notifications import NotificationRule

SAME_MS = 2000
"""Two beginnings of a silence within this time count as one, because the clock of the reporting machine may
move.
"""


@dataclass(frozen=True, slots=True)
class HealthComponent:
    """A Box or a service, as health reports it."""

    name: str
    """The Box's id, or the service's name."""
    is_box: bool

    @property
    def subject(self) -> str:
        if self.is_box:
            return f"Box {self.name}"
        return self.name if " " in self.name else f"service {self.name}"


@dataclass(frozen=True, slots=True)
class ComponentOutage:
    """A Box that is silent, or a service that fails."""

    component: HealthComponent
    since_ms: int
    info: str = ""


class ComponentOutages:
    """The components that are down now. Has no clock and is not thread-safe."""

    def __init__(self) -> None:
        self._down: dict[HealthComponent, ComponentOutage] = {}

    def accept_reports(
        self, reports: Iterable[tuple[HealthComponent, HealthReport]], now_ms: int
    ) -> list[ComponentOutage]:
        """Updates the outages from reports; returns all present outages, the earliest first."""
        for component, report in reports:
            if report.ok:
                self._down.pop(component, None)
                continue
            known = self._down.get(component)
            # a Box has the time of its last Measurement, in our reports also of its arrival
            last_s = report.timestamp_s if report.received_s is None else report.received_s
            since_ms = min(now_ms, last_s * 1000) if component.is_box else now_ms
            if known is None or (component.is_box and since_ms > known.since_ms + SAME_MS):
                self._down[component] = ComponentOutage(component, since_ms, report.info or "")
        return sorted(self._down.values(), key=lambda each: each.since_ms)


def is_about(rule: NotificationRule, component: HealthComponent) -> bool:
    """Whether a rule covers the component."""
    if component.is_box:
        return rule.about == "silence" and (not rule.box_ids or component.name in rule.box_ids)
    return rule.about == "health"


def outage_is_news(
    rule: NotificationRule, outage: ComponentOutage, reported: Mapping[str, int], now_ms: int
) -> bool:
    """Whether an outage must be reported: long enough, not reported yet, and not older than the rule.

    Args:
        reported: subject -> beginning (ms) of the outage that this rule reported last; without ended outages.
    """
    if not is_about(rule, outage.component):
        return False
    known_ms = reported.get(outage.component.subject)
    same = known_ms is not None and abs(known_ms - outage.since_ms) <= SAME_MS
    if known_ms is not None and (not outage.component.is_box or same):
        return False
    limit_ms = rule.after_s * 1000
    return now_ms - outage.since_ms >= limit_ms and outage.since_ms >= rule.since_ms - limit_ms
