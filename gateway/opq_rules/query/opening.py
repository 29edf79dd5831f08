"""The window of a plan, with its conditions: one that cannot be computed does not hold, and is told."""

from collections.abc import Callable, Mapping

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.faults import Faults
from opq_rules.query.groups import Groups, hashable, merged
from opq_rules.query.plan import Plan
from opq_rules.query.run import Facts, Run
from opq_rules.query.running import RunningGroups
from opq_rules.query.windows.hopping import Hopping, Panes
from opq_rules.query.windows.of import window_of
from opq_rules.query.windows.tumbling import Tumbling
from opq_rules.query.windows.window import MOST_EMPTY, Kept, Record, Window


def opened(plan: Plan, facts: Facts, context: Run, faults: Faults) -> Window | None:
    """None: the statement has no window."""
    asked = plan.window
    if asked is None:
        return None
    grouping = None if plan.joined or plan.gated else plan.grouping

    def groups() -> Groups:
        assert grouping is not None
        return Groups(grouping, context, faults.keep)

    def quiet_groups() -> Groups:
        assert grouping is not None
        return Groups(grouping, context, lambda error: None)

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
        fresh=Kept if grouping is None else groups,
        again=Kept if grouping is None else quiet_groups,
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
