"""Journal: Log messages for the gateway. A bounded number of them waits here while the line is full.

A message is a code with two integers; the gateway has the text. When all places are taken, the newest
message is lost and counted. The count is logged when there is room again.
"""

import codes
from opq import pipeline

PLACES = 16


class Journal:
    def __init__(self, places: int = PLACES) -> None:
        self._waiting = [(0, 0, 0)] * places
        self._first = 0
        self._count = 0
        self.lost = 0

    def put(self, code: int, a: int = 0, b: int = 0) -> None:
        """Sends the message, or stores it until the line has room."""
        if self._count == 0 and pipeline.log(code, a, b):
            return
        places = len(self._waiting)
        if self._count == places:
            self.lost += 1
            return
        self._waiting[(self._first + self._count) % places] = (code, a, b)
        self._count += 1

    def flush(self) -> None:
        """Sends the stored messages in order, until the line is full."""
        while self._count:
            code, a, b = self._waiting[self._first]
            if not pipeline.log(code, a, b):
                return
            self._first = (self._first + 1) % len(self._waiting)
            self._count -= 1
        if self.lost and pipeline.log(codes.LOG_LOST, self.lost, 0):
            self.lost = 0
