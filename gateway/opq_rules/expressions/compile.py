"""Compiles an expression of SQL into a closure `f(row, context)`.

Constant parts are computed at once, so 1/0 is refused when the rule is made. The resolver decides where
columns, aliases, aggregates and analytic calls come from; this file knows the operators (`values`) and the
plain functions (`functions`). Source: docs/reference/rules.md, D.4 and D.5.
"""

from collections.abc import Callable
from typing import Protocol

from opq_rules.errors import RowError
from opq_rules.expressions import closures, conditions
from opq_rules.expressions.calls import compile_call
from opq_rules.expressions.closures import Compiled, Evaluate, constant, folded, refused
from opq_rules.functions.registry import UNKNOWN, Functions
from opq_rules.sql import syntax
from opq_rules.sql.walk import operands
from opq_rules.values import arithmetic, sql_values
from opq_rules.values.batch import Value

MAX_DEPTH = 250
"""Largest depth of nested expressions; a chain of AND or OR counts as one level."""


class Resolver(Protocol):
    """Resolves the names of one clause."""

    def column(self, node: syntax.Column) -> Evaluate:
        """The closure that reads the column. Raises RuleError if the name does not exist."""
        ...

    def key(self, node: syntax.Column) -> str | None:
        """The key if `row` is a dict and the column is simply `row.get(key)`; None: use `column`."""
        ...

    def call(self, node: syntax.FunctionCall) -> Evaluate | None:
        """The closure of an aggregate, analytic call or stateful plug-in function; None for an ordinary
        one."""
        ...

    def is_whole(self, node: syntax.Expression) -> bool:
        """Whether no value of it is a float, because it reads only columns declared BIGINT, or counts."""
        ...


def compile_expression(
    node: syntax.Expression, resolver: Resolver, functions: Functions | None = None
) -> Evaluate:
    """The closure of an expression; it raises nothing but RowError.

    `functions`: those beside what `resolver.call` handles; None: the toolkit's. RuleError (SQL_PLAN): it can
    never be computed.
    """
    return _Compiler(resolver, functions).compile(node)[0]


def compile_condition(
    node: syntax.Expression, resolver: Resolver, functions: Functions | None = None
) -> Evaluate:
    """The closure of WHERE and the like, which gives True or False (null is false). Raises RuleError."""
    evaluate, value = _Compiler(resolver, functions).compile(node)
    if value is not UNKNOWN and type(value) not in (bool, type(None)):
        raise refused(node.at, *sql_values.no_condition(value))
    if isinstance(node, syntax.In | syntax.Between | syntax.Like) or _always_boolean(node):
        return evaluate
    condition = sql_values.condition
    return lambda row, context: condition(evaluate(row, context))


def constant_value(node: syntax.Expression, functions: Functions | None = None) -> Value:
    """The value of an expression without columns, or UNKNOWN."""

    class Nothing:
        def column(self, node: syntax.Column) -> Evaluate:
            return lambda row, context: None

        def key(self, node: syntax.Column) -> str | None:
            return None

        def call(self, node: syntax.FunctionCall) -> Evaluate | None:
            return None

        def is_whole(self, node: syntax.Expression) -> bool:
            return True

    return _Compiler(Nothing(), functions).compile(node)[1]


def _always_boolean(node: syntax.Expression) -> bool:
    return isinstance(node, syntax.BinaryOperation) and (
        node.operator in sql_values.COMPARISONS or node.operator in ("AND", "OR")
    )


