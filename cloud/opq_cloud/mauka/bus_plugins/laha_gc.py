"""LahaGcPlugin: `gc_trigger` removes expired documents, and `gc_stat` reports how many.

The original's plug-in of this name (docs/reference/opq-interop.md E.3). Once a minute it publishes
`gc_trigger` for the domains 0 to 4, as the original does; here the store's retention does the work, so this
plug-in ignores its own trigger and obeys those of others. `gc_stat` counts what this process removed, by
retention or by request, for each domain with any. `gc_update` has no effect: the store keeps a finding's data
itself.
"""

import time
from collections.abc import Callable, Mapping

from opq_cloud.mauka.bus.bus_messages import GC_STAT, LAHA_GC, new_message
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.store.store import CloudStore
from opq_proto.wire.mauka_pb2 import (
    EVENTS,
    INCIDENTS,
    MEASUREMENTS,
    PHENOMENA,
    TRENDS,
    GcDomain,
    MaukaMessage,
)

TRIGGER_S = 60.0
REPORT_S = 5.0
TRIGGERED = (MEASUREMENTS, TRENDS, EVENTS, INCIDENTS, PHENOMENA)
COLLECTIONS: Mapping[str, GcDomain] = {
    "measurements": MEASUREMENTS,
    "trends": TRENDS,
    "events": EVENTS,
    "incidents": INCIDENTS,
    "phenomena": PHENOMENA,
}


class LahaGcPlugin(MaukaPlugin):
    """Counters: `rows_expired` by request, and the base's."""

    NAME = "LahaGcPlugin"
    GIVES = (LAHA_GC, GC_STAT)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        clock: Callable[[], float] = time.monotonic,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config, [LAHA_GC], LahaGcPlugin.NAME)
        self._store, self._clock, self._utc_s = store, clock, utc_s
        self._triggered = False
        self._next_trigger_s, self._next_report_s = clock() + TRIGGER_S, clock() + REPORT_S
        self._reported: dict[str, int] = {}

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        kind = mauka_message.laha.WhichOneof("laha_type")
        if kind is None:
            self.counters.add("malformed")
        elif kind == "gc_trigger" and mauka_message.source != self.name:
            self._triggered = True

    def on_idle(self) -> bool:
        """Removes a slice where a trigger came, reports, triggers, each when it is due."""
        now_s = self._clock()
        if self._triggered:
            gone = self._store().expire(int(self._utc_s()))
            self.counters.add("rows_expired", gone)
            self._triggered = gone > 0
            self._next_report_s = min(self._next_report_s, now_s) if not gone else self._next_report_s
        if now_s >= self._next_report_s:
            self._next_report_s = now_s + REPORT_S
            self._report(self._store().expired())
        if now_s >= self._next_trigger_s:
            self._next_trigger_s = now_s + TRIGGER_S
            message = new_message(self.name)
            message.laha.gc_trigger.gc_domains.extend(TRIGGERED)
            self.produce(LAHA_GC, message)
        return self._triggered

    def idle_due_s(self) -> float:
        """Returns the seconds until the next report or trigger."""
        return min(self._next_report_s, self._next_trigger_s) - self._clock()

    def _report(self, expired: Mapping[str, int]) -> None:
        for collection, domain in COLLECTIONS.items():
            gone = expired.get(collection, 0) - self._reported.get(collection, 0)
            if gone > 0:
                message = new_message(self.name)
                message.laha.gc_stat.gc_domain = domain
                message.laha.gc_stat.gc_cnt = gone
                self.produce(GC_STAT, message)
        self._reported = dict(expired)
