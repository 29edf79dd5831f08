"""mock: emits only the records of the cases of `rules try` and of tests."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured


@dataclass(frozen=True, slots=True)
class Config:
    pass


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        configured(Config, properties)

    def open(self, context: SourceContext) -> None:
        context.connected(True)
        while not context.wait(60.0):
            pass
