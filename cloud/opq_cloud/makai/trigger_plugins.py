"""The triggering service's plug-ins: called for every measurement, what they throw is contained."""

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from opq_cloud.config import PluginEntry
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters, Health
from opq_plugins.host.guard import Guard
from opq_plugins.host.one_file import load
from opq_plugins.sdk.trigger_module import TriggerModule
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError, PluginError
from opq_proto.log import Log
from opq_proto.messages import Measurement

BUILT_IN = Path(__file__).parent / "triggers"
SHOWN_AGAIN_S = 600.0
"""What has failed is shown the last minutes at most so often: that takes the time of all others."""
UNJUDGED_KEPT = 5000
"""Measurements of which it is remembered that one trigger did not judge them."""


class Trigger(Protocol):
    """A module in this process, or an installed one wherever it runs."""

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None: ...
    def forget(self) -> None: ...


class TriggerPlugin:
    """One trigger; a crash costs this measurement's opinion, and its memory, until it is shown the past."""

    def __init__(
        self,
        name: str,
        trigger: Trigger,
        counters: Counters,
        log: Log,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._trigger = trigger
        self._counters = counters
        self._log = log.bind(plugin=name)
        self._guard = Guard(self._crashed)
        self._now = monotonic_s
        self._lost = False
        """What it remembered, by a failure; it has judged nothing since."""
        self._judging: Measurement | None = None
        self._unjudged: dict[tuple[object, ...], None] = {}
        """Not shown again: an onset in them has no event, and the next Measurement has to be one."""
        self._shown_s = -SHOWN_AGAIN_S
        self._problems, self._problem = 0, ""
        self._lines = OncePer(60.0)

    @property
    def anew(self) -> bool:
        """Whether it has just begun, and has to be shown the last minutes."""
        again = self._now() - self._shown_s >= SHOWN_AGAIN_S
        return again and self._forgot() and not self._guard.paused

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        """What it did not judge, because it failed or is paused, is counted under `not_judged`."""
        well, answer = self._ask(measurement, nominal)
        self._lost &= not well
        if not well:
            self._not_judged(measurement)
        elif isinstance(self._trigger, TriggerModule):
            self._heed(*self._trigger.problems())
        decision: Decision | None = answer
        return decision

    def _heed(self, problems: int, why: str) -> None:
        """`problems`: since it began; it may have begun anew."""
        more = problems - self._problems if problems >= self._problems else problems
        self._problems = problems
        if more:
            self._problem = why
            self._counters.add("row_errors", more, label=self.name)
            if count := self._lines.take(self.name):
                self._log.warning("plugin.row_failed", error=why, count=count)

    def begin_again(self) -> None:
        """It remembers nothing from now on."""
        if self._forgot():
            self._lost, self._shown_s = False, self._now()
        self._guard.call(self._trigger.forget)

    def see_again(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        """As `decide`, of one that was judged before; it is not shown another."""
        if _key(measurement) in self._unjudged:
            return None
        decision: Decision | None = self._ask(measurement, nominal)[1]
        return decision

    def health(self) -> Health:
        return Health(f"plugin {self.name}", self._well(), info=self._told() or None)

    def _ask(self, measurement: Measurement, nominal: Nominal) -> tuple[bool, Any]:
        """Whether it was asked and has answered, and what."""
        self._judging = measurement
        return self._guard.call(self._trigger.decide, measurement, nominal)

    def _not_judged(self, measurement: Measurement) -> None:
        self._counters.add("not_judged", label=self.name)
        self._hide(measurement)

    def _hide(self, measurement: Measurement) -> None:
        self._unjudged[_key(measurement)] = None
        if len(self._unjudged) > UNJUDGED_KEPT:
            del self._unjudged[next(iter(self._unjudged))]

    def _forgot(self) -> bool:
        """Whether it remembers nothing, by a failure of its own."""
        return self._lost

    def _well(self) -> bool:
        return not self._guard.paused

    def _told(self) -> str:
        missed = round(self._counters.of("not_judged", self.name))
        crashes = [f"{self._guard.crashes} crashes"] if self._guard.crashes else []
        judged = [f"{missed} measurements not judged"] if missed else []
        failed = round(self._counters.of("row_errors", self.name))
        rows = [f"{failed} rows could not be computed, the last: {self._problem[:200]}"] if failed else []
        return ", ".join(crashes + judged + rows)

    def _crashed(self, error: Exception, pause_s: float) -> None:
        self._lost = True
        if self._judging is not None:
            self._hide(self._judging)
        self._counters.add("plugin_crashes", label=self.name)
        trace = "".join(traceback.format_exception(error))
        self._log.error("plugin.crashed", error=repr(error), pause_s=pause_s, traceback=trace)


def _key(measurement: Measurement) -> tuple[object, ...]:
    return measurement.box_id, measurement.timestamp_ms, measurement.start_ns, measurement.crossing


def load_triggers(
    entries: Sequence[PluginEntry], counters: Counters, log: Log, folders: Sequence[Path] = ()
) -> list[TriggerPlugin]:
    """Every plug-in of the configuration; ConfigError with the problems of all of them."""
    loaded: list[TriggerPlugin] = []
    problems: list[str] = []
    for entry in entries:
        try:
            plugin = load("trigger", entry.name, entry.settings, [*folders, BUILT_IN])
        except PluginError as error:
            problems.append(str(error))
        else:
            trigger = TriggerModule(plugin.module, plugin.config)
            loaded.append(TriggerPlugin(plugin.name, trigger, counters, log))
    if problems:
        raise ConfigError("\n".join(problems))
    return loaded
