"""VirtualMauka: Mauka's own code over a store, with a clock that is passed in, no bus and no thread."""

from collections.abc import Callable, Iterable, Sequence

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.bus.bus_messages import MAKAI_EVENT, makai_event
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.outages.outage_plugin import OutagePlugin
from opq_cloud.mauka.running.known.analysis_entries import analysis_entries
from opq_cloud.mauka.running.known.built_in_analyses import built_in, load_analyses
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import CloudStore
from opq_proto.errors import ConfigError
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement, Waveform

NOT_THERE = "no samples of this span"

WaveformAnswer = Callable[[str, int, int], Waveform | None]
"""(Box, start_ns, end_ns) -> the Box's samples; None where it has none of this span."""


class VirtualMauka:
    """Analyses of events, whose Boxes answer once their span is over, and of outages.

    Attributes:
        runner: Mauka's analyses.
        has_requests: whether Boxes were asked since the last answer.
    """

    def __init__(
        self, config: CloudConfig, store: CloudStore, answer: WaveformAnswer, clock: Callable[[], float]
    ) -> None:
        """
        Raises:
            ConfigError: an analysis is not built in, or its settings are wrong.
        """
        others = ", ".join(sorted({entry.name for entry in config.mauka.analyses} - built_in()))
        if others:
            known = ", ".join(sorted(built_in()))
            raise ConfigError(f"mauka.analyses: {others}: a history runs built-in ones: {known}")
        analyses = load_analyses(analysis_entries(config.mauka, built_in()))
        self.runner = AnalysisRunner(
            {}, lambda: store, analyses, config.nominal, clock=clock, asking=config.mauka.asking
        )
        self._outages = OutagePlugin(
            {}, lambda: store, config.mauka.outages, config.nominal, clock, lossless=True
        )
        self._outages.on_idle()
        self.has_requests = False
        self._store, self._answer = store, answer
        self._open: list[EventRecord] = []

    def resume(self) -> None:
        """Reads the events that were open when the history stopped."""
        self._open = self._store.unfinished_events()

    def note_request(self) -> bool:
        """Notes that a Box is asked; True, as every command is sent."""
        self.has_requests = True
        return True

    def note_stored(self, accepted: Iterable[Sequence[Measurement] | Measurements]) -> None:
        """Checks for Boxes that fell silent, and extends open disturbances, by Measurements just stored."""
        for each in accepted:
            self._outages.watch.note_stored(each)
        self._outages.on_idle()
        self.runner.grow_open_disturbances(at_once=True)

    def answer(self, before_ns: int) -> bool:
        """Adds the waveforms of each event that ended by `before_ns` (UTC), and analyses it; oldest first.

        Returns whether there were any.
        """
        if self.has_requests:
            self.has_requests = False
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
            self.runner.on_message(MAKAI_EVENT, makai_event(record.event_id))
            self.runner.flow.finish()
        return bool(due)


def _last_ns(record: EventRecord) -> int:
    """The latest end of the spans that Boxes are asked for."""
    return max([record.end_ns, *(span[1] for span in record.owed.values())])


def _number(record: EventRecord) -> int:
    return record.event_id
