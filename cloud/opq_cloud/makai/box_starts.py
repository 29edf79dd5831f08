"""BoxStarts: the present start of each Box, by its Measurements as they arrive.

A gateway names the start (`start_id`). Where none is named, and the index of the samples falls while the
numbers rise, the Box has begun again. A Box of the original has neither index nor number. Its order of
arrival counts instead: a time before that of an earlier arrival shows that its clock was set back, and the
time of that arrival becomes the name of its new start. Not part of `boxes`, because arrivals and starts share
no state."""

import time
from collections import deque
from collections.abc import Callable, Iterable

from opq_proto.measurement.batch import Measurements

RESTART_FALL_SAMPLES = 60_000
"""Samples, 5 s at 12 kS/s.

The index falls by less when a crossing overtakes its window, or when a restarted gateway measures its last
seconds again.
"""
NONE = (-1, -1)
FORMER_STARTS = 8
"""Former starts of a Box that are known again. A second gateway's is among the last two."""
TURNS = 4
"""So often does a former start come back before two gateways are reported. One row may overtake another."""
TURNS_WITHIN_S = 300.0
"""All of them come within this time. In idle mode each gateway sends once a minute."""
TURN_LATELY_S = 90.0
"""Two gateways are reported for this long after the newest of them."""


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
            elif known_first - first > RESTART_FALL_SAMPLES:
                self._began[box_id] = number

    def forget(self, box_id: str) -> None:
        """Forgets a deleted Box: one that is given its number later begins its first start."""
        for known in (self._newest, self._began, self._present, self._latest_ms):
            known.pop(box_id, None)

    def _note_original(self, box_id: str, timestamp_ms: int) -> None:
        if timestamp_ms < self._latest_ms.get(box_id, timestamp_ms):
            self._present[box_id] = self._now_ns()
        self._latest_ms[box_id] = timestamp_ms


class StartTurns:
    """Boxes whose live Measurements are of two starts in turns: two gateways send under one number and key.

    A start that is over never comes back live. Written by the triggering service's loop, read by health.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._former: dict[str, deque[int]] = {}
        self._turns_s: dict[str, deque[float]] = {}
        """Box -> when a former start came back, monotonic."""

    def note_columns(self, columns: Measurements, now_s: float) -> None:
        """Notes live Measurements that arrive at `now_s` (monotonic)."""
        last = self._last
        for box_id, start_id in zip(columns.ids, columns.start_id.tolist(), strict=True):
            if start_id and last.get(box_id) != start_id:
                before = last.get(box_id)
                last[box_id] = start_id
                if before is not None:
                    self._note_change(box_id, before, start_id, now_s)

    def forget(self, box_id: str) -> None:
        """Forgets a deleted Box."""
        for known in (self._last, self._former, self._turns_s):
            known.pop(box_id, None)

    def _note_change(self, box_id: str, before: int, start_id: int, now_s: float) -> None:
        former = self._former.setdefault(box_id, deque(maxlen=FORMER_STARTS))
        if start_id in former:
            self._turns_s.setdefault(box_id, deque(maxlen=TURNS)).append(now_s)
        if before not in former:
            former.append(before)

    def boxes(self, now_s: float) -> list[str]:
        """Returns the Boxes of which two starts take turns now."""
        return [
            box_id
            for box_id, turns_s in list(self._turns_s.items())
            if len(turns_s) == TURNS
            and now_s - turns_s[0] <= TURNS_WITHIN_S
            and now_s - turns_s[-1] <= TURN_LATELY_S
        ]
