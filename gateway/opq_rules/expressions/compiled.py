"""A compiled expression on its way up: the closure, and its value where that is known beforehand."""

from opq_rules.batch import Value
from opq_rules.errors import SQL_PLAN, RowError, RuleError
from opq_rules.expressions.closures import Evaluate
from opq_rules.functions.registry import UNKNOWN
from opq_rules.sql.syntax import TextPlace

Compiled = tuple[Evaluate, Value]
"""The closure, and its constant or UNKNOWN."""


def refused(at: TextPlace, message: str, hint: str | None = None) -> RuleError:
    """A rule that can never run, with its place."""
    return RuleError(message, SQL_PLAN, line=at.line, column=at.column, hint=hint or None)


def constant(value: Value) -> Compiled:
    return lambda row, context: value, value


def folded(evaluate: Evaluate, at: TextPlace, *known: Value) -> Compiled:
    """The value itself where all parts are `known`. Raises RuleError where it cannot be computed."""
    if any(value is UNKNOWN for value in known):
        return evaluate, UNKNOWN
    try:
        return constant(evaluate(None, None))
    except RowError as error:
        raise refused(at, str(error)) from None
