"""The rows of a window, or of one record: join, group, HAVING, SELECT, ORDER BY, LIMIT.

In ORDER BY null comes last, ascending or not. Source: docs/reference/rules.md, D.1.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key
from itertools import compress
from typing import TypeVar

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.groups import RecordGroup, RecordGroups
from opq_rules.query.planning.analysis import Analyses
from opq_rules.query.planning.joins import Lookup, join
from opq_rules.query.planning.select_plan import QueryPlan
from opq_rules.query.planning.where import sieve_of
from opq_rules.query.query_run import QueryContext, QueryErrors, RuleFacts, placed
from opq_rules.query.window import Cut, Record, WindowRecords
from opq_rules.values.batch import Batch, Emission, Row, Value
from opq_rules.values.sql_values import compare

Put = TypeVar("Put")


def ordered(rows: Sequence[tuple[list[Value], Put]], descending: Sequence[bool]) -> list[Put]:
    """Sorts pairs (keys, row) and returns the rows. Raises RowError where keys cannot be compared."""

    def by_keys(left: tuple[list[Value], Put], right: tuple[list[Value], Put]) -> int:
        for a, b, down in zip(left[0], right[0], descending, strict=True):
            if a is None or b is None:
                if a is not b:
                    return 1 if a is None else -1
                continue
            if type(a) is bool and type(b) is bool:
                a, b = int(a), int(b)
            try:
                if compare("<", a, b):
                    return 1 if down else -1
                if compare(">", a, b):
                    return -1 if down else 1
            except RowError as error:
                raise RowError(f"Order By: {error}") from None
        return 0

    return [row for _, row in sorted(rows, key=cmp_to_key(by_keys))]


class Emitter:
    """Makes the rows of windows. `fresh`: makes groups for a window that has kept its records.

    `scans`: rows of scan tables, by number in FROM. `late`: analytic calls over aggregates.
    """

    def __init__(
        self,
        plan: QueryPlan,
        facts: RuleFacts,
        context: QueryContext,
        fresh: Callable[[], RecordGroups],
        scans: Mapping[int, Sequence[Row]],
        lookups: Mapping[int, Lookup],
        late: Analyses | None,
    ) -> None:
        self._late = late
        self._plan = plan
        self._facts = facts
        self._context = context
        self._fresh = fresh
        self._scans = scans
        self._lookups = lookups
        self._windowed = plan.window is not None
        self.project = plan.projection.project(facts.send_nil)
        self._spread = plan.projection.spread(facts.send_nil) if plan.projection.rows else None

    def rows(self, cut: Cut) -> list[Row]:
        """The rows of a window. Raises RowError where they cannot be computed."""
        self._context.cut(cut.start_ms, cut.end_ms, cut.trigger_ms)
        if isinstance(cut.content, RecordGroups):
            found = self._put_groups(cut, cut.content)
        else:
            assert isinstance(cut.content, WindowRecords)
            records = cut.content.records
            if self._plan.joined:
                records = self._joined(records, cut.end_ms if self._windowed else None)
            if self._plan.grouping is None:
                found = self._put_records(cut, records)
            else:
                groups = self._fresh()
                for record in records:
                    groups.add(record)
                if not self._plan.gated:
                    found = self._put_groups(cut, groups)
                elif any(self._lets_through(cut, groups, group) for group in groups.each()):
                    self._context.hits.add("row", records[0].row, self._context, self._context.event_ms)
                    found = self._put_records(cut, records)
                else:
                    found = []
        limit = self._plan.limit
        return found if limit is None else found[:limit]

    def _joined(self, records: Sequence[Record], end_ms: int | None) -> list[Record]:
        by_origin: dict[int, list[Row]] = {origin.index: [] for origin in self._plan.origins}
        metas: dict[int, Value] = {}
        for record in records:
            own = record.row[record.source]
            by_origin[record.source].append(own)
            if record.meta is not None:
                metas[id(own)] = record.meta
        context, after = self._context, self._plan.after
        if records:
            context.event_ms = records[-1].ms if end_ms is None else end_ms

        def rows_of(index: int) -> Sequence[Row]:
            return self._scans[index] if index in self._scans else by_origin[index]

        found = join(by_origin[0], len(by_origin), self._plan.steps, rows_of, self._lookups, context)
        kept: list[Record] = []
        for row in found:
            meta = None
            if metas:
                pairs = zip(self._plan.origins, row, strict=True)
                meta = {origin.name: metas.get(id(own)) for origin, own in pairs if own is not None}
            context.meta = meta
            try:
                holds = after is None or after(row, context)
            except RowError as error:
                raise RowError(f"Where: {error}") from None
            if holds:
                context.hits.add("where", row, context, context.event_ms)
                kept.append(Record(context.event_ms, 0, row, meta))
        return kept

    def _put_records(self, cut: Cut, records: Sequence[Record]) -> list[Row]:
        context = self._context
        put: list[tuple[list[Value], list[Row]]] = []
        for number, record in enumerate(records, 1):
            context.event_ms = cut.end_ms if self._windowed else record.ms
            context.meta = record.meta
            context.row_number = number
            if self._plan.uses_kept and self._windowed:
                context.kept.clear()
            put.extend(self._rows_of(record))
        return self._in_order(put)

    def _put_groups(self, cut: Cut, groups: RecordGroups) -> list[Row]:
        context = self._context
        put: list[tuple[list[Value], list[Row]]] = []
        context.row_number = 1
        for group in groups.each():
            if not self._lets_through(cut, groups, group):
                continue
            put.extend(self._rows_of(group.first))
            context.row_number += 1
        return self._in_order(put)

    def _lets_through(self, cut: Cut, groups: RecordGroups, group: RecordGroup) -> bool:
        """Computes the group's values; returns whether HAVING holds."""
        plan, context = self._plan, self._context
        assert plan.grouping is not None
        context.event_ms = cut.end_ms if self._windowed else group.first.ms
        context.meta = group.first.meta
        context.values = groups.values(group)
        if self._late is not None:
            self._late.compute(group.first.row, context.late, context)
        if plan.uses_kept and self._windowed:
            context.kept.clear()
        try:
            return plan.having is None or plan.having(group.first.row, context) is True
        except RowError as error:
            raise RowError(f"Having: {error}") from None

    def _rows_of(self, record: Record) -> list[tuple[list[Value], list[Row]]]:
        """The rows of one record or group, each with its keys of ORDER BY."""
        plan, context, row = self._plan, self._context, record.row
        rows = [self.project(row, context)] if self._spread is None else self._spread(row, context)
        if self._facts.send_meta and record.meta is not None and plan.grouping is None:
            rows = [each | {"__meta": record.meta} for each in rows]
        if plan.hits and not plan.gated:
            context.hits.add("row", row, context, context.event_ms)
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

    def _in_order(self, put: list[tuple[list[Value], list[Row]]]) -> list[Row]:
        if self._plan.order_by:
            groups = ordered(put, [descending for _, _, descending in self._plan.order_by])
        else:
            groups = [rows for _, rows in put]
        return [row for rows in groups for row in rows]


