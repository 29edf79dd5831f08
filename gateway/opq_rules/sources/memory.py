"""memory: rows that other rules send to a topic of memory, not encoded; + and # as in MQTT.

Topics connect rules with rules. Metadata: `topic`. As a lookup table it keeps the last row of each KEY.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opq_plugins.sdk import Context, SourceContext
from opq_plugins.sdk import LookupSource as LookupSourceOfSdk
from opq_plugins.sdk import Source as SourceOfSdk
from opq_proto.config.settings import configured
from opq_rules.feeds.memory_topics import Topics
from opq_rules.values.batch import JsonObject, Row

MAX_KEPT = 1_000_000
"""Rows of a lookup table; with more the oldest is dropped."""


@dataclass(frozen=True, slots=True)
class Config:
    key: str = ""  # for a lookup table: its KEY


class Source(SourceOfSdk):
    """The engine passes in the topics and attaches it: records come on the publisher's thread."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._context: SourceContext | None = None

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        configured(Config, properties)
        if not datasource:
            raise ValueError("DATASOURCE  is empty; want a topic, such as boxes/+/rms")
        self._topic = datasource

    def attach(self, context: SourceContext) -> None:
        self._context = context
        self._topics.listen(self._topic, self._take)
        context.connected(True)

    def detach(self) -> None:
        self._topics.leave(self._take)

    def _take(self, topic: str, rows: Sequence[Row]) -> None:
        assert self._context is not None
        self._context.emit_many(rows, [{"topic": topic}] * len(rows))

    def open(self, context: SourceContext) -> None:
        raise NotImplementedError("the engine attaches a memory source itself")


class LookupSource(LookupSourceOfSdk):
    """Keeps the last row per key; rows without the key are left out."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._rows: dict[Any, Row] = {}
        self.lost = 0

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        if not config.key:
            raise ValueError("KEY  missing; want the column that finds rows of a memory table")
        self._topic, self._key = datasource, config.key

    def open(self, context: Context) -> None:
        self._topics.listen(self._topic, self._take)

    def close(self, context: Context) -> None:
        self._topics.leave(self._take)

    def _take(self, topic: str, rows: Sequence[Row]) -> None:
        for row in rows:
            key = row.get(self._key)
            if type(key) in (int, float, str, bool):
                if len(self._rows) >= MAX_KEPT and key not in self._rows:
                    del self._rows[next(iter(self._rows))]
                    self.lost += 1
                self._rows[key] = row

    def lookup(
        self, context: Context, columns: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[JsonObject]:
        wanted = dict(zip(keys, values, strict=True))
        if self._key in wanted:
            try:
                found = self._rows.get(wanted[self._key])
            except TypeError:
                return []
            rows = [] if found is None else [found]
        else:
            rows = list(self._rows.values())
        return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
