"""The plug-in manager's address: REP 12000, one command of the original's text form per request.

Words are split at single spaces; an answer is text, and begins with OK or ERROR in the original's colours,
except for commands that list. `status`, `graph` and `plugin-folder` are ours. Every client of the address may
stop plug-ins: it is on loopback unless the configuration sets another one. Source:
docs/reference/opq-interop.md E.4.
"""

import difflib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from opq_cloud.core.backend.peers import answer_requests
from opq_cloud.core.backend.sockets import Socket
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.operating.manager_client import GREEN, PLAIN, RED, error, ok
from opq_cloud.mauka.operating.plugin_control import Facts, PluginControl
from opq_proto.errors import OpqError
from opq_proto.kit import log as logs

log = logs.get(service="mauka")

LARGEST_REQUEST = 4096
NONE = ""
COMMANDS: dict[str, tuple[str, str]] = {
    "completions": (NONE, "All commands and names of plug-ins, with commas."),
    "disable-plugin": ("NAME", "Stop it, and keep it from starting until it is enabled."),
    "enable-plugin": ("NAME", "Let it be started again."),
    "help": (NONE, "This list."),
    "kill-plugin": ("NAME", "End its process at once; it is started again, and no message is lost."),
    "load-config": ("PATH", "Settings of a mauka.config.json, for plug-ins that start from now on."),
    "load-plugin": ("NAME", "Run the newest version of a deployed plug-in, or of a deployed folder."),
    "list-plugins": (NONE, "Every plug-in: enabled, running, process."),
    "start-plugin": ("NAME", "Start it."),
    "stop-plugin": ("NAME", "Stop it; messages for it wait."),
    "stop-all-plugins": (NONE, "Stop all plug-ins of the original's form."),
    "restart-plugin": ("NAME", "Stop and start it, with the settings that were loaded last."),
    "unload-plugin": ("NAME", "Stop and forget it, until it is loaded."),
    "status": ("[NAME]", "The state of it, or of all of them, as JSON."),
    "graph": (NONE, "The running plug-ins with their inputs and outputs, as JSON."),
    "plugin-folder": (NONE, "Where `opq-tools plugin install` puts folders of plug-ins."),
    "stop-tcp-server": (NONE, "Refused, because this address ends with Mauka."),
}
"""Command -> its argument, and a line of help."""


