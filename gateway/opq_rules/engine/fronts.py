"""Which rules can look at one window: those that agree in all that is before it and in it. Pure."""

from typing import Any

from opq_rules.engine.thresholds import OF_ITS_RULE, calls, nodes
from opq_rules.functions.registry import Aggregate, Scalar, built_in, find
from opq_rules.query.plan import Plan
from opq_rules.query.signature import signature
from opq_rules.sql.syntax import Call, Column, Select

LEFT_BEHIND = frozenset({"window_start", "window_end", "window_trigger", "row_number"})
"""Of the window that ended last: no two windows need agree in it while they are open."""


def front_key(planned: Plan) -> Any:
    """What they have to agree in, beside their options; None: the rule keeps its own window."""
    select, window, grouping = planned.select, planned.window, planned.grouping
    if window is None or planned.origins[0].kind != "stream":
        return None
    if planned.joined or planned.gated or planned.analytics or planned.uses_hits or planned.uses_kept:
        return None
    called = list(calls(select))
    if not all(_is_anybodys(call) for call in called):
        return None
    before = (select.where, select.group_by, window)
    aggregates = tuple(call for call in called if isinstance(find(call.name), Aggregate))
    inside = (before, aggregates)
    renames = _reads_alias(select, inside)
    behind = called if renames else calls(inside)
    if any(call.name in LEFT_BEHIND for call in behind):
        return None
    key: tuple[Any, ...] = (signature(select.source), signature(before, spelled=True))
    if _reads_alias(select, before):
        key = (*key, signature(select.items, spelled=True))
    if grouping is None:
        return (*key, "records")
    if window.kind in ("hopping", "sliding"):
        return (*key, grouping.merges, grouping.removes)
    return (*key, "groups")


def _is_anybodys(call: Call) -> bool:
    """The same for every rule: of the toolkit, without memory, no draw."""
    found = built_in().get(call.name)
    if found is None or call.name in OF_ITS_RULE or call.name == "get_keyed_state":
        return False
    return not (isinstance(found, Scalar) and found.volatile)


def _reads_alias(select: Select, part: Any) -> bool:
    aliases = {item.alias.lower() for item in select.items if item.alias is not None}
    return any(
        isinstance(each, Column) and each.stream is None and each.name.lower() in aliases
        for each in nodes(part)
    )
