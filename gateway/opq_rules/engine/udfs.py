"""Functions of plug-ins as SQL knows functions."""

from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any

from opq_plugins.sdk import Function
from opq_proto import log
from opq_rules.engine.types import Types
from opq_rules.errors import RowError
from opq_rules.functions.registry import (
    MANY,
    UNKNOWN,
    Aggregate,
    Definition,
    Functions,
    RunContext,
    Scalar,
    built_in,
)


class Asking:
    """`sdk.Context` of a call: state belongs to the function."""

    def __init__(self, rule_id: str, op_id: str) -> None:
        self.rule_id, self.op_id, self.instance_id = rule_id, op_id, 0
        self._state: dict[str, Any] = {}

    def log(self, event: str, **facts: Any) -> None:
        log.get(service="rules", function=self.op_id).info(event, **facts)

    def get_state(self, key: str) -> Any:
        return self._state.get(key)

    def put_state(self, key: str, value: Any) -> None:
        self._state[key] = value


class Collected:
    """An aggregate of a plug-in: it gets all values of its window at the end."""

    def __init__(self, function: Function, name: str) -> None:
        self._function, self._asking = function, Asking("", name)
        self._rows: list[list[Any]] = []

    def add(self, *values: Any) -> None:
        self._rows.append(list(values))

    def value(self) -> Any:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        try:
            return self._function.exec(columns, self._asking)
        except Exception as error:  # foreign code
            raise RowError(f"{self._asking.op_id}: {type(error).__name__}: {error}"[:500]) from error

    def state(self) -> Any:
        return self._rows

    def restore(self, state: Any) -> None:
        self._rows = [list(row) for row in state]


class PluginFunctions:
    """The toolkit's functions with those of plug-ins, put together when they are asked for."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._found: Functions | None = None

    def __call__(self) -> Functions:
        if self._found is None:
            self._found = with_plugins(list(self._types.functions()), self._types.function)
        return self._found

    def changed(self) -> None:
        """A plug-in came or went."""
        self._found = None


def with_plugins(names: Sequence[str], make: Callable[[str], Callable[[], Function] | None]) -> Functions:
    """The toolkit's functions, and those of plug-ins behind them."""
    found: dict[str, Definition] = {}
    for name in names:
        factory = make(name)
        if factory is not None and name.lower() not in built_in():
            found[name.lower()] = _definition(name.lower(), factory())
    return ChainMap(dict(built_in()), found) if found else built_in()


def _definition(name: str, function: Function) -> Definition:
    def check(constants: Sequence[Any]) -> str:
        return function.validate([None if each is UNKNOWN else each for each in constants])

    if function.is_aggregate():
        return Aggregate(name, lambda *_: Collected(function, name), 0, MANY, check=check)
    asking: dict[str, Asking] = {}

    def run(context: RunContext, *arguments: Any) -> Any:
        of = asking.get(context.rule_id)
        if of is None:
            of = asking.setdefault(context.rule_id, Asking(context.rule_id, name))
        try:
            return function.exec(arguments, of)
        except Exception as error:  # a plug-in's function: foreign code, it may raise anything
            raise RowError(f"{name}: {type(error).__name__}: {error}"[:500]) from error

    return Scalar(name, run, 0, MANY, null_in_null_out=False, context=True, check=check)
