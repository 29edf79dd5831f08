"""Thresholds: which of very many rules a record concerns, without asking each of them. Pure.

Rules `SELECT ... WHERE column OP constant AND rest` that differ in constants alone are one `Split`: their
constants lie sorted (= in a dict), a bisect finds those that hold, and only they are touched. Further
constants of the same kind are compared rule by rule, among those that the first one found.

A rule can be split when it has no memory: one stream, no window, no aggregate, no analytic function.
Differs from running it alone: where the comparison is false, `rest` is not computed and cannot fail.
"""

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from opq_rules.functions.registry import Scalar, find
from opq_rules.sql.syntax import Binary, Call, Column, Expression, Item, Literal, Select, Unary

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
class Free:
    """`column operator constant`; the constant is the text's literal number `slot`, negated or not."""

    column: str
    operator: str
    slot: int
    negated: bool
    text: bool

    def constant(self, literals: Sequence[Any]) -> Constant | None:
        """Of another text of the same shape; None: another kind of constant."""
        value = literals[self.slot]
        if self.text:
            return value if type(value) is str else None
        if type(value) not in NUMBERS or value != value:
            return None
        number: int | float = value
        return -number if self.negated else number


@dataclass(frozen=True, slots=True)
class Split:
    """A statement in two: what is compared, and the `rest` that rules with the same other literals share."""

    free: tuple[Free, ...]
    rest: Select

    @property
    def slots(self) -> frozenset[int]:
        return frozenset(each.slot for each in self.free)


def split(select: Select) -> Split | None:
    """None: the statement cannot be split."""
    if select.joins or select.window or select.group_by or select.having or select.order_by:
        return None
    if select.where is None or not all(_has_no_memory(call) for call in calls(select)):
        return None
    aliases = {item.alias.lower() for item in select.items if item.alias}
    free: list[Free] = []
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
        where = conjunct if where is None else Binary("AND", where, conjunct, conjunct.at)
    return Split(tuple(free), replace(select, where=where))


def _conjuncts(node: Expression) -> Iterator[Expression]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Binary) and each.operator == "AND":
            waiting += [each.right, each.left]
        else:
            yield each


def _free(node: Expression, source: str) -> Free | None:
    if not isinstance(node, Binary) or node.operator not in MIRRORED:
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
        return Free(left.name, sign, literal.slot, negated, False)
    if type(literal.value) is str and sign == "=" and not negated:
        return Free(left.name, sign, literal.slot, False, True)
    return None


def calls(node: Any) -> Iterator[Call]:
    """Every call in a statement, or a part of one."""
    return (each for each in nodes(node) if isinstance(each, Call))


def nodes(node: Any) -> Iterator[Any]:
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


def _has_no_memory(call: Call) -> bool:
    return call.over is None and isinstance(find(call.name), Scalar) and call.name not in OF_ITS_RULE


class Member(Protocol):
    """A rule in an index; `constants` in the order of `Split.free`, one alone as itself."""

    constants: Any


M = TypeVar("M", bound=Member)


class Index(Generic[M]):
    """Members by their constants. `first` answers for a record's value; O(log n) and the members found."""

    def __init__(self, free: Sequence[Free]) -> None:
        self.free = tuple(free)
        self._sign = free[0].operator
        self._keys: list[Any] = []
        self._members: list[M] = []
        self._equal: dict[Any, list[M]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def _constant(self, member: M) -> Any:
        return member.constants if len(self.free) == 1 else member.constants[0]

    def add(self, member: M) -> None:
        self._count += 1
        key = self._constant(member)
        if self._sign == "=":
            self._equal.setdefault(key, []).append(member)
            return
        at = bisect_right(self._keys, key)
        self._keys.insert(at, key)
        self._members.insert(at, member)

    def remove(self, member: M) -> None:
        key = self._constant(member)
        if self._sign == "=":
            members = self._equal[key]
            members.remove(member)
            if not members:
                del self._equal[key]
        else:
            at = bisect_left(self._keys, key)
            while self._members[at] is not member:
                at += 1
            del self._keys[at], self._members[at]
        self._count -= 1

    def first(self, value: Any) -> Sequence[M]:
        """Members whose first comparison holds; the value is of the constants' kind."""
        if self._sign == "=":
            return self._equal.get(value, ())
        if self._sign == ">":
            return self._members[: bisect_left(self._keys, value)]
        if self._sign == ">=":
            return self._members[: bisect_right(self._keys, value)]
        if self._sign == "<":
            return self._members[bisect_right(self._keys, value) :]
        return self._members[bisect_left(self._keys, value) :]

    @property
    def edge(self) -> Any:
        """The constant that the most values pass, or None for =: most records end here."""
        if self._sign == "=" or not self._keys:
            return None
        return self._keys[0] if self._sign in (">", ">=") else self._keys[-1]

    @property
    def keys(self) -> Any:
        """For =: what to look in."""
        return self._equal
