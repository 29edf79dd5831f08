"""A SELECT, checked once and compiled; shared by all that run it. Source: docs/reference/rules.md, D.1 to
D.3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.functions.registry import Functions
from opq_rules.query.groups import Grouping
from opq_rules.query.hits import HitCall
from opq_rules.query.planning.analysis import AnalyticCall
from opq_rules.query.planning.joins import JoinStep, join_step
from opq_rules.query.planning.names import GROUP_BY, HAVING, IN_WINDOW, TRIGGER, Clause, check_having
from opq_rules.query.planning.origin import Origin
from opq_rules.query.planning.projection import Projection, ordered_by, projection_of, titles, used_columns
from opq_rules.query.planning.resolver import Compiler
from opq_rules.query.planning.typing_pass import check_types
from opq_rules.query.planning.where import split_where
from opq_rules.sql.syntax import Expression, Select, WindowClause
from opq_rules.sql.walk import calls_in
from opq_rules.streams.definition import StreamDefinition

RULE_SCALARS = frozenset({"rule_id", "rule_start"})
"""Scalars whose value depends on the rule."""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A checked statement. `before`: per origin the part of WHERE that reads it alone; `after`: the rest."""

    select: Select
    origins: tuple[Origin, ...]
    joined: bool
    steps: tuple[JoinStep, ...]
    before: Mapping[int, Evaluate]
    after: Evaluate | None
    window: WindowClause | None
    filter: Evaluate | None
    when: Evaluate | None
    begin: Evaluate | None
    end: Evaluate | None
    partition_by: tuple[Evaluate, ...]
    analytics: tuple[AnalyticCall, ...]
    grouping: Grouping | None
    having: Evaluate | None
    gated: bool
    """SELECT has no aggregate and GROUP BY no key: HAVING lets through all records of a window, or none."""
    projection: Projection
    order_by: tuple[tuple[Evaluate, str | None, bool], ...]
    """(value, column of an unnested row, descending)"""
    limit: int | None
    hits: tuple[HitCall, ...]
    """The counters of last_hit_count() and last_hit_time()."""
    uses_kept: bool
    used: Mapping[str, frozenset[str] | None]
    """For each stream and table the columns that are read, in lower case; None: all, by `*`."""
    columns: tuple[str, ...]
    """Columns of the output, in order; `*` and `s.*` where they are not known beforehand."""
    zone: tzinfo | None

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams and scan tables that have to be fed."""
        return tuple(dict.fromkeys(each.stream for each in self.origins if each.kind != "lookup"))

    @property
    def plain(self) -> bool:
        """Whether each record gives a row by itself: nothing is remembered, sorted, grouped or joined."""
        return not (
            self.window
            or self.joined
            or self.grouping
            or self.analytics
            or self.order_by
            or self.limit is not None
            or self.projection.rows
            or self.hits
            or self.uses_kept
        )

    @property
    def shareable(self) -> bool:
        """Whether a later rule may join: the query keeps no state, or only the open window of a join."""
        if self.analytics or self.hits or self.uses_kept:
            return False
        if self.window is not None and (not self.joined or self.window.kind in ("count", "state", "cycle")):
            return False
        return not any(call.name in RULE_SCALARS for call in calls_in(self.select))

    def where_in_window(self, event_time: bool) -> bool:
        """Whether records control the window, so that it has to see those too that WHERE refuses.

        A session of event time does as well, one of the clock does not: both as in eKuiper.
        """
        if self.window is None:
            return False
        return self.window.kind in ("count", "sliding", "state") or (
            self.window.kind == "session" and event_time
        )

    @property
    def window_alone(self) -> bool:
        """Whether only WHERE comes before the window, by the clock."""
        return not (
            self.window is None
            or (self.where_in_window(event_time=False) and self.before)
            or self.joined
            or self.analytics
            or self.filter
            or self.hits
            or self.uses_kept
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about a valid statement: two items have the same name."""
        named = [name for name in titles(self.select.items) if not name.endswith("*")]
        double = dict.fromkeys(name for name in named if named.count(name) > 1)
        return tuple(f"several items are named {name}; the last one is sent" for name in double)

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators that a record passes, for `rules show --plan`."""
        steps = (
            ("analytic", bool(self.analytics)),
            ("filter", bool(self.before)),
            ("window", self.window is not None),
            ("join", self.joined),
            ("join_filter", self.after is not None),
            ("aggregate", self.grouping is not None),
            ("having", self.having is not None),
            ("project", True),
            ("order", bool(self.order_by)),
            ("limit", self.limit is not None),
        )
        return tuple(name for name, there in steps if there)


def plan(
    select: Select,
    streams: Mapping[str, StreamDefinition],
    functions: Functions | None = None,
    zone: tzinfo | None = None,
    typed: bool = True,
) -> QueryPlan:
    """Checks and compiles a statement. Raises RuleError (SQL_PLAN, with line and column) if it can never run.

    Args:
        functions: all of them, with those of plug-ins; None: the toolkit's.
        zone: time zone of hours and days; None: the machine's.
        typed: False where types are known to fit, from a statement of this shape.
    """
    try:
        return _plan(select, streams, functions, zone, typed)
    except RecursionError:
        raise refused(select.items[0].at, "expressions and aliases are nested too deep") from None


def _plan(
    select: Select,
    streams: Mapping[str, StreamDefinition],
    functions: Functions | None,
    zone: tzinfo | None,
    typed: bool,
) -> QueryPlan:
    origins = _origins(select, streams)
    _check_kinds(select, origins)
    star_order = _star_order(select, origins)
    names = Compiler(origins, star_order, select.items, functions)
    projection, columns = projection_of(select.items, names)
    gated = select.having is not None and not select.group_by and not names.aggregates
    before, after = split_where(select, names)
    steps = tuple(join_step(select, number, names) for number in range(len(select.joins)))
    keys = tuple(names.expression(each, GROUP_BY) for each in select.group_by)
    having = None
    if select.having is not None:
        check_having(select.having, select, names)
        having = names.condition(select.having, HAVING)
    order_by = tuple((*ordered_by(key.expression, names), key.descending) for key in select.order_by)
    window = select.window

    def condition(node: Expression | None, clause: Clause = IN_WINDOW) -> Evaluate | None:
        return None if node is None else names.condition(node, clause)

    enters = condition(window.filter) if window else None
    triggers = condition(window.when, TRIGGER) if window else None
    begin, end = (condition(window.begin), condition(window.end)) if window else (None, None)
    partition_by = tuple(names.expression(each, IN_WINDOW) for each in window.partition_by) if window else ()
    grouped = bool(select.group_by or names.aggregates or select.having is not None)
    for call in names.hit_calls:
        if call.name.startswith("last_agg") and not (grouped or window):
            hint = "such a rule can use last_hit_count and last_hit_time"
            raise refused(call.at, f"{call.written} is not allowed here", hint)
    if typed:
        check_types(select, names)
    return QueryPlan(
        select=select,
        origins=origins,
        joined=names.joined,
        steps=steps,
        before=before,
        after=after,
        window=window,
        filter=enters,
        when=triggers,
        begin=begin,
        end=end,
        partition_by=partition_by,
        analytics=tuple(names.analytics),
        grouping=Grouping(keys, tuple(names.aggregates)) if grouped else None,
        having=having,
        gated=gated,
        projection=projection,
        order_by=order_by,
        limit=select.limit,
        hits=tuple(names.hits),
        uses_kept=names.uses_kept,
        used=used_columns(select, names),
        columns=columns,
        zone=zone,
    )


def _origins(select: Select, streams: Mapping[str, StreamDefinition]) -> tuple[Origin, ...]:
    found = []
    for index, source in enumerate(select.from_items):
        definition = streams.get(source.stream)
        if definition is None:
            known = f"there are: {', '.join(sorted(streams))}" if streams else "write CREATE STREAM first"
            raise refused(source.at, f"stream {source.stream} is not found", known)
        found.append(Origin.of(index, source, definition))
    return tuple(found)


def _check_kinds(select: Select, origins: Sequence[Origin]) -> None:
    first, others = origins[0], origins[1:]
    at = select.source.at
    if first.kind == "lookup":
        raise refused(at, f"{first.name} is a lookup table, which does not send rows", "join it to a stream")
    if select.group_by and select.window is None:
        raise refused(at, "GROUP BY without a window", "add e.g. TUMBLINGWINDOW(ss, 10) to GROUP BY")
    if first.kind == "scan" and others:
        raise refused(at, f"FROM {first.name} is a table", "write FROM the stream, JOIN the table")
    if select.window is not None and all(origin.kind != "stream" for origin in origins):
        raise refused(select.window.at, f"a window over table {first.name}; windows need a stream")
    for join, origin in zip(select.joins, others, strict=True):
        if origin.kind == "stream" and select.window is None:
            hint = "add e.g. GROUP BY TUMBLINGWINDOW(ss, 10)"
            raise refused(join.at, "a join of streams needs a window", hint)
        if origin.kind == "lookup" and join.kind not in ("INNER", "LEFT"):
            raise refused(join.at, f"{join.kind} JOIN of lookup table {origin.name}", "want INNER or LEFT")


def _star_order(select: Select, origins: Sequence[Origin]) -> list[Origin]:
    """The order in which origins give a column that several have: first the side whose order a join keeps."""
    order = [origins[0]]
    for join, origin in zip(select.joins, origins[1:], strict=True):
        order.insert(0 if join.kind == "RIGHT" else len(order), origin)
    return order
