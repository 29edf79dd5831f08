"""Thresholds: which statements differ in their constants alone. Pure.

Rules `SELECT ... WHERE column OP constant AND rest` that differ in constants alone are one `SplitStatement`,
and run in one `threshold_index.ThresholdIndex`.

A rule can be split when it has no memory: one stream, no window, no aggregate, no analytic function.
Differs from running it alone: where the comparison is false, `rest` is not computed and cannot fail.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from opq_rules.functions.registry import Scalar, find
from opq_rules.sql.syntax import (
    BinaryOperation,
    Column,
    Expression,
    FunctionCall,
    Item,
    Literal,
    Select,
    Unary,
)

Constant = int | float | str
NUMBERS = (int, float)
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}
HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
OF_ITS_RULE = frozenset({"rule_id", "rule_start"})
"""Scalars that give each rule something else."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column operator constant`; the constant is the text's literal number `slot`, negated or not."""

    column: str
    operator: str
    slot: int
    negated: bool
    text: bool

    def constant(self, literals: Sequence[object]) -> Constant | None:
        """Of another text of the same shape; None: another kind of constant."""
        value = literals[self.slot]
        if self.text:
            return value if isinstance(value, str) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            return None
        return -value if self.negated else value


@dataclass(frozen=True, slots=True)
class SplitStatement:
    """A statement in two: what is compared, and the `rest` that rules with the same other literals share."""

    free: tuple[Comparison, ...]
    rest: Select

    @property
    def slots(self) -> frozenset[int]:
        return frozenset(each.slot for each in self.free)


def split(select: Select) -> SplitStatement | None:
    """None: the statement cannot be split."""
    if select.joins or select.window or select.group_by or select.having or select.order_by:
        return None
    if select.where is None or not all(_has_no_memory(call) for call in calls(select)):
        return None
    aliases = {item.alias.lower() for item in select.items if item.alias}
    free: list[Comparison] = []
    kept: list[Expression] = []
    for conjunct in _conjuncts(select.where):
        found = _free(conjunct, select.source.name)
        if found is None or found.column.lower() in aliases:
            kept.append(conjunct)
        else:
            free.append(found)
    if not free:
        return None
    free.sort(key=lambda each: each.operator != "=")  # equality first: it leaves fewest
    where: Expression | None = None
    for conjunct in kept:
        where = conjunct if where is None else BinaryOperation("AND", where, conjunct, conjunct.at)
    return SplitStatement(tuple(free), replace(select, where=where))


def _conjuncts(node: Expression) -> Iterator[Expression]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BinaryOperation) and each.operator == "AND":
            waiting += [each.right, each.left]
        else:
            yield each


def _free(node: Expression, source: str) -> Comparison | None:
    if not isinstance(node, BinaryOperation) or node.operator not in MIRRORED:
        return None
    left, right, sign = node.left, node.right, node.operator
    if isinstance(right, Column):
        left, right, sign = right, left, MIRRORED[sign]
    if not isinstance(left, Column) or left.stream not in (None, source):
        return None
    negated = isinstance(right, Unary) and right.operator == "-"
    literal = right.operand if isinstance(right, Unary) and negated else right
    if not isinstance(literal, Literal) or literal.slot is None:
        return None
    if type(literal.value) in NUMBERS:
        return Comparison(left.name, sign, literal.slot, negated, False)
    if type(literal.value) is str and sign == "=" and not negated:
        return Comparison(left.name, sign, literal.slot, False, True)
    return None


def calls(node: object) -> Iterator[FunctionCall]:
    """Every call in a statement, or a part of one."""
    return (each for each in nodes(node) if isinstance(each, FunctionCall))


def nodes(node: object) -> Iterator[object]:
    """A statement, or a part of one, and all that is in it."""
    if isinstance(node, tuple):
        for each in node:
            yield from nodes(each)
    elif is_dataclass(node) and not isinstance(node, type):
        yield node
        for field in fields(node):
            if isinstance(node, Item) and field.name == "text":
                continue
            yield from nodes(getattr(node, field.name))


def _has_no_memory(call: FunctionCall) -> bool:
    return call.over is None and isinstance(find(call.name), Scalar) and call.name not in OF_ITS_RULE
