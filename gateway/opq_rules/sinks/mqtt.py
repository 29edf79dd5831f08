"""mqtt: a message per emission to a broker; with qos 1 or 2 it counts as sent when the broker confirms it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_rules.connections.mqtt_client import Client, Login
from opq_rules.delivery.template import per_row
from opq_rules.delivery.transform import encoded


@dataclass(frozen=True, slots=True)
class Config(Login):
    topic: str = field(default="", metadata={"help": "may hold {{.column}}"})
    qos: Literal[0, 1, 2] = 1
    retained: bool = False
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})


class Sink(SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        if not self._config.topic or "#" in self._config.topic or "+" in self._config.topic:
            raise ValueError(f"topic  is {self._config.topic!r}; want one without + and #")
        self._topic = per_row(self._config.topic)

    def open(self, context: Context) -> None:
        self._client = Client(self._config)
        self._client.start(self._config.timeout / 1000)

    def collect(self, context: SinkContext, data: object) -> None:
        config = self._config
        self._client.publish(
            self._topic(data), encoded(data), config.qos, config.retained, config.timeout / 1000
        )

    def close(self, context: Context) -> None:
        self._client.stop()
