"""A plan that runs: records and the passing of time in, emissions out; state that outlives a kill.

No I/O, no clock, no thread. What cannot be computed is counted and told, and the query goes on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opq_rules.batch import Batch, Emission, Row
from opq_rules.closures import Evaluate
from opq_rules.errors import SQL_PLAN, RowError, RuleError
from opq_rules.query.analysis import Analyses
from opq_rules.query.counters import Counters
from opq_rules.query.event_time import event_time_of
from opq_rules.query.frozen import frozen, thawed
from opq_rules.query.groups import Group, Groups, hashable, merged
from opq_rules.query.joins import Lookup, join
from opq_rules.query.ordering import ordered
from opq_rules.query.origin import Origin
from opq_rules.query.plan import Plan
from opq_rules.query.run import Facts, Run
from opq_rules.query.running import RunningGroups
from opq_rules.query.watermark import Watermark
from opq_rules.query.windows.hopping import Hopping, Panes
from opq_rules.query.windows.of import window_of
from opq_rules.query.windows.tumbling import Tumbling
from opq_rules.query.windows.window import Content, Cut, Kept, Record, Window

BATCH_TYPES = ("file", "mock", "simulator")
"""Sources that end: a scan table of theirs holds all rows, of others the last."""
MOST_ROWS = 1_000_000
"""Of such a table."""


class Query:
    """`lookups`: how a lookup table is asked, by its number in FROM. `retain`: rows that a scan table keeps,
    by name, whatever its definition says."""

    def __init__(
        self,
        plan: Plan,
        facts: Facts,
        lookups: Mapping[int, Lookup] | None = None,
        retain: Mapping[str, int] | None = None,
    ) -> None:
        self.plan = plan
        self.facts = facts
        self.counters = Counters()
        self._context = Run(facts.rule_id, facts.start_ms)
        self._project = plan.projection.project(facts.send_nil)
        self._spread = plan.projection.spread(facts.send_nil) if plan.projection.rows else None
        self._origins = {
            stream: tuple(origin.index for origin in plan.origins if origin.stream == stream)
            for stream in plan.streams
        }
        self._scans = {
            origin.index: deque[Row](maxlen=(retain or {}).get(origin.stream, _kept_rows(origin)))
            for origin in plan.origins
            if origin.kind == "scan" and plan.joined
        }
        self._lookups = dict(lookups or {})
        self._analyses = {
            origin.index: Analyses([call for call in plan.analytics if call.source == origin.index])
            for origin in plan.origins
            if any(call.source == origin.index for call in plan.analytics)
        }
        self._failures: list[Emission] = []
        self._now_ms = facts.start_ms
        self._window = self._make_window()
        self._watermark: Watermark | None = None
        self._time_of: dict[int, Callable[[Any], int]] = {}
        if facts.event_time:
            self._time_of, numbers = _event_times(plan)
            self._numbers = numbers
            self._watermark = Watermark(len(numbers), facts.late_tolerance_ms, facts.idle_timeout_ms)
        self._work: Callable[[Batch], list[Emission]] = self._feed_now
        if self._watermark is not None:
            self._work = self._feed_event_time
        elif plan.plain and not facts.send_meta:
            self._work = self._feed_plain
        elif plan.window_alone:
            self._work = self._feed_window

    def feed(self, batch: Batch) -> list[Emission]:
        """The emissions that these records complete, in order."""
        self.counters.records_in += len(batch.rows)
        return self._counted(self._work(batch))

    def advance(self, now_ms: int) -> list[Emission]:
        """Time passes: what falls due until `now_ms`."""
        out: list[Emission] = []
        if now_ms > self._now_ms:
            self._now_ms = self._context.now_ms = now_ms
        if self._watermark is None:
            self._advance_window(self._now_ms, out)
        elif self.facts.idle_timeout_ms:
            self._release(self._now_ms, out)
        return self._counted(out)

    def refuse(self, why: str, now_ms: int) -> list[Emission]:
        """A record that was none: counted, told at once where errors are sent; windows do not see it."""
        out: list[Emission] = []
        self._now_ms = max(self._now_ms, now_ms)
        self._failed(RowError(why), out)
        return self._counted(out)

    @property
    def next_due_ms(self) -> int | None:
        """When `advance` is wanted next; None: not before a record comes."""
        if self._watermark is not None:
            return self._watermark.next_idle_ms()
        return None if self._window is None else self._window.next_due_ms

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Rows of a scan table, without a batch."""
        for origin in self.plan.origins:
            if origin.stream == table and origin.index in self._scans:
                self._scans[origin.index].extend(rows)

    def scanned(self) -> dict[str, list[Row]]:
        """The rows that scan tables hold."""
        return {self.plan.origins[index].name: list(rows) for index, rows in self._scans.items()}

    @property
    def watermark_ms(self) -> int | None:
        return None if self._watermark is None else self._watermark.known_ms

    @property
    def forgotten(self) -> int:
        """Partitions of analytic calls that had to give way to newer ones."""
        return sum(each.forgotten for each in self._analyses.values())

    def state(self) -> Any:
        """JSON: windows, watermark, analytic calls, tables, counters."""
        context = self._context
        return frozen(
            {
                "now_ms": self._now_ms,
                "window": None if self._window is None else self._window.state(),
                "watermark": None if self._watermark is None else self._watermark.state(),
                "analyses": {str(index): each.state() for index, each in self._analyses.items()},
                "scans": {str(index): list(rows) for index, rows in self._scans.items()},
                "hits": [
                    context.hit_count,
                    context.hit_ms,
                    context.where_hit_count,
                    context.where_hit_ms,
                ],
                "counters": self.counters.state(),
            }
        )

    def restore(self, state: Any) -> None:
        """Goes on where `state` was taken from a query of the same plan and options."""
        state = thawed(state)
        context = self._context
        self._now_ms = context.now_ms = state["now_ms"]
        if self._window is not None:
            self._window.restore(state["window"])
        if self._watermark is not None:
            self._watermark.restore(state["watermark"])
        for index, analyses in self._analyses.items():
            analyses.restore(state["analyses"][str(index)])
        for index, rows in self._scans.items():
            rows.clear()
            rows.extend(state["scans"][str(index)])
        context.hit_count, context.hit_ms, context.where_hit_count, context.where_hit_ms = state["hits"]
        self.counters.restore(state["counters"])

    # --- records in -------------------------------------------------------------------------------------

    def _feed_plain(self, batch: Batch) -> list[Emission]:
        """Record in, record out, without anything between."""
        where, project, context = self.plan.before.get(0), self._project, self._context
        out: list[Emission] = []
        arrived, meta = batch.arrived_ms, batch.meta
        if isinstance(arrived, int):
            context.now_ms = context.event_ms = self._now_ms = arrived
            if meta is None:
                context.meta = None
                for row in batch.rows:
                    try:
                        if where is None or where(row, context):
                            out.append([project(row, context)])
                    except RowError as error:
                        self._failed(_placed_error(error), out)
                return out
        for row, now_ms, own_meta in _told(batch):
            context.now_ms = context.event_ms = self._now_ms = now_ms
            context.meta = own_meta
            try:
                if where is None or where(row, context):
                    out.append([project(row, context)])
            except RowError as error:
                self._failed(_placed_error(error), out)
        return out

    def _feed_now(self, batch: Batch) -> list[Emission]:
        """In the time of arrival, which never goes back."""
        out: list[Emission] = []
        indices = self._origins[batch.stream]
        if indices[0] in self._scans:
            for index in indices:
                self._scans[index].extend(batch.rows)
            return out
        window, context = self._window, self._context
        for row, arrived_ms, meta in _told(batch):
            if arrived_ms > self._now_ms:
                self._now_ms = arrived_ms
            now_ms = context.now_ms = self._now_ms
            if window is not None and window.next_due_ms is not None and window.next_due_ms <= now_ms:
                self._advance_window(now_ms, out)
            for index in indices:
                self._enter([Record(now_ms, index, self._placed(index, row), meta)], out)
        return out

    def _feed_window(self, batch: Batch) -> list[Emission]:
        """In the time of arrival, one stream, nothing but WHERE before its window."""
        out: list[Emission] = []
        where, window, context = self.plan.before.get(0), self._window, self._context
        assert window is not None
        for row, arrived_ms, meta in _told(batch):
            if arrived_ms > self._now_ms:
                self._now_ms = context.now_ms = arrived_ms
            now_ms = self._now_ms
            due_ms = window.next_due_ms
            if due_ms is not None and due_ms <= now_ms:
                self._advance_window(now_ms, out)
            if where is not None:
                context.event_ms, context.meta = now_ms, meta
                try:
                    if not where(row, context):
                        continue
                except RowError as error:
                    self._failed(_placed_error(error), out)
                    continue
            cuts = window.add((Record(now_ms, 0, row, meta),))
            if self._failures:
                self._flush(out)
            for cut in cuts:
                self._finish(cut, out)
        return out

    def _feed_event_time(self, batch: Batch) -> list[Emission]:
        out: list[Emission] = []
        indices = self._origins[batch.stream]
        if indices[0] in self._scans:
            for index in indices:
                self._scans[index].extend(batch.rows)
            return out
        assert self._watermark is not None
        watermark, context = self._watermark, self._context
        for row, arrived_ms, meta in _told(batch):
            if arrived_ms > self._now_ms:
                self._now_ms = arrived_ms
            context.now_ms = self._now_ms
            for index in indices:
                try:
                    ms = self._time_of[index](row)
                except RowError as error:
                    self._failed(error, out)
                    continue
                if not watermark.offer(Record(ms, self._numbers[index], (index, row), meta), self._now_ms):
                    self.counters.late += 1
            self._release(self._now_ms, out)
        return out

    def _release(self, arrived_ms: int, out: list[Emission]) -> None:
        """What the watermark has reached goes on, records of one moment together."""
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

    def _placed(self, index: int, row: Row) -> Any:
        """As expressions see it: in joins in its place among the others."""
        if not self.plan.joined:
            return row
        return tuple(row if index == each.index else None for each in self.plan.origins)

    def _enter(self, records: Sequence[Record], out: list[Emission]) -> None:
        """Records of one moment: analytic calls, WHERE, the window or at once the rest."""
        let_in = [taken for record in records if (taken := self._taken(record, out)) is not None]
        if not let_in:
            return
        if self._window is None:
            for record in let_in:
                self._finish(Cut(Kept([record]), 0, 0), out)
            return
        cuts = self._window.add(let_in)
        self._flush(out)
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
            if plan.window is None or plan.window.kind != "count":
                where = plan.before.get(record.source)
                try:
                    if where is not None and not where(record.row, context):
                        return None
                except RowError as error:
                    raise RowError(f"Where: {error}") from None
                if plan.uses_hits and plan.after is None:
                    context.where_hit_count += 1
                    context.where_hit_ms = record.ms
            if plan.filter is not None and not plan.filter(record.row, context):
                return None
        except RowError as error:
            self._failed(error, out)
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

    # --- windows ----------------------------------------------------------------------------------------

    def _make_window(self) -> Window | None:
        plan, asked = self.plan, self.plan.window
        if asked is None:
            return None
        groups_at_once = plan.grouping is not None and not plan.joined
        fresh: Callable[[], Content] = self._groups if groups_at_once else Kept
        grouping = plan.grouping if groups_at_once else None
        merging = grouping is not None and grouping.merges
        removing = grouping is not None and grouping.removes
        window = window_of(
            asked,
            fresh=fresh,
            merged=(lambda panes: merged(panes, self._groups)) if merging else None,
            running=self._running_groups if removing else None,
            holds=self._guarded(plan.before),
            triggers=None if plan.when is None else self._guarded(plan.when),
            begins=self._guarded(plan.begin),
            ends=None if plan.end is None else self._guarded(plan.end),
            partition=self._partition,
            empty=self.facts.send_empty_window,
            zone=plan.zone,
        )
        empty = self.facts.send_empty_window and not self.facts.event_time
        if empty and isinstance(window, Tumbling | Hopping | Panes):
            window.open(self.facts.start_ms)
        return window

    def _groups(self) -> Groups:
        assert self.plan.grouping is not None
        return Groups(self.plan.grouping, self._context, self._kept_failure)

    def _running_groups(self) -> RunningGroups:
        return RunningGroups(self.plan.grouping, self._context, self._kept_failure)

    def _guarded(self, condition: Evaluate | Mapping[int, Evaluate] | None) -> Callable[[Record], bool]:
        """A condition on records for windows: one that cannot be computed does not hold, and is told."""
        context = self._context

        def holds(record: Record) -> bool:
            evaluate = condition.get(record.source) if isinstance(condition, Mapping) else condition
            context.event_ms, context.meta = record.ms, record.meta
            try:
                return evaluate is None or evaluate(record.row, context) is True
            except RowError as error:
                self._kept_failure(error)
                return False

        return holds

    def _partition(self, record: Record) -> str:
        if not self.plan.partition_by:
            return ""
        context = self._context
        context.event_ms, context.meta = record.ms, record.meta
        try:
            return repr([hashable(each(record.row, context)) for each in self.plan.partition_by])
        except RowError as error:
            self._kept_failure(error)
            return "error"

    def _advance_window(self, ms: int, out: list[Emission]) -> None:
        if self._window is None:
            return
        for cut in self._window.advance(ms):
            self._finish(cut, out)

    # --- emissions out ----------------------------------------------------------------------------------

    def _finish(self, cut: Cut, out: list[Emission]) -> None:
        """Join, group, HAVING, SELECT, ORDER BY, LIMIT of one window, or of one record."""
        context = self._context
        windowed = self._window is not None
        context.window_start_ms, context.window_end_ms = cut.start_ms, cut.end_ms
        context.window_trigger_ms = cut.end_ms if cut.trigger_ms is None else cut.trigger_ms
        try:
            if isinstance(cut.content, Groups):
                rows = self._put_groups(cut, cut.content.by_key.values())
            else:
                assert isinstance(cut.content, Kept)
                records = cut.content.records
                if self.plan.joined:
                    records = self._joined(records, cut.end_ms if windowed else None)
                if self.plan.grouping is None:
                    rows = self._put_records(cut, records)
                else:
                    groups = self._groups()
                    for record in records:
                        groups.add(record)
                    rows = self._put_groups(cut, groups.by_key.values())
        except RowError as error:
            self._flush(out)
            self._failed(error, out)
            return
        self._flush(out)
        if self.plan.limit is not None:
            rows = rows[: self.plan.limit]
        if rows or (self.facts.send_empty_window and _is_empty(cut.content)):
            out.append(rows)

    def _joined(self, records: Sequence[Record], end_ms: int | None) -> list[Record]:
        by_origin: dict[int, list[Row]] = {origin.index: [] for origin in self.plan.origins}
        metas: dict[int, Any] = {}
        for record in records:
            own = record.row[record.source]
            by_origin[record.source].append(own)
            if record.meta is not None:
                metas[id(own)] = record.meta
        context, after = self._context, self.plan.after
        if records:
            context.event_ms = records[-1].ms if end_ms is None else end_ms

        def rows_of(index: int) -> Sequence[Row]:
            return list(self._scans[index]) if index in self._scans else by_origin[index]

        found = join(by_origin[0], len(by_origin), self.plan.steps, rows_of, self._lookups, context)
        kept: list[Record] = []
        for row in found:
            meta = None
            if metas:
                pairs = zip(self.plan.origins, row, strict=True)
                meta = {origin.name: metas.get(id(own)) for origin, own in pairs if own is not None}
            context.meta = meta
            try:
                holds = after is None or after(row, context)
            except RowError as error:
                raise RowError(f"Where: {error}") from None
            if holds:
                if self.plan.uses_hits:
                    context.where_hit_count += 1
                    context.where_hit_ms = context.event_ms
                kept.append(Record(context.event_ms, 0, row, meta))
        return kept

    def _put_records(self, cut: Cut, records: Sequence[Record]) -> list[Row]:
        context = self._context
        windowed = self._window is not None
        put: list[tuple[list[Any], list[Row]]] = []
        for number, record in enumerate(records, 1):
            context.event_ms = cut.end_ms if windowed else record.ms
            context.meta = record.meta
            context.row_number = number
            if self.plan.uses_kept and windowed:
                context.kept.clear()
            put.extend(self._put(record))
        return self._in_order(put)

    def _put_groups(self, cut: Cut, groups: Iterable[Group]) -> list[Row]:
        plan, context = self.plan, self._context
        assert plan.grouping is not None
        put: list[tuple[list[Any], list[Row]]] = []
        context.row_number = 1
        for group in groups:
            context.event_ms = cut.end_ms if self._window is not None else group.first.ms
            context.meta = group.first.meta
            context.values = group.values(plan.grouping.calls)
            if plan.uses_kept and self._window is not None:
                context.kept.clear()
            if plan.having is not None:
                try:
                    if not plan.having(group.first.row, context):
                        continue
                except RowError as error:
                    raise RowError(f"Having: {error}") from None
            put.extend(self._put(group.first))
            context.row_number += 1
        return self._in_order(put)

    def _put(self, record: Record) -> list[tuple[list[Any], list[Row]]]:
        """The rows of one record or group, each with what it is ordered by."""
        plan, context, row = self.plan, self._context, record.row
        rows = [self._project(row, context)] if self._spread is None else self._spread(row, context)
        if self.facts.send_meta and record.meta is not None and plan.grouping is None:
            rows = [each | {"__meta": record.meta} for each in rows]
        if plan.uses_hits:
            context.hit_count += 1
            context.hit_ms = context.event_ms
        if not plan.order_by:
            return [([], rows)]
        found = []
        for each in rows:
            keys = [
                each[name] if self._spread is not None and name in each else evaluate(row, context)
                for evaluate, name, _ in plan.order_by
            ]
            found.append((keys, [each]))
        return found

    def _in_order(self, put: list[tuple[list[Any], list[Row]]]) -> list[Row]:
        if self.plan.order_by:
            groups = ordered(put, [descending for _, _, descending in self.plan.order_by])
        else:
            groups = [rows for _, rows in put]
        return [row for rows in groups for row in rows]

    # --- errors -----------------------------------------------------------------------------------------

    def _failed(self, error: RowError, out: list[Emission]) -> None:
        self.counters.errors += 1
        self.counters.last_error = str(error)
        self.counters.last_error_ms = self._now_ms
        if self.facts.send_error:
            out.append([{"error": str(error)}])

    def _kept_failure(self, error: RowError) -> None:
        """Inside a window: told with what comes next."""
        self._failed(error, self._failures)

    def _flush(self, out: list[Emission]) -> None:
        if self._failures:
            out.extend(self._failures)
            self._failures.clear()

    def _counted(self, out: list[Emission]) -> list[Emission]:
        self._flush(out)
        self.counters.emissions += len(out)
        return out


