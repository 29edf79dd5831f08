"""Traced: a query that reports each step of each record. It does the same work, without short cuts.

A running query becomes one, and is itself again afterwards, with all of its state.
"""

from collections.abc import Sequence
from typing import Protocol

from opq_rules.batch import Batch, Emission, Value
from opq_rules.query.analysis import Analyses
from opq_rules.query.query import Query
from opq_rules.query.windows.window import Cut, Record, WindowRecords


class TracedSteps(Protocol):
    """Receives the steps. `row`: the record's own, as it arrived; names of steps as in `Plan.operators`."""

    def now_ns(self) -> int: ...
    def became(self, row: Value, changed: Value) -> None:
        """The record is another object from here on."""
        ...

    def passed(self, row: Value, name: str, began_ns: int, given: int, error: str) -> None: ...
    def entered(self, row: Value, ms: int) -> None:
        """The record enters the window; `in_window` follows when it has been added."""
        ...

    def in_window(self) -> None: ...
    def cut(self, cut: Cut) -> None:
        """A window has ended; the next `note_output` belongs to it."""
        ...

    def note_output(
        self, row: Value, began_ns: int, taken: int, emission: Emission | None, count: int, error: str
    ) -> None:
        """Rows were emitted. `row` None: of the window that was cut."""
        ...


class Traced(Query):
    """Made by `begin` only."""

    _steps: TracedSteps
    _short: Value

    @staticmethod
    def begin(query: Query, steps: TracedSteps) -> None:
        query.__class__ = Traced
        assert isinstance(query, Traced)
        query._steps, query._short = steps, query._work
        query._work = query._feed_event_time if query._watermark is not None else query._feed_now

    @staticmethod
    def end(query: Query) -> None:
        traced: Value = query
        traced._work = traced._short
        del traced._steps, traced._short
        query.__class__ = Query

    def feed(self, batch: Batch) -> list[Emission]:
        out = super().feed(batch)
        self._steps.in_window()
        return out

    def _analysed(self, record: Record, analyses: Analyses) -> Record:
        began_ns = self._steps.now_ns()
        changed = super()._analysed(record, analyses)
        self._steps.passed(_own(record), "analytic", began_ns, 1, "")
        self._steps.became(_own(record), _own(changed))
        return changed

    def _taken(self, record: Record, out: list[Emission]) -> Record | None:
        steps, errors = self._steps, self.counters.errors
        began_ns = steps.now_ns()
        taken = super()._taken(record, out)
        error = self.counters.last_error if self.counters.errors > errors else ""
        if self.plan.before or self.plan.filter is not None or taken is None:
            steps.passed(_own(record), "filter", began_ns, int(taken is not None), error)
        if taken is not None and self._window is not None:
            steps.entered(_own(taken), taken.ms)
        return taken

    def _enter(self, records: Sequence[Record], out: list[Emission]) -> None:
        super()._enter(records, out)
        self._steps.in_window()

    def _finish(self, cut: Cut, out: list[Emission]) -> None:
        steps, counters = self._steps, self.counters
        steps.in_window()
        row = None
        kept = cut.content.records if isinstance(cut.content, WindowRecords) else None
        if self._window is None and kept:
            row = _own(kept[0])
        else:
            steps.cut(cut)
        taken = len(kept) if kept is not None else len(getattr(cut.content, "by_key", ()))
        began_ns, errors, sent = steps.now_ns(), counters.errors, len(out)
        super()._finish(cut, out)
        failed = counters.errors > errors
        emission = out[-1] if len(out) > sent and not failed else None
        error = counters.last_error if failed else ""
        steps.note_output(row, began_ns, taken, emission, len(emission or ()), error)


def _own(record: Record) -> Value:
    """The record's own row; in joins it is one place of a tuple."""
    return record.row[record.source] if isinstance(record.row, tuple) else record.row
