"""zmq: a message per emission, as PUB (topic, payload) or PUSH (payload).

PUB does not report whether anyone listens; PUSH waits until a peer takes the message.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.settings import configured
from opq_rules.access import Access, Guarded
from opq_rules.delivery.template import per_row
from opq_rules.delivery.transform import encoded


@dataclass(frozen=True, slots=True)
class Connection:
    """An endpoint to bind or to connect to."""

    url: str = field(metadata={"help": "tcp://host:port or ipc://file"})
    bind: bool = True
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})

    def __post_init__(self) -> None:
        if not self.url.startswith(("tcp://", "ipc://")):
            raise ValueError(f"url  is {self.url!r}; want tcp://host:port or ipc://file")

    def endpoint(self, access: Access) -> str:
        """The url; the socket of ipc is a file below the folders of rules' files. Raises ValueError."""
        kind, _, path = self.url.partition("://")
        return self.url if kind == "tcp" or path.startswith("@") else f"ipc://{access.files.checked(path)}"

    def check(self, wait_s: float, access: Access) -> None:
        """To bind: checks that the address is free. To connect: checks for a handshake with a ZeroMQ peer."""
        url = self.endpoint(access)
        with zmq.Context() as own, own.socket(zmq.PUSH) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            try:
                if self.bind:
                    socket.bind(url)
                    return
                socket.connect(url)
                until_s = time.monotonic() + min(wait_s, self.timeout / 1000)
                while (left_s := until_s - time.monotonic()) > 0:
                    if monitor.poll(max(1, round(left_s * 1000))):
                        recv_monitor_message(monitor)
                        return
            except zmq.ZMQError as error:
                raise ConnectionError(f"{self.url}: {error.strerror}") from error
            finally:
                socket.disable_monitor()
        raise TimeoutError(f"{self.url}: no peer answered")


@dataclass(frozen=True, slots=True)
class Config(Connection):
    type: Literal["pub", "push"] = "pub"
    topic: str = ""  # for pub; may contain {{.column}}


class Sink(Guarded, SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        self._config.endpoint(self.access)
        self._topic = per_row(self._config.topic)

    def open(self, context: Context) -> None:
        config, url = self._config, self._config.endpoint(self.access)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(
            zmq.PUB if config.type == "pub" else zmq.PUSH
        )
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDTIMEO, config.timeout)
        try:
            if config.bind:
                self._socket.bind(url)
            else:
                self._socket.connect(url)
        except zmq.ZMQError as error:
            self._socket.close()
            raise ConnectionError(f"{config.url}: {error}") from error

    def collect(self, context: SinkContext, data: object) -> None:
        payload = encoded(data)
        try:
            if self._config.type == "pub":
                self._socket.send_multipart([self._topic(data).encode(), payload])
            else:
                self._socket.send(payload)
        except zmq.Again as error:
            raise TimeoutError(
                f"{self._config.url}: no peer received it within {self._config.timeout} ms"
            ) from error

    def close(self, context: Context) -> None:
        self._socket.close()
