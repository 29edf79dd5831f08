"""Journal: Log messages for the gateway; what the line does not take now waits here, bounded.

A code with two integers, no text: words are the gateway's. When all places are taken the newest is lost
and counted, and the count is logged when there is room again.
"""

import codes
import pipeline

PLACES = 16


class Journal:
    def __init__(self, places: int = PLACES) -> None:
        self._waiting = [(0, 0, 0)] * places
        self._first = 0
        self._count = 0
        self.lost = 0

    def put(self, code: int, a: int = 0, b: int = 0) -> None:
        """Send it, or keep it until the line takes it."""
        if self._count == 0 and pipeline.log(code, a, b):
            return
        places = len(self._waiting)
        if self._count == places:
            self.lost += 1
            return
        self._waiting[(self._first + self._count) % places] = (code, a, b)
        self._count += 1

    def flush(self) -> None:
        """Send what waits, in order, as far as the line takes it."""
        while self._count:
            code, a, b = self._waiting[self._first]
            if not pipeline.log(code, a, b):
                return
            self._first = (self._first + 1) % len(self._waiting)
            self._count -= 1
        if self.lost and pipeline.log(codes.LOG_LOST, self.lost, 0):
            self.lost = 0
