"""Types: where an engine's sources, sinks and functions come from, and the functions of plug-ins as SQL's."""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from opq_plugins.sdk import Function, LookupSource, Sink, Source
from opq_proto import log
from opq_rules.errors import RowError, RuleError
from opq_rules.functions.registry import (
    MANY,
    UNKNOWN,
    AggregateFunction,
    Definition,
    Functions,
    RunContext,
    Scalar,
    built_in,
)


class TypeRegistry(Protocol):
    """`rule_plugins.RulePlugins`, or a service's own types before those."""

    def source(self, type_name: str) -> Callable[[], Source]: ...
    def lookup(self, type_name: str) -> Callable[[], LookupSource]: ...
    def sink(self, type_name: str) -> Callable[[], Sink]: ...
    def function(self, name: str) -> Callable[[], Function] | None: ...
    def functions(self) -> dict[str, str]: ...


class OwnTypes:
    """Types of the service that the engine is embedded in, before those of plug-ins.

    `own`: ("source" or "sink", type) -> what makes one; everything else comes from `others`.
    """

    def __init__(self, own: Mapping[tuple[str, str], Callable[[], Any]], others: TypeRegistry) -> None:
        self._own, self._others = own, others
        self.lookup, self.function, self.functions = others.lookup, others.function, others.functions

    def source(self, type_name: str) -> Callable[[], Source]:
        return self._own.get(("source", type_name)) or self._others.source(type_name)

    def sink(self, type_name: str) -> Callable[[], Sink]:
        return self._own.get(("sink", type_name)) or self._others.sink(type_name)


def has_type(types: TypeRegistry, kind: str, symbol: str) -> bool:
    """`kind`: source, sink or function."""
    try:
        if kind == "function":
            return types.function(symbol) is not None
        return bool(types.source(symbol) if kind == "source" else types.sink(symbol))
    except RuleError:
        return False


class CallContext:
    """`sdk.Context` of a call into a function or lookup table; the state belongs to that."""

    def __init__(self, rule_id: str, op_id: str) -> None:
        self.rule_id, self.op_id, self.instance_id = rule_id, op_id, 0
        self._state: dict[str, object] = {}

    def log(self, event: str, **facts: object) -> None:
        log.get(service="rules", function=self.op_id).info(event, **facts)

    def get_state(self, key: str) -> object:
        return self._state.get(key)

    def put_state(self, key: str, value: object) -> None:
        self._state[key] = value


class PluginFunctions:
    """The toolkit's functions with those of plug-ins, put together when they are asked for."""

    def __init__(self, types: TypeRegistry) -> None:
        self._types = types
        self._found: Functions | None = None

    def __call__(self) -> Functions:
        if self._found is None:
            found: dict[str, Definition] = {}
            for name in self._types.functions():
                make = self._types.function(name)
                if make is not None and name.lower() not in built_in():
                    found[name.lower()] = _definition(name.lower(), make())
            self._found = ChainMap(dict(built_in()), found) if found else built_in()
        return self._found

    def changed(self) -> None:
        """A plug-in came or went."""
        self._found = None


class _PluginAggregate:
    """An aggregate of a plug-in: it gets all values of its window at the end."""

    def __init__(self, function: Function, name: str) -> None:
        self._function, self._context = function, CallContext("", name)
        self._rows: list[list[object]] = []

    def add(self, *values: object) -> None:
        self._rows.append(list(values))

    def value(self) -> object:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        return _called(self._function, columns, self._context)

    def state(self) -> list[list[object]]:
        return self._rows

    def restore(self, state: Sequence[Sequence[object]]) -> None:
        self._rows = [list(row) for row in state]


def _definition(name: str, function: Function) -> Definition:
    def check(constants: Sequence[object]) -> str:
        return function.validate([None if each is UNKNOWN else each for each in constants])

    if function.is_aggregate():
        return AggregateFunction(name, lambda *_: _PluginAggregate(function, name), 0, MANY, check=check)
    contexts: dict[str, CallContext] = {}

    def run(context: RunContext, *arguments: object) -> object:
        own = contexts.get(context.rule_id)
        if own is None:
            own = contexts.setdefault(context.rule_id, CallContext(context.rule_id, name))
        return _called(function, arguments, own)

    return Scalar(name, run, 0, MANY, null_in_null_out=False, context=True, check=check)


def _called(function: Function, arguments: Sequence[object], context: CallContext) -> object:
    try:
        return function.exec(arguments, context)
    except Exception as error:  # a plug-in's function: foreign code, it may raise anything
        raise RowError(f"{context.op_id}: {type(error).__name__}: {error}"[:500]) from error
