"""The triggers in use: the configuration's, then every installed one, from its installation to its deletion.

Changes come from the threads of REST; the service's loop reads `all` once per Measurement, so that one is
judged by one version of each trigger.
"""

import threading
import time
from typing import TYPE_CHECKING, Any

from opq_cloud.config import PluginEntry
from opq_cloud.config import TriggeringService as Config
from opq_cloud.makai.share import SHARE, Share
from opq_cloud.makai.trigger_plugins import BUILT_IN, TriggerPlugin, load_triggers
from opq_cloud.service import Counters, Health
from opq_plugins.host.guard import Guard
from opq_plugins.host.one_file import available
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError, OpqError
from opq_proto.log import Log
from opq_proto.messages import Measurement

if TYPE_CHECKING:  # the host comes with the extra "rules"
    from opq_plugins.host.judging import PluginTrigger
    from opq_plugins.host.plugins import Plugins

NAMED_BY = "triggering_service.plugins"


class InstalledTrigger(TriggerPlugin):
    """One in the plug-in host. Each version begins without the faults of the one before."""

    def __init__(self, trigger: "PluginTrigger", counters: Counters, log: Log) -> None:
        super().__init__(trigger.symbol, trigger, counters, log)
        self._installed = trigger
        self._version = trigger.version
        self._share = Share()

    @property
    def anew(self) -> bool:
        there = bool(self._installed.version) and self._installed.up and self._share.left
        return there and (self._installed.anew or super().anew)

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        self._take_note()
        if not self._version:  # being deleted
            return None
        if not self._installed.up:  # one crash is one fault, however many Measurements come meanwhile
            self._not_judged(measurement)
            return None
        return super().decide(measurement, nominal)

    def begin_again(self) -> None:
        self._take_note()
        self._installed.anew = False
        super().begin_again()

    def idle(self, seconds: float) -> None:
        """Nobody waited for so long: it is nobody's time that was taken."""
        self._share.gave(seconds)

    def close(self) -> None:
        self._installed.close()

    def _take_note(self) -> None:
        """Of another version: what the one before did wrong does not pause it."""
        version = self._installed.version
        if version != self._version:
            self._version, self._guard = version, Guard(self._crashed)
            self._share = Share()

    def _ask(self, measurement: Measurement, nominal: Nominal) -> tuple[bool, Any]:
        if not self._share.left:
            return False, None
        began_s = time.monotonic()
        try:
            return super()._ask(measurement, nominal)
        finally:
            self._share.took(time.monotonic() - began_s)

    def _forgot(self) -> bool:
        return super()._forgot() or self._installed.forgot

    def _well(self) -> bool:
        return super()._well() and self._installed.up and self._share.left

    def _told(self) -> str:
        where = "in a process of its own" if self._installed.mode == "process" else "in this process"
        told = super()._told()
        slow = "" if self._share.left else f", too slow: it has {SHARE:.0%} of the time"
        return f"{self._installed.version}, {where}{slow}{', ' + told if told else ''}"


class TriggersInUse:
    """Thread-safe; `all` is exchanged whole."""

    def __init__(self, config: Config, counters: Counters, log: Log) -> None:
        """Raises ConfigError: one that is neither built in nor in a folder, and none can be installed."""
        self._names = frozenset(available([*config.plugin_folders, BUILT_IN]))
        self.reserved = frozenset(("trigger", name) for name in self._names)
        """(kind, name) of what none may be installed as."""
        at_hand = [each for each in config.plugins if each.name in self._names or not config.rules.enabled]
        self._own = load_triggers(at_hand, counters, log, config.plugin_folders)
        self._entries = [each for each in config.plugins if each not in at_hand]
        self._counters = counters
        self._log = log
        self._lock = threading.Lock()
        self._plugins: Plugins | None = None
        self._installed: dict[str, list[InstalledTrigger]] = {}
        self._troubles: dict[str, str] = {}
        self.all: tuple[TriggerPlugin, ...] = tuple(self._own)

    def follow(self, plugins: "Plugins") -> None:
        """Run what is installed there from now on.

        Raises ConfigError: the configuration names one that is not, or gives settings that it does not take.
        """
        with self._lock:
            self._plugins = plugins
        self.changed()
        there = plugins.types("trigger")
        problems = [
            f"{NAMED_BY}  {name!r} is not there; built in: {', '.join(sorted(self._names))};"
            f" installed: {', '.join(there) or 'none'}"
            for name in dict.fromkeys(entry.name for entry in self._entries)
            if name not in there
        ]
        problems += [
            f"{NAMED_BY}  {self._troubles[entry.name]}"
            for entry in self._entries
            if entry.name in self._troubles
        ]
        if problems:
            raise ConfigError("\n".join(dict.fromkeys(problems)))

    def changed(self) -> None:
        """One was installed or deleted; a new version has taken over already. Any thread but the loop's."""
        with self._lock:
            if self._plugins is None:
                return
            there = self._plugins.types("trigger")
            gone = [each for name, made in self._installed.items() if name not in there for each in made]
            self._installed = {name: made for name, made in self._installed.items() if name in there}
            self._troubles = {}
            for name in there:
                if name not in self._installed:
                    self._begin(self._plugins, name)
            self._exchange()
            for trigger in gone:
                trigger.close()

    def unfollow(self) -> None:
        with self._lock:
            self._plugins, installed, self._installed = None, self._installed, {}
            self._exchange()
            for trigger in (each for made in installed.values() for each in made):
                trigger.close()

    def idle(self, seconds: float) -> None:
        """The service had nothing to do for so long."""
        for trigger in self.all:
            if isinstance(trigger, InstalledTrigger):
                trigger.idle(seconds)

    def health(self) -> list[Health]:
        troubles = [Health(f"plugin {name}", False, info=why) for name, why in dict(self._troubles).items()]
        return [*(trigger.health() for trigger in self.all), *troubles]

    def _begin(self, plugins: "Plugins", name: str) -> None:
        if name in self._names:
            self._troubles[name] = f"{name!r} is built in or in a folder too; the installed one does not run"
            return
        named = [entry for entry in self._entries if entry.name == name]
        made: list[InstalledTrigger] = []
        for entry in named or [PluginEntry(name=name)]:
            try:
                trigger = plugins.trigger(name)()
                made.append(InstalledTrigger(trigger, self._counters, self._log))
                trigger.named_by = NAMED_BY if named else ""
                trigger.configure(entry.settings)
            except (OpqError, ValueError, OSError) as error:
                self._troubles[name] = f"{name!r} does not run: {error}"
                self._log.error("plugin.not_run", plugin=name, error=str(error))
                for each in made:
                    each.close()
                return
        self._installed[name] = made

    def _exchange(self) -> None:
        self.all = (*self._own, *(trigger for made in self._installed.values() for trigger in made))
