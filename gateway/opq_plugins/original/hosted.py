"""In the worker: one plug-in of the original, made as its `run_plugin` says, and called message by message.

Messages that it produces in `on_message` go back with the answer. An interrupted call has published nothing,
so that the message can be given to it again. Messages of its threads are sent at once.
"""

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from opq_plugins.original import base, imports
from opq_plugins.original.layout import listed_plugins
from opq_plugins.sdk import Value
from opq_proto.errors import PluginError
from opq_proto.wire.mauka_pb2 import MaukaMessage

KIND = "mauka"
"""Kind of its symbol on the wire."""
MESSAGE_TOPICS = frozenset(
    {
        *("BoxMeasurementRateRequest", "BoxMeasurementRateResponse", "heartbeat", "gc_stat", "laha_gc"),
        *("BoxOptimizationRequest", "windowed_frequency", "RmsWindowedVoltage", "AdcSamples", "RawVoltage"),
        *("MakaiEvent", "ThresholdOptimizationRequest", "TriggerRequest", "measurement"),
    }
)
"""Topics of the original whose messages are protobuf (docs/reference/opq-interop.md E.1), never text."""
CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127])
"""Characters that text does not contain: all controls but tab, line feed and carriage return."""


def load_original(folder: Path) -> dict[tuple[str, str], Callable[[], "HostedPlugin"]]:
    """(KIND, plug-in) -> factory. Raises PluginError."""
    imports.install(folder)

    def maker(path: str) -> Callable[[], HostedPlugin]:
        return lambda: HostedPlugin(path)

    return {(KIND, name): maker(path) for name, path in listed_plugins(folder).items()}


class HostedPlugin:
    """One plug-in. Called by one thread of the worker at a time."""

    def __init__(self, path: str) -> None:
        """`path`: its path below the package `plugins`."""
        self._path = path
        self._plugin: base.MaukaPlugin | None = None
        self._publish_outside: Callable[[bytes, bytes], None] | None = None
        self._produced: list[list[bytes]] = []
        self._bytes = 0
        self._calling: int | None = None

    def attach(self, publish: Callable[[bytes, bytes], None]) -> None:
        """`publish(topic, body)` sends to the host what is produced outside of a call."""
        self._publish_outside = publish

    def configure(self, settings: Mapping[str, Value]) -> None:
        """Imports and makes the plug-in. Raises the plug-in's exceptions, and PluginError if it is not a
        plug-in."""
        plugin = self._made(settings)
        if not isinstance(plugin, base.MaukaPlugin):
            raise PluginError(f"plugins.{self._path} made a {type(plugin).__name__}; want a MaukaPlugin")
        if not hasattr(plugin, "subscriptions"):
            raise PluginError(f"plugins.{self._path}: __init__ does not call super().__init__(...)")
        plugin.publish = self._publish
        self._plugin = plugin

    def facts(self) -> Value:
        """[its own name, its subscriptions]."""
        plugin = self._running()
        return [plugin.name, [str(each) for each in plugin.subscriptions]]

    def handle(self, topic: str, body: bytes) -> Value:
        """Handles one message; gives [topic, body] of each that it made; None: it is not a MaukaMessage."""
        plugin = self._running()
        message: object
        if plugin.as_messages:
            try:
                message = MaukaMessage.FromString(body)
            except DecodeError:
                return None
        else:
            message = as_published(topic, body)
        self._produced, self._bytes, self._calling = [], 0, threading.get_ident()
        plugin.on_message_cnt += 1
        plugin.messages_received += 1
        plugin.bytes_received += len(body)
        plugin.plugin_state = base.PluginState.BUSY.name
        try:
            plugin.on_message(topic, message)
        finally:
            self._calling = None
            plugin.plugin_state = base.PluginState.IDLE.name
        return [list(each) for each in self._produced]

    def ended(self) -> bool:
        """Whether it has set its exit event and does not want more messages."""
        return self._running().exit_event.is_set()

    def close(self) -> None:
        """Sets its exit event, as the original does; its process ends soon after."""
        if self._plugin is not None:
            self._plugin.exit_event.set()

    def _running(self) -> base.MaukaPlugin:
        if self._plugin is None:
            raise ValueError("the plug-in is used before it was configured")
        return self._plugin

    def _made(self, settings: Mapping[str, Value]) -> object:
        first, *rest = self._path.split(".")
        found: Any = importlib.import_module(f"plugins.{first}")
        for name in rest:
            found = getattr(found, name)
        config: Mapping[str, Any] = base.OriginalSettings(settings)
        base.started.clear()
        made: Any
        if inspect.isclass(found):
            made = found
        elif callable(getattr(found, "run_plugin", None)):
            found.run_plugin(config)
            if not base.started:
                raise PluginError(f"plugins.{first}.run_plugin did not call plugins.base.run_plugin(...)")
            made, config = base.started[-1]
        else:
            made = getattr(found, first, None)  # as the original's manager: a class of its module's name
            if not inspect.isclass(made):
                raise PluginError(f"plugins.{first} has neither run_plugin(config) nor a class {first}")
        if inspect.isclass(made) and issubclass(made, base.MessagePlugin):
            config = base.StrictSettings(config)
        wants_event = len(inspect.signature(made).parameters) > 1
        return made(config, threading.Event()) if wants_event else made(config)

    def _publish(self, topic: bytes, body: bytes) -> None:
        if self._calling == threading.get_ident():
            self._bytes += len(topic) + len(body)
            if self._bytes > base.MAX_PRODUCED_BYTES:
                most = base.MAX_PRODUCED_BYTES >> 20
                raise ValueError(f"one message made it produce more than {most} MiB")
            self._produced.append([topic, body])
        elif self._publish_outside is not None:
            self._publish_outside(topic, body)


def as_published(topic: str, body: bytes) -> base.PublishedText | bytes:
    """Returns `body` as text if it is UTF-8 text of a topic without protobuf messages; else as it is."""
    if topic in MESSAGE_TOPICS or body[:1] == b"\n":  # a protobuf message may begin so, text does not
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    return base.PublishedText(text) if text.translate(CONTROLS) == text else body
