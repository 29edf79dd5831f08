"""The one place that publishes topic `incident`, for a plug-in's own changes and for those of others.

Edits by hand and re-analyses are made in processes without a bus; they leave the numbers in the store, and
the runner's announcer publishes them. An announcement that was published but not removed (a kill in between)
is published again.
"""

import time
from collections.abc import Callable

from opq_cloud.mauka.bus.incident_notice import INCIDENT, IncidentNotice, announced_notices, notices
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_cloud.store.records.accounts.announcements import IncidentAnnouncements
from opq_cloud.store.store import CloudStore

CHECK_S = 0.5


class IncidentAnnouncer:
    """Belongs to one plug-in. Counters there: `incident_notices`, labelled with what changed the incident."""

    def __init__(
        self,
        plugin: MaukaPlugin,
        store: Callable[[], CloudStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plugin, self._store, self._clock = plugin, store, clock
        self._next_s = 0.0

    def announce(self, done: CarriedOut) -> None:
        """Publishes each incident that a plan of this plug-in has made, changed or ended."""
        for notice in notices(self._store(), done):
            self._publish(notice)

    def announce_others(self) -> None:
        """Publishes changes that others made: every half second, the oldest of them at a time."""
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
