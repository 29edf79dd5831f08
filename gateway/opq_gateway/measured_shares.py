"""The measured share of each Box's last hour and day, from the gateway's counters.

The share is that of measured samples among those received or known to be missing. A silent Box adds neither,
because it is offline.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from opq_gateway.counters import BoxCounters
from opq_proto.time_units import DAY_S, HOUR_S

NOTE_S = 60.0
NOTES_KEPT = round(DAY_S / NOTE_S) + 1
SPANS = {"hour": HOUR_S, "day": DAY_S}


class MeasuredShares:
    """Notes the counters once a minute; may be called from any thread."""

    def __init__(
        self, counters: Mapping[str, BoxCounters], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counters, self._clock = counters, clock
        self._lock = threading.Lock()
        self._noted = {box_id: deque([(clock(), 0, 0)], NOTES_KEPT) for box_id in counters}

    def run(self, stop: threading.Event) -> None:
        """Notes them until `stop`."""
        while not stop.wait(NOTE_S):
            self.note()

    def note(self) -> None:
        with self._lock:
            for box_id, noted in self._noted.items():
                noted.append((self._clock(), *self._counts(box_id)))

    def share(self, box_id: str, span: str) -> float | None:
        """The measured share of the last `hour` or `day`, 0 to 1; None before the first sample of it."""
        with self._lock:
            since_s = self._clock() - SPANS[span]
            noted = self._noted[box_id]
            before = next((each for each in noted if each[0] >= since_s), noted[-1])
        measured, missing = (now - was for now, was in zip(self._counts(box_id), before[1:], strict=True))
        return measured / (measured + missing) if measured + missing > 0 else None

    def shares(self, span: str) -> dict[str, float | None]:
        """The share of each Box."""
        return {box_id: self.share(box_id, span) for box_id in self._noted}

    def _counts(self, box_id: str) -> tuple[int, int]:
        counts = self._counters[box_id]
        return counts["samples"], counts["missing_samples"] + counts["unmeasured_samples"]
