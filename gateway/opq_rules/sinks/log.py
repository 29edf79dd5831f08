"""log: each emission as one line of the server's log."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_plugins.sdk import Sink as SinkOfSdk
from opq_plugins.sdk import SinkContext
from opq_proto.config.settings import configured


@dataclass(frozen=True, slots=True)
class Config:
    pass


class Sink(SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        configured(Config, properties)

    def collect(self, context: SinkContext, data: object) -> None:
        context.log("rule.emitted", row_id=context.row_id, rows=data)
