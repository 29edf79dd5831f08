"""Tracing: follows a unit's records one by one, for those of its rules that are traced.

It takes the unit's place in the engine's loop; a unit without it has no extra cost. Rules that share the unit
get the same steps, each in its own trace. A record that waits for the watermark continues in its trace later.
"""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.clock import RuleClock
from opq_rules.engine.rule import Deliver, QueryUnit, Rule
from opq_rules.engine.sinks import SinkRunner
from opq_rules.engine.thresholds import ThresholdIndex
from opq_rules.engine.traces import (
    MAX_RECORDS,
    MAX_TRACES,
    RuleTrace,
    Traces,
    TraceSpan,
    operator_names,
    shown_rows,
)
from opq_rules.query.traced import Traced
from opq_rules.query.windows.window import Cut

NS_PER_MS = 1_000_000
Message = dict[str, RuleTrace]
"""The traces of one record or window, by the rule's id."""


def follow(unit: QueryUnit, rule: Rule, clock: RuleClock) -> None:
    """Traces the rule while it is in this unit. Runs in the engine's thread, like everything here."""
    if unit.tracing is None:
        unit.tracing = Tracing(unit, clock)
    unit.tracing.rules[rule.id] = rule


def leave(unit: QueryUnit, rule: Rule) -> None:
    tracing = unit.tracing
    if tracing is None or tracing.rules.pop(rule.id, None) is None:
        return
    if not tracing.rules:
        tracing.end()
        unit.tracing = None


