"""nop: takes everything and does nothing; `log` true writes each emission to the log."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_plugins.sdk import Sink as SinkOfSdk
from opq_plugins.sdk import SinkContext
from opq_proto.config.settings import configured


@dataclass(frozen=True, slots=True)
class Config:
    log: bool = False


class Sink(SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)

    def collect(self, context: SinkContext, data: object) -> None:
        if self._config.log:
            context.log("sink.nop", rows=data)
