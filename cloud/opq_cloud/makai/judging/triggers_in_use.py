"""The triggers that run: those of the configuration, and those installed in the plug-in host, live."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.judging.limits_follower import limits_of
from opq_cloud.makai.judging.trigger_plugins import BUILT_IN, InstalledTrigger, TriggerPlugin
from opq_cloud.makai.judging.trigger_settings import NOT_LIVE
from opq_cloud.store.documents.makai_documents import MakaiConfig, SettingValue
from opq_plugins.package.built_in import available, load
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.errors import ConfigError, OpqError, PluginError
from opq_proto.kit import log
from opq_proto.kit.log import BoundLogger

if TYPE_CHECKING:  # the host comes with the extra "rules"
    from opq_plugins.host.plugins import Plugins

NAMED_BY = "triggering_service.plugins"
ENABLED = "enabled"
OFF = "off"
"""Text of health for a trigger that is available and does not run."""


class TriggersInUse:
    """Thread-safe; `all` is replaced as a whole."""

    def __init__(self, config: TriggeringServiceSection, counters: ServiceCounters, log: BoundLogger) -> None:
        """Raises ConfigError: one is neither built in nor in a folder, and none can be installed."""
        self._names = frozenset(available([*config.plugin_folders, BUILT_IN]))
        entries = configured_triggers(config)
        self.reserved = frozenset(("trigger", name) for name in self._names)
        """(kind, name) of built-in triggers, which no installed one may have."""
        at_hand = [each for each in entries if each.name in self._names or not config.rules.enabled]
        self._own = load_triggers(at_hand, counters, log, config.plugin_folders)
        self._folders = config.plugin_folders
        self._tables = config.triggers
        self._added: dict[str, TriggerPlugin] = {}
        """Triggers that the configuration does not start, after `makai_config` switched them on."""
        self._off: frozenset[str] = frozenset(self._names - {each.name for each in self._own})
        """Available triggers that are off; replaced as a whole."""
        self._entries = [each for each in entries if each not in at_hand]
        self._counters = counters
        self._log = log
        self._lock = threading.Lock()
        self._plugins: Plugins | None = None
        self._installed: dict[str, list[InstalledTrigger]] = {}
        self._troubles: dict[str, str] = {}
        self._wrong_settings: dict[str, str] = {}
        """Problems in `makai_config`; replaced as a whole."""
        self.all: tuple[TriggerPlugin, ...] = tuple(self._own)

    def follow(self, plugins: "Plugins") -> None:
        """Runs the installed triggers from now on.

        Raises ConfigError: the configuration names one that is not there, or gives settings that it does
        not accept.
        """
        with self._lock:
            self._plugins = plugins
        self.changed()
        there = plugins.types("trigger")
        problems = [
            f"{NAMED_BY}: {name!r} is not there; built in: {', '.join(sorted(self._names))};"
            f" installed: {', '.join(there) or 'none'}"
            for name in dict.fromkeys(entry.name for entry in self._entries)
            if name not in there
        ]
        problems += [
            f"{NAMED_BY}: {self._troubles[entry.name]}"
            for entry in self._entries
            if entry.name in self._troubles
        ]
        if problems:
            raise ConfigError("\n".join(dict.fromkeys(problems)))

    def changed(self) -> None:
        """Updates after an installation or deletion; a new version runs already. Not in the loop's thread."""
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

    def use_makai_config(self, config: MakaiConfig | None) -> None:
        """Follows `makai_config`, in the loop's thread. An invalid setting leaves a trigger as configured.

        `enabled` of a trigger switches it on or off; one that is switched on is first shown the last minutes.
        """
        tables = {} if config is None else config.triggers
        settings, switches, wrong_switches = split_switches(tables)
        wrong_switches |= self._switch(switches)
        own = [*self._own, *self._added.values()]
        running = {trigger.name for trigger in own}
        wrong = {
            name: NOT_LIVE.get(name, "does not run here, or is an installed one")
            for name in settings
            if name not in running or name in NOT_LIVE
        }
        for trigger in own:
            boxes = limits_of(config) if trigger.name == "threshold" else {}
            try:
                trigger.use_settings({} if trigger.name in wrong else settings.get(trigger.name, {}), boxes)
            except ValueError as error:
                trigger.use_settings({}, boxes)
                wrong[trigger.name] = str(error)
        wrong |= wrong_switches
        for name, why in wrong.items():
            self._log.warning("makai_config.trigger_not_set", trigger=name, problem=why)
        self._wrong_settings = wrong

    def note_idle(self, seconds: float) -> None:
        """Adds time in which the service had nothing to do."""
        for trigger in self.all:
            if isinstance(trigger, InstalledTrigger):
                trigger.note_idle(seconds)

    def health(self) -> list[HealthReport]:
        troubles = [
            HealthReport(f"plugin {name}", False, info=why) for name, why in dict(self._troubles).items()
        ]
        wrong = [
            HealthReport(f"makai_config {name}", False, info=why)
            for name, why in self._wrong_settings.items()
        ]
        unwritten = NOT_LIVE.keys() - {each.name for each in self._own}
        off = [HealthReport(f"plugin {name}", True, info=OFF) for name in sorted(self._off - unwritten)]
        return [*(trigger.health() for trigger in self.all), *off, *troubles, *wrong]

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

    def _switch(self, switches: Mapping[str, bool]) -> dict[str, str]:
        """Returns the triggers that cannot be switched, and why."""
        wrong = {
            name: "is not available, or is an installed one" for name in switches if name not in self._names
        }
        own = {each.name for each in self._own}
        for name, on in switches.items():
            if on and name in self._names and name not in own and name not in self._added:
                table = {key: value for key, value in self._tables.get(name, {}).items() if key != "enabled"}
                try:
                    entry = PluginEntry(name=name, settings=table)
                    [self._added[name]] = load_triggers([entry], self._counters, self._log, self._folders)
                except ConfigError as error:
                    wrong[name] = str(error)
        there = {*own, *self._added}
        off = self._names - {name for name in there if switches.get(name, name in own)}
        with self._lock:
            for each in (*self._own, *self._added.values()):
                if each.name in self._off and each.name not in off:
                    each.note_switched_on()
            if off != self._off:
                self._log.info("triggers.switched", off=sorted(off))
            self._off = frozenset(off)
            self._exchange()
        return wrong

    def _exchange(self) -> None:
        at_hand = (*self._own, *self._added.values())
        self.all = (
            *(each for each in at_hand if each.name not in self._off),
            *(trigger for made in self._installed.values() for trigger in made),
        )


