"""A trigger's or an analysis' module with its settings and its state; the same in a service and in a worker.

trigger   name, Config, begin(config) -> state
          decide(measurement, nominal, config, state) -> (Decision or None, state)
          problems(state) -> (how many things it could not judge so far, the last reason)    optional
          Built in ones have, instead of `decide`,
          judge(columns, config, state) -> [(row, Decision), ...], of a batch of Measurements with at
          most one of each Box, all live or all `backfilled`: those are their own stream
analysis  name, Config, takes, gives, analyse(event, config) -> findings
          with begin(config) -> state: analyse(event, config, state) -> (findings, state)
          `takes` is Event, or one of Measurement, Trend, Finding, Incident, History, which come one by one;
          `gives` is Finding, or Message, which is published and not stored (not of Events), or Phenomenon
          (of History)
          reads(config) -> HistoryRequest: what its Histories have, and how often it gets one; for History
          wants(event, findings, config) -> SampleRequests: further Boxes or a longer span that it needs;
          `findings` are its own of this event. Pure; when they have come it sees the event again  optional
          unjudged(event, config) -> what it cannot say anything about, and why, or ""; called if it found
          nothing. Built-in ones only                                                        optional
both      export_state(state) -> what JSON has; import_state(version, data, config) -> state   optional
          selftest() -> "" or what is wrong                                                  optional
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from opq_plugins.sdk import Value
from opq_plugins.sdk.box_state import forget_box
from opq_plugins.sdk.nouns import (
    DERIVING,
    BatchResult,
    ItemBatch,
    boxes_of,
    checked_decision,
    checked_findings,
    checked_history_request,
    checked_messages,
    checked_phenomena,
    checked_requests,
    findings_of_event,
)
from opq_plugins.worker_errors import WorkerTimeoutError
from opq_proto.config.settings import configured
from opq_proto.decision import Decision, Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import (
    Event,
    Finding,
    HistoryRequest,
    Measurement,
    Message,
    Phenomenon,
    SampleRequest,
)

DEFAULT_NOMINAL = Nominal(120.0, 60.0)
Config: TypeAlias = Any
"""A frozen dataclass of the module's own."""
State: TypeAlias = Any
"""Whatever the module's `begin` returns."""


def about(module: ModuleType | None) -> str:
    """The description of a plug-in in one sentence: the first line of its module's docstring."""
    return ((module and module.__doc__) or "").strip().partition("\n")[0]


class RowGuards(Protocol):
    """Who catches what a trigger raises: `opq_plugins.host.failure_guard.BoxGuards`."""

    def call(self, box_id: str, function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]: ...
    def record(self, box_id: str, error: Exception) -> None: ...
    def paused_boxes(self) -> set[str]: ...


