"""The meaning of names in each clause: columns, aliases, aggregates, analytic calls (expressions.Resolver).

An alias may be used anywhere and in any order; within the item that defines it, its name is the column.
HAVING takes aggregates, functions of them, and what GROUP BY names. Source: docs/reference/rules.md, D.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.expressions.inference import Inference
from opq_rules.functions.registry import AggregateFunction, Analytic, Functions, Planned, Scalar, find
from opq_rules.query.groups import AggregateCall
from opq_rules.query.hits import HitCall, Match
from opq_rules.query.planning.analysis import MARK, AnalyticCall
from opq_rules.query.planning.origin import Origin, found_among, whole_row
from opq_rules.sql.syntax import Column, Expression, FunctionCall, Item, Select
from opq_rules.sql.walk import children, tree_key, walk
from opq_rules.values.batch import Value
from opq_rules.values.types import ValueType, joined

MAX_EXPANSIONS = 2_000


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause, and what may be called in it."""

    title: str
    aggregates: bool = False
    analytic: bool = True
    row_number: bool = False
    match: Match = "row"
    """What last_hit_count() counts here."""


SELECT = Clause("SELECT", aggregates=True, row_number=True)
GROUP_BY = Clause("GROUP BY")
HAVING = Clause("HAVING", aggregates=True)
ORDER_BY = Clause("ORDER BY", aggregates=True)
IN_WINDOW = Clause("the window's condition")
TRIGGER = Clause("OVER (WHEN ...)", match="trigger")


class Names:
    """The names of one SELECT. Collects the aggregates and analytic calls that its clauses use."""

    def __init__(
        self,
        origins: Sequence[Origin],
        star_order: Sequence[Origin],
        items: Sequence[Item],
        functions: Functions | None,
    ) -> None:
        self.origins = origins
        self.star_order = star_order
        self.joined = len(origins) > 1
        self.functions = functions
        self.aliases = {item.alias.lower(): item for item in items if item.alias is not None}
        self.aggregates: list[AggregateCall] = []
        self.analytics: list[AnalyticCall] = []
        self.hit_calls: list[FunctionCall] = []
        self.hits: list[HitCall] = []
        self.uses_kept = False
        self._known: dict[Value, int] = {}
        """Aggregates by what they compute, so that HAVING and SELECT share one."""
        self._known_analytic: dict[Value, AnalyticCall] = {}
        self._known_hits: dict[Value, int] = {}
        self._slots = 0
        self._alias_origins: dict[str, set[int]] = {}
        self._alias_calls: dict[tuple[str, type], bool] = {}
        self._expanded = 0

    def origins_of(self, node: Expression, seen: tuple[str, ...] = ()) -> set[int]:
        """The origins whose columns it reads, also through aliases; of several possible ones the first."""
        if isinstance(node, Column):
            name = node.name.lower()
            item = self.aliases.get(name) if node.stream is None and name not in seen else None
            if item is not None:
                if name not in self._alias_origins:
                    self._alias_origins[name] = self.origins_of(item.expression, (*seen, name))
                return self._alias_origins[name]
            return {found_among(self.star_order, node)[0].index}
        inner = children(node)
        if isinstance(node, FunctionCall):
            definition = find(node.name, self.functions)
            if isinstance(definition, Scalar) and definition.path:
                inner = node.arguments[1:]
        return set[int]().union(*[self.origins_of(each, seen) for each in inner])

    def calls(self, node: Expression, kind: type, seen: tuple[str, ...] = ()) -> bool:
        """Whether it calls a function of `kind`, also through aliases."""
        for each in walk(node):
            if isinstance(each, FunctionCall) and isinstance(find(each.name, self.functions), kind):
                return True
            if not isinstance(each, Column) or each.stream is not None:
                continue
            name = each.name.lower()
            item = None if name in seen else self.aliases.get(name)
            if item is None:
                continue
            if (name, kind) not in self._alias_calls:
                self._alias_calls[name, kind] = self.calls(item.expression, kind, (*seen, name))
            if self._alias_calls[name, kind]:
                return True
        return False

    def alias_of(self, node: Column, clause: Clause, defining: tuple[str, ...], inside: str) -> Item | None:
        """The item whose alias the name is; None: it is a column. `inside`: the aggregate around it."""
        if node.stream is not None:
            return None
        name = node.name.lower()
        item = self.aliases.get(name)
        if item is None or (defining and defining[-1] == name):
            return None
        if (inside or not clause.aggregates) and self.hides_column(item):
            return None
        if name in defining:
            cycle = " -> ".join((*defining, name))
            raise refused(node.at, f"alias {node.name} refers to itself: {cycle}")
        return item

    def expand(self, item: Item) -> None:
        """Counts uses of aliases: `a + a AS b, b + b AS c, ...` is a long computation in a short text."""
        self._expanded += 1
        if self._expanded > MAX_EXPANSIONS:
            raise refused(item.at, f"aliases of aliases expand to more than {MAX_EXPANSIONS} expressions")

    def hides_column(self, item: Item) -> bool:
        """Whether `avg(v) AS v` is such an item: where no aggregate is allowed, v is then the column."""
        assert item.alias is not None
        name = item.alias.lower()
        reads = (each for each in walk(item.expression) if isinstance(each, Column))
        return any(each.name.lower() == name for each in reads) and self.calls(
            item.expression, AggregateFunction, (name,)
        )

    def reads_alias(self, node: Expression) -> bool:
        """Whether a name in it is also an alias, so that its meaning depends on the statement."""
        return any(
            isinstance(each, Column) and each.stream is None and each.name.lower() in self.aliases
            for each in walk(node)
        )

    def is_column(self, item: Item) -> bool:
        """Whether it is an unchanged column, not a computed value."""
        node = item.expression
        if not isinstance(node, Column):
            return False
        return node.stream is not None or self.aliases.get(node.name.lower(), item) is item

    def whole(self, stream: str | None) -> Evaluate:
        return whole_row(self.star_order, self.joined, stream)

    def known_aggregate(self, key: Value, make: Value) -> int:
        found = self._known.get(key)
        if found is None:
            self.aggregates.append(make())
            found = self._known[key] = len(self.aggregates) - 1
        return found

    def known_analytic(self, key: Value, make: Value) -> AnalyticCall:
        found = self._known_analytic.get(key)
        if found is None:
            self._slots += 1  # numbered before the calls in its arguments
            made: AnalyticCall = make(f"{MARK}{self._slots}")
            self.analytics.append(made)
            found = self._known_analytic[key] = made
        return found

    def known_hits(self, key: Value, make: Callable[[], HitCall]) -> int:
        found = self._known_hits.get(key)
        if found is None:
            self.hits.append(make())
            found = self._known_hits[key] = len(self.hits) - 1
        return found


