"""ChangePlugin: once a day, what changed at each Box over the last weeks, as `phenomena`.

One Box is analysed in each turn of the loop, so that EXIT and heartbeats never wait for all of them.
"""

import json
import time
from collections.abc import Callable, Iterator

from opq_cloud.core.settings.mauka import ChangeSection
from opq_cloud.mauka.bus.messages import new_message
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.provenance import VERSION
from opq_cloud.store.records.phenomena import Phenomenon
from opq_cloud.store.records.phenomenon_words import ANALYSIS, phenomenon_json
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.kit import log as logs

log = logs.get(service="mauka")

FIRST_S = 600.0
"""Time from a start to the first pass."""
EVERY_S = 86_400.0
TOPIC = f"analysis.{ANALYSIS}"
"""Each new phenomenon is published on the bus, once."""


class ChangePlugin(MaukaPlugin):
    """Counters: `boxes_compared`, `phenomena_stored`, and the base's."""

    NAME = "ChangePlugin"
    GIVES = (TOPIC,)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        section: ChangeSection,
        nominal: Nominal,
        clock: Callable[[], float] = time.monotonic,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(config, [], ChangePlugin.NAME)
        self._store, self._section, self._nominal = store, section, nominal
        self._clock, self._utc_ns = clock, utc_ns
        self._next_s = clock() + FIRST_S
        self._pass: Iterator[tuple[str, list[Phenomenon]]] | None = None

    def on_idle(self) -> bool:
        """Analyses the next Box of a pass; begins a pass when it is time."""
        if self._pass is None:
            if self._clock() < self._next_s:
                return False
            self._next_s = self._clock() + EVERY_S
            self._pass = self._begin()
        try:
            box_id, new = next(self._pass)
        except StopIteration:
            self._pass = None
            return False
        except BaseException:
            self._pass = None  # a generator that raised is over
            raise
        self.counters.add("boxes_compared")
        self.counters.add("phenomena_stored", len(new))
        if new:
            log.info("phenomena.stored", box_id=box_id, new=len(new))
        for each in new:
            self._publish(box_id, each)
        return True

    def idle_due_s(self) -> float:
        """Returns the seconds until the next pass."""
        return self._next_s - self._clock()

    def _publish(self, box_id: str, found: Phenomenon) -> None:
        """As a Message of an analysis, so that stream rules read it as theirs."""
        message = new_message(self.name)
        facts = {"analysis": ANALYSIS, "version": VERSION, "box_id": box_id}
        message.analysis_json = json.dumps({**facts, "values": phenomenon_json(found)})
        self.produce(TOPIC, message)

    def _begin(self) -> Iterator[tuple[str, list[Phenomenon]]]:
        # imported here: statsmodels and SciPy take 100 MB and seconds, which a start need not wait for
        from opq_cloud.mauka.change.detection import ChangeLimits
        from opq_cloud.mauka.change.stored_changes import find_changes, last_days

        span = last_days(self._utc_ns(), self._section.days)
        return find_changes(self._store(), span, self._nominal, ChangeLimits(self._section.false_alarms))
