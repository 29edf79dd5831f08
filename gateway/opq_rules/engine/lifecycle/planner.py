"""Planner: from a rule's text to its unit, shared with other rules where results stay the same.

A text whose shape is known is not parsed: only its constants are read.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from opq_rules.engine.definitions.rule_definition import RuleDefinition
from opq_rules.engine.running.rule import QueryUnit
from opq_rules.engine.running.threshold_index import Comparison, SplitStatement, ThresholdIndex, split
from opq_rules.errors import RULE, RuleError
from opq_rules.functions.registry import Functions
from opq_rules.query.event_time import event_times
from opq_rules.query.planning.joins import Lookup
from opq_rules.query.planning.select_plan import QueryPlan, plan
from opq_rules.query.planning.typing_pass import Described, described
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import StatementShape, parse_select, shape
from opq_rules.sql.syntax import Select
from opq_rules.streams.definition import StreamDefinition
from opq_rules.values.batch import Value

MAX_SHAPES = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """`key` names the unit, `build` makes it; `constants`: the rule's own within the unit."""

    key: Hashable
    streams: tuple[str, ...]
    constants: object
    build: Callable[[Mapping[str, str], int], QueryUnit]


@dataclass(frozen=True, slots=True)
class _KnownShape:
    """A statement shape that can be split."""

    free: tuple[Comparison, ...]
    stream: str
    fixed: tuple[int, ...]
    """Literals that are part of the unit's key."""


class Planner:
    """Chooses units for rules. Called under the engine's lock.

    Args:
        streams: defined streams by name.
        lookup: gives the lookup function of a table.
        keyed_state: what `get_keyed_state` reads in the queries made here.
    """

    def __init__(
        self,
        streams: Mapping[str, StreamDefinition],
        functions: Callable[[], Functions],
        lookup: Callable[[str], Lookup],
        keyed_state: Mapping[str, Value],
    ) -> None:
        self.streams, self._functions, self._lookup = streams, functions, lookup
        self._keyed_state = keyed_state
        self._shapes: dict[str, _KnownShape | None] = {}
        self._epoch = 0

    def changed(self) -> None:
        """Streams or functions have changed: new rules do not use earlier plans."""
        self._shapes = {}
        self._epoch += 1

    def choose(self, rule: RuleDefinition) -> Choice:
        """Plans a rule. Raises RuleError for a rule that can never run."""
        found = shape(rule.sql)
        may_share = not rule.temporary
        may_split = may_share and not rule.options.isEventTime and not rule.options.sendError
        if may_split and found.key in self._shapes:
            known = self._shapes[found.key]
            choice = self._indexed(rule, found, known) if known is not None else None
            if choice is not None:
                return choice
        planned = self.plan(rule.sql, typed=found.key not in self._shapes or "cast" in found.key.lower())
        if rule.options.isEventTime:
            event_times(planned.origins, planned.joined)
        for origin in planned.origins:
            if self.streams[origin.stream].temp and not rule.temporary:
                raise RuleError(
                    f"{origin.stream} is TEMP and ends with the server; its rule needs temp true too",
                    RULE,
                )
        if may_split and found.key not in self._shapes and len(self._shapes) < MAX_SHAPES:
            self._shapes[found.key] = self._learned(parse_select(rule.sql), found)
        return self._alone(rule, planned, may_share)

    def plan(self, sql: str, typed: bool = True) -> QueryPlan:
        """The plan. `typed`: check types; once per shape is enough, unless a cast names a type."""
        return plan(parse_select(sql), self.streams, self._functions(), typed=typed)

    def described(self, planned: QueryPlan) -> Described:
        """The columns with their types, provided that all values have their declared types."""
        return described(planned.select, planned.origins, self._functions())

    def _learned(self, select: Select, found: StatementShape) -> _KnownShape | None:
        parts = split(select)
        definition = self.streams[select.source.stream]
        if parts is None or not definition.shared or definition.kind != "stream":
            return None
        fixed = tuple(k for k in range(len(found.literals)) if k not in parts.slots)
        return _KnownShape(_in_schema(parts.free, definition), select.source.stream, fixed)

    def _indexed(self, rule: RuleDefinition, found: StatementShape, known: _KnownShape) -> Choice | None:
        constants = tuple([each.constant(found.literals) for each in known.free])
        if None in constants:
            return None
        fixed = tuple([found.literals[k] for k in known.fixed])
        types = tuple([type(each) for each in fixed])
        options = _options_key(rule)
        key = ("thresholds", self._epoch, found.key, fixed, types, options, rule.options.qos > 0)

        def build(inputs: Mapping[str, str], now_ms: int) -> QueryUnit:
            parts = split(parse_select(rule.sql))
            assert parts is not None
            planned = plan(parts.rest, self.streams, self._functions())
            facts = RuleFacts.of(rule.id, now_ms, rule.options.for_query())
            statement = SplitStatement(known.free, parts.rest)
            make = partial(Query, planned, facts, keyed_state=self._keyed_state)
            return ThresholdIndex(key, inputs, make, planned, statement)

        return Choice(key, (known.stream,), constants[0] if len(constants) == 1 else constants, build)

    def _alone(self, rule: RuleDefinition, planned: QueryPlan, may_share: bool) -> Choice:
        streams = tuple(planned.streams)
        shares = may_share and all(self.streams[name].shared for name in streams)
        key: tuple[Hashable, ...] = ("alone", rule.id)
        if shares and not rule.options.qos and planned.shareable:
            key = ("alone", self._epoch, rule.sql, _options_key(rule), rule.options.qos > 0)

        def build(inputs: Mapping[str, str], now_ms: int) -> QueryUnit:
            facts = RuleFacts.of(rule.id, now_ms, rule.options.for_query())
            lookups = {
                each.index: self._lookup(each.stream) for each in planned.origins if each.kind == "lookup"
            }
            make = partial(Query, planned, facts, lookups, keyed_state=self._keyed_state)
            return QueryUnit(key, inputs, make, planned)

        return Choice(key, streams, None, build)


def _options_key(rule: RuleDefinition) -> tuple[Hashable, ...]:
    return tuple(rule.options.for_query().values())


def _in_schema(free: tuple[Comparison, ...], definition: StreamDefinition) -> tuple[Comparison, ...]:
    """Columns match in any case of letters; records have them as declared."""
    if definition.fields is None:
        return free
    declared = {field.name.lower(): field.name for field in definition.fields}
    return tuple([replace(each, column=declared.get(each.column.lower(), each.column)) for each in free])