class _Compiler:
    def __init__(self, resolver: Resolver, functions: Functions | None) -> None:
        self._resolver = resolver
        self._functions = functions
        self._depth = 0

    def compile(self, node: syntax.Expression) -> Compiled:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise refused(node.at, f"nested deeper than {MAX_DEPTH}")
        try:
            return _KINDS[type(node)](self, node)
        finally:
            self._depth -= 1

    def literal(self, node: syntax.Literal) -> Compiled:
        return constant(node.value)

    def column(self, node: syntax.Column) -> Compiled:
        return self._resolver.column(node), UNKNOWN

    def member(self, node: syntax.MemberOf) -> Compiled:
        of, known = self.compile(node.of)
        name, member = node.name, sql_values.member
        return folded(lambda row, context: member(of(row, context), name), node.at, known)

    def index(self, node: syntax.ElementAt) -> Compiled:
        of, known = self.compile(node.of)
        at, at_known = self.compile(node.index)
        index = sql_values.index
        return folded(
            lambda row, context: index(of(row, context), at(row, context)), node.at, known, at_known
        )

    def slice(self, node: syntax.Slice) -> Compiled:
        of, known = self.compile(node.of)
        start, start_known = self.compile(node.start) if node.start else constant(None)
        end, end_known = self.compile(node.end) if node.end else constant(None)
        _check_slice(node.at, start_known, end_known)
        cut = sql_values.cut
        return folded(
            lambda row, context: cut(of(row, context), start(row, context), end(row, context)),
            node.at,
            known,
            start_known,
            end_known,
        )

    def unary(self, node: syntax.Unary) -> Compiled:
        operand, known = self.compile(node.operand)
        work = arithmetic.negate if node.operator == "-" else _inverted
        return folded(lambda row, context: work(operand(row, context)), node.at, known)

    def binary(self, node: syntax.BinaryOperation) -> Compiled:
        if node.operator in ("AND", "OR"):
            return self._chain(node)
        left, left_known = self.compile(node.left)
        right, right_known = self.compile(node.right)
        if node.operator == "/" and not all(map(self._resolver.is_whole, (node.left, node.right))):
            evaluate = closures.quotient(left, right)
        else:
            fast = self._fast(node, left_known, right_known)
            evaluate = fast or closures.of_two(node.operator, left, right)
        return folded(evaluate, node.at, left_known, right_known)

    def _fast(self, node: syntax.BinaryOperation, left_known: Value, right_known: Value) -> Evaluate | None:
        """Returns the fast form of `column sign constant`, in either order, else None."""
        if isinstance(node.left, syntax.Column) and right_known is not UNKNOWN:
            key = self._resolver.key(node.left)
            return None if key is None else closures.of_key(node.operator, key, right_known)
        if isinstance(node.right, syntax.Column) and type(left_known) in sql_values.NUMBERS:
            key = self._resolver.key(node.right)
            return None if key is None else closures.of_number(node.operator, left_known, key)
        return None

    def _chain(self, node: syntax.BinaryOperation) -> Compiled:
        """`a AND b AND c`, or the same with OR: evaluated from the left until the result is decided."""
        parts = operands(node)
        compiled = [self.compile(part) for part in parts]
        decided = node.operator == "OR"
        evaluates = [evaluate for evaluate, _ in compiled]
        chained = conditions.chain(evaluates, decided)
        for part, (_, known) in zip(parts, compiled, strict=True):
            if known is not UNKNOWN and type(known) not in (bool, type(None)):
                raise refused(part.at, *sql_values.no_condition(known))
        return folded(chained, node.at, *(known for _, known in compiled))

    def one_of(self, node: syntax.In) -> Compiled:
        of, known = self.compile(node.of)
        choices = [self.compile(choice) for choice in node.choices]
        evaluates = [evaluate for evaluate, _ in choices]
        constants = [value for _, value in choices]
        if node.array:
            evaluate = conditions.in_array(of, evaluates[0], node.negated)
        elif all(type(value) in sql_values.NUMBERS for value in constants):
            evaluate = conditions.in_set(of, constants, sql_values.NUMBERS, node.negated)
        elif all(type(value) is str for value in constants):
            evaluate = conditions.in_set(of, constants, frozenset({str}), node.negated)
        else:
            evaluate = conditions.in_list(of, evaluates, node.negated)
        return folded(evaluate, node.at, known, *constants)

    def between(self, node: syntax.Between) -> Compiled:
        of, known = self.compile(node.of)
        low, low_known = self.compile(node.low)
        high, high_known = self.compile(node.high)
        return folded(conditions.between(of, low, high, node.negated), node.at, known, low_known, high_known)

    def like(self, node: syntax.Like) -> Compiled:
        of, known = self.compile(node.of)
        pattern, pattern_known = self.compile(node.pattern)
        if pattern_known is not UNKNOWN and type(pattern_known) not in (str, type(None)):
            raise refused(node.at, f"LIKE {sql_values.shown(pattern_known)}: want a text as pattern")
        return folded(conditions.like(of, pattern, node.negated), node.at, known, pattern_known)

    def case(self, node: syntax.CaseExpression) -> Compiled:
        if not node.whens:
            raise refused(node.at, "CASE without WHEN")
        otherwise, otherwise_known = self.compile(node.otherwise) if node.otherwise else constant(None)
        whens = [(self.compile(when), self.compile(then)) for when, then in node.whens]
        known = [value for pair in whens for _, value in pair] + [otherwise_known]
        branches = [(when, then) for (when, _), (then, _) in whens]
        if node.of is not None:
            of, of_known = self.compile(node.of)
            return folded(conditions.case_of_value(of, branches, otherwise), node.at, of_known, *known)
        for (_, value), (written, _) in zip((when for when, _ in whens), node.whens, strict=True):
            if value is not UNKNOWN and type(value) not in (bool, type(None)):
                raise refused(written.at, f"CASE WHEN {sql_values.shown(value)}: want a condition")
        return folded(conditions.case_of_conditions(branches, otherwise), node.at, *known)

    def star(self, node: syntax.Star) -> Compiled:
        raise refused(node.at, "write * alone in SELECT, or in count(*), collect(*) and the like")

    def call(self, node: syntax.FunctionCall) -> Compiled:
        answered = self._resolver.call(node)
        if answered is not None:
            return answered, UNKNOWN
        return compile_call(node, self.compile, self._functions)


_KINDS: dict[type, Callable[[_Compiler, Value], Compiled]] = {
    syntax.Literal: _Compiler.literal,
    syntax.Column: _Compiler.column,
    syntax.MemberOf: _Compiler.member,
    syntax.ElementAt: _Compiler.index,
    syntax.Slice: _Compiler.slice,
    syntax.Unary: _Compiler.unary,
    syntax.BinaryOperation: _Compiler.binary,
    syntax.In: _Compiler.one_of,
    syntax.Between: _Compiler.between,
    syntax.Like: _Compiler.like,
    syntax.CaseExpression: _Compiler.case,
    syntax.Star: _Compiler.star,
    syntax.FunctionCall: _Compiler.call,
}


def _inverted(value: Value) -> bool | None:
    if value is None:
        return None
    if type(value) is not bool:
        raise RowError(f"NOT {sql_values.shown(value)}: want a condition")
    return not value


def _check_slice(at: syntax.TextPlace, start: Value, end: Value) -> None:
    for bound in (start, end):
        if bound is not UNKNOWN and type(bound) not in (int, type(None)):
            raise refused(at, f"[{sql_values.shown(bound)}]: want whole numbers in a slice")
    if type(start) is int and type(end) is int and (start < 0) == (end < 0) and start >= end:
        raise refused(at, f"[{start}:{end}] is always empty; want a start before the end")
