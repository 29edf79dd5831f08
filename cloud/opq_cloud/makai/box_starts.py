"""BoxStarts: the present start of each Box, by its Measurements as they arrive.

A gateway names the start (`start_id`). An older one does not: where the index of the samples falls while the
numbers rise, its Box has begun again. A Box of the original has neither index nor number. Its order of
arrival counts instead: a time before that of an earlier arrival shows that its clock was set back, and the
time of that arrival becomes the name of its new start. Not part of `boxes`, because arrivals and starts share
no state."""

import time
from collections.abc import Callable, Iterable

from opq_proto.measurement.batch import Measurements

FALLS_BY = 60_000
"""Samples, 5 s at 12 kS/s.

The index falls by less when a crossing overtakes its window, or when a restarted gateway measures its last
seconds again.
"""
NONE = (-1, -1)


class BoxStarts:
    """Belongs to the triggering service's loop; knows Boxes by their live Measurements."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._newest: dict[str, tuple[int, int]] = {}
        """Box -> index of its first sample, and number, of its newest Measurement."""
        self._began: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self._latest_ms: dict[str, int] = {}
        """Box of the original -> time of its newest Measurement."""

    def began_with(self, box_id: str) -> int | None:
        """Returns the number of the first Measurement of the Box's present start; None for the first one."""
        return self._began.get(box_id)

    def present(self, box_id: str) -> int | None:
        """Returns `start_id` of the Box's present start.

        For a Box of the original it is the arrival (ns, UTC) since which its clock was not set back.
        None: the gateway names no start; the original's clock was not set back.
        """
        return self._present.get(box_id)

    def present_of(self, box_ids: Iterable[str]) -> tuple[tuple[str, int], ...]:
        """Returns (Box, `present`) of those that have one."""
        known = self._present
        return tuple((box_id, known[box_id]) for box_id in box_ids if box_id in known)

    def note_columns(self, columns: Measurements) -> None:
        """Notes live Measurements, at most one of each Box."""
        rows = zip(
            columns.ids,
            columns.first_sample.tolist(),
            columns.sequence.tolist(),
            columns.start_id.tolist(),
            strict=True,
        )
        newest, present = self._newest, self._present
        for at, (box_id, first, number, start_id) in enumerate(rows):
            if first < 0:
                if number < 0:
                    self._note_original(box_id, int(columns.timestamp_ms[at]))
                continue
            known_first, known_number = newest.get(box_id, NONE)
            if number <= known_number:
                continue
            newest[box_id] = first, number
            if start_id:
                if (before := present.get(box_id)) != start_id:
                    present[box_id] = start_id
                    if before is not None:
                        self._began[box_id] = number
            elif known_first - first > FALLS_BY:
                self._began[box_id] = number

    def _note_original(self, box_id: str, timestamp_ms: int) -> None:
        if timestamp_ms < self._latest_ms.get(box_id, timestamp_ms):
            self._present[box_id] = self._now_ns()
        self._latest_ms[box_id] = timestamp_ms
