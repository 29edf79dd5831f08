"""Schemas: the messages of protobuf that streams and sinks may name, `schema.Message`. Built in: those of the
Boxes and of the original's services.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from opq_proto import mauka_pb2, opq_pb2, opqbox3_pb2

_SHOWN = 40
T = TypeVar("T")
R = TypeVar("R")
Messages = Mapping[str, type[Message]]

BUILT_IN: Mapping[str, Messages] = {
    file: {
        name: getattr(module, name)
        for name, found in module.DESCRIPTOR.message_types_by_name.items()
        if found.fields
    }
    for file, module in (("opq", opq_pb2), ("opqbox3", opqbox3_pb2), ("mauka", mauka_pb2))
}


class Schemas:
    """Read by any thread; `put` and `remove` under the owner's lock."""

    def __init__(self) -> None:
        self._by_name = dict(BUILT_IN)

    def __iter__(self) -> Iterator[str]:
        """Every `schema.Message`."""
        return (f"{name}.{message}" for name, each in self._by_name.items() for message in each)

    def message(self, schema_id: str) -> type[Message]:
        """As it is now. Raises ValueError that says which there are."""
        name, _, message = schema_id.partition(".")
        found = self._by_name.get(name, {}).get(message)
        if found is None:
            there = (
                sorted(f"{name}.{each}" for each in self._by_name[name])
                if name in self._by_name
                else sorted(self)
            )
            more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
            raise ValueError(f"unknown schema {schema_id[:200]}; there are {', '.join(there[:_SHOWN])}{more}")
        return found

    def put(self, name: str, messages: Messages) -> None:
        self._by_name = {**self._by_name, name: messages}

    def remove(self, name: str) -> None:
        self._by_name = {each: found for each, found in self._by_name.items() if each != name}

    def by(self, schema_id: str, make: Callable[[type[Message]], Callable[[T], R]]) -> Callable[[T], R]:
        """What `make` makes of the message, made anew by the first call after the schema was replaced."""
        made: tuple[type[Message], Callable[[T], R]] | None = None
        seen: Mapping[str, Messages] | None = None

        def call(value: T) -> R:
            nonlocal made, seen
            if made is None or seen is not self._by_name:
                there = self._by_name
                now = self.message(schema_id)
                if made is None or made[0] is not now:
                    made = now, make(now)
                seen = there
            return made[1](value)

        return call
