"""mqtt: a topic of a broker, with + and #; each message is decoded by the stream's FORMAT.

Metadata: `topic`, `messageid`. A full queue blocks paho's thread, and with it the broker (qos 1 and 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_rules.mqtt_client import Client, Login


@dataclass(frozen=True, slots=True)
class Config(Login):
    qos: Literal[0, 1, 2] = 1


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        if not datasource:
            raise ValueError("DATASOURCE  is empty; want a topic, such as boxes/+/rms")
        self._topic = datasource
        try:
            Client(self._config)
        except OSError as error:  # wrong TLS files
            raise ValueError(
                f"rootCaPath, certificationPath, privateKeyPath  cannot be used: {error}"
            ) from error

    def open(self, context: SourceContext) -> None:
        def take(topic: str, payload: bytes, message_id: int) -> None:
            context.emit_bytes([payload], [{"topic": topic, "messageid": message_id}])

        client = Client(self._config, take, context.connected, (self._topic, self._config.qos))
        client.start_later()
        while not context.wait(60.0):
            pass
        client.stop()
