"""The one place that publishes topic `incident`: what a plug-in has stored, and what others did.

Edits by hand and re-analyses are made in processes without a bus; they leave the numbers in the store, and
the runner's announcer publishes them. What was published and not taken away comes again (a kill in between).
"""

import time
from collections.abc import Callable

from opq_cloud.mauka.incident_notice import INCIDENT, IncidentNotice, announced_notices, notices
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.store.incident_announcements import IncidentAnnouncements
from opq_cloud.store.join_plan import CarriedOut
from opq_cloud.store.store import CloudStore

CHECK_S = 0.5


class IncidentAnnouncer:
    """One plug-in's. Counters there: `incident_notices`, with what changed the incident as label."""

    def __init__(
        self,
        plugin: MaukaPlugin,
        store: Callable[[], CloudStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plugin, self._store, self._clock = plugin, store, clock
        self._next_s = 0.0

    def announce(self, done: CarriedOut) -> None:
        """Each incident that a plan of the plug-in's own has made, changed or ended."""
        for notice in notices(self._store(), done):
            self._publish(notice)

    def announce_others(self) -> None:
        """What others did since: every half second, the oldest change of them at a time."""
        if self._clock() < self._next_s:
            return
        waiting = IncidentAnnouncements(self._store().people.documents)
        oldest = waiting.oldest()
        if oldest is None:
            self._next_s = self._clock() + CHECK_S
            return
        for notice in announced_notices(self._store(), oldest):
            self._publish(notice)
        waiting.remove(oldest)

    def _publish(self, notice: IncidentNotice) -> None:
        self._plugin.produce(INCIDENT, notice.message(self._plugin.name))
        self._plugin.counters.add("incident_notices", label=notice.by)
