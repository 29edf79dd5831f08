"""What the command desk needs of the way to a Box; the serial side gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opq_proto.link_messages import Operation, Status


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command to a Box ended."""

    status: Status | None
    """None: no answer in time."""
    detail: str = ""
    settings: tuple[tuple[str, str], ...] | None = None
    """What followed GET_SETTINGS."""


Done = Callable[[Answer], None]


class BoxLine(Protocol):
    """Commands with acknowledgement; `done` is called once for each that was taken, from another thread."""

    def ask(self, operation: Operation, argument: str, timeout_s: float, done: Done) -> bool:
        """False: the port is not open, or too many commands wait."""
        ...

    def ask_data(self, offset: int, data: bytes, timeout_s: float, done: Done) -> bool:
        """A piece of a firmware image."""
        ...
