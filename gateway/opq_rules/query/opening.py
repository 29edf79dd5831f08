"""The window that a statement asks for; a condition of it that cannot be computed does not hold."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo

from opq_rules.batch import Value
from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.calendar import MINUTE_MS, Ends
from opq_rules.query.groups import RecordGroups, hashable, merged
from opq_rules.query.plan import QueryPlan
from opq_rules.query.run import QueryContext, QueryErrors, RuleFacts
from opq_rules.query.running import RunningGroups
from opq_rules.query.windows.by_record import CountWindow, SessionWindow, StateWindow
from opq_rules.query.windows.hopping import Hopping, Panes
from opq_rules.query.windows.sliding import RemovableGroups, Sliding, SlidingBlocks, SlidingGroups
from opq_rules.query.windows.tumbling import Tumbling
from opq_rules.query.windows.window import MOST_EMPTY, Fresh, KeptRecords, QueryWindow, Record, WindowContent
from opq_rules.sql import syntax

Holds = Callable[[Record], bool]

_CYCLES_MS = {10: 200, 12: 200, 150: 3_000, 180: 3_000}
"""10 and 12 cycles are nominally 200 ms at 50 and 60 Hz, 150 and 180 are 3 s. IEC 61000-4-30, 4.4."""


def window_of(
    asked: syntax.WindowClause,
    *,
    fresh: Fresh,
    again: Fresh,
    merged: Callable[[Value], WindowContent] | None,
    running: Callable[[], RemovableGroups] | None,
    holds: Holds,
    triggers: Holds | None,
    begins: Holds,
    ends: Holds | None,
    partition: Callable[[Record], str],
    empty: bool,
    zone: tzinfo | None,
) -> QueryWindow:
    """`merged`: of the parts of a hopping or sliding window, `running`: of a sliding one; None: they keep
    records and are computed again.

    `again`: as `fresh`, but it tells no error. `holds`: WHERE of count windows.
    """
    length_ms = asked.length_ms or 0
    match asked.kind:
        case "tumbling":
            return Tumbling(Ends.of(asked.unit, length_ms, zone), fresh, empty)
        case "cycle":
            aligned = Ends(_CYCLES_MS[asked.count or 10], 10 * MINUTE_MS, UTC)
            return Tumbling(aligned, fresh, empty)
        case "hopping":
            hops = Ends.of(asked.unit, asked.hop_ms or length_ms, zone)
            if merged is None:
                return Hopping(hops, length_ms, empty)
            return Panes(hops, length_ms, fresh, merged, empty)
        case "sliding":
            if running is not None and not asked.delay_ms:
                return SlidingGroups(length_ms, triggers, running)
            if merged is not None:
                return SlidingBlocks(length_ms, asked.delay_ms or 0, triggers, fresh, again, merged)
            return Sliding(length_ms, asked.delay_ms or 0, triggers)
        case "session":
            return SessionWindow(Ends.of(asked.unit, length_ms, zone), asked.timeout_ms or 0, fresh)
        case "count":
            size = asked.count or 1
            return CountWindow(size, asked.every or size, fresh, holds)
        case "state":
            return StateWindow(begins, ends, partition, fresh)


def opened(
    plan: QueryPlan, facts: RuleFacts, context: QueryContext, faults: QueryErrors
) -> QueryWindow | None:
    """None: the statement has no window."""
    asked = plan.window
    if asked is None:
        return None
    grouping = None if plan.joined or plan.gated else plan.grouping

    def groups() -> RecordGroups:
        assert grouping is not None
        return RecordGroups(grouping, context, faults.keep)

    def quiet_groups() -> RecordGroups:
        assert grouping is not None
        return RecordGroups(grouping, context, lambda error: None)

    def running() -> RunningGroups:
        return RunningGroups(grouping, context, faults.keep)

    def guarded(condition: Evaluate | Mapping[int, Evaluate] | None) -> Callable[[Record], bool]:
        def holds(record: Record) -> bool:
            evaluate = condition.get(record.source) if isinstance(condition, Mapping) else condition
            context.event_ms, context.meta = record.ms, record.meta
            try:
                return evaluate is None or evaluate(record.row, context) is True
            except RowError as error:
                faults.keep(error)
                return False

        return holds

    def partition(record: Record) -> str:
        if not plan.partition_by:
            return ""
        context.event_ms, context.meta = record.ms, record.meta
        try:
            return repr([hashable(each(record.row, context)) for each in plan.partition_by])
        except RowError as error:
            faults.keep(error)
            return "error"

    def left_out(start_ms: int, end_ms: int) -> None:
        text = f"sendEmptyWindow: {MOST_EMPTY} at once; those from {start_ms} to {end_ms} ms were left out"
        faults.keep(RowError(text))

    window = window_of(
        asked,
        fresh=KeptRecords if grouping is None else groups,
        again=KeptRecords if grouping is None else quiet_groups,
        merged=(lambda panes: merged(panes, groups)) if grouping is not None and grouping.merges else None,
        running=running if grouping is not None and grouping.removes else None,
        holds=guarded(plan.before),
        triggers=None if plan.when is None else guarded(plan.when),
        begins=guarded(plan.begin),
        ends=None if plan.end is None else guarded(plan.end),
        partition=partition,
        empty=facts.send_empty_window,
        zone=plan.zone,
    )
    if facts.send_empty_window and isinstance(window, Tumbling | Hopping | Panes):
        window.left_out = left_out
        if not facts.event_time:
            window.open(facts.start_ms)
    return window
