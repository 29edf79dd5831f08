"""A SELECT's types, in one pass over its clauses: what no record could compute is refused with its place.

A column has its declared type where the engine enforces that: in streams with STRICT_VALIDATION. Elsewhere a
value that cannot be converted stays as it came, so the column's type is unknown; clashes that would occur
with the declared types are then shown only by `explain`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_rules.errors import RuleError
from opq_rules.expressions.inference import Inference
from opq_rules.functions.registry import Analytic, Functions, Scalar, find
from opq_rules.query.planning.joins import ON
from opq_rules.query.planning.names import (
    GROUP_BY,
    HAVING,
    IN_WINDOW,
    ORDER_BY,
    SELECT,
    Clause,
    Names,
    NameScope,
)
from opq_rules.query.planning.origin import Origin
from opq_rules.query.planning.projection import titles
from opq_rules.query.planning.where import WHERE
from opq_rules.sql.syntax import Expression, FunctionCall, Item, Select, Star
from opq_rules.values.types import UNKNOWN_TYPE, ValueType, joined


@dataclass(frozen=True, slots=True)
class Described:
    """`columns`: output columns whose names are known; `clashes`: those with all columns as declared."""

    columns: dict[str, ValueType]
    clashes: tuple[RuleError, ...]


def check_types(select: Select, names: Names) -> None:
    """Raises RuleError (SQL_PLAN) for what no record could compute. The statement must compile."""
    try:
        _TypingPass(select, names, trusting=False).check()
    except RecursionError:
        return  # nested too deep for a check; the records will show errors


def described(select: Select, origins: Sequence[Origin], functions: Functions | None) -> Described:
    """The output for people, provided that all values come as declared."""
    found = _TypingPass(select, Names(origins, origins, select.items, functions), trusting=True)
    try:
        return found.described()
    except RecursionError:
        return Described({}, ())


class _TypingPass:
    """`trusting`: columns have their declared types even where the engine does not enforce them."""

    def __init__(self, select: Select, names: Names, trusting: bool) -> None:
        self._select, self._names = select, names
        self._inference = Inference(names.functions)
        self._types = Origin.declared if trusting else Origin.held

    def check(self) -> None:
        for node, clause in self._conditions():
            self._inference.condition(node, self._scope(clause))
        for node, clause in self._values():
            self._inference.type_of(node, self._scope(clause))
        for item in self._select.items:
            if item.invisible:
                self._inference.later(item.expression, self._item_scope(item))
            else:
                self._item(item)

    def described(self) -> Described:
        inference = self._inference
        for node, clause in self._conditions():
            with inference.left_to_records():
                inference.condition(node, self._scope(clause))
        for node, clause in self._values():
            inference.later(node, self._scope(clause))
        columns: dict[str, list[ValueType]] = {}
        for item, name in zip(self._select.items, titles(self._select.items), strict=True):
            found = UNKNOWN_TYPE
            with inference.left_to_records():
                found = self._item(item)
            if not (item.invisible or isinstance(item.expression, Star) or self._spreads(item.expression)):
                columns.setdefault(name, []).append(found)
        clashes = {(each.line, each.column, each.message): each for each in inference.passed_by}
        return Described({name: joined(each) for name, each in columns.items()}, tuple(clashes.values()))

    def _conditions(self) -> list[tuple[Expression, Clause]]:
        select, window = self._select, self._select.window
        found = [(select.where, WHERE), *((join.on, ON) for join in select.joins), (select.having, HAVING)]
        if window is not None:
            conditions = (window.filter, window.when, window.begin, window.end)
            found += [(each, IN_WINDOW) for each in conditions]
        return [(node, clause) for node, clause in found if node is not None]

    def _values(self) -> list[tuple[Expression, Clause]]:
        select, window = self._select, self._select.window
        found = [(each, GROUP_BY) for each in select.group_by]
        found += [(key.expression, ORDER_BY) for key in select.order_by]
        return found + [(each, IN_WINDOW) for each in (window.partition_by if window else ())]

    def _item(self, item: Item) -> ValueType:
        node, scope = item.expression, self._item_scope(item)
        if isinstance(node, Star):
            for each, _ in node.replace:
                self._inference.type_of(each, scope)
        return self._inference.type_of(node, scope)

    def _item_scope(self, item: Item) -> NameScope:
        """Within an item its alias is the column."""
        name = "" if item.alias is None else item.alias.lower()
        own = self._names.aliases.get(name) is item or self._spreads(item.expression)
        return NameScope(self._names, self._types, SELECT, (name,) if name and own else ())

    def _scope(self, clause: Clause) -> NameScope:
        return NameScope(self._names, self._types, clause)

    def _spreads(self, node: Expression) -> bool:
        found = find(node.name, self._names.functions) if isinstance(node, FunctionCall) else None
        return isinstance(found, Scalar | Analytic) and bool(found.spread)
