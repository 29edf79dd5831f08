"""The operator's actions on any plug-in of Mauka: one form for built-in, installed and original ones.

bus        the plug-ins of the bus that Mauka is made of; they run in its process
built-in   analyses of this toolkit, run by AnalysisRunner
installed  analyses that were installed at Makai's rules, in a process of their own
original   plug-ins of the original's form, each in a process of its own
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from opq_cloud.mauka.bus.bus_messages import HEARTBEAT
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.flow.stream_runner import StreamRunner
from opq_cloud.mauka.original.original_plugins import OriginalPlugins
from opq_cloud.mauka.original.settings import read_settings
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.known.plugin_states import PluginStates
from opq_plugins.sdk.modules import about
from opq_proto.errors import PluginError

Facts = dict[str, Any]


SHOWN = ("processes", "workers", "open_outages", "silences")
"""Fields of a plug-in's own report that are shown with its state."""


class PluginGroup(Protocol):
    """Plug-ins of one origin. Methods raise PluginError with the reason where an action is not possible."""

    def names(self) -> list[str]: ...
    def running(self, plugin: str) -> bool: ...
    def start(self, plugin: str) -> None: ...
    def stop(self, plugin: str) -> None: ...
    def kill(self, plugin: str) -> int:
        """Returns the pid of its process; 0: there was none."""

    def status(self, plugin: str) -> Facts:
        """Returns at least name, origin, enabled, takes, gives, trouble."""


class BusPlugins:
    """The plug-ins of `service.services` on the bus; PrintPlugin is off until it is started."""

    def __init__(self, plugins: Sequence[MaukaPlugin], states: PluginStates) -> None:
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._states = states
        for name in states.disabled & self._plugins.keys():
            self._plugins[name].hold()

    def names(self) -> list[str]:
        return sorted(self._plugins)

    def running(self, plugin: str) -> bool:
        return not self._plugins[plugin].on_hold

    def start(self, plugin: str) -> None:
        self._plugins[plugin].resume()

    def stop(self, plugin: str) -> None:
        self._plugins[plugin].hold()

    def kill(self, plugin: str) -> int:
        raise PluginError(f"{plugin} runs in Mauka's process; stop-plugin {plugin} ends it")

    def status(self, plugin: str) -> Facts:
        one = self._plugins[plugin]
        facts = one.status()
        does = about(sys.modules.get(type(one).__module__)).removeprefix(f"{plugin}: ")
        return {
            "name": plugin,
            "about": does[:1].upper() + does[1:],
            "origin": "bus",
            "enabled": self._states.enabled(plugin),
            # a plug-in that takes everything ("") and is off would appear at each edge of the graph
            "takes": [each for each in one.subscriptions if each or not one.on_hold],
            "gives": sorted((one.produced_topics | set(one.GIVES)) - {HEARTBEAT}),
            "trouble": facts["last_error"],
            "messages_received": facts["messages_received"],
            "messages_published": facts["messages_published"],
            **{key: facts[key] for key in SHOWN if key in facts},
        }


class AnalysisPlugins:
    """Analyses of this toolkit, and installed ones: those of events and those of single items."""

    def __init__(
        self,
        runners: Sequence[AnalysisRunner | StreamRunner],
        installed: InstalledAnalyses | None,
        states: PluginStates,
    ) -> None:
        self._runners, self._installed, self._states = runners, installed, states
        for runner in runners:
            runner.left_out |= states.disabled

    def names(self) -> list[str]:
        return sorted(self._rows())

    def running(self, plugin: str) -> bool:
        return not any(plugin in runner.left_out for runner in self._runners)

    def start(self, plugin: str) -> None:
        for runner in self._runners:
            runner.left_out -= {plugin}
            runner.wake()

    def stop(self, plugin: str) -> None:
        """Stops an analysis; events are analysed without it and do not wait for it."""
        for runner in self._runners:
            runner.left_out |= {plugin}
            runner.wake()

    def kill(self, plugin: str) -> int:
        if self._installed is None or self._rows()[plugin][0]["runs"] != "worker":
            raise PluginError(f"{plugin} has no process of its own; stop-plugin {plugin} leaves it out")
        return self._installed.kill(plugin)

    def status(self, plugin: str) -> Facts:
        row, runner = self._rows()[plugin]
        origin = "built-in" if row["runs"] == "built in" else "installed"
        if origin == "built-in":
            row["about"] = about(sys.modules.get(f"opq_plugin_analysis_{plugin}"))
        taken, given = runner.flow_of(plugin)
        flow = {"trouble": None, "messages_received": taken, "messages_published": given}
        return {**flow, **row, "origin": origin, "enabled": self._states.enabled(plugin)}

    def _rows(self) -> Mapping[str, tuple[Facts, AnalysisRunner | StreamRunner]]:
        return {str(row["name"]): (row, runner) for runner in self._runners for row in runner.analysis_rows()}


