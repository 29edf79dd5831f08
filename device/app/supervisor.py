"""Supervisor: runs the app's steps over and over; an exception costs a step, never the Box.

A step that raises is counted, logged, and tried again at its next time; FAILURES in a row of one step, and
the whole app is built again (its state may be what is broken). The watchdog is fed only here, when the loop
went round and the samples moved on. Sampling itself goes on in interrupts meanwhile.
"""

import gc
import time

import acquire
import board
import codes
from journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Steps = list[tuple[Callable[[], None], int]]

FAILURES = 5
"""In a row of one step before the app is built again."""
STALL_MS = 4000
"""No new samples for so long, and the watchdog is not fed any more; by then the sampler has tried again."""
TOLD_MS = 1000
"""Exceptions are logged at most so often; all are counted."""
BUILD_AGAIN_MS = 1000
EXEMPT_POWER = 1
EXEMPT_UPDATE = 2
"""Bits of `exempt`: battery or VDD low; an update on its way. Each noun sets and takes back its own."""
KINDS = (MemoryError, OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError)


class Supervisor:
    """`exceptions` and `restarts` count over the life of the Box.

    `exempt`: reasons (EXEMPT_…, added) for samples to stand still: the loop alone feeds the watchdog.
    `stop`: leave `run` after this round.
    """

    def __init__(self, journal: Journal, ticks_ms: "Callable[[], int]" = time.ticks_ms) -> None:
        self.exceptions = 0
        self.restarts = 0
        self.exempt = 0
        self.stop = False
        self.failed_ms: int | None = None
        self._journal = journal
        self._ticks_ms = ticks_ms
        self._head = -1
        self._moved_ms = ticks_ms()
        self._told_ms: int | None = None

    def run(self, build: "Callable[[], Steps]") -> None:
        """Build the app's steps (function, every so many ms) and run them until `stop`."""
        while not self.stop:
            try:
                steps = build()
            except Exception as error:
                self._caught(error, 0)
                steps = []
            self._rounds(steps)
            if not self.stop:
                self.restarts += 1
                self._journal.put(codes.LOOP_RESTARTED, self.restarts)

    def _rounds(self, steps: "Steps") -> None:
        """Until a step fails too often; without steps for BUILD_AGAIN_MS."""
        began_ms = self._ticks_ms()
        due_ms = [began_ms] * len(steps)
        failed = [0] * len(steps)
        while not self.stop:
            for number, (function, every_ms) in enumerate(steps):
                now_ms = self._ticks_ms()
                if time.ticks_diff(now_ms, due_ms[number]) < 0:
                    continue
                due_ms[number] = time.ticks_add(now_ms, every_ms)
                try:
                    function()
                    failed[number] = 0
                except Exception as error:
                    failed[number] += 1
                    self._caught(error, number + 1)
                    if failed[number] >= FAILURES:
                        return
            self._feed()
            if not steps and time.ticks_diff(self._ticks_ms(), began_ms) >= BUILD_AGAIN_MS:
                return
            time.sleep_ms(1)

    def _feed(self) -> None:
        head = acquire.head()
        now_ms = self._ticks_ms()
        if head != self._head or self.exempt:
            self._head = head
            self._moved_ms = now_ms
        if time.ticks_diff(now_ms, self._moved_ms) < STALL_MS:
            board.watchdog_feed()

    def _caught(self, error: Exception, step: int) -> None:
        """Log's `where`: the step's number from 1 (0: building), times 100, and the kind of exception."""
        self.exceptions += 1
        if isinstance(error, MemoryError):
            gc.collect()
        now_ms = self._ticks_ms()
        self.failed_ms = now_ms
        if self._told_ms is None or not 0 <= time.ticks_diff(now_ms, self._told_ms) < TOLD_MS:
            self._told_ms = now_ms
            self._journal.put(codes.EXCEPTION, self.exceptions, step * 100 + kind_of(error))


def kind_of(error: Exception) -> int:
    """1.. its place in KINDS, 0 another one."""
    for number, kind in enumerate(KINDS):
        if isinstance(error, kind):
            return number + 1
    return 0
