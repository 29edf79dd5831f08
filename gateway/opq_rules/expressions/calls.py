"""Compiles calls of ordinary functions: checked when the rule is made; null and errors as declared."""

from collections.abc import Callable, Sequence

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Compiled, Evaluate, folded, refused
from opq_rules.functions.registry import (
    MAX_ARGUMENTS,
    UNKNOWN,
    AggregateFunction,
    Analytic,
    Definition,
    Functions,
    Planned,
    Scalar,
    find,
    near,
)
from opq_rules.functions.signatures import signature
from opq_rules.sql.syntax import Column, Expression, FunctionCall, Literal, MemberOf, Star
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import kind_of, shown

FUNCTION_ERRORS = (RowError, ValueError, TypeError, ArithmeticError, RecursionError)
"""What a function may raise; `failed` turns it into a RowError."""


def compile_call(
    node: FunctionCall, compile_argument: Callable[[Expression], Compiled], functions: Functions | None
) -> Compiled:
    """Compiles one call. Raises RuleError if the function is unknown or not allowed here, or its arguments
    are wrong."""
    function = _scalar(node, checked_definition(node, functions))
    if function.path:
        arguments: list[Compiled] = [_path(node.arguments[0])]
        arguments += [compile_argument(argument) for argument in node.arguments[1:]]
    else:
        arguments = [compile_argument(argument) for argument in node.arguments]
    check_constants(node, function, [known for _, known in arguments])
    evaluate = _evaluating(node.written, function, [each for each, _ in arguments])
    if function.volatile or function.context:
        return evaluate, UNKNOWN
    return folded(evaluate, node.at, *(known for _, known in arguments))


def checked_definition(node: FunctionCall, functions: Functions | None = None) -> Definition:
    """The called function. Raises RuleError if it is unknown or takes another number of arguments."""
    found = find(node.name, functions)
    if found is None:
        raise refused(node.at, f"function {node.written} not found", near(node.name, functions))
    count = len(node.arguments)
    if not found.least <= count <= found.most:
        raise refused(node.at, f"{node.written} takes {_counted(found)}, found {count}")
    return found


def check_constants(
    node: FunctionCall, found: Scalar | AggregateFunction | Analytic, constants: Sequence[Value]
) -> None:
    """Checks constants by kind, then by the definition's `check`. RuleError names the function."""
    wrong = _wrong_kind(node.name, constants) or (found.check(constants) if found.check else "")
    if wrong:
        raise refused(node.at, f"{node.written}: {wrong}")


def _wrong_kind(name: str, constants: Sequence[Value]) -> str:
    known = signature(name, len(constants))
    if known is None:
        return ""
    for place, value in enumerate(constants):
        wanted = known.wants_constant(place)
        if wanted is None or value is UNKNOWN or value is None:
            continue
        kinds, words = wanted
        if kind_of(value) not in kinds:
            return f"argument {place + 1} is {shown(value)}; want {words}"
    return ""


def _counted(found: Definition) -> str:
    least, most = found.least, found.most
    if most >= MAX_ARGUMENTS:
        return f"at least {least} argument{'' if least == 1 else 's'}"
    if least == most:
        return f"{least or 'no'} argument{'' if least == 1 else 's'}"
    return f"{least} to {most} arguments"


def _scalar(node: FunctionCall, found: Definition) -> Scalar:
    name = node.written
    if isinstance(found, AggregateFunction) and found.scalar is not None and node.filter is None:
        found = found.scalar
    if isinstance(found, AggregateFunction):
        raise refused(node.at, f"aggregate {name} is not allowed here", "it belongs into SELECT or HAVING")
    if isinstance(found, Analytic | Planned):
        raise refused(node.at, f"{name} is not allowed here")
    if found.spread is not None:
        raise refused(node.at, f"{name} is not allowed here", "write it by itself in SELECT")
    if node.filter is not None:
        raise refused(node.at, f"FILTER after {name}", "FILTER belongs to aggregates")
    if node.over is not None:
        raise refused(node.at, f"OVER after {name}", "OVER belongs to analytic functions")
    for argument in node.arguments:
        if isinstance(argument, Star):
            raise refused(argument.at, f"{name}(*): want a value, not *")
    return found


def _path(node: Expression) -> Compiled:
    """The path `key`, `stream.key`, `key->key` or `"key"`, as (stream or None, key, ...)."""
    names: list[str] = []
    while isinstance(node, MemberOf):
        names.insert(0, node.name)
        node = node.of
    if isinstance(node, Column):
        path: tuple[str | None, ...] = (node.stream, node.name, *names)
    elif isinstance(node, Literal) and isinstance(node.value, str):
        path = (None, node.value, *names)
    else:
        raise refused(node.at, "want a name, as in meta(topic) or meta(device->id)")
    return lambda row, context: path, path


def _evaluating(written: str, function: Scalar, arguments: Sequence[Evaluate]) -> Evaluate:
    run, strict = function.run, function.null_in_null_out
    wants_context = function.context
    if len(arguments) == 1 and not wants_context:
        return _of_one(written, run, strict, arguments[0])
    if len(arguments) == 2 and not wants_context:
        return _of_two(written, run, strict, *arguments)

    def evaluate(row: Value, context: Value) -> Value:
        given = [argument(row, context) for argument in arguments]
        if strict:
            for value in given:  # not `in`: a waveform would compare sample by sample
                if value is None:
                    return None
        try:
            if wants_context:
                context.row = row
                return run(context, *given)
            return run(*given)
        except FUNCTION_ERRORS as error:
            raise failed(written, given, error) from None

    return evaluate


def _of_one(written: str, run: Callable[..., Value], strict: bool, argument: Evaluate) -> Evaluate:
    def evaluate(row: Value, context: Value) -> Value:
        value = argument(row, context)
        if value is None and strict:
            return None
        try:
            return run(value)
        except FUNCTION_ERRORS as error:
            raise failed(written, [value], error) from None

    return evaluate


def _of_two(
    written: str, run: Callable[..., Value], strict: bool, first: Evaluate, second: Evaluate
) -> Evaluate:
    def evaluate(row: Value, context: Value) -> Value:
        a = first(row, context)
        b = second(row, context)
        if strict and (a is None or b is None):
            return None
        try:
            return run(a, b)
        except FUNCTION_ERRORS as error:
            raise failed(written, [a, b], error) from None

    return evaluate


def failed(written: str, given: Sequence[Value], error: BaseException) -> RowError:
    """The RowError for a failed call, such as `round(string "abc"): want a number ...`."""
    shown_given = ", ".join(shown(value) for value in given)
    return RowError(f"{written}({shown_given}): {error}")
