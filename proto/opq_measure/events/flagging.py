"""Which windows a dip, swell or interruption touches: their values are kept, used and flagged.

The beginning of an event is reported some cycles late, its end later. So a window waits until every event
that may touch it has been reported: one window of 10/12 cycles. Rapid voltage changes do not flag.

Source: IEC 61000-4-30:2015, 4.7.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from opq_measure.events.detector import Notice, Onset
from opq_measure.events.disturbance import Disturbance
from opq_measure.timebase.windows import Window

LATEST_CYCLES = 8
"""The Detector reports an event's end at most this many cycles after it, and its beginning earlier."""


@dataclass(slots=True)
class _Touch:
    """The span of an event in samples on the Box's axis; `stop` is infinite while the event is open."""

    start: float
    stop: float = math.inf


class Flagging:
    """Accepts the windows that `Detector.push_window` accepts and returns them in order, with their flags."""

    def __init__(self) -> None:
        self._waiting: deque[Window] = deque()
        self._events: dict[int, _Touch] = {}

    def push_window(self, window: Window, notices: Iterable[Notice]) -> list[tuple[Window, bool]]:
        """The windows whose flags are certain now.

        Args:
            window: the next; `index` 0 begins a new run, and all windows before it are certain.
            notices: what `Detector.push_window` reported for this same window.
        """
        given = list(notices)
        found: list[tuple[Window, bool]] = []
        if window.index == 0:  # the same call of the detector also reported the end of the run before
            end = window.first_sample + len(window.volts)  # the Box may have restarted its count at 0
            new = [window.first_sample <= notice.start_sample < end for notice in given]
            found = self.end(notice for notice, is_new in zip(given, new, strict=True) if not is_new)
            given = [notice for notice, is_new in zip(given, new, strict=True) if is_new]
        self._accept_notices(given, window)
        self._waiting.append(window)
        while len(self._waiting) > math.ceil(LATEST_CYCLES / (len(window.edges) - 1)):
            found.append(self._next())
        return found

    def end(self, notices: Iterable[Notice] = ()) -> list[tuple[Window, bool]]:
        """The windows left at the end of a run; `notices` are what `Detector.end` reported."""
        if self._waiting:
            self._accept_notices(notices, self._waiting[-1])
        found = [self._next() for _ in range(len(self._waiting))]
        self._events.clear()
        return found

    def _accept_notices(self, notices: Iterable[Notice], window: Window) -> None:
        for notice in notices:
            if isinstance(notice, Onset):
                cycle = window.rate_hz / window.nominal_hz  # an onset is accurate to one
                self._events[notice.number] = _Touch(notice.start_sample - cycle)
            elif isinstance(notice, Disturbance):
                self._events[notice.number] = _Touch(notice.start_sample, notice.end_sample)

    def _next(self) -> tuple[Window, bool]:
        window = self._waiting.popleft()
        if not self._events:
            return window, False
        start, stop = (window.first_sample + float(window.edges[at]) for at in (0, -1))
        flagged = any(event.start < stop and event.stop > start for event in self._events.values())
        oldest = window.first_sample
        for number in [number for number, event in self._events.items() if event.stop < oldest]:
            del self._events[number]
        return window, flagged
