"""simulator: rows from a list (`data`, or two of its own), one every `interval`. It can be rewound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured

DATA = ({"temperature": 10, "humidity": 20}, {"temperature": 30, "humidity": 20})


@dataclass(frozen=True, slots=True)
class Config:
    data: list[Any] = field(
        default_factory=lambda: [dict(row) for row in DATA], metadata={"help": "the rows, in order"}
    )
    interval: int = field(default=10, metadata={"minimum": 0, "maximum": 86_400_000, "ms": True})
    loop: bool = True


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        self._next = 0
        if not self._config.data or not all(isinstance(row, dict) for row in self._config.data):
            raise ValueError("data  wants a list of at least one object")

    def rewind(self, offset: object) -> None:
        self._next = int(str(offset))

    def open(self, context: SourceContext) -> None:
        rows, pause_s = self._config.data, self._config.interval / 1000
        context.connected(True)
        while self._config.loop or self._next < len(rows):
            row = rows[self._next % len(rows)]
            self._next += 1
            if not context.emit(row, offset=self._next) or (pause_s and context.wait(pause_s)):
                return
        while not context.wait(60.0):
            pass
