"""ThresholdIndex: rules that differ only in their thresholds; finds the rules that a record concerns.

Rules `SELECT ... WHERE column OP constant AND rest` that differ only in constants form one `SplitStatement`.
A rule can be split when it has no memory: one stream, no window, no aggregate, no analytic function. Where
the comparison is false, `rest` is not computed and cannot fail, as it could if the rule ran alone.

The constants are sorted (for = in a dict): a bisect finds those that hold, and only their rules are
processed. Further constants of the same kind are compared rule by rule, among the rules that the first one
found. It belongs to the engine's thread; nothing here blocks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

from opq_rules.engine.running.rule import Deliver, QueryUnit, Rule
from opq_rules.expressions.closures import lookup
from opq_rules.functions.registry import Scalar, find
from opq_rules.query.planning.select_plan import RULE_SCALARS, QueryPlan
from opq_rules.query.planning.where import MIRRORED_SIGNS, conjuncts, sieve, together
from opq_rules.query.query import Query
from opq_rules.sql.syntax import BinaryOperation, Column, Expression, FunctionCall, Literal, Select, Unary
from opq_rules.sql.walk import calls_in
from opq_rules.values.batch import Batch, Row
from opq_rules.values.sql_values import COMPARISONS, NUMBERS

Constant = int | float | str
HOLDS = {sign: holds for sign, holds in COMPARISONS.items() if sign != "!="}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column operator constant`; the constant is literal number `slot` of the text, negated or not."""

    column: str
    operator: str
    slot: int
    negated: bool
    text: bool

    def constant(self, literals: Sequence[object]) -> Constant | None:
        """The constant in another text of the same shape; None where it is of another kind."""
        value = literals[self.slot]
        if self.text:
            return value if isinstance(value, str) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            return None
        return -value if self.negated else value


@dataclass(frozen=True, slots=True)
class SplitStatement:
    """A split statement: the comparisons, and the `rest` that rules with the same other literals share."""

    free: tuple[Comparison, ...]
    rest: Select

    @property
    def slots(self) -> frozenset[int]:
        return frozenset(each.slot for each in self.free)


def split(select: Select) -> SplitStatement | None:
    """Splits a statement; None where that is impossible."""
    if select.joins or select.window or select.group_by or select.having or select.order_by:
        return None
    if select.where is None or not all(_has_no_memory(call) for call in calls_in(select)):
        return None
    aliases = {item.alias.lower() for item in select.items if item.alias}
    free: list[Comparison] = []
    kept: list[Expression] = []
    for conjunct in conjuncts(select.where):
        found = _free(conjunct, select.source.name)
        if found is None or found.column.lower() in aliases:
            kept.append(conjunct)
        else:
            free.append(found)
    if not free:
        return None
    free.sort(key=lambda each: each.operator != "=")  # equality first: it leaves the fewest rules
    return SplitStatement(tuple(free), replace(select, where=together(kept) if kept else None))


def _free(node: Expression, source: str) -> Comparison | None:
    if not isinstance(node, BinaryOperation) or node.operator not in HOLDS:
        return None
    left, right, sign = node.left, node.right, node.operator
    if isinstance(right, Column):
        left, right, sign = right, left, MIRRORED_SIGNS[sign]
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


def _has_no_memory(call: FunctionCall) -> bool:
    return call.over is None and isinstance(find(call.name), Scalar) and call.name not in RULE_SCALARS


class SortedThresholds:
    """Rules sorted by `Rule.constants`: a tuple in the order of `free`, or the only constant.

    `first` takes O(log n) and the rules found.
    """

    def __init__(self, free: Sequence[Comparison]) -> None:
        self.free = tuple(free)
        self._sign = free[0].operator
        self._keys: list[Any] = []
        self._members: list[Rule] = []
        self._equal: dict[Any, list[Rule]] = {}

    def _constant(self, member: Rule) -> Any:
        return member.constants if len(self.free) == 1 else member.constants[0]

    def add(self, member: Rule) -> None:
        key = self._constant(member)
        if self._sign == "=":
            self._equal.setdefault(key, []).append(member)
            return
        at = bisect_right(self._keys, key)
        self._keys.insert(at, key)
        self._members.insert(at, member)

    def remove(self, member: Rule) -> None:
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

    def first(self, value: object) -> Sequence[Rule]:
        """Rules whose first comparison holds; `value` is of the constants' kind."""
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
    def edge(self) -> tuple[str, Any]:
        """Sign and constant of the comparison that holds for every value that concerns a rule."""
        if self._sign == "=":
            return "in", self._equal
        return self._sign, self._keys[0] if self._sign in (">", ">=") else self._keys[-1]


