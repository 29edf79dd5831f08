"""Commands that wait for an answer: sequence number -> who asked which Box, for a while.

Pure. The original's map never expires and starts at 0, so that an answer to a command of
before a restart can meet a new one (opq-interop H.6): ours starts anywhere, and forgets.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass

SEQUENCES = 2**32
"""Command.seq is a uint32."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command under way."""

    identity: str
    box_id: str
    until_s: float


class Pending:
    """At most `limit` commands, each for `keep_s`; times are monotonic seconds, handed in."""

    def __init__(self, limit: int, keep_s: float, first: int | None = None) -> None:
        self.expired = 0
        self.forgotten = 0
        """Pushed out because `limit` was reached."""
        self._limit = limit
        self._keep_s = keep_s
        self._next = random.SystemRandom().randrange(SEQUENCES) if first is None else first
        self._requests: OrderedDict[int, Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def number(self) -> int:
        """The next sequence number."""
        number = self._next
        self._next = (number + 1) % SEQUENCES
        return number

    def put(self, number: int, identity: str, box_id: str, now_s: float) -> None:
        self._requests[number] = Request(identity, box_id, now_s + self._keep_s)
        while len(self._requests) > self._limit:
            self._requests.popitem(last=False)
            self.forgotten += 1

    def get(self, number: int) -> Request | None:
        return self._requests.get(number)

    def done(self, number: int) -> None:
        self._requests.pop(number, None)

    def expire(self, now_s: float) -> int:
        """Forget what has waited too long; returns how many."""
        count = 0
        while self._requests:
            number, request = next(iter(self._requests.items()))
            if request.until_s > now_s:
                break
            del self._requests[number]
            count += 1
        self.expired += count
        return count
