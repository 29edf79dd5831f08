"""What a foreign Box is to its host: windows in, messages out; commands in, answers out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError

FRAME_LATENCY_NS = 200 * 10**9 // 12_000
"""The original's driver gives every frame one frame late (opq-interop H.40): times are so much later."""


class ForeignBoxError(OpqError):
    """A foreign Box cannot be what it is asked to be."""


@dataclass(slots=True)
class ForeignCounts:
    """What happened to one Box.

    `commands` and `answers` are by kind; `ignored` is what the original ignores, by reason.
    """

    measurements: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rebuilt: int = 0
    """How often its command sockets were made again."""
    answers_dropped: int = 0
    """Its PUSH queue was full."""


@dataclass(frozen=True, slots=True)
class ForeignSockets:
    """What a generation does with its sockets; it opens no other than PUB, SUB and PUSH."""

    subscription: bytes
    """On 8194: a prefix."""
    identity: bytes | None
    """ZeroMQ identity of its PUB socket."""
    silence_s: float
    """A wait for a command ends after so long; `silences` such waits, and the sockets are made anew."""
    silences: int
    silences_add_up: bool
    """A command in between does not reset the count."""
    rebuilds_push: bool
    """Not only SUB, also PUSH."""


class ForeignPeer(Protocol):
    """One Box of the original, whichever generation."""

    box_id: int
    counts: ForeignCounts
    sockets: ForeignSockets

    def accept_window(self, window: NDArray[np.int16], read_ns: int) -> list[bytes] | None:
        """(200,) counts read at this time of the Box's clock; the message to publish, or None."""
        ...

    def accept_command(self, frames: list[bytes], now_ns: int) -> list[bytes] | None:
        """What came on 8194; the answer to push, or None."""
        ...


def checked_number(box_id: str) -> int:
    """The id as the wire's number.

    Raises:
        ForeignBoxError: it is none from 0 to 2**31 - 1.
    """
    if not (box_id.isascii() and box_id.isdigit() and int(box_id[:11]) < 2**31):
        raise ForeignBoxError(f"box id is {box_id!r}; want a whole number from 0 to {2**31 - 1}")
    return int(box_id)
