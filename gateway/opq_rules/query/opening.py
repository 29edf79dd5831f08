"""Makes the window of a statement; a window condition that cannot be computed counts as false."""

from datetime import UTC
from functools import partial

from opq_proto.time_units import MINUTE_MS
from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.groups import RecordGroups, RunningGroups, hashable, merged_panes
from opq_rules.query.hits import Match
from opq_rules.query.planning.select_plan import QueryPlan
from opq_rules.query.query_run import QueryContext, QueryErrors, RuleFacts
from opq_rules.query.window import Fresh, Holds, Merge, QueryWindow, Record, WindowRecords, joined_records
from opq_rules.query.windows.by_record import CountWindow, SessionWindow, StateWindow
from opq_rules.query.windows.by_time import Ends, Hopping, Tumbling
from opq_rules.query.windows.sliding import Sliding, SlidingGroups

_CYCLES_MS = {10: 200, 12: 200, 150: 3_000, 180: 3_000}
"""10 and 12 cycles are nominally 200 ms at 50 and 60 Hz, 150 and 180 are 3 s. IEC 61000-4-30, 4.4."""


def query_window(
    plan: QueryPlan, facts: RuleFacts, context: QueryContext, faults: QueryErrors
) -> QueryWindow | None:
    """The window, or None for a statement without one."""
    definition = plan.window
    if definition is None:
        return None
    grouping = None if plan.joined or plan.gated else plan.grouping

    def groups() -> RecordGroups:
        assert grouping is not None
        return RecordGroups(grouping, context, faults.defer)

    def quiet_groups() -> RecordGroups:
        assert grouping is not None
        return RecordGroups(grouping, context, lambda error: None)

    def running() -> RunningGroups:
        assert grouping is not None
        return RunningGroups(grouping, context, faults.defer)

    def guarded(condition: Evaluate, match: Match | None = None) -> Holds:
        def holds(record: Record) -> bool:
            context.event_ms, context.meta = record.ms, record.meta
            try:
                if condition(record.row, context) is not True:
                    return False
                if match is not None:
                    context.hits.add(match, record.row, context, record.ms)
                return True
            except RowError as error:
                faults.defer(error)
                return False

        return holds

    def let_in() -> Holds | None:
        """WHERE, if it chooses among the records that the window has seen."""
        match: Match | None = "where" if plan.hits and plan.after is None else None
        by_source = {source: guarded(condition, match) for source, condition in plan.before.items()}
        if not by_source:
            return None
        return lambda record: record.source not in by_source or by_source[record.source](record)

    def partition(record: Record) -> str:
        if not plan.partition_by:
            return ""
        context.event_ms, context.meta = record.ms, record.meta
        try:
            return repr([hashable(each(record.row, context)) for each in plan.partition_by])
        except RowError as error:
            faults.defer(error)
            return "error"

    fresh: Fresh = WindowRecords if grouping is None else groups
    part: Fresh = WindowRecords
    again: Fresh = WindowRecords
    merge: Merge = joined_records
    if grouping is not None and grouping.merges:
        part, again, merge = groups, quiet_groups, partial(merged_panes, fresh=groups)
    length_ms, empty = definition.length_ms or 0, facts.send_empty_window
    triggers = None if plan.when is None else guarded(plan.when, "trigger")
    window: Tumbling | Hopping
    match definition.kind:
        case "tumbling":
            window = Tumbling(
                Ends.of(definition.unit, length_ms, plan.zone), fresh, empty, faults.keep_left_out
            )
        case "cycle":
            aligned = Ends(_CYCLES_MS[definition.count or 10], 10 * MINUTE_MS, UTC)
            window = Tumbling(aligned, fresh, empty, faults.keep_left_out)
        case "hopping":
            hops = Ends.of(definition.unit, definition.hop_ms or length_ms, plan.zone)
            window = Hopping(hops, length_ms, part, merge, empty, faults.keep_left_out)
        case "sliding" if grouping is not None and grouping.removes and not definition.delay_ms:
            return SlidingGroups(length_ms, triggers, running, let_in())
        case "sliding":
            return Sliding(length_ms, definition.delay_ms or 0, triggers, part, again, merge, let_in())
        case "session":
            ticks = Ends.of(definition.unit, length_ms, plan.zone)
            holds = let_in() if plan.where_in_window(facts.event_time) else None
            return SessionWindow(ticks, definition.timeout_ms or 0, fresh, holds)
        case "count":
            size = definition.count or 1
            return CountWindow(size, definition.every or size, fresh, let_in())
        case "state":
            assert plan.begin is not None
            ends = None if plan.end is None else guarded(plan.end)
            return StateWindow(guarded(plan.begin), ends, partition, fresh, let_in())
    if empty and not facts.event_time:
        window.open(facts.start_ms)
    return window
