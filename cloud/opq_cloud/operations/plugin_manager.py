"""Mauka for View: the plug-ins of its plug-in manager, its commands, and messages to its bus.

Mauka defines the names of its commands and the drawing of its graph, and View imports neither."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from opq_cloud.mauka.bus.broker import NobodyListensError, event_message, inject
from opq_cloud.mauka.operating.graph import graph_svg, read_nodes
from opq_cloud.mauka.operating.manager_client import query_manager, succeeded
from opq_proto.errors import OpqError

VERBS = {"start": "start-plugin", "stop": "stop-plugin", "restart": "restart-plugin"} | {
    "enable": "enable-plugin",
    "disable": "disable-plugin",
}
NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
STATUS_S = 3.0
COMMAND_S = 60.0
COLOURED = re.compile(r"\x1b\[[0-9;]*m")


class PluginManagerError(OpqError):
    """The manager does not answer, or refuses."""


class PluginManager:
    """The manager at one address; every method raises PluginManagerError."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def plugins(self) -> list[Mapping[str, Any]]:
        """Returns facts of each, by name: at least name, origin, enabled, running, takes, gives, trouble."""
        found = self._json("status")
        return [each for each in found if isinstance(each, Mapping)]

    def plugin(self, name: str) -> Mapping[str, Any]:
        """Returns facts of one plug-in."""
        for each in self.plugins():
            if each.get("name") == name:
                return each
        raise PluginManagerError(f"Mauka has no plug-in {name}")

    def command(self, verb: str, name: str) -> str:
        """Sends a command and returns its answer; `verb` is one of VERBS."""
        if not NAME.fullmatch(name):
            raise PluginManagerError(f"{name[:80]} is not a name of a plug-in")
        answer = self._answer_to(f"{VERBS[verb]} {name}", COMMAND_S)
        text = COLOURED.sub("", answer)
        if not succeeded(answer):
            raise PluginManagerError(text.removeprefix("ERROR. "))
        return text.removeprefix("OK. ")

    def drawing(self) -> str:
        """Returns the running plug-ins with their inputs and outputs, as SVG."""
        return graph_svg(read_nodes(self._json("graph")))

    def _json(self, command: str) -> list[Mapping[str, Any]]:
        try:
            found = json.loads(self._answer_to(command, STATUS_S))
        except ValueError as error:
            raise PluginManagerError("the answer of Mauka's plug-in manager is not JSON") from error
        if not isinstance(found, list):
            raise PluginManagerError("the answer of Mauka's plug-in manager is not a list")
        return found

    def _answer_to(self, command: str, wait_s: float) -> str:
        if not self._endpoint:
            raise PluginManagerError("this View has no address of Mauka's plug-in manager")
        try:
            return query_manager(command, self._endpoint, wait_s)
        except OpqError as error:
            raise PluginManagerError(str(error)) from error


def publish_on_bus(endpoint: str, topic: str, body: bytes) -> None:
    """Publishes any message on Mauka's bus, as it is; PluginManagerError without a listener."""
    _publish([(topic, body)], endpoint)


def publish_events(endpoint: str, event_ids: Iterable[int]) -> None:
    """Has stored events analysed again; raises as `publish_on_bus`."""
    _publish([event_message(event_id) for event_id in event_ids], endpoint)


def _publish(messages: list[tuple[str, bytes]], endpoint: str) -> None:
    if not endpoint:
        raise PluginManagerError("this View has no address of Mauka")
    try:
        inject(messages, endpoint)
    except NobodyListensError as error:
        raise PluginManagerError(str(error)) from None
