"""Judges one Measurement: its Box was heard, triggers judge it, an onset opens an event.

It has no sockets, and its clock is passed in: the triggering service runs it live, a simulated history
under a virtual clock.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.judging.trigger_plugins import TriggerPlugin
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_proto.decision import Decision, window_ns
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasurementColumns, NumberedColumns


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

    def see_again(self, rows: Iterable[Measurement], triggers: Sequence[TriggerPlugin]) -> None:
        """Shows triggers Measurements that were judged before.

        Onsets among the rows have their events. Ends are noted, because not all of the span may have been
        requested.
        """
        for row in rows:
            nominal = self._boxes.nominal_of(row)
            for plugin in triggers:
                decision = plugin.see_again(row, nominal)
                if decision is not None and decision.span_ns is not None:
                    self._openings.note_end(row.box_id, decision, self._now())

    def judge(self, measurement: Measurement) -> bool:
        """Judges a Measurement.

        Returns True if an event was opened for it: the part that stores the event accepts the Measurement
        too. The first onset that a trigger finds in it counts; ends are noted.
        """
        box_id = measurement.box_id
        if not measurement.backfilled:
            self._boxes.note_received(box_id, measurement.timestamp_ms)
            self._boxes.starts.note_measurement(measurement)
            if not measurement.crossing:
                self._boxes.note_window(box_id, window_ns(measurement))
        nominal = self._boxes.nominal_of(measurement)
        onset = None
        for plugin in self._triggers.all:
            decision = plugin.decide(measurement, nominal)
            if decision is not None and decision.span_ns is not None:
                self._openings.note_end(box_id, decision, self._now())
            elif onset is None:
                onset = decision
        return onset is not None and self._openings.open_at_onset(measurement, onset, stored=True)

    def judge_quiet(self, columns: MeasurementColumns) -> bool:
        """Notes these as `judge` does if no trigger has a decision on any of them, and returns True.

        False: nothing was done; each has to be judged.
        """
        if not columns.finite or not self._quiet_rows(columns).all():
            return False
        self._note_quiet(columns)
        return True

    def judge_columns(self, columns: NumberedColumns) -> NDArray[np.bool_]:
        """Returns (n,) the result of `judge` for each; they are finite, and at most one of each Box.

        Rows without a decision of any trigger are noted at once, the others are judged one after the other:
        a trigger's decision on one does not depend on quiet ones of other Boxes.
        """
        quiet = self._quiet_rows(columns)
        opened = np.zeros(len(columns), np.bool_)
        if quiet.all():
            self._note_quiet(columns)
            return opened
        if quiet.any():
            self._note_quiet(columns.part(quiet))
        opened[~quiet] = [self.judge(row) for row in columns.part(~quiet).measurements()]
        return opened

    def _quiet_rows(self, columns: MeasurementColumns) -> NDArray[np.bool_]:
        """Returns (n,) whether no trigger has a decision on each."""
        quiet = np.ones(len(columns), np.bool_)
        for plugin in self._triggers.all:
            own = plugin.quiet_rows(columns)
            if own is None:
                return np.zeros(len(columns), np.bool_)
            quiet &= own
        return quiet

    def _note_quiet(self, columns: MeasurementColumns) -> None:
        if not columns.backfilled:
            self._boxes.note_columns(columns)
        for plugin in self._triggers.all:
            plugin.note_quiet(columns)