@dataclass(slots=True)
class NameScope:
    """inference.Scope of one clause, as in the compiler. `types`: the type of an origin's column."""

    names: Names
    types: Callable[[Origin, str], ValueType]
    clause: Clause
    defining: tuple[str, ...] = ()
    inside: str = ""

    def column(self, node: Column, inference: Inference) -> ValueType:
        item = self.names.alias_of(node, self.clause, self.defining, self.inside)
        if item is None:
            found = found_among(self.names.star_order, node)
            return joined([self.types(each, node.name) for each in found])
        defining = (*self.defining, node.name.lower())
        inner = NameScope(self.names, self.types, self.clause, defining, self.inside)
        return inference.type_of(item.expression, inner)

    def within(self, node: FunctionCall) -> "NameScope":
        found = find(node.name, self.names.functions)
        if isinstance(found, AggregateFunction) and not self.inside and self.clause.aggregates:
            return NameScope(self.names, self.types, self.clause, self.defining, node.written)
        if isinstance(found, Analytic):
            late = self.clause.aggregates and not self.inside
            late = late and any(
                self.names.calls(each, AggregateFunction, self.defining[-1:]) for each in node.arguments
            )
            return NameScope(self.names, self.types, Clause(node.written, aggregates=late), self.defining)
        return self

    def filtering(self, node: FunctionCall) -> "NameScope":
        return NameScope(self.names, self.types, Clause(f"FILTER of {node.written}"), self.defining)


def check_having(node: Expression, select: Select, names: Names) -> None:
    """Checks that HAVING uses only aggregates and what GROUP BY names. Raises RuleError."""
    keys = {_key_signature(each) for each in select.group_by}

    def check(each: Expression, seen: tuple[str, ...]) -> bool:
        """Whether an aggregate is in the expression."""
        if isinstance(each, FunctionCall):
            found = find(each.name, names.functions)
            if isinstance(found, AggregateFunction) or (isinstance(found, Planned) and "hit" in each.name):
                return True
        if _key_signature(each) in keys:
            return False
        if isinstance(each, Column):
            item = names.aliases.get(each.name.lower()) if each.stream is None else None
            if item is not None and each.name.lower() not in seen:
                return check(item.expression, (*seen, each.name.lower()))
            raise refused(
                each.at, f"HAVING takes aggregates; {each.name} is not an aggregate", "WHERE filters records"
            )
        inner = [check(below, seen) for below in children(each)]  # a list, so that all are checked
        return any(inner)

    if not check(node, ()):
        raise refused(
            node.at, "HAVING needs an aggregate, such as HAVING avg(rms) > 1", "WHERE filters records"
        )


def _key_signature(node: Expression) -> object:
    return ("column", node.name.lower()) if isinstance(node, Column) else tree_key(node)