class PluginCommands:
    """Counters: `commands` by their first word, `refused`, `malformed`."""

    name = "mauka.plugin-manager"

    def __init__(self, config: MaukaSection, control: PluginControl) -> None:
        self.counters = ServiceCounters()
        self._endpoint, self._control = config.plugin_manager_endpoint, control

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`; raises PortBusyError when the address is taken."""
        key = "mauka.plugin_manager_endpoint"
        answer_requests(self._endpoint, self.name, key, self.counters, stop, ready, self._answer)

    def _answer(self, socket: Socket, frames: list[bytes]) -> None:
        try:
            if len(frames) != 1 or len(frames[0]) > LARGEST_REQUEST:
                raise ValueError("want one frame of text")
            request = frames[0].decode()
        except ValueError:
            self.counters.add("malformed")
            socket.send(error("want one frame of text, such as list-plugins").encode())
            return
        socket.send(self.answer(request).encode(errors="replace"))  # a file name may not be valid UTF-8

    def answer(self, request: str) -> str:
        """Carries out a command and returns its answer; never raises an error of the command."""
        words = [word for word in request.strip().split(" ") if word]
        if not words:
            return error("no command; help lists them")
        command, arguments = words[0], words[1:]
        if command not in COMMANDS:
            self.counters.add("refused")
            near = [name for name in COMMANDS if name.startswith(f"{command}-")]
            near = near or difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; help lists them"
            return error(f"there is no command {command[:80]}{hint}")
        self.counters.add("commands", label=command)
        usage = COMMANDS[command][0]
        many = {NONE: (0, 0), "[NAME]": (0, 1)}.get(usage, (1, 1))
        if not many[0] <= len(arguments) <= many[1]:
            return error(f"want: {command} {usage}".rstrip())
        try:
            answer_text = self._call(command, arguments)
        except (OpqError, OSError) as problem:
            self.counters.add("refused")
            return error(str(problem))
        if command not in ("completions", "help", "list-plugins", "status", "graph", "plugin-folder"):
            log.info("plugin.command", command=command, arguments=arguments, answer=answer_text)
        return answer_text

    def _call(self, command: str, arguments: Sequence[str]) -> str:
        method: Callable[..., str] = getattr(self, f"_{command.replace('-', '_')}")
        return method(*arguments)

    # -- one method per command

    def _completions(self) -> str:
        return ",".join([*COMMANDS, *self._control.names()])

    def _help(self) -> str:
        width = max(len(f"{name} {usage}") for name, (usage, _) in COMMANDS.items()) + 2
        return "\n".join(f"{name + ' ' + usage:<{width}}{text}" for name, (usage, text) in COMMANDS.items())

    def _list_plugins(self) -> str:
        return "".join(f"{_row(self._control.status(name))}\n" for name in self._control.names())

    def _status(self, plugin: str | None = None) -> str:
        if plugin is not None:
            return json.dumps(self._control.status(plugin), indent=1)
        return json.dumps([self._control.status(name) for name in self._control.names()], indent=1)

    def _graph(self) -> str:
        rows = [self._control.status(name) for name in self._control.names()]
        keys = ("name", "origin", "running", "takes", "gives", "processes")
        return json.dumps([{key: row[key] for key in keys if key in row} for row in rows])

    def _plugin_folder(self) -> str:
        return str(self._control.folder)

    def _load_plugin(self, name: str) -> str:
        return ok(self._control.load(name))

    def _unload_plugin(self, name: str) -> str:
        return ok(self._control.unload(name))

    def _load_config(self, path: str) -> str:
        count = self._control.load_settings(Path(path))
        return ok(f"{count} settings loaded from {path}; plug-ins have them after restart-plugin")

    def _start_plugin(self, name: str) -> str:
        self._control.start(name)
        return ok(f"Plugin {name} started")

    def _stop_plugin(self, name: str) -> str:
        self._control.stop(name)
        return ok(f"Plugin {name} stopped")

    def _stop_all_plugins(self) -> str:
        for name in self._control.names():
            if self._control.status(name)["origin"] == "original":
                self._control.stop(name)
        return ok("Stopped all plugins of the original's form")

    def _restart_plugin(self, name: str) -> str:
        self._control.restart(name)
        return ok(f"Restarted {name}")

    def _kill_plugin(self, name: str) -> str:
        return ok(f"Plugin {name} killed (process {self._control.kill(name)})")

    def _enable_plugin(self, name: str) -> str:
        self._control.enable(name)
        return ok(f"Plugin {name} enabled")

    def _disable_plugin(self, name: str) -> str:
        self._control.disable(name)
        return ok(f"Plugin {name} disabled")

    def _stop_tcp_server(self) -> str:
        return error("this address ends with Mauka; stop-all-plugins stops what was deployed")


def _row(facts: Facts) -> str:
    """Returns a line of the original's list, with our fields at its end."""
    enabled = f"{GREEN}Yes{PLAIN}" if facts["enabled"] else f"{RED}No{PLAIN}"
    process = f"{GREEN}started{PLAIN}" if facts["running"] else f"{RED}stopped{PLAIN}"
    pid = facts.get("pid") or "N/A"
    row = f"name:{facts['name']:<30} enabled:{enabled} process:{process} pid:{pid}"
    row += f" exit_event:{not facts['running']} origin:{facts['origin']}"
    if (number := facts.get("version")) is not None:
        row += f" version:{number}"
    if facts["trouble"]:
        row += f" trouble:{facts['trouble']}"
    return row
