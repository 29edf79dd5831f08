"""The interface of a foreign Box to its host: windows in, messages out; commands in, answers out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError

FRAME_LATENCY_NS = 200 * 10**9 // 12_000
"""The original's driver delivers every frame one frame late (docs/reference/opq-interop.md H.40): times are
later by this."""


class ForeignBoxError(OpqError):
    """A foreign Box cannot have the requested properties."""


@dataclass(slots=True)
class ForeignCounts:
    """Counters of one Box.

    `commands` and `answers` are by kind; `ignored` counts messages that the original ignores, by reason.
    """

    measurements: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rebuilt: int = 0
    """How often its command sockets were made again."""
    answers_dropped: int = 0
    """Answers dropped because its PUSH queue was full."""


@dataclass(frozen=True, slots=True)
class ForeignSockets:
    """How a generation uses its sockets; it opens no other than PUB, SUB and PUSH."""

    subscription: bytes
    """Its subscription on 8194, a prefix."""
    identity: bytes | None
    """ZeroMQ identity of its PUB socket."""
    silence_s: float
    """Longest wait for a command; after `silences` such waits the sockets are made again."""
    silences: int
    silences_add_up: bool
    """True: a command in between does not reset the count."""
    rebuilds_push: bool
    """True: the PUSH socket is made again too, not only SUB."""


class ForeignPeer(Protocol):
    """One Box of the original, whichever generation."""

    box_id: int
    counts: ForeignCounts
    sockets: ForeignSockets

    def accept_window(self, window: NDArray[np.int16], read_ns: int) -> list[bytes] | None:
        """Handles (200,) counts read at this time of the Box's clock; returns the message to publish, or
        None.
        """
        ...

    def accept_command(self, frames: list[bytes], now_ns: int) -> list[bytes] | None:
        """Handles a message from 8194; returns the answer to push, or None."""
        ...


def checked_number(box_id: str) -> int:
    """The id as the wire's number.

    Raises:
        ForeignBoxError: it is not a number from 0 to 2**31 - 1.
    """
    if not (box_id.isascii() and box_id.isdigit() and int(box_id[:11]) < 2**31):
        raise ForeignBoxError(f"box id is {box_id!r}; want a whole number from 0 to {2**31 - 1}")
    return int(box_id)
