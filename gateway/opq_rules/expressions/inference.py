"""Infers the type of an expression before any record arrives; a clash is what no record could compute.

A clash is refused if every record computes it. If a record may skip it (after AND and OR, in the branches of
CASE, in the aggregate of a FILTER), the clash is only noted, and the records that reach it raise the error.
Source: docs/reference/rules.md, D.4; arguments of functions: `functions.signatures`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from opq_rules.errors import RuleError
from opq_rules.expressions.closures import refused
from opq_rules.functions.registry import Functions, Scalar, find
from opq_rules.functions.signatures import Signature, arithmetic, signature
from opq_rules.sql import syntax
from opq_rules.sql.walk import operands
from opq_rules.values.batch import Value
from opq_rules.values.types import (
    ARRAY,
    BIGINT,
    BOOLEAN,
    NULL,
    NUMBER,
    STRING,
    STRUCT,
    UNKNOWN_TYPE,
    ValueType,
    joined,
    of_literal,
)

_TIMES = NUMBER.kinds | {"datetime"}
_EQUAL = ("=", "!=")
_CAST = 'cast(x, "float") makes a number of a text'
_COMPARE = "write a comparison such as v > 0 or name = 'x'"


class Scope(Protocol):
    """Resolves the names of one clause to types."""

    def column(self, node: syntax.Column, inference: "Inference") -> ValueType:
        """The type of a column, or of the expression that its alias stands for."""
        ...

    def within(self, node: syntax.FunctionCall) -> "Scope":
        """The scope for the arguments of a call and for its OVER."""
        ...

    def filtering(self, node: syntax.FunctionCall) -> "Scope":
        """The scope for the FILTER of a call."""
        ...


class Inference:
    """Infers types of what compiles; `passed_by` lists the clashes that a record may skip."""

    def __init__(self, functions: Functions | None) -> None:
        self._functions = functions
        self.passed_by: list[RuleError] = []

    def type_of(self, node: syntax.Expression, scope: Scope) -> ValueType:
        """The type. Raises RuleError (SQL_PLAN): a clash that every record without null values reaches."""
        return _KINDS[type(node)](self, node, scope)

    def condition(self, node: syntax.Expression, scope: Scope) -> None:
        """Check a condition (WHERE and the like). Raises RuleError as `type_of` does."""
        _want_condition(self.type_of(node, scope), node.at)

    @contextmanager
    def left_to_records(self) -> Iterator[None]:
        """A context manager around parts that a record may skip."""
        try:
            yield
        except RuleError as error:
            self.passed_by.append(error)

    def later(self, node: syntax.Expression, scope: Scope) -> ValueType:
        """The type of a part that a record may skip; unknown if it clashes."""
        with self.left_to_records():
            return self.type_of(node, scope)
        return UNKNOWN_TYPE

    def _literal(self, node: syntax.Literal, scope: Scope) -> ValueType:
        return of_literal(node.value)

    def _column(self, node: syntax.Column, scope: Scope) -> ValueType:
        return scope.column(node, self)

    def _star(self, node: syntax.Star, scope: Scope) -> ValueType:
        return STRUCT

    def _member(self, node: syntax.MemberOf, scope: Scope) -> ValueType:
        return self.type_of(node.of, scope).member(node.name)

    def _index(self, node: syntax.ElementAt, scope: Scope) -> ValueType:
        of, at = self.type_of(node.of, scope), self.type_of(node.index, scope)
        if of.kinds and at.kinds:
            _want_array(of, node.at)
            if not at.can_be(NUMBER.kinds):
                raise refused(node.at, f"array[{at}]: want a whole number")
        return of.element

    def _slice(self, node: syntax.Slice, scope: Scope) -> ValueType:
        of = self.type_of(node.of, scope)
        bounds = [self.type_of(each, scope) for each in (node.start, node.end) if each is not None]
        _want_array(of, node.at)
        for bound in bounds if of.kinds else ():
            if not bound.can_be(NUMBER.kinds):
                raise refused(node.at, f"array[{bound} in a slice]: want whole numbers")
        return of.narrowed(ARRAY.kinds)

    def _unary(self, node: syntax.Unary, scope: Scope) -> ValueType:
        of = self.type_of(node.operand, scope)
        if node.operator == "-":
            if not of.can_be(NUMBER.kinds):
                raise refused(node.at, f"-({of}): want a number", _CAST if of == STRING else None)
            return of.narrowed(NUMBER.kinds)
        if not of.can_be(BOOLEAN.kinds):
            raise refused(node.at, f"NOT {of}: want a condition", _COMPARE)
        return of.narrowed(BOOLEAN.kinds)

    def _binary(self, node: syntax.BinaryOperation, scope: Scope) -> ValueType:
        sign = node.operator
        if sign in ("AND", "OR"):
            return self._chain(node, scope)
        left, right = self.type_of(node.left, scope), self.type_of(node.right, scope)
        if sign in _COMPARED:
            _want_comparable(sign, left, right, node.at)
            return BOOLEAN
        if not left.kinds or not right.kinds:
            return NULL
        if sign in "&|^":
            shared = left.kinds & right.kinds & BOOLEAN.kinds
            if left.can_be(NUMBER.kinds) and right.can_be(NUMBER.kinds):
                shared |= BIGINT.kinds
            if not shared:
                raise refused(node.at, f"{left} {sign} {right}: want whole numbers")
            return ValueType(shared)
        if not (left.can_be(NUMBER.kinds) and right.can_be(NUMBER.kinds)):
            texts = STRING in (left, right)
            hint = "concat(a, b) joins texts" if texts and sign == "+" else _CAST if texts else None
            raise refused(node.at, f"{left} {sign} {right}: want numbers", hint)
        return arithmetic([left.narrowed(NUMBER.kinds), right.narrowed(NUMBER.kinds)])

    def _chain(self, node: syntax.BinaryOperation, scope: Scope) -> ValueType:
        """`a AND b AND c` without recursion; every part after the first may be skipped."""
        first, *others = operands(node)
        self.condition(first, scope)
        for part in others:
            with self.left_to_records():
                self.condition(part, scope)
        return BOOLEAN

    def _in(self, node: syntax.In, scope: Scope) -> ValueType:
        of = self.type_of(node.of, scope)
        first = self.type_of(node.choices[0], scope)
        if node.array:
            if of.kinds and not first.can_be(ARRAY.kinds):
                raise refused(node.at, f"{of} IN {first}: want an array, or values in parentheses")
            return BOOLEAN
        _want_comparable("=", of, first, node.at)
        for choice in node.choices[1:]:
            with self.left_to_records():
                _want_comparable("=", of, self.type_of(choice, scope), choice.at)
        return BOOLEAN

    def _between(self, node: syntax.Between, scope: Scope) -> ValueType:
        of, low, high = (self.type_of(each, scope) for each in (node.of, node.low, node.high))
        if of.kinds and low.kinds and high.kinds:
            _want_comparable(">=", of, low, node.at)
            with self.left_to_records():
                _want_comparable("<=", of, high, node.high.at)
        return BOOLEAN

    def _like(self, node: syntax.Like, scope: Scope) -> ValueType:
        of, pattern = self.type_of(node.of, scope), self.type_of(node.pattern, scope)
        if of.kinds and pattern.kinds and not (of.can_be(STRING.kinds) and pattern.can_be(STRING.kinds)):
            raise refused(node.at, f"{of} LIKE {pattern}: want texts", 'cast(x, "string") makes one')
        return BOOLEAN

    def _case(self, node: syntax.CaseExpression, scope: Scope) -> ValueType:
        """The type of a CASE; only the condition of the first WHEN is always computed."""
        first, *others = (when for when, _ in node.whens)
        if node.of is None:
            self.condition(first, scope)
            for when in others:
                with self.left_to_records():
                    self.condition(when, scope)
        else:
            of = self.type_of(node.of, scope)
            _want_comparable("=", of, self.type_of(first, scope), first.at)
            for when in others:
                with self.left_to_records():
                    _want_comparable("=", of, self.type_of(when, scope), when.at)
        branches = [then for _, then in node.whens] + ([node.otherwise] if node.otherwise else [])
        return joined([self.later(each, scope) for each in branches])

    def _call(self, node: syntax.FunctionCall, scope: Scope) -> ValueType:
        found = find(node.name, self._functions)
        known = signature(node.name, len(node.arguments))
        inner = scope.within(node)
        path = isinstance(found, Scalar) and found.path
        arguments = node.arguments[1:] if path else node.arguments
        over = node.over
        if node.filter is not None:
            self.condition(node.filter, scope.filtering(node))
        for each in over.partition_by if over else ():
            self.type_of(each, inner)
        if over is not None and over.when is not None:
            self.condition(over.when, inner)
        if node.filter is not None:  # an aggregate: its arguments are computed only if the FILTER holds
            given = [self.later(each, inner) for each in arguments]
        else:
            given = [self.type_of(each, inner) for each in arguments]
        if known is None or path:
            return known.answer(given, arguments) if known else UNKNOWN_TYPE
        if node.filter is not None or (over is not None and over.when is not None):
            with self.left_to_records():
                _want_arguments(node, known, given)
        else:
            _want_arguments(node, known, given)
        return known.answer(given, arguments)


def _want_arguments(node: syntax.FunctionCall, known: Signature, given: Sequence[ValueType]) -> None:
    if not all(each.kinds for each in given):
        return  # if an argument is null, the others are never looked at
    for place, each in enumerate(given):
        kinds, words = known.wants(place)
        if not each.can_be(kinds):
            message = f"{node.written}: argument {place + 1} is {each}; want {words}"
            raise refused(node.at, message, _CAST if each == STRING and "number" in words else None)


def _want_condition(found: ValueType, at: syntax.TextPlace) -> None:
    if not found.can_be(BOOLEAN.kinds):
        raise refused(at, f"{found} is not a condition", _COMPARE)


def _want_array(found: ValueType, at: syntax.TextPlace) -> None:
    if not found.can_be(ARRAY.kinds):
        raise refused(at, f"({found})[ ]: want an array before [ ]")


_COMPARED = frozenset({*_EQUAL, "<", "<=", ">", ">="})


def _want_comparable(sign: str, left: ValueType, right: ValueType, at: syntax.TextPlace) -> None:
    a, b = left.kinds, right.kinds
    if not a or not b:
        return
    shared = a & b
    if (a & _TIMES and b & _TIMES) or not shared.isdisjoint(("string", "bytea")):
        return
    if ("datetime" in a and "string" in b) or ("boolean" in shared and sign in _EQUAL):
        return
    hint = _CAST if STRING in (left, right) and NUMBER.kinds & (a | b) else None
    raise refused(at, f"{left} {sign} {right}: these do not compare", hint)


_KINDS: dict[type, Callable[[Inference, Value, Scope], ValueType]] = {
    syntax.Literal: Inference._literal,
    syntax.Column: Inference._column,
    syntax.MemberOf: Inference._member,
    syntax.ElementAt: Inference._index,
    syntax.Slice: Inference._slice,
    syntax.Unary: Inference._unary,
    syntax.BinaryOperation: Inference._binary,
    syntax.In: Inference._in,
    syntax.Between: Inference._between,
    syntax.Like: Inference._like,
    syntax.CaseExpression: Inference._case,
    syntax.Star: Inference._star,
    syntax.FunctionCall: Inference._call,
}
