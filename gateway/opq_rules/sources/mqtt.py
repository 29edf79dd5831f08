"""mqtt: a topic of a broker, with + and #; each message is decoded by the stream's FORMAT.

Messages that are there together are handed on as one batch.

Metadata: `topic`, `messageid`. A full queue blocks paho's thread, and with it the broker (qos 1 and 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_rules.connections.mqtt_client import Client, Login


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
        def published(topics: Sequence[str], payloads: Sequence[bytes], ids: Sequence[int]) -> None:
            found = zip(topics, ids, strict=True)
            context.emit_bytes(payloads, [{"topic": topic, "messageid": number} for topic, number in found])

        client = Client(self._config, published, context.connected, (self._topic, self._config.qos))
        client.start_later()
        while not context.wait(60.0):
            pass
        client.stop()
