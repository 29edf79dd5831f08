"""A running plan: records and the passing of time in, emissions out; its state survives a kill.

No I/O, clock or thread. A record that cannot be computed is counted and reported.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from opq_rules.errors import RowError
from opq_rules.query.emitting import Emitter, Plain
from opq_rules.query.event_time import Watermark, event_times
from opq_rules.query.groups import RecordGroups
from opq_rules.query.hits import HitCounters
from opq_rules.query.opening import query_window
from opq_rules.query.planning.analysis import Analyses
from opq_rules.query.planning.joins import Lookup, Scans
from opq_rules.query.planning.select_plan import QueryPlan
from opq_rules.query.query_run import (
    QueryContext,
    QueryCounters,
    QueryErrors,
    RuleFacts,
    frozen,
    placed,
    thawed,
)
from opq_rules.query.window import Cut, Record, WindowRecords
from opq_rules.query.windows.by_time import Hopping, Tumbling
from opq_rules.values.batch import Batch, Emission, Row, State, Value


class Query:
    """A running plan.

    Args:
        lookups: functions of lookup tables, by number in FROM.
        retain: rows that a scan table keeps, by name, over its definition.
        keyed_state: what `get_keyed_state` reads; changes take effect at once.
    """

    def __init__(
        self,
        plan: QueryPlan,
        facts: RuleFacts,
        lookups: Mapping[int, Lookup] | None = None,
        retain: Mapping[str, int] | None = None,
        keyed_state: Mapping[str, Value] | None = None,
    ) -> None:
        self.plan = plan
        self.facts = facts
        self.counters = QueryCounters()
        self._context = QueryContext(
            facts.rule_id, facts.start_ms, keyed_state={} if keyed_state is None else keyed_state
        )
        self._context.hits = HitCounters(plan.hits)
        self._origins = {
            stream: tuple(origin.index for origin in plan.origins if origin.stream == stream)
            for stream in plan.streams
        }
        tables = [origin for origin in plan.origins if origin.kind == "scan" and plan.joined]
        self._scans = Scans(tables, retain or {})
        self._lookups = dict(lookups or {})
        early = [call for call in plan.analytics if not call.late]
        late = [call for call in plan.analytics if call.late]
        self._analyses = {
            source: Analyses([call for call in early if call.source == source])
            for source in dict.fromkeys(call.source for call in early)
        }
        self._late = Analyses(late) if late else None
        self._faults = QueryErrors(self.counters, self._context, facts.send_error)
        self._emitter = Emitter(
            plan, facts, self._context, self._groups, self._scans.rows, self._lookups, self._late
        )
        self._window = query_window(plan, facts, self._context, self._faults)
        self._watermark: Watermark | None = None
        self._time_of: dict[int, Callable[[Value], int]] = {}
        if facts.event_time:
            self._time_of, numbers = event_times(plan.origins, plan.joined)
            self._numbers = numbers
            self._watermark = Watermark(len(numbers), facts.late_tolerance_ms, facts.idle_timeout_ms)
        self._work: Callable[[Batch], list[Emission]] = self._feed_now
        if self._watermark is not None:
            self._work = self._feed_event_time
        elif plan.plain and not facts.send_meta:
            self._work = Plain(plan, self._emitter.project, self._context, self._faults).feed
        elif plan.window_alone:
            self._work = self._feed_window

    def feed(self, batch: Batch) -> list[Emission]:
        """The emissions that these records complete, in order."""
        self.counters.records_in += len(batch.rows)
        return self._counted(self._work(batch))

    def advance(self, now_ms: int) -> list[Emission]:
        """Emissions that are due until `now_ms`."""
        out: list[Emission] = []
        context = self._context
        if now_ms > context.now_ms:
            context.now_ms = now_ms
        if self._watermark is None:
            self._advance_window(context.now_ms, out)
        elif self.facts.idle_timeout_ms:
            self._release(context.now_ms, out)
        return self._counted(out)

    def refuse(self, why: str, now_ms: int) -> list[Emission]:
        """Counts and reports a record that could not be read; windows do not get it."""
        out: list[Emission] = []
        self._context.now_ms = max(self._context.now_ms, now_ms)
        self._faults.report(RowError(why), out)
        return self._counted(out)

    @property
    def next_due_ms(self) -> int | None:
        """Time at which `advance` is next needed; None: not before a record arrives."""
        if self._watermark is not None:
            return self._watermark.next_idle_ms()
        return None if self._window is None else self._window.next_due_ms

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Adds rows to a scan table, without a batch."""
        self._scans.add_rows(table, list(rows))

    def scanned(self) -> dict[str, list[Row]]:
        """The rows that scan tables hold."""
        return self._scans.by_name()

    @property
    def forgotten(self) -> int:
        """Partitions of analytic calls and of hit counters that were dropped for newer ones."""
        late = 0 if self._late is None else self._late.forgotten
        early = sum(each.forgotten for each in self._analyses.values())
        return early + late + int(self._context.hits.forgotten)

    def state(self) -> State:
        """The state as JSON: windows, watermark, analytic calls, tables, counters."""
        return frozen(
            {
                "now_ms": self._context.now_ms,
                "window": None if self._window is None else self._window.state(),
                "watermark": None if self._watermark is None else self._watermark.state(),
                "analyses": {str(index): each.state() for index, each in self._analyses.items()},
                "late": None if self._late is None else self._late.state(),
                "scans": self._scans.state(),
                "hits": self._context.hits.state(),
                "counters": self.counters.state(),
            }
        )

    def restore(self, state: State) -> None:
        """Restores a `state` of a query with the same plan and options."""
        state = thawed(state)
        self._context.now_ms = state["now_ms"]
        if self._window is not None:
            self._window.restore(state["window"])
        if self._watermark is not None:
            self._watermark.restore(state["watermark"])
        for index, analyses in self._analyses.items():
            analyses.restore(state["analyses"][str(index)])
        if self._late is not None:
            self._late.restore(state["late"])
        self._scans.restore(state["scans"])
        self._context.hits.restore(state["hits"])
        self.counters.restore(state["counters"])

    def _feed_now(self, batch: Batch) -> list[Emission]:
        """Feeds records in the time of arrival, which never goes back."""
        out: list[Emission] = []
        if self._scans.add_rows(batch.stream, batch.rows):
            return out
        indices = self._origins[batch.stream]
        window, context = self._window, self._context
        for row, arrived_ms, meta in batch.each():
            if arrived_ms > context.now_ms:
                context.now_ms = arrived_ms
            now_ms = context.now_ms
            if window is not None and window.next_due_ms is not None and window.next_due_ms <= now_ms:
                self._advance_window(now_ms, out)
            for index in indices:
                self._enter([Record(now_ms, index, self._placed(index, row), meta)], out)
        return out

    def _feed_window(self, batch: Batch) -> list[Emission]:
        """`_feed_now` for one stream with nothing but WHERE before its window."""
        out: list[Emission] = []
        if isinstance(batch.arrived_ms, int) and isinstance(self._window, Tumbling | Hopping):
            self._context.now_ms = now_ms = max(self._context.now_ms, batch.arrived_ms)
            if self._window.next_due_ms is not None and self._window.next_due_ms <= now_ms:
                self._advance_window(now_ms, out)
            self._window.add(self._let_in(batch, now_ms))
            self._faults.flush(out)
            return out
        where, window, context = self.plan.before.get(0), self._window, self._context
        assert window is not None
        for row, arrived_ms, meta in batch.each():
            if arrived_ms > context.now_ms:
                context.now_ms = arrived_ms
            now_ms = context.now_ms
            due_ms = window.next_due_ms
            if due_ms is not None and due_ms <= now_ms:
                self._advance_window(now_ms, out)
            if where is not None:
                context.event_ms, context.meta = now_ms, meta
                try:
                    if not where(row, context):
                        continue
                except RowError as error:
                    self._faults.report(placed(error), out)
                    continue
            cuts = window.add((Record(now_ms, 0, row, meta),))
            self._faults.flush(out)
            for cut in cuts:
                self._finish(cut, out)
        return out

    def _let_in(self, batch: Batch, now_ms: int) -> Iterator[Record]:
        """Records of one time of arrival for which WHERE holds."""
        where, context, faults = self.plan.before.get(0), self._context, self._faults
        metas = itertools.repeat(None, len(batch.rows)) if batch.meta is None else batch.meta
        for row, meta in zip(batch.rows, metas, strict=True):
            if where is not None:
                context.event_ms, context.meta = now_ms, meta
                try:
                    if not where(row, context):
                        continue
                except RowError as error:
                    faults.defer(placed(error))
                    continue
            yield Record(now_ms, 0, row, meta)

    def _feed_event_time(self, batch: Batch) -> list[Emission]:
        out: list[Emission] = []
        if self._scans.add_rows(batch.stream, batch.rows):
            return out
        indices = self._origins[batch.stream]
        assert self._watermark is not None
        watermark, context = self._watermark, self._context
        for row, arrived_ms, meta in batch.each():
            if arrived_ms > context.now_ms:
                context.now_ms = arrived_ms
            for index in indices:
                try:
                    ms = self._time_of[index](row)
                except RowError as error:
                    self._faults.report(error, out)
                    continue
                if not watermark.offer(Record(ms, self._numbers[index], (index, row), meta), context.now_ms):
                    self.counters.late += 1
            self._release(context.now_ms, out)
        return out

    def _release(self, arrived_ms: int, out: list[Emission]) -> None:
        """Continues with the records that the watermark has reached, those of one time together."""
        assert self._watermark is not None
        before_ms = self._watermark.ms
        released = self._watermark.release(arrived_ms)
        at = 0
        while at < len(released):
            ms, end = released[at].ms, at + 1
            while end < len(released) and released[end].ms == ms:
                end += 1
            self._advance_window(ms, out)
            moment = [
                Record(ms, each.row[0], self._placed(each.row[0], each.row[1]), each.meta)
                for each in released[at:end]
            ]
            self._enter(moment, out)
            at = end
        if self._watermark.ms != before_ms:
            self._advance_window(self._watermark.ms, out)

    def _placed(self, index: int, row: Row) -> Value:
        """The row as expressions see it: in a join a tuple with its place among the others."""
        if not self.plan.joined:
            return row
        return tuple(row if index == each.index else None for each in self.plan.origins)

    def _enter(self, records: Sequence[Record], out: list[Emission]) -> None:
        """Handles records of one time: analytic calls, WHERE, then the window or at once the rest."""
        let_in = [taken for record in records if (taken := self._taken(record, out)) is not None]
        if not let_in:
            return
        if self._window is None:
            for record in let_in:
                self._finish(Cut(WindowRecords([record]), 0, 0), out)
            return
        cuts = self._window.add(let_in)
        self._faults.flush(out)
        for cut in cuts:
            self._finish(cut, out)

    def _taken(self, record: Record, out: list[Emission]) -> Record | None:
        """The record with the values of its analytic calls; None where WHERE or FILTER refuses it."""
        plan, context = self.plan, self._context
        context.event_ms, context.meta = record.ms, record.meta
        if plan.uses_kept:
            context.kept.clear()
        try:
            analyses = self._analyses.get(record.source)
            if analyses is not None:
                record = self._analysed(record, analyses)
            if not plan.where_in_window(self.facts.event_time):
                where = plan.before.get(record.source)
                try:
                    if where is not None and not where(record.row, context):
                        return None
                except RowError as error:
                    raise RowError(f"Where: {error}") from None
                if plan.hits and plan.after is None:
                    context.hits.add("where", record.row, context, record.ms)
            if plan.filter is not None and not plan.filter(record.row, context):
                return None
        except RowError as error:
            self._faults.report(error, out)
            return None
        return record

    def _analysed(self, record: Record, analyses: Analyses) -> Record:
        if not self.plan.joined:
            own = dict(record.row)
            analyses.compute(own, own, self._context)
            return record._replace(row=own)
        own = dict(record.row[record.source])
        row = tuple(own if number == record.source else each for number, each in enumerate(record.row))
        analyses.compute(row, own, self._context)
        return record._replace(row=row)

    def _groups(self) -> RecordGroups:
        assert self.plan.grouping is not None
        return RecordGroups(self.plan.grouping, self._context, self._faults.defer)

    def _advance_window(self, ms: int, out: list[Emission]) -> None:
        if self._window is None:
            return
        for cut in self._window.advance(ms):
            self._finish(cut, out)

    def _finish(self, cut: Cut, out: list[Emission]) -> None:
        """Emits the rows of a window, or of one record."""
        try:
            rows = self._emitter.rows(cut)
        except RowError as error:
            self._faults.flush(out)
            self._faults.report(error, out)
            return
        self._faults.flush(out)
        if rows or (self.facts.send_empty_window and cut.content.is_empty):
            out.append(rows)

    def _counted(self, out: list[Emission]) -> list[Emission]:
        self._faults.flush(out)
        self.counters.emissions += len(out)
        return out