class PluginControl:
    """All plug-ins by name. Methods raise PluginError with the reason and the possible choices."""

    def __init__(
        self, groups: Sequence[PluginGroup], originals: OriginalPlugins | None, states: PluginStates
    ) -> None:
        self._groups = [*groups, *([originals] if originals is not None else [])]
        self._originals, self._states = originals, states

    def names(self) -> list[str]:
        return sorted(name for group in self._groups for name in group.names())

    def running(self, plugin: str) -> bool:
        return self._group(plugin).running(plugin)

    def status(self, plugin: str) -> Facts:
        group = self._group(plugin)
        return {**group.status(plugin), "running": group.running(plugin)}

    def start(self, plugin: str) -> None:
        group = self._group(plugin)
        if not self._states.enabled(plugin):
            raise PluginError(f"plug-in {plugin} is disabled; enable-plugin {plugin} allows it to start")
        if group.running(plugin):
            raise PluginError(f"plug-in {plugin} runs already; restart-plugin starts it again")
        group.start(plugin)

    def stop(self, plugin: str) -> None:
        self._group(plugin).stop(plugin)

    def restart(self, plugin: str) -> None:
        """Restarts a plug-in; original ones get new settings, and the messages they failed on."""
        group = self._group(plugin)
        group.stop(plugin)
        self.start(plugin)

    def kill(self, plugin: str) -> int:
        pid = self._group(plugin).kill(plugin)
        if not pid:
            raise PluginError(f"plug-in {plugin} has no process now")
        return pid

    def enable(self, plugin: str) -> None:
        """Allows a plug-in to be started; does not start it."""
        self._group(plugin)
        self._states.enable(plugin)

    def disable(self, plugin: str) -> None:
        """Stops a plug-in, also after a restart of Mauka; messages for it are not kept."""
        group = self._group(plugin)
        self._states.disable(plugin)
        group.stop(plugin)

    def load(self, name: str) -> str:
        """Loads a plug-in of the original, or all of a deployed folder."""
        originals = self._original_ones()
        if name in originals.deployments.names():
            return "; ".join(originals.load_folder(name))
        return originals.load(name)

    def unload(self, plugin: str) -> str:
        if self._group(plugin) is not self._originals:
            raise PluginError(f"{plugin} was not deployed here; disable-plugin {plugin} stops it permanently")
        return self._original_ones().unload(plugin)

    def load_settings(self, path: Path) -> int:
        """Loads a mauka.config.json for plug-ins that start later: how many keys. Raises ConfigError."""
        originals, found = self._original_ones(), read_settings(path)
        addresses = {key for key in found if key.startswith("zmq.mauka.plugin.")}
        originals.settings |= {key: value for key, value in found.items() if key not in addresses}
        return len(found)

    @property
    def folder(self) -> Path:
        """Folder where `opq-tools plugin install` puts its folders."""
        return self._original_ones().deployments.folder

    def _original_ones(self) -> OriginalPlugins:
        if self._originals is None:
            raise PluginError("mauka.plugins.enabled is false: plug-ins of the original are not run here")
        return self._originals

    def _group(self, plugin: str) -> PluginGroup:
        for group in self._groups:
            if plugin in group.names():
                return group
        known = ", ".join(self.names()) or "none"
        raise PluginError(f"there is no plug-in {plugin}; there are: {known}")