class _Unguarded:
    """Catches nothing."""

    def call(self, box_id: str, function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
        return True, function(*arguments)

    def record(self, box_id: str, error: Exception) -> None:
        raise error

    def paused_boxes(self) -> set[str]:
        return set()


FAILED_ROWS = 16
"""Rows of a batch on which a trigger may raise; after these it does not judge the others either."""


class TriggerModule:
    """A trigger's module. After an exception its memory is what the other Measurements left; after a call
    that was ended from outside it begins again without memory, at the next Measurement."""

    def __init__(
        self,
        module: ModuleType,
        config: Config = None,
        check: Callable[[object], Decision | None] = checked_decision,
    ) -> None:
        """`check`: applied to each decision; in a worker the host does that instead."""
        self._module, self._check = module, check
        self.config = config
        """A changed one applies from the next Measurement on; the memory stays."""
        self._state: State = None
        self._begun = False
        self.about = about(module)
        self.says_problems = hasattr(module, "problems")
        """Whether `problems` can ever be other than (0, "")."""
        self.enters_batches = hasattr(module, "enters")

    def configure(self, settings: Mapping[str, Value]) -> None:
        """Raises ValueError with every problem, or the exception of its `begin`."""
        self.config = configured(self._module.Config, settings)
        self._begin()

    def judge(self, batch: Measurements) -> list[tuple[int, Decision]]:
        """Rows with a decision, of a module that `enters_batches`: its `decide` sees the rows of its mask."""
        return self.judge_guarded(batch, _Unguarded())[0]

    def judge_guarded(
        self, batch: Measurements, guards: RowGuards
    ) -> tuple[list[tuple[int, Decision]], list[int]]:
        """Works as `judge`; also returns rows of Boxes for which it raised, or is paused."""
        if not self._begun:
            self._begin()
        found: list[tuple[int, Decision]] = []
        rows, failed = np.arange(len(batch)), list[int]()
        if paused := guards.paused_boxes():
            out = np.array([box_id in paused for box_id in batch.ids], np.bool_)
            rows, failed = rows[~out], rows[out].tolist()
        self._begun = False
        for at in self._entering(batch, rows, guards, failed):
            row = batch.row(at)
            well, decision = guards.call(row.box_id, self._decide, row, batch.nominal(at))
            if not well:
                failed.append(at)
            elif decision is not None:
                found.append((at, decision))
        self._begun = True
        return found, failed

    def _entering(
        self, batch: Measurements, rows: NDArray[np.int64], guards: RowGuards, failed: list[int]
    ) -> list[int]:
        """Returns which of these rows its mask has; halves them where it raises, to find the Box."""
        if not len(rows):
            return []
        part = batch if len(rows) == len(batch) else batch.part(rows)
        try:
            mask: NDArray[np.bool_] = self._module.enters(part, self.config, self._state)
            return list(map(int, rows[mask]))
        except WorkerTimeoutError:
            raise
        except Exception as error:
            if len(rows) == 1:
                guards.record(batch.ids[rows[0]], error)
            if len(rows) == 1 or len(failed) >= FAILED_ROWS:
                failed += rows.tolist()
                return []
        middle = len(rows) // 2
        return [
            at
            for half in (rows[:middle], rows[middle:])
            for at in self._entering(batch, half, guards, failed)
        ]

    def decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        if not self._begun:
            self._begin()
        self._begun = False
        try:
            return self._decide(measurement, nominal)
        except WorkerTimeoutError:
            raise
        except Exception:
            self._begun = True
            raise

    def _decide(self, measurement: Measurement, nominal: Nominal) -> Decision | None:
        decision, state = self._module.decide(measurement, nominal, self.config, self._state)
        checked = None if decision is None else self._check(decision)
        self._state, self._begun = state, True
        return checked

    def forget(self) -> None:
        """Drops its memory; it begins again with the next Measurement."""
        self._begun = False

    def forget_box(self, box_id: str) -> bool:
        """Drops what its memory holds of a deleted Box; True: of that one alone."""
        if self._begun:
            forget_box(self._state, box_id)
        return True

    def problems(self) -> tuple[int, str]:
        """Number of Measurements that it could not judge since it began, and the last reason; (0, ""): it
        reports none."""
        if not (self.says_problems and self._begun):
            return 0, ""
        count, why = self._module.problems(self._state)
        return int(count), str(why)

    def export_state(self) -> Value:
        """None where it has no state to pass on."""
        export = getattr(self._module, "export_state", None)
        return export(self._state) if export is not None and self._begun else None

    def import_state(self, version: str, data: Value) -> bool:
        """False where it takes no state over."""
        take = getattr(self._module, "import_state", None)
        if take is None:
            return False
        self._state, self._begun = take(version, data, self.config), True
        return True

    def selftest(self) -> str:
        return _selftest(self._module)

    def _begin(self) -> None:
        self._state = self._module.begin(self.config)
        self._begun = True


@dataclass(frozen=True, slots=True)
class Analysis:
    """A pure analysis with its settings. Live, by hand and over stored history the call is `findings_in`."""

    name: str
    analyse: Callable[..., Any]
    config: Config
    fixed: frozenset[str] = frozenset()
    """Fields of `config` that its user has set: a Box's own nominal values do not replace them."""
    begin: Callable[[Config], State] | None = None
    """The first state of an analysis with memory."""
    takes: str = Event.__name__
    gives: str = Finding.__name__
    """Names of the module's nouns."""
    wants: Callable[..., Any] | None = None
    """Function that requests more samples; None: it never does."""
    unjudged: Callable[..., str] | None = None
    """Returns why nothing could be found; None: it can always find something."""
    reads: Callable[[Config], HistoryRequest] | None = None
    """What its Histories have; None: it takes none."""

    @classmethod
    def of(cls, module: ModuleType, config: Config, settings: Mapping[str, Value]) -> "Analysis":
        """Makes it from a module. `settings`: the user's, from which `config` was made."""
        begin = getattr(module, "begin", None)
        nouns = module.takes.__name__, module.gives.__name__
        wants = getattr(module, "wants", None)
        says = getattr(module, "unjudged", None)
        reads = getattr(module, "reads", None)
        return cls(
            module.name, module.analyse, config, frozenset(settings), begin, *nouns, wants, says, reads
        )

    @property
    def rest_s(self) -> float:
        """0: it never has to wait before a call."""
        return 0.0

    @property
    def alone(self) -> bool:
        """Whether it may analyse single Boxes of an event; with memory each Box would count as another
        event."""
        return self.begin is None

    def for_nominal(self, nominal: Nominal) -> Config:
        """Its Config with these nominal values, where it has such fields."""
        known = {item.name for item in fields(self.config)} - self.fixed
        values = {"nominal_v": nominal.volts, "nominal_hz": nominal.hz}
        return replace(self.config, **{name: value for name, value in values.items() if name in known})

    def findings_in(self, event: Event, nominal: Nominal, states: dict[Any, State]) -> tuple[Finding, ...]:
        """Its findings in `event`; an analysis with memory keeps its state in `states`, per nominal values.

        Raises the analysis' exceptions, and TypeError or ValueError if these are not findings of this event.
        """
        config = self.for_nominal(nominal)
        if self.begin is None:
            return findings_of_event(self.analyse(event, config), event)
        key = (self.name, nominal)
        state = states[key] if key in states else self.begin(config)
        findings, state = self.analyse(event, config, state)
        found = findings_of_event(findings, event)
        states[key] = state
        return found

    def results_of(self, batch: ItemBatch, nominal: Nominal, states: dict[Any, State]) -> BatchResult:
        """Its results for each item in turn; `states` as in `findings_in`.

        An item on which it raises is counted, and later items are analysed. Raises MemoryError.
        """
        config, key = self.for_nominal(nominal), (self.name, nominal)
        findings: list[Finding] = []
        messages: list[Message] = []
        phenomena: list[Phenomenon] = []
        failed, error = 0, ""
        for item in batch.items:
            try:
                if self.begin is None:
                    given = self.analyse(item, config)
                else:
                    before = states[key] if key in states else self.begin(config)
                    given, states[key] = self.analyse(item, config, before)
                if self.gives == Finding.__name__:
                    findings += self._own_findings(checked_findings(given, boxes_of(item)))
                elif self.gives == Phenomenon.__name__:
                    phenomena += checked_phenomena(given, batch.histories)
                else:
                    messages += checked_messages(given, boxes_of(item))
            except MemoryError:
                raise
            except Exception as problem:  # an analysis may be third-party code
                failed, error = failed + 1, f"{type(problem).__name__}: {problem}"
        return BatchResult(findings, messages, failed, error, phenomena)

    def _own_findings(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """Findings made from findings are of the analysis' own class: no such analysis is given them again.

        Raises ValueError.
        """
        if self.takes in DERIVING and (other := {one.kind for one in findings} - {self.name}):
            raise ValueError(
                f"it takes {self.takes} and gave a Finding of class {min(other)!r}; want its own name, "
                f"{self.name!r}"
            )
        return findings

    @property
    def asks(self) -> bool:
        """Whether it may request more samples."""
        return self.wants is not None

    def requests_in(
        self, event: Event, findings: Sequence[Finding], nominal: Nominal
    ) -> tuple[SampleRequest, ...]:
        """The samples that it requests beyond `event`. Raises what it raises, TypeError or ValueError."""
        if self.wants is None:
            return ()
        return checked_requests(self.wants(event, tuple(findings), self.for_nominal(nominal)))

    def history_request(self) -> HistoryRequest:
        """What its Histories have, and how often. Raises what it raises, TypeError or ValueError."""
        if self.reads is None:
            raise ValueError(f"analysis {self.name!r} has no reads(config)")
        return checked_history_request(self.reads(self.config))


class AnalysisModule:
    """An installed analysis, and its memory per nominal values of the mains."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._analysis: Analysis | None = None
        self._states: dict[tuple[str, Nominal], State] = {}

    def configure(self, settings: Mapping[str, Value]) -> None:
        """Raises ValueError with every problem."""
        self._analysis = Analysis.of(self._module, configured(self._module.Config, settings), settings)

    def analyse(self, event: Event, nominal_v: float, nominal_hz: float) -> tuple[Finding, ...]:
        return self._configured().findings_in(event, Nominal(nominal_v, nominal_hz), self._states)

    def analyse_items(self, batch: ItemBatch, nominal_v: float, nominal_hz: float) -> BatchResult:
        return self._configured().results_of(batch, Nominal(nominal_v, nominal_hz), self._states)

    def analyse_histories(self, batch: ItemBatch, nominal_v: float, nominal_hz: float) -> BatchResult:
        """The same for Histories, which may take longer."""
        return self.analyse_items(batch, nominal_v, nominal_hz)

    def declared(self) -> tuple[str, str]:
        """The nouns that it takes and gives."""
        return self._module.takes.__name__, self._module.gives.__name__

    def alone(self) -> bool:
        """Whether it may analyse single Boxes of an event: it has no memory."""
        return self._configured().alone

    def asks(self) -> bool:
        """Whether it may request more samples."""
        return self._configured().asks

    def wants(
        self, event: Event, findings: list[Finding], nominal_v: float, nominal_hz: float
    ) -> tuple[SampleRequest, ...]:
        return self._configured().requests_in(event, findings, Nominal(nominal_v, nominal_hz))

    def reads(self) -> HistoryRequest:
        """What its Histories have, and how often."""
        return self._configured().history_request()

    def export_state(self) -> Value:
        """[nominal volts, nominal hertz, state] of each; None where it has no state to pass on."""
        export = getattr(self._module, "export_state", None)
        if export is None:
            return None
        return [[nominal.volts, nominal.hz, export(state)] for (_, nominal), state in self._states.items()]

    def import_state(self, version: str, data: Value) -> bool:
        """False where it takes no state over."""
        take = getattr(self._module, "import_state", None)
        if take is None:
            return False
        analysis = self._configured()
        for volts, hz, state in data:
            nominal = Nominal(volts, hz)
            self._states[analysis.name, nominal] = take(version, state, analysis.for_nominal(nominal))
        return True

    def selftest(self) -> str:
        return _selftest(self._module)

    def _configured(self) -> Analysis:
        if self._analysis is None:
            raise ValueError("the analysis is used before it was configured")
        return self._analysis


def _selftest(module: ModuleType) -> str:
    return str(module.selftest() or "") if hasattr(module, "selftest") else ""