class ThresholdIndex(QueryUnit):
    """`query` is the rest of the statement, which its rules share; it has no memory."""

    remembers = False

    def __init__(
        self,
        key: Hashable,
        inputs: Mapping[str, str],
        make: Callable[[], Query],
        plan: QueryPlan,
        split: SplitStatement,
    ) -> None:
        super().__init__(key, inputs, make, plan)
        self.split = split
        self._index: SortedThresholds = SortedThresholds(split.free)
        self._further = [
            (k, each.column, HOLDS[each.operator], each.text) for k, each in enumerate(split.free)
        ][1:]

    @property
    def operators(self) -> tuple[str, ...]:
        names = super().operators
        return names if "filter" in names else ("filter", *names)

    def reads(self, stream: str) -> frozenset[str] | None:
        read = super().reads(stream)
        return None if read is None else read | {each.column.lower() for each in self.split.free}

    def explained(self) -> str:
        others = len(self._rules) - 1
        rules = f"with {others} other rule{'s' if others > 1 else ''} of the same form" if others else "alone"
        return f"{rules}, found by an index over constants"

    def add(self, rule: Rule) -> None:
        super().add(rule)
        self._index.add(rule)

    def remove(self, rule: Rule) -> None:
        super().remove(rule)
        self._index.remove(rule)

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        rows = batch.rows
        self.records_in += len(rows)
        hits = self._hits(rows)
        if not hits:
            return
        concerned: list[tuple[int, Sequence[Rule]]] = []
        for k in hits:
            row = rows[k]
            rules = self._index.first(lookup(row, self.split.free[0].column))
            if self._further and rules:
                rules = self._narrowed(row, rules)
            if rules:
                concerned.append((k, rules))
        if not concerned:
            return
        if len(self._rules) == 1:
            emissions = self.query.feed(batch.part([k for k, _ in concerned]))
            if emissions:
                deliver(concerned[0][1][0], emissions)
            return
        places = [k for k, _ in concerned]
        whole = self.query.feed(batch.part(places)) if self.split.rest.where is None else ()
        if len(whole) == len(concerned):
            for emission, (_, rules) in zip(whole, concerned, strict=True):
                for rule in rules:
                    deliver(rule, (emission,))
            return
        for k, rules in concerned:
            emissions = self.query.feed(batch.part([k]))
            if emissions:
                for rule in rules:
                    deliver(rule, emissions)

    def _hits(self, rows: Sequence[Row]) -> list[int]:
        """Records for which a first comparison may hold; values of a wrong kind are counted as errors."""
        free = self.split.free[0]
        found = compress(range(len(rows)), sieve(free.column, *self._index.edge, free.text)(rows))
        return [k for k in found if self._of_kind(lookup(rows[k], free.column), free.text)]

    def _of_kind(self, value: object, text: bool) -> bool:
        if value is None or value != value:  # null, NaN: no comparison holds
            return False
        if type(value) is str if text else type(value) in NUMBERS:
            return True
        counters, wanted = self.query.counters, "text" if text else "a number"
        counters.errors, counters.last_error_ms = counters.errors + 1, self.last_ms
        counters.last_error = f"Where: {self.split.free[0].column} is {str(value)[:40]!r}; want {wanted}"
        return False

    def _narrowed(self, row: Row, rules: Sequence[Rule]) -> Sequence[Rule]:
        for k, column, holds, text in self._further:
            value = lookup(row, column)
            if not self._of_kind(value, text):
                return ()
            rules = [rule for rule in rules if holds(value, rule.constants[k])]
        return rules
