"""PluginFunctions: the functions of SQL, the toolkit's and those of plug-ins."""

from collections import ChainMap
from collections.abc import Sequence

from opq_plugins.sdk import Function
from opq_rules.engine.types.operator_context import OperatorContext
from opq_rules.engine.types.type_registry import TypeRegistry
from opq_rules.errors import RowError
from opq_rules.functions.registry import (
    MAX_ARGUMENTS,
    UNKNOWN,
    AggregateFunction,
    Definition,
    Functions,
    RunContext,
    Scalar,
    built_in,
)


class PluginFunctions:
    """The toolkit's functions with those of plug-ins, collected at the first call and after each change."""

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
        """Called when a plug-in was installed or removed."""
        self._found = None


class _PluginAggregate:
    """An aggregate of a plug-in: it gets all values of its window at the end."""

    def __init__(self, function: Function, name: str, query: RunContext) -> None:
        self._function, self._query = function, query
        self._context = OperatorContext(query.rule_id, name, {"function": name})
        self._rows: list[list[object]] = []

    def add(self, *values: object) -> None:
        box = box_of(self._query.row)
        self._context.box = box if not self._rows or box == self._context.box else ""
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

        def start(context: RunContext) -> _PluginAggregate:
            return _PluginAggregate(function, name, context)

        return AggregateFunction(name, start, 0, MAX_ARGUMENTS, check=check, context=True)
    contexts: dict[str, OperatorContext] = {}

    def run(context: RunContext, *arguments: object) -> object:
        own = contexts.get(context.rule_id)
        if own is None:
            own = contexts.setdefault(
                context.rule_id, OperatorContext(context.rule_id, name, {"function": name})
            )
        own.box = box_of(context.row)
        return _called(function, arguments, own)

    return Scalar(name, run, 0, MAX_ARGUMENTS, null_in_null_out=False, context=True, check=check)


def box_of(row: object) -> str:
    """The Box that a row, or each row of a join, is of; empty: none, or several."""
    rows = row if isinstance(row, tuple) else (row,)
    boxes = {each["box"] for each in rows if isinstance(each, dict) and isinstance(each.get("box"), str)}
    return boxes.pop() if len(boxes) == 1 else ""


def _called(function: Function, arguments: Sequence[object], context: OperatorContext) -> object:
    try:
        return function.exec(arguments, context)
    except Exception as error:  # a plug-in's function: foreign code, it may raise anything
        raise RowError(f"{context.op_id}: {type(error).__name__}: {error}"[:500]) from error
