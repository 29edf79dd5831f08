"""VirtualCloud: runs Makai's and Mauka's own code over a store, with a clock that is passed in.

    Measurements -> store, trends
                 -> judge (triggers, openings) -> commands -> waveforms -> event -> analyses -> incident

It has no socket and no thread: an event's Boxes answer once its span is over, and then it is analysed.
"""

from collections.abc import Sequence
from dataclasses import replace

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.last_minutes import SEE_AGAIN_S, LastMinutes
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log
from opq_proto.measurement.batch import Measurements, joined
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Measurement
from opq_tools.sim.history.virtual_mauka import VirtualMauka, WaveformAnswer

INSTANCE = "history"


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
        self._now_s = 0.0
        self._logger = log.get(service="history")
        self._boxes = BoxRegister(config.nominal, lambda: self._now_s)
        self._boxes.read_nominals(store.boxes())
        self._nominals = BoxNominals(store)
        self._triggers = TriggersInUse(section, self.counters, self._logger)
        self._openings = EventOpenings(section, INSTANCE, self._boxes, self.counters)
        self._openings.begin(store, lambda command: self._mauka.note_request(), lambda measurement: None)
        self._judge = MeasurementJudge(self._boxes, self._triggers, self._openings, lambda: self._now_s)
        self._trends = Trends()
        self._mauka = VirtualMauka(config, store, answer, lambda: self._now_s)
        self.runner = self._mauka.runner
        self._waiting: list[Measurements] = []
        self._accepted: list[Sequence[Measurement] | Measurements] = []

    def resume(self, now_s: float) -> None:
        """Resumes a history: triggers see the last minutes again, and open events are answered."""
        self._now_s = now_s
        for columns in LastMinutes(SEE_AGAIN_S).batches(self._store, self._boxes.nominal):
            self._judge.see_again(columns, self._triggers.all)
        self._mauka.resume()

    def accept(self, columns: Measurements | None, rows: Sequence[Measurement], now_s: float) -> None:
        """Accepts all Boxes' Measurements that are complete at about `now_s` (monotonic seconds of the run).

        With rows beside the columns, all of this moment are judged in the order of time.
        """
        if rows or columns is None:
            beside = [] if columns is None else columns.rows()
            self.accept_measurements(sorted([*beside, *rows], key=_order), now_s)
            return
        self._now_s = now_s
        self._judge_batch(columns)
        self._waiting.append(columns)
        self._openings.advance(now_s)

    def accept_measurements(self, rows: Sequence[Measurement], now_s: float) -> None:
        """Judges the Measurements of all Boxes that end at about `now_s`, in the order of time."""
        self._now_s = now_s
        self._join_waiting()
        for columns in batches_of(rows, self._boxes.nominal):
            self._judge_batch(columns)
            self._nominals.read(columns)
        self._accepted.append(rows)
        self._openings.advance(now_s)

    def _judge_batch(self, columns: Measurements) -> None:
        self._judge.judge(columns)
        self._trends.add(columns, self._now_s)

    def store_accepted(self) -> None:
        """Stores all accepted Measurements and the trends of minutes that are over. Raises StoreError."""
        self._join_waiting()
        rows: list[Measurement] = []
        for each in self._accepted:
            if isinstance(each, Measurements):
                self._store.append_measurements(rows)
                rows = []
                self._nominals.read(each)
                self._store.append_columns(each)
            else:
                rows += each
        self._store.append_measurements(rows)
        self._store.put_trends(self._trends.due(self._now_s))
        self._mauka.note_stored(self._accepted)
        self._accepted = []

    def _join_waiting(self) -> None:
        """Joins the columns that came since the last rows: the store takes many at once."""
        if self._waiting:
            self._accepted += joined(self._waiting)
            self._waiting = []

    def answer_events(self, before_ns: int) -> None:
        """Adds the waveforms of each event that ended by `before_ns` (UTC), and analyses it; oldest first."""
        if self._mauka.answer(before_ns):
            self._openings.growing.answer_requests()

    def finish(self, now_s: float) -> None:
        """Ends a history: requests what outlasted its event, and answers all events."""
        self._now_s = now_s
        self._openings.advance(float("inf"))
        self.answer_events(1 << 62)
        while self._mauka.has_requests:  # by an analysis, in a few rounds at most
            self.answer_events(1 << 62)
        self._store.put_trends(self._trends.due(now_s, everything=True))


def _order(measurement: Measurement) -> tuple[int, str]:
    return measurement.end_ns or 0, measurement.box_id
