"""VirtualMauka: Mauka's own code over a store, with a clock that is passed in, no bus and no thread."""

from collections.abc import Callable, Iterable, Sequence

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.mauka.messages import MAKAI_EVENT, makai_event
from opq_cloud.mauka.outages.plugin import OutagePlugin
from opq_cloud.mauka.runner import AnalysisRunner
from opq_cloud.mauka.service import analysis_entries, built_in, load_analyses
from opq_cloud.store.store import CloudStore
from opq_proto.errors import ConfigError
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasurementColumns


class VirtualMauka:
    """Analyses of events and outages. Attributes: `runner`, Mauka's analyses."""

    def __init__(self, config: CloudConfig, store: CloudStore, clock: Callable[[], float]) -> None:
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

    def note_stored(self, accepted: Iterable[Sequence[Measurement] | MeasurementColumns]) -> None:
        """Checks for Boxes that fell silent, and extends open disturbances, by Measurements just stored."""
        for each in accepted:
            self._outages.watch.note_stored(each)
        self._outages.on_idle()
        self.runner.grow_open_disturbances(at_once=True)

    def analyse(self, event_id: int) -> None:
        """Analyses a finished event."""
        self.runner.on_message(MAKAI_EVENT, makai_event(event_id))
        self.runner.flow.finish()
