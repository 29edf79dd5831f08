"""Answers that have arrived and are not stored yet: bounded in bytes, with the origin of each.

A store that is slow for a while makes them wait here. An answer that waits is not requested again, and its
event is not given up. When more waits in the socket than fits in here, no event is given up at all,
because the origin of the messages in the socket is unknown.
"""

from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from opq_cloud.core.backend.sockets import Socket
from opq_cloud.makai.events.answers import DataAnswer
from opq_cloud.makai.events.event_requests import parse_identity
from opq_proto.errors import FrameError
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.wire.frames import response_from_wire

INBOX_BYTES = 64 * 1024**2
"""2 s of 800 Boxes at 12 kS/s."""

READ_AT_ONCE = 200
"""Limit per reading from the socket, so that the ids and the store get their turn in between."""

Origin = tuple[str, str]
"""The token of a request and the Box that answers."""


@dataclass(slots=True)
class WaitingAnswer:
    """Frames of one answer."""

    origin: Origin | None
    frames: list[bytes]
    parsed: DataAnswer | None = None
    stored: Future[bool] | None = None
    """The storing of its waveform, where that was begun; consumed once."""

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.frames))


class AnswerInbox:
    """First in, first out."""

    def __init__(self, limit_bytes: int = INBOX_BYTES) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._answers: deque[WaitingAnswer] = deque()
        self._origins: Counter[Origin] = Counter()
        self._tokens: Counter[str] = Counter()
        self.behind = False
        """More may wait in the socket."""

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def receive(self, socket: Socket) -> None:
        """Reads the waiting messages, as far as there is room: at least one when the inbox is empty."""
        self.behind = True
        for _ in range(READ_AT_ONCE):
            if self._answers and self._bytes >= self._limit:
                return
            frames = next(waiting_messages(socket, 1), None)
            if frames is None:
                self.behind = False
                return
            self.add_message(frames)

    def add_message(self, frames: list[bytes]) -> None:
        origin = _origin(frames)
        self._answers.append(answer := WaitingAnswer(origin, frames))
        self._bytes += answer.size_bytes
        if origin is not None:
            self._origins[origin] += 1
            self._tokens[origin[0]] += 1

    @property
    def oldest(self) -> WaitingAnswer | None:
        """The oldest answer; None when nothing waits."""
        return self._answers[0] if self._answers else None

    def oldest_answers(self, count: int) -> list[WaitingAnswer]:
        """The oldest `count` answers, or all where fewer wait."""
        return list(islice(self._answers, count))

    def remove_oldest(self) -> None:
        answer = self._answers.popleft()
        origin = answer.origin
        self._bytes -= answer.size_bytes
        if origin is not None:
            self._origins[origin] -= 1
            self._tokens[origin[0]] -= 1
            if not self._origins[origin]:
                del self._origins[origin]
            if not self._tokens[origin[0]]:
                del self._tokens[origin[0]]

    def holds_answer(self, token: str, box_id: str) -> bool:
        return (token, box_id) in self._origins

    def may_hold(self, token: str) -> bool:
        """Returns True if an answer with this token waits here, or may wait in the socket."""
        return self.behind or token in self._tokens


def _origin(frames: list[bytes]) -> Origin | None:
    """Returns None when it cannot be read: then it is malformed, which is found later."""
    if len(frames) < 2:
        return None
    parsed = parse_identity(frames[0].decode("utf-8", "replace"))
    if parsed is None:
        return None
    try:
        return parsed[0], str(response_from_wire(frames[1]).box_id)
    except FrameError:
        return None
