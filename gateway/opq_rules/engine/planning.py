"""Planning: from a rule's text to the unit that will run it, shared with others where that changes nothing.

A text whose shape was seen before is not parsed: only its constants are taken out of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from opq_rules.engine.crowd import Crowd
from opq_rules.engine.definition import RuleDefinition
from opq_rules.engine.rule import Unit
from opq_rules.engine.single import Alone
from opq_rules.engine.thresholds import OF_ITS_RULE, Free, Split, calls, split
from opq_rules.errors import RULE, SQL_PLAN, SQL_SYNTAX, RuleError
from opq_rules.query.event_time import event_times
from opq_rules.query.joins import Lookup
from opq_rules.query.plan import Plan, plan
from opq_rules.query.query import Query
from opq_rules.query.run import Facts
from opq_rules.query.typing_pass import Described, described
from opq_rules.sql.parse import parse
from opq_rules.sql.shape import Shape, shape
from opq_rules.sql.syntax import Select
from opq_rules.streams.definition import StreamDefinition

MOST_SHAPES = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """`key` names the unit, `build` makes it where it does not run yet; `constants`: what a rule is in it."""

    key: Any
    streams: tuple[str, ...]
    constants: Any
    build: Callable[[Mapping[str, str], int], Unit]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a shape that can be split has told."""

    free: tuple[Free, ...]
    stream: str
    fixed: tuple[int, ...]
    """Slots that are part of the unit's key."""


class Planning:
    """Thread-safe under the engine's lock. `streams`: live, by name."""

    def __init__(self, streams: Mapping[str, StreamDefinition], functions: Callable[[], Any]) -> None:
        self._streams, self._functions = streams, functions
        self._shapes: dict[str, _Known | None] = {}
        self._epoch = 0

    def changed(self) -> None:
        """Streams or functions did: what was planned with them is not used for new rules."""
        self._shapes = {}
        self._epoch += 1

    def choose(self, rule: RuleDefinition, lookups: Callable[[str], Lookup]) -> Choice:
        """RuleError for what can never run."""
        found = shape(rule.sql)
        may_share = not rule.temporary
        may_split = may_share and not rule.options.isEventTime and not rule.options.sendError
        if may_split and found.key in self._shapes:
            known = self._shapes[found.key]
            choice = self._crowd(rule, found, known) if known is not None else None
            if choice is not None:
                return choice
        planned = self.plan(rule.sql, typed=found.key not in self._shapes or "cast" in found.key.lower())
        if rule.options.isEventTime:
            _check_event_time(planned)
        for origin in planned.origins:
            if self._streams[origin.stream].temp and not rule.temporary:
                told = f"{origin.stream} is TEMP, and ends with the server; so is its rule to be: temp true"
                raise RuleError(told, RULE)
        if may_split and found.key not in self._shapes and len(self._shapes) < MOST_SHAPES:
            self._shapes[found.key] = self._learned(self.select(rule.sql), found)
        return self._alone(rule, planned, may_share, lookups)

    def plan(self, sql: str, typed: bool = True) -> Plan:
        """`typed`: whether types are looked at; of a shape once is enough, but for the kind in a cast."""
        return plan(self.select(sql), self._streams, self._functions(), typed=typed)

    def described(self, planned: Plan) -> Described:
        """Its columns with their types, if all values come as declared."""
        return described(planned.select, planned.origins, self._functions())

    def calls(self, sql: str, function: str) -> bool:
        """Whether the statement calls it."""
        return any(call.name == function.lower() for call in calls(self.select(sql)))

    def select(self, sql: str) -> Select:
        statement = parse(sql)
        if not isinstance(statement, Select):
            raise RuleError("a rule's sql is a SELECT", SQL_SYNTAX, line=1, column=1)
        return statement

    def _learned(self, select: Select, found: Shape) -> _Known | None:
        parts = split(select)
        definition = self._streams[select.source.stream]
        if parts is None or not definition.shared or definition.kind != "stream":
            return None
        fixed = tuple(k for k in range(len(found.literals)) if k not in parts.slots)
        return _Known(_in_schema(parts.free, definition), select.source.stream, fixed)

    def _crowd(self, rule: RuleDefinition, found: Shape, known: _Known) -> Choice | None:
        constants = tuple([each.constant(found.literals) for each in known.free])
        if None in constants:
            return None
        fixed = tuple([found.literals[k] for k in known.fixed])
        types = tuple([type(each) for each in fixed])
        options = _options_key(rule)
        key = ("crowd", self._epoch, found.key, fixed, types, options, rule.options.qos > 0)

        def build(feeds: Mapping[str, str], now_ms: int) -> Unit:
            parts = split(self.select(rule.sql))
            assert parts is not None
            planned = plan(parts.rest, self._streams, self._functions())
            facts = Facts.of(rule.id, now_ms, rule.options.for_query())
            return Crowd(key, feeds, partial(Query, planned, facts), planned, Split(known.free, parts.rest))

        return Choice(key, (known.stream,), constants[0] if len(constants) == 1 else constants, build)

    def _alone(
        self, rule: RuleDefinition, planned: Plan, may_share: bool, lookups: Callable[[str], Lookup]
    ) -> Choice:
        streams = tuple(planned.streams)
        shares = may_share and all(self._streams[name].shared for name in streams)
        key: Any = ("alone", rule.id)
        if shares and not rule.options.qos and _shareable(planned):
            key = ("alone", self._epoch, rule.sql, _options_key(rule), rule.options.qos > 0)

        def build(feeds: Mapping[str, str], now_ms: int) -> Unit:
            facts = Facts.of(rule.id, now_ms, rule.options.for_query())
            asked = {each.index: lookups(each.stream) for each in planned.origins if each.kind == "lookup"}
            return Alone(key, feeds, partial(Query, planned, facts, asked), planned)

        return Choice(key, streams, None, build)


def _check_event_time(planned: Plan) -> None:
    for origin in planned.origins:
        if origin.kind == "stream" and origin.definition.timestamp is None:
            wanted = "isEventTime wants the option TIMESTAMP, the column with the time"
            raise RuleError(f"stream {origin.stream} has no event time", SQL_PLAN, hint=wanted)
    event_times(planned.origins, planned.joined)


def _shareable(planned: Plan) -> bool:
    """Whether a rule that comes later may join: it remembers nothing, or only the open window of a join."""
    if planned.analytics or planned.uses_hits or planned.uses_kept:
        return False
    if planned.window is not None and (
        not planned.joined or planned.window.kind in ("count", "state", "cycle")
    ):
        return False
    return not any(call.name in OF_ITS_RULE for call in calls(planned.select))


def _options_key(rule: RuleDefinition) -> tuple[Any, ...]:
    return tuple(rule.options.for_query().values())


def _in_schema(free: tuple[Free, ...], definition: StreamDefinition) -> tuple[Free, ...]:
    """Columns are found whatever the case of their letters; records have them as declared."""
    if definition.fields is None:
        return free
    declared = {field.name.lower(): field.name for field in definition.fields}
    return tuple([replace(each, column=declared.get(each.column.lower(), each.column)) for each in free])
