"""The content of `plugins.base` and `plugins.base_plugin` for a plug-in of the original.

The names, signatures and meanings are the original's. Sockets, process and heartbeat are the host's, so that
a plug-in is confined, and can be replaced without a lost message. `on_message` had two forms:

    plugins.base           the developer guide's: `message` as it was published, text or bytes
    plugins.base_plugin    the later one: a `MaukaMessage`

Source: the original's developer guide and mauka/plugins/base_plugin.py (names and behaviour only).
"""

import enum
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import zmq

from opq_proto.keys.backend_keys import backend_address
from opq_proto.wire.mauka_pb2 import MaukaMessage

MAX_PRODUCED_BYTES = 12 << 20
"""Limit for one `on_message`: its answer goes over the wire in one frame of at most 16 MiB."""
INCIDENT_ID_MS = 5000


class ExitEvent(Protocol):
    """An Event of threading or multiprocessing."""

    def set(self) -> None: ...
    def is_set(self) -> bool: ...


class PluginState(enum.Enum):
    """The states in heartbeats, which the host sends."""

    IDLE = "IDLE"
    BUSY = "BUSY"


class PublishedText(str):
    """A text message that also behaves like bytes, because plug-ins of the original had nothing else."""

    __slots__ = ()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self)

    def __bytes__(self) -> bytes:
        return str(self).encode()

    def __eq__(self, other: object) -> bool:
        return bytes(self) == other if isinstance(other, bytes) else str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class OriginalSettings(dict[str, Any]):
    """The flat keys of mauka.config.json, as the guide's plug-ins see them: a dictionary."""

    def debug_plugin(self, name: str) -> bool:
        return bool(self["mauka.debug"]) and name in self["mauka.debug.plugins"]


class StrictSettings(OriginalSettings):
    """Settings of the later plug-ins: `get` without a default raises KeyError for a missing key."""

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self and default is None:
            raise KeyError(f"{key} is not in the configuration, and has no default")
        return super().get(key, default)


class MaukaPlugin:
    """The base class of the developer guide. `publish` is set by the host before the first message."""

    NAME = "MaukaPlugin"
    publish: Callable[[bytes, bytes], None] | None = None
    as_messages: ClassVar[bool] = False
    """Whether `on_message` gets MaukaMessages."""

    def __init__(
        self,
        config: Mapping[str, Any],
        subscriptions: Sequence[str],
        name: str,
        exit_event: ExitEvent | None = None,
    ) -> None:
        self.config = config
        self.subscriptions = [str(each) for each in subscriptions]
        self.name = name
        self.exit_event: ExitEvent = exit_event or threading.Event()
        self.logger = logging.getLogger(name)
        self.producer_lock = threading.Lock()
        self.heartbeat_interval_s = float(config.get("plugins.base.heartbeatIntervalS", 60.0))
        self.mauka_debug = bool(config.get("mauka.debug", False))
        self.plugin_state = PluginState.IDLE.name
        self.on_message_cnt = self.messages_received = self.messages_published = 0
        self.bytes_received = self.bytes_published = 0
        self.last_received = 0.0

    def on_message(self, topic: str, message: Any) -> None:
        """Called for each message; the plug-in overrides it."""
        self.logger.info("on_message not implemented")

    def produce(self, topic: str | bytes, message: str | bytes | MaukaMessage) -> None:
        """Publishes text, bytes or a MaukaMessage on `topic`; within `on_message`, after that has returned.

        Raises TypeError: another type; ValueError: too much at once; RuntimeError in the constructor.
        """
        if isinstance(message, MaukaMessage):
            body = message.SerializeToString()
        elif isinstance(message, str):
            body = str(message).encode()
        elif isinstance(message, bytes | bytearray | memoryview):
            body = bytes(message)
        else:
            raise TypeError(f"produce got a {type(message).__name__}; want text, bytes or a MaukaMessage")
        if self.publish is None:
            raise RuntimeError(f"{self.name}: produce works once the plug-in runs, not in its constructor")
        with self.producer_lock:
            self.publish(topic.encode() if isinstance(topic, str) else bytes(topic), body)
            self.messages_published += 1
            self.bytes_published += len(body)

    def get_status(self) -> str:
        """The four counts as JSON, as in a heartbeat."""
        names = ("messages_received", "messages_published", "bytes_received", "bytes_published")
        return json.dumps({name: getattr(self, name) for name in names})

    def config_get(self, key: str) -> Any:
        """Raises KeyError where it is not in the configuration."""
        if key not in self.config:
            raise KeyError(f"{key} is not in the configuration")
        return self.config[key]

    def to_json(self, value: object) -> str:
        return to_json(value)

    def from_json(self, text: str | bytes) -> Any:
        return from_json(text)

    def is_self_message(self, topic: str) -> bool:
        return topic == self.name

    def handle_self_message(self, message: str) -> None:
        if message == "EXIT":
            self.exit_event.set()

    def debug(self, text: str) -> None:
        """Prints `text` where the configuration enables debugging of this plug-in."""
        if self.mauka_debug and self.name in self.config.get("mauka.debug.plugins", ()):
            self.logger.debug("%s\n%s", self.name, text)

    def request_next_available_incident_id(self) -> int | None:
        """An id from the service of incident ids; None where it does not answer within 5 s."""
        request = MaukaMessage(timestamp_ms=time.time_ns() // 1_000_000, source=self.name)
        request.incident_id_req.req_id = int(time.time()) & 0xFFFF_FFFF
        address = str(self.config.get("zmq.incident_id_provider.req.interface", "tcp://localhost:9777"))
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            backend_address(address).connect(socket)
            socket.send(request.SerializeToString())
            if not socket.poll(INCIDENT_ID_MS):
                return None
            answer = MaukaMessage.FromString(socket.recv())
        same = answer.incident_id_resp.resp_id == request.incident_id_req.req_id
        return int(answer.incident_id_resp.incident_id) if same else None

    @property
    def mongo_client(self) -> Any:
        """The original's client, if the plug-in's folder has its `mongo` module."""
        return self.get_mongo_client()

    def get_mongo_client(self) -> Any:
        import mongo  # type: ignore[import-not-found]

        address = [self.config_get(f"mongo.{key}") for key in ("host", "port", "db")]
        return getattr(mongo, "mongo", mongo).OpqMongoClient(*address)


class MessagePlugin(MaukaPlugin):
    """The base class in its later form: `on_message` gets a MaukaMessage."""

    as_messages = True


def to_json(value: object) -> str:
    """`value` as JSON; ObjectIds and other types that JSON lacks become text."""
    return json.dumps(value, default=str)


def from_json(text: str | bytes) -> Any:
    return json.loads(text)


started: list[tuple[Callable[..., MaukaPlugin], Mapping[str, Any]]] = []
"""Arguments of `run_plugin`; the host makes the plug-in and runs it."""


def run_plugin(plugin_class: Callable[..., MaukaPlugin], config: Mapping[str, Any]) -> None:
    """The guide's way to start a plug-in; here it runs in this process."""
    started.append((plugin_class, config))