class Tracing:
    """`rules`: the traced ones, by id. Also serves as `Steps` of the unit's query."""

    def __init__(self, unit: QueryUnit, clock: RuleClock) -> None:
        self.rules: dict[str, Rule] = {}
        self._unit, self._clock = unit, clock
        self._base_ns = 0
        self._message: Message = {}
        self._of_row: dict[int, tuple[Row, Message]] = {}
        self._of_emission: dict[int, tuple[Emission, Message]] = {}
        self._in_window: deque[tuple[int, Message]] = deque(maxlen=MAX_TRACES)
        self._open: list[TraceSpan] = []
        self._cut: Message = {}
        self._delivered: set[str] = set()
        self._give: Deliver = lambda rule, emissions: None
        steps = unit.operators
        names = dict(zip(steps, operator_names(steps), strict=True))
        self._names = {name: names.get(name, f"op_{name}") for name in (*names, "filter", "window")}
        Traced.begin(unit.query, self)

    def end(self) -> None:
        Traced.end(self._unit.query)

    # -- in the unit's place

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        """Feeds the unit record by record, as far as they are traced."""
        each = any(traces.each for traces in self._traces().values())
        count = len(batch.rows)
        for k in range(count if each else 1):
            self._feed_one(batch.part([k]), deliver, k == 0)
        if not each and count > 1:
            self._message = {}
            self._give = deliver
            self._unit.feed(batch.part(range(1, count)), self._deliver)
        self._of_emission.clear()

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        self._message = {}
        self._set_clock()
        self._give = deliver
        self._unit.advance(now_ms, self._deliver)
        self._of_emission.clear()

    def _feed_one(self, one: Batch, deliver: Deliver, is_first: bool) -> None:
        arrived_ms = one.arrived_ms if isinstance(one.arrived_ms, int) else one.arrived_ms[0]
        self._set_clock()
        row, now_ns = one.rows[0], self.now_ns()
        message = {
            rule_id: traces.new(arrived_ms)
            for rule_id, traces in self._traces().items()
            if traces.each or is_first
        }
        rows = shown_rows([row])
        for trace in message.values():
            began_ns = min(arrived_ms * NS_PER_MS, now_ns)
            trace.spans.append(TraceSpan(f"source_{one.stream}", began_ns, now_ns, 1, 1, "", rows))
        self._remember(row, message)
        self._message = message
        self._delivered.clear()
        self._give = deliver
        errors = self._unit.errors
        try:
            self._unit.feed(one, self._deliver)
        except Exception as error:  # the loop stops the rule; its trace shows where it failed
            for trace in message.values():
                trace.spans[-1].error = f"{type(error).__name__}: {error}"[:500]
            raise
        if isinstance(self._unit, ThresholdIndex):
            failed = self._unit.query.counters.last_error if self._unit.errors > errors else ""
            for rule_id, trace in message.items():
                self._filtered(trace, now_ns, rule_id in self._delivered, failed)

    def _deliver(self, rule: Rule, emissions: Sequence[Emission]) -> None:
        sinks, traces = rule.sinks, rule.traces
        if rule.id not in self.rules or sinks is None or traces is None:
            self._give(rule, emissions)
            return
        self._delivered.add(rule.id)
        names = traces.sinks
        spans: list[TraceSpan] = []
        for k, emission in enumerate(emissions):
            _, message = self._of_emission.get(id(emission), (None, self._message))
            trace = message.get(rule.id)
            if trace is None:
                continue
            for name, runner in zip(names, _runners(names, sinks.runners), strict=True):
                span = TraceSpan(name, self.now_ns(), None, len(emission), 0, is_sink=True)
                trace.spans.append(span)
                if runner is None:
                    spans.append(span)
                else:
                    runner.watch(f"{rule.id}:{rule.sequence + k}", partial(self._done, span, self._base_ns))
        self._give(rule, emissions)
        for span in spans:
            span.end_ns, span.given = self.now_ns(), span.taken

    @staticmethod
    def _done(span: TraceSpan, base_ns: int, error: str, lost: bool) -> None:
        """Called by the sink's thread."""
        span.error, span.given = error, 0 if lost else span.taken
        span.end_ns = base_ns + time.perf_counter_ns()

    def _filtered(self, trace: RuleTrace, began_ns: int, passed: bool, error: str) -> None:
        """Adds the filter's span, because an index finds its rules before the query runs."""
        source, *others = trace.spans
        others = [span for span in others if span.name != self._names["filter"]] if passed else []
        ended_ns = others[0].start_ns if others else self.now_ns()
        found = TraceSpan(self._names["filter"], began_ns, ended_ns, 1, int(passed), error)
        trace.spans[:] = [source, found, *others]

    # -- query.traced.Steps

    def now_ns(self) -> int:
        return self._base_ns + time.perf_counter_ns()

    def became(self, row: Row, changed: Row) -> None:
        self._remember(changed, self._of(row))

    def passed(self, row: Row, name: str, began_ns: int, given: int, error: str) -> None:
        for trace in self._of(row).values():
            span = TraceSpan(self._names.get(name, name), began_ns, self.now_ns(), 1, given, error)
            trace.spans.append(span)

    def entered(self, row: Row, ms: int) -> None:
        message = self._of(row)
        if message:
            self._in_window.append((ms, message))
        for trace in message.values():
            span = TraceSpan(self._names["window"], self.now_ns(), None, 1, 0)
            trace.spans.append(span)
            self._open.append(span)

    def in_window(self) -> None:
        for span in self._open:
            span.end_ns = self.now_ns()
        self._open.clear()

    def cut(self, cut: Cut) -> None:
        sliding = cut.trigger_ms is not None
        held = [message for ms, message in self._in_window if cut.start_ms + sliding <= ms <= cut.end_ms]
        self._cut = {rule_id: traces.new(cut.end_ms) for rule_id, traces in self._traces().items()}
        now_ns = self.now_ns()
        for rule_id, trace in self._cut.items():
            trace.of_window = cut.start_ms, cut.end_ms
            trace.records = [message[rule_id].id for message in held if rule_id in message][-MAX_RECORDS:]
            trace.spans.append(TraceSpan(self._names["window"], now_ns, now_ns, len(trace.records), 1))

    def note_output(
        self, row: Row | None, began_ns: int, taken: int, emission: Emission | None, count: int, error: str
    ) -> None:
        message = self._cut if row is None else self._of(row)
        rows = shown_rows(emission or ())
        for trace in message.values():
            span = TraceSpan(self._names["project"], began_ns, self.now_ns(), taken, count, error, rows)
            trace.spans.append(span)
        if emission is not None:
            self._of_emission[id(emission)] = (emission, message)

    # -- inside

    def _traces(self) -> dict[str, Traces]:
        return {rule_id: rule.traces for rule_id, rule in self.rules.items() if rule.traces is not None}

    def _set_clock(self) -> None:
        """Sets the base of `now_ns`: the engine's clock, and the performance counter within one record."""
        self._base_ns = self._clock.now_ms() * NS_PER_MS - time.perf_counter_ns()

    def _remember(self, row: Row, message: Message) -> None:
        """Holds the row itself too: otherwise another row could get its address."""
        self._of_row[id(row)] = (row, message)
        while len(self._of_row) > MAX_TRACES:
            del self._of_row[next(iter(self._of_row))]

    def _of(self, row: Row) -> Message:
        found = self._of_row.get(id(row))
        return {} if found is None else found[1]


def _runners(names: Sequence[str], runners: Sequence[SinkRunner]) -> list[SinkRunner | None]:
    """The runner of each sink; None: a topic of memory, which takes emissions at once."""
    waiting = iter(runners)
    return [None if name.startswith("sink_memory_") else next(waiting) for name in names]