def split_switches(
    tables: Mapping[str, Mapping[str, SettingValue]],
) -> tuple[dict[str, dict[str, SettingValue]], dict[str, bool], dict[str, str]]:
    """Settings by trigger without `enabled`, the switches, and those `enabled` that are not yes or no."""
    switches: dict[str, bool] = {}
    wrong: dict[str, str] = {}
    for name, table in tables.items():
        found = table.get(ENABLED, True)
        if not isinstance(found, bool):
            wrong[name] = f"{ENABLED}  is {found!r:.40}; want true or false"
        elif ENABLED in table:
            switches[name] = found
    settings = {
        name: {key: value for key, value in table.items() if key != ENABLED} for name, table in tables.items()
    }
    return {name: table for name, table in settings.items() if table}, switches, wrong


def configured_triggers(config: TriggeringServiceSection) -> list[PluginEntry]:
    """Returns `plugins`, changed by the tables `triggers.NAME`: set, turned off or added.

    Raises ConfigError: `enabled` is not a yes or no.
    """
    tables = {name: dict(table) for name, table in config.triggers.items()}
    enabled = {name: table.pop("enabled", True) for name, table in tables.items()}
    if wrong := [name for name, value in enabled.items() if not isinstance(value, bool)]:
        lines = "\n".join(
            f"triggering_service.triggers.{name}: enabled: want true or false" for name in wrong
        )
        raise ConfigError(lines)
    there = {entry.name for entry in config.plugins}
    entries = [*config.plugins, *(PluginEntry(name=name) for name in tables if name not in there)]
    return [
        replace(entry, settings={**tables.get(entry.name, {}), **entry.settings})
        for entry in entries
        if enabled.get(entry.name, True)
    ]


def judged_triggers(config: TriggeringServiceSection) -> None:
    """Loads the triggers of the configuration, as a start does; an installed one is only known when it runs.

    Raises ConfigError with the problems of all of them.
    """
    there = available([*config.plugin_folders, BUILT_IN])
    entries = [each for each in configured_triggers(config) if each.name in there or not config.rules.enabled]
    load_triggers(entries, ServiceCounters(), log.get(), config.plugin_folders)


def load_triggers(
    entries: Sequence[PluginEntry], counters: ServiceCounters, log: BoundLogger, folders: Sequence[Path] = ()
) -> list[TriggerPlugin]:
    """Loads every plug-in of the configuration; ConfigError with the problems of all of them."""
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
