"""Supervisor: runs the app's steps again and again; an exception ends one step only.

An exception of a step is counted and logged, and the step runs again at its next time. After FAILURES in a
row of one step the whole app is built again, because its state may be wrong. The watchdog is fed only here,
after a round of the loop, if new samples have arrived. Sampling itself goes on in interrupts meanwhile.
"""

import gc
import time

import codes
from journal import Journal
from opq import acquire, board

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Steps = list[tuple[Callable[[], None], int]]

FAILURES = 5
"""Failures of one step in a row after which the app is built again."""
STALL_MS = 4000
"""After so long without samples the watchdog is no longer fed; the sampler has tried again by then."""
LOG_EACH_MS = 1000
"""At most one exception in this time is logged; all are counted."""
BUILD_AGAIN_MS = 1000
EXEMPT_POWER = 1
EXEMPT_UPDATE = 2
"""Bits of `exempt`: battery or VDD low; an update under way. Each object sets and clears its own bit."""
KINDS = (MemoryError, OSError, ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError)


class Supervisor:
    """`exceptions` and `restarts` count over the life of the Box.

    `exempt`: reasons (EXEMPT_…, added) why no samples are expected; then the loop alone feeds the watchdog.
    `stop`: `run` returns after this round.
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
        self._logged_ms: int | None = None
        self._steps: Steps = []
        self._due_ms: list[int] = []
        self._failed: list[int] = []
        self._again = False

    @property
    def ends(self) -> bool:
        """Whether the loop is about to end, or to build the app again."""
        return self.stop or self._again

    def run(self, build: "Callable[[], Steps]") -> None:
        """Builds the app's steps (function, period in ms) and runs them until `stop`."""
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
        """Runs until a step fails too often; if there are no steps, for BUILD_AGAIN_MS."""
        began_ms = self._ticks_ms()
        self._steps = steps
        self._due_ms = [began_ms] * len(steps)
        self._failed = [0] * len(steps)
        self._again = False
        while not self.ends:
            self.round()
            if not steps and time.ticks_diff(self._ticks_ms(), began_ms) >= BUILD_AGAIN_MS:
                return
            time.sleep_ms(1)

    def round(self) -> bool:
        """Runs the steps that are due. A step that lasts, as a prompt does, calls this too; False ends it."""
        for number in range(len(self._steps)):  # takes nothing of the heap, which may be full
            function, every_ms = self._steps[number]
            now_ms = self._ticks_ms()
            if time.ticks_diff(now_ms, self._due_ms[number]) < 0:
                continue
            self._due_ms[number] = time.ticks_add(now_ms, every_ms)
            try:
                function()
                self._failed[number] = 0
            except Exception as error:
                self._failed[number] += 1
                self._caught(error, number + 1)
                if self._failed[number] >= FAILURES:
                    self._again = True
                    break
        self._feed()
        return not self.ends

    def _feed(self) -> None:
        head = acquire.head()
        now_ms = self._ticks_ms()
        if head != self._head or self.exempt:
            self._head = head
            self._moved_ms = now_ms
        if time.ticks_diff(now_ms, self._moved_ms) < STALL_MS:
            board.watchdog_feed()

    def _caught(self, error: Exception, step: int) -> None:
        """Counts and logs an exception; `where` is 100 x step (0: building) + kind of exception."""
        self.exceptions += 1
        if isinstance(error, MemoryError):
            gc.collect()
        now_ms = self._ticks_ms()
        self.failed_ms = now_ms
        if self._logged_ms is None or not 0 <= time.ticks_diff(now_ms, self._logged_ms) < LOG_EACH_MS:
            self._logged_ms = now_ms
            self._journal.put(codes.EXCEPTION, self.exceptions, step * 100 + kind_of(error))


def kind_of(error: Exception) -> int:
    """Returns the position in KINDS, from 1; 0 for another kind."""
    for number, kind in enumerate(KINDS):
        if isinstance(error, kind):
            return number + 1
    return 0
