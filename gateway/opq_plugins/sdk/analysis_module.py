"""An installed analysis' module with its settings and what it remembers, per nominal values of the mains."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from opq_plugins.sdk.analysis import Analysis
from opq_plugins.sdk.nouns import event_of, plain_findings
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding
from opq_proto.settings import configured


class AnalysisModule:
    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._analysis: Analysis | None = None
        self._states: dict[Any, Any] = {}

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError with all that is wrong."""
        module = self._module
        self._analysis = Analysis(
            name=module.name,
            analyse=module.analyse,
            config=configured(module.Config, settings),
            fixed=frozenset(settings),
            begin=getattr(module, "begin", None),
        )

    def analyse(self, event: Event, nominal_v: float, nominal_hz: float) -> tuple[Finding, ...]:
        return self._configured().look(event, Nominal(nominal_v, nominal_hz), self._states)

    def alone(self) -> bool:
        """Whether it may be asked of one Box of an event: it has no memory."""
        return self._configured().alone

    def export_state(self) -> Any:
        """[nominal volts, nominal hertz, state] of each. None: it hands nothing on."""
        give = getattr(self._module, "export_state", None)
        if give is None:
            return None
        return [[nominal.volts, nominal.hz, give(state)] for (_, nominal), state in self._states.items()]

    def take_state(self, version: str, data: Any) -> bool:
        """False: it takes nothing over."""
        take = getattr(self._module, "import_state", None)
        if take is None:
            return False
        analysis = self._configured()
        self._states = {
            (analysis.name, nominal): take(version, state, analysis.for_nominal(nominal))
            for nominal, state in ((Nominal(volts, hz), state) for volts, hz, state in data)
        }
        return True

    def selftest(self) -> str:
        return str(self._module.selftest() or "") if hasattr(self._module, "selftest") else ""

    def release(self) -> None:
        """It holds nothing open."""

    # -- in a worker

    def analyse_plain(self, body: Any) -> Any:
        """[event, nominal volts, nominal hertz], plain; its findings likewise."""
        return plain_findings(self.analyse(event_of(body[0]), body[1], body[2]))

    def _configured(self) -> Analysis:
        if self._analysis is None:
            raise ValueError("not configured")
        return self._analysis