class Plain:
    """A rule without memory. `project(row, context)`: SELECT's row; its time is the last record's."""

    def __init__(
        self, plan: QueryPlan, project: Evaluate, context: QueryContext, faults: QueryErrors
    ) -> None:
        self._where = plan.before.get(0)
        self._project = project
        self._context = context
        self._faults = faults
        self._sieve = sieve_of(plan.select)

    def feed(self, batch: Batch) -> list[Emission]:
        """The emissions of these records, in order."""
        where, project, context, sieve = self._where, self._project, self._context, self._sieve
        out: list[Emission] = []
        rows, arrived = batch.rows, batch.arrived_ms
        if isinstance(arrived, int):
            context.now_ms = context.event_ms = arrived
            if batch.meta is None:
                context.meta = None
                for row in rows if sieve is None else compress(rows, sieve(rows)):
                    try:
                        if where is None or where(row, context):
                            out.append([project(row, context)])
                    except RowError as error:
                        self._faults.report(placed(error), out)
                return out
        records = batch.each()
        for row, now_ms, meta in records if sieve is None else compress(records, sieve(rows)):
            context.now_ms = context.event_ms = now_ms
            context.meta = meta
            try:
                if where is None or where(row, context):
                    out.append([project(row, context)])
            except RowError as error:
                self._faults.report(placed(error), out)
        if not isinstance(arrived, int) and arrived:
            context.now_ms = arrived[-1]
        return out
