"""One open stream of the live feed, and what waits for it, bounded.

A program (`Subscriber`) is sent each Measurement that it wants as it comes, a page (`PageStream`) those of
the Boxes that it shows once a second (`page_feed`). The hub calls all of this under its own lock.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.view.live_messages import LiveMessage
from opq_cloud.view.page_feed import Audience, Boxes

MEASUREMENTS_WAITING = 256
INCIDENTS_WAITING = 64
Shown = Callable[[LiveMessage], LiveMessage | None]
"""What a page gets of a message; None: nothing."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One stream that is sent each Measurement. `wake` and `shown` are called from the publishing thread."""

    wake: Callable[[], None]
    shown: Shown = field(default=lambda message: message)
    boxes: Boxes = None
    """It is offered Measurements of these alone."""
    measurements: deque[LiveMessage] = field(default_factory=deque)
    incidents: deque[LiveMessage] = field(default_factory=deque)
    closed: bool = False
    woken: bool = False
    """Since its messages were last taken."""
    network: str = ""
    """Under what it is counted beside all others (`visitor_network`); empty: with all others alone."""

    def add(self, message: LiveMessage) -> int:
        """Queue what the stream gets of it; returns how many older ones had to go."""
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
        """All that waits, incidents first."""
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
    taken: int | None = None
    """Measurements of the audience that it had; None: it wants the newest of each Box first."""
    seen: Boxes = None
    """All Boxes that its visitor sees, for how many report."""
    reporting: bytes = b""
    """What it was last sent of that."""


def loop_wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """Sets `event` from any thread; a loop that has ended needs no waking."""

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # what a closed loop raises
            loop.call_soon_threadsafe(event.set)

    return wake
