"""VirtualCloud: runs Makai's and Mauka's own code over a store, with a clock that is passed in.

    Measurements -> store, trends
                 -> judge (triggers, openings) -> commands -> waveforms -> event -> analyses -> incident

It has no socket and no thread: an event's Boxes answer once its span is over, and then it is analysed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.last_minutes import SEE_AGAIN_S, LastMinutes
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log
from opq_proto.messages import Measurement, Waveform
from opq_proto.wire.measurement_columns import MeasurementColumns, joined_columns
from opq_tools.sim.history.virtual_mauka import VirtualMauka

INSTANCE = "history"
NOT_THERE = "no samples of this span"

WaveformAnswer = Callable[[str, int, int], Waveform | None]
"""(Box, start_ns, end_ns) -> the Box's samples; None where it has none of this span."""


class VirtualCloud:
    """Makai and Mauka for one history; used by a single loop.

    Attributes:
        counters: counters of the services.
        runner: Mauka's analyses; each `store_accepted` also checks for Boxes that fell silent.
    """

    def __init__(self, config: CloudConfig, store: CloudStore, answer: WaveformAnswer) -> None:
        """
        Raises:
            ConfigError: a trigger or an analysis is not built in, or its settings are wrong.
        """
        section = replace(
            config.triggering_service, rules=replace(config.triggering_service.rules, enabled=False)
        )
        self.counters = ServiceCounters()
        self._store = store
        self._answer = answer
        self._now_s = 0.0
        self._logger = log.get(service="history")
        self._boxes = BoxRegister(config.nominal, lambda: self._now_s)
        self._boxes.read_nominals(store.boxes())
        self._nominals = BoxNominals(store)
        self._triggers = TriggersInUse(section, self.counters, self._logger)
        self._openings = EventOpenings(section, INSTANCE, self._boxes, self.counters)
        self._openings.begin(store, self._note_command, lambda measurement: None)
        self._judge = MeasurementJudge(self._boxes, self._triggers, self._openings, lambda: self._now_s)
        self._trends = Trends()
        self._mauka = VirtualMauka(config, store, lambda: self._now_s)
        self.runner = self._mauka.runner
        self._quiet: list[tuple[MeasurementColumns, float]] = []
        self._accepted: list[Sequence[Measurement] | MeasurementColumns] = []
        self._has_requests = False
        self._open: list[EventRecord] = []

    def resume(self, now_s: float) -> None:
        """Resumes a history: triggers see the last minutes again, and open events are answered."""
        self._now_s = now_s
        self._judge.see_again(LastMinutes(SEE_AGAIN_S).rows(self._store), self._triggers.all)
        self._open = self._store.unfinished_events()

    def accept(self, columns: MeasurementColumns | None, rows: Sequence[Measurement], now_s: float) -> None:
        """Accepts all Boxes' Measurements that are complete at about `now_s` (monotonic seconds of the run).

        If one might matter to a trigger, all Measurements of this moment are judged one by one.
        """
        self._now_s = now_s
        if columns is not None and (rows or not self._judge.judge_quiet(columns)):
            rows = [*columns.measurements(), *rows]
            columns = None
        if columns is not None:
            self._quiet.append((columns, now_s))
        if rows:
            self.accept_measurements(sorted(rows, key=_order), now_s)
        else:
            self._openings.advance(now_s)

    def accept_measurements(self, rows: Sequence[Measurement], now_s: float) -> None:
        """Judges the Measurements of all Boxes that end at about `now_s`, in the order of time."""
        self._now_s = now_s
        self._gather_quiet()
        for row in rows:
            self._judge.judge(row)
            self._trends.add(row, now_s)
        self._accepted.append(rows)
        self._openings.advance(now_s)

    def store_accepted(self) -> None:
        """Stores all accepted Measurements and the trends of minutes that are over. Raises StoreError."""
        self._gather_quiet()
        rows: list[Measurement] = []
        for each in self._accepted:
            if isinstance(each, MeasurementColumns):
                self._append(rows)
                rows = []
                self._nominals.read_columns(each)
                self._store.append_columns(each)
            else:
                rows += each
        self._append(rows)
        self._store.put_trends(self._trends.due(self._now_s))
        self._mauka.note_stored(self._accepted)
        self._accepted = []

    def _append(self, rows: list[Measurement]) -> None:
        self._nominals.read_measurements(rows)
        self._store.append_measurements(rows)

    def _gather_quiet(self) -> None:
        """Joins the quiet Measurements that came since the last one-by-one judgement."""
        if self._quiet:
            columns = joined_columns([each for each, _ in self._quiet])
            came_s = np.repeat([now_s for _, now_s in self._quiet], [len(each) for each, _ in self._quiet])
            self._trends.add_columns(columns, came_s)
            self._accepted.append(columns)
            self._quiet = []

    def answer_events(self, before_ns: int) -> None:
        """Adds the waveforms of each event that ended by `before_ns` (UTC), and analyses it; oldest first."""
        if self._has_requests:
            self._has_requests = False
            self._open = self._store.unfinished_events()
        due = sorted((each for each in self._open if _last_ns(each) <= before_ns), key=_number)
        self._open = [each for each in self._open if _last_ns(each) > before_ns]
        for record in due:
            for box_id in record.boxes_triggered:
                if box_id in record.boxes_received and box_id not in record.short:
                    continue  # the event has grown, and this Box was asked before
                wave = self._answer(box_id, *record.span_of(box_id))
                if wave is None:
                    self._store.mark_missing(record.event_id, box_id, NOT_THERE)
                else:
                    self._store.put_waveform(record.event_id, wave)
            self._store.finish_event(record.event_id)
            self._mauka.analyse(record.event_id)
        if due:
            self._openings.growing.answer_requests()

    def finish(self, now_s: float) -> None:
        """Ends a history: requests what outlasted its event, and answers all events."""
        self._now_s = now_s
        self._openings.advance(float("inf"))
        self.answer_events(1 << 62)
        while self._has_requests:  # by an analysis, in a few rounds at most
            self.answer_events(1 << 62)
        self._store.put_trends(self._trends.due(now_s, everything=True))

    def _note_command(self, command: bytes) -> bool:
        self._has_requests = True
        return True


def _last_ns(record: EventRecord) -> int:
    """The latest end of the spans that Boxes are asked for."""
    return max([record.end_ns, *(span[1] for span in record.owed.values())])


def _number(record: EventRecord) -> int:
    return record.event_id


def _order(measurement: Measurement) -> tuple[int, str]:
    return measurement.end_ns or 0, measurement.box_id
