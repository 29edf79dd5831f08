"""One open stream of the live feed, and its waiting messages, limited in number.

A program (`Subscriber`) gets each Measurement that it wants at once, a page (`PageStream`) those of the Boxes
that it shows once a second (`page_feed`). The hub calls all of this under its own lock.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.view.live.feed_messages import LiveMessage
from opq_cloud.view.live.page_feed import Audience, Boxes

MEASUREMENTS_WAITING = 256
INCIDENTS_WAITING = 64
Shown = Callable[[LiveMessage], LiveMessage | None]
"""Returns the part of a message that a stream may get; None if it may get nothing of it."""


@dataclass(frozen=True, slots=True)
class FeedHolder:
    """By whom a stream is counted."""

    key: str = ""
    """As `shares.share_key`: an account or a network; empty for this machine's own programs."""
    account: bool = False


THIS_MACHINE = FeedHolder()


@dataclass(slots=True, eq=False)
class Subscriber:
    """One stream that gets each Measurement. The publishing thread calls `wake` and `shown`."""

    wake: Callable[[], None]
    shown: Shown = field(default=lambda message: message)
    boxes: Boxes = None
    """Only Measurements of these Boxes are offered to it."""
    measurements: deque[LiveMessage] = field(default_factory=deque)
    incidents: deque[LiveMessage] = field(default_factory=deque)
    closed: bool = False
    woken: bool = False
    """Whether it was woken since its messages were last taken."""
    holder: FeedHolder = THIS_MACHINE
    gave_up: bool = False
    """Whether its place went to another visitor."""
    after: str | None = None
    """The Last-Event-ID that it continues after; None where it gets only new incidents."""

    def add(self, message: LiveMessage) -> int:
        """Queues the stream's part of a message; returns how many older ones were dropped."""
        part = self.shown(message)
        if part is None:
            return 0
        message = part
        urgent = message.event != "measurement"
        queue = self.incidents if urgent else self.measurements
        queue.append(message)
        dropped = 0
        while len(queue) > (INCIDENTS_WAITING if urgent else MEASUREMENTS_WAITING):
            queue.popleft()
            dropped += 1
        return dropped

    def waiting_messages(self) -> list[LiveMessage]:
        """Takes all waiting messages, incidents first."""
        self.woken = False
        waiting = []
        for queue in (self.incidents, self.measurements):
            while queue:
                waiting.append(queue.popleft())
        return waiting

    def wake_once(self) -> None:
        if not self.woken:
            self.woken = True
            self.wake()


@dataclass(slots=True, eq=False)
class PageStream(Subscriber):
    """One page of ours: Measurements come in batches of its audience."""

    audience: Audience = field(default_factory=lambda: Audience(frozenset(), 0.0))
    sent: int | None = None
    """How many Measurements of its audience it has; None where it first needs the newest of each Box."""
    seen: Boxes = None
    """All Boxes that its visitor sees, to count those that report."""
    reporting: bytes = b""
    """The last `reporting` message that it got."""


def loop_wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """A function that sets `event` from any thread; a loop that has ended needs no waking."""

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # raised by a closed loop
            loop.call_soon_threadsafe(event.set)

    return wake
