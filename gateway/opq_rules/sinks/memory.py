"""memory: sends rows to a topic of memory, for streams of TYPE memory; in the engine's thread, not encoded.

The text of a dataTemplate is decoded as JSON, to an object or an array of them.
`topic` may be a template of the row (`boxes/{{ box }}`): then each row goes to its own topic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from opq_plugins.sdk import Sink as SinkOfSdk
from opq_plugins.sdk import SinkContext
from opq_proto.config.settings import configured
from opq_rules.delivery.template import compiled_template
from opq_rules.delivery.transform import rows_of
from opq_rules.feeds.memory_topics import Topics


@dataclass(frozen=True, slots=True)
class Config:
    topic: str = field(metadata={"help": "e.g. alarms, or boxes/{{ box }}"})
    rowkindField: str = ""  # names the column that says insert, update, upsert or delete
    keyField: str = ""


class Sink(SinkOfSdk):
    """The engine passes in the topics."""

    wants = "json"

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def configure(self, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        if not config.topic or "#" in config.topic or "+" in config.topic:
            raise ValueError(f"topic  is {config.topic!r}; want one topic, without + and #")
        self._topic = config.topic
        self._of_row = compiled_template(config.topic) if "{{" in config.topic else None

    def collect(self, context: SinkContext, data: object) -> None:
        if isinstance(data, str | bytes):  # what dataTemplate made
            try:
                data = msgspec.json.decode(data)
            except msgspec.DecodeError as error:
                raise ValueError(
                    f"memory wants rows, and the text of dataTemplate is not JSON: {error}"
                ) from None
        rows = rows_of("memory", data)
        if self._of_row is None:
            self._topics.publish(self._topic, rows)
            return
        for row in rows:
            self._topics.publish(self._of_row(row), [row])
