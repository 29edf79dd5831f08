"""Judges Measurements: notes their Boxes, calls the triggers, and opens an event for an onset.

It has no sockets, and its clock is passed in: the triggering service runs it live, a simulated history
under a virtual clock.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.trigger_plugins import Found, TriggerPlugin
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_proto.decision import Decision
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement


class Openings(Protocol):
    """Where decisions go: `EventOpenings`."""

    def open_at_onset(self, measurement: Measurement, decision: Decision, *, stored: bool) -> bool: ...
    def note_end(self, box_id: str, decision: Decision, now_s: float) -> None: ...


class MeasurementJudge:
    """Belongs to one loop, as its arguments do."""

    def __init__(
        self,
        boxes: BoxRegister,
        triggers: TriggersInUse,
        openings: Openings,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boxes = boxes
        self._triggers = triggers
        self._openings = openings
        self._now = monotonic_s

    def see_again(self, columns: Measurements, triggers: Sequence[TriggerPlugin]) -> None:
        """Shows triggers Measurements that were judged before.

        Onsets among the rows have their events. Ends are noted, because not all of the span may have been
        requested.
        """
        for at, ends, _ in _by_row(plugin.see_again(columns) for plugin in triggers):
            for decision in ends:
                self._openings.note_end(columns.row(at).box_id, decision, self._now())

    def judge(self, columns: Measurements) -> NDArray[np.bool_]:
        """Judges a batch of Measurements, at most one of each Box.

        Returns (n,) whether an event was opened for each: the part that stores the event accepts the
        Measurement too. The first onset that a trigger finds in it counts; ends are noted.
        """
        if not columns.backfilled:
            self._boxes.note_columns(columns)
        opened = np.zeros(len(columns), np.bool_)
        for at, ends, onset in _by_row(plugin.judge(columns) for plugin in self._triggers.all):
            row = columns.row(at)
            for decision in ends:
                self._openings.note_end(row.box_id, decision, self._now())
            opened[at] = onset is not None and self._openings.open_at_onset(row, onset, stored=True)
        return opened


def _by_row(found: Iterable[Found]) -> Iterator[tuple[int, list[Decision], Decision | None]]:
    """Yields rows with a decision, in order: the ends, and the first onset in the triggers' order."""
    rows: dict[int, list[Decision]] = {}
    for decisions in found:
        for at, decision in decisions:
            rows.setdefault(at, []).append(decision)
    for at in sorted(rows):
        onsets = (each for each in rows[at] if each.span_ns is None)
        yield at, [each for each in rows[at] if each.span_ns is not None], next(onsets, None)
