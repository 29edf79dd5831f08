"""The triggering service's plug-ins: loaded by name and settings, called for every measurement."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opq_cloud.config import PluginEntry
from opq_cloud.service import Counters, Health
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError, PluginError
from opq_proto.log import Log
from opq_proto.messages import Measurement
from opq_rules.plugins.guard import Guard
from opq_rules.plugins.host import Plugin, load

BUILT_IN = Path(__file__).parent / "triggers"


class TriggerPlugin:
    """One plug-in with its state; a crash costs this measurement's opinion, and its memory."""

    def __init__(self, plugin: Plugin, counters: Counters, log: Log) -> None:
        self.plugin = plugin
        self._counters = counters
        self._log = log.bind(plugin=plugin.name)
        self._guard = Guard(self._crashed)
        self._state: Any = None
        self._begun = False

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        if not self._begun:
            self._begun, self._state = self._guard.call(self.plugin.module.begin, self.plugin.config)
            if not self._begun:
                return None
        well, answer = self._guard.call(self._ask, measurement, nominal)
        if not well:
            return None
        decision: Decision | None
        decision, self._state = answer
        return decision

    def forget(self) -> None:
        """Begin anew at the next measurement."""
        self._begun = False

    def health(self) -> Health:
        info = f"{self._guard.crashes} crashes" if self._guard.crashes else None
        return Health(f"plugin {self.plugin.name}", not self._guard.paused, info=info)

    def _ask(self, measurement: Measurement, nominal: Nominal) -> tuple[Decision | None, Any]:
        decision, state = self.plugin.module.decide(measurement, nominal, self.plugin.config, self._state)
        if decision is not None and not isinstance(decision, Decision):
            raise TypeError(f"decide() gave {type(decision).__name__}; want a Decision or None")
        return decision, state

    def _crashed(self, error: Exception, pause_s: float) -> None:
        self._begun = False
        self._counters.add("plugin_crashes", label=self.plugin.name)
        trace = "".join(traceback.format_exception(error))
        self._log.error("plugin.crashed", error=repr(error), pause_s=pause_s, traceback=trace)


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
            loaded.append(TriggerPlugin(plugin, counters, log))
    if problems:
        raise ConfigError("\n".join(problems))
    return loaded