def _is_empty(content: Content) -> bool:
    return not (content.by_key if isinstance(content, Groups) else content.state())


def _told(batch: Batch) -> Iterable[tuple[Row, int, Any]]:
    """(row, arrived_ms, meta) of each."""
    count = len(batch.rows)
    arrived = batch.arrived_ms
    times = [arrived] * count if isinstance(arrived, int) else arrived
    metas = [None] * count if batch.meta is None else batch.meta
    return zip(batch.rows, times, metas, strict=True)


def _kept_rows(table: Origin) -> int:
    asked = table.definition.retain_size
    if asked is not None:
        return asked
    return MOST_ROWS if table.definition.type in BATCH_TYPES else 1


def _placed_error(error: RowError) -> RowError:
    """What SELECT raises says so; the rest of a plain rule is WHERE."""
    return error if str(error).startswith("Select ") else RowError(f"Where: {error}")


def _event_times(plan: Plan) -> tuple[dict[int, Callable[[Any], int]], dict[int, int]]:
    """How each stream tells its time, and its number among the streams that move the watermark."""
    times: dict[int, Callable[[Any], int]] = {}
    numbers: dict[int, int] = {}
    for origin in plan.origins:
        if origin.kind == "stream" or not plan.joined:
            definition = origin.definition
            if definition.timestamp is None:
                raise RuleError(
                    f"isEventTime: stream {origin.stream} does not tell its time",
                    SQL_PLAN,
                    hint='create it WITH (TIMESTAMP="column")',
                )
            times[origin.index] = event_time_of(definition.timestamp, definition.timestamp_format)
            numbers[origin.index] = len(numbers)
    return times, numbers
