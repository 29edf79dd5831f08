"""Compiles expressions of each clause: aliases, aggregates and analytic calls (expressions.Resolver)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from opq_rules.expressions.calls import check_constants, checked_definition
from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.expressions.compile import compile_condition, compile_expression, constant_value
from opq_rules.expressions.inference import Inference
from opq_rules.functions.registry import (
    UNKNOWN,
    AggregateFunction,
    Analytic,
    Functions,
    Planned,
    Scalar,
    find,
)
from opq_rules.query.groups import AggregateCall, Give, Take
from opq_rules.query.hits import HitCall
from opq_rules.query.planning.analysis import AnalyticCall
from opq_rules.query.planning.names import Clause, Names, NameScope
from opq_rules.query.planning.origin import Origin, column_of_joined, column_of_row, found_among
from opq_rules.sql.syntax import Column, Expression, FunctionCall, Item, Literal, MemberOf, Over, Star
from opq_rules.sql.walk import tree_key, walk
from opq_rules.values.batch import Value


class Compiler(Names):
    """Compiles the expressions of one SELECT."""

    def expression(self, node: Expression, clause: Clause) -> Evaluate:
        return compile_expression(node, _Resolver(self, clause), self.functions)

    def condition(self, node: Expression, clause: Clause) -> Evaluate:
        return compile_condition(node, _Resolver(self, clause), self.functions)

    def item(self, item: Item, clause: Clause) -> Evaluate:
        """Compiles an item of SELECT; within it its alias is the column."""
        resolver = _Resolver(self, clause)
        if item.alias is not None and item is self.aliases.get(item.alias.lower()):
            return resolver.alias(item)
        return compile_expression(item.expression, resolver, self.functions)

    def spread(self, item: Item, clause: Clause, functions: Functions) -> Evaluate:
        """Compiles an item whose call spreads; `functions` has that call as an ordinary one."""
        defining = (item.alias.lower(),) if item.alias is not None else ()
        resolver = _Resolver(self, clause, defining, spreads=True)
        return compile_expression(item.expression, resolver, functions)


@dataclass(slots=True)
class _Resolver:
    """expressions.Resolver of one clause. `inside`: the aggregate in whose argument the expression is."""

    names: Compiler
    clause: Clause
    defining: tuple[str, ...] = ()
    inside: str = ""
    spreads: bool = False

    def key(self, node: Column) -> str | None:
        """The key for the fast way: one origin, no alias."""
        names = self.names
        if names.joined or self._alias_of(node) is not None:
            return None
        found_among(names.origins, node)
        return node.name

    def column(self, node: Column) -> Evaluate:
        item = self._alias_of(node)
        if item is not None:
            return self.alias(item)
        names = self.names
        found = found_among(names.star_order, node)
        if not names.joined:
            return column_of_row(node.name)
        declared = [origin for origin in found if origin.columns is not None]
        if len(found) > 1 and len(declared) == len(found):
            where = ", ".join(origin.name for origin in found)
            raise refused(node.at, f"column {node.name} is in {where}", "write stream.column")
        return column_of_joined(node.name, [origin.index for origin in found])

    def _alias_of(self, node: Column) -> Item | None:
        return self.names.alias_of(node, self.clause, self.defining, self.inside)

    def alias(self, item: Item) -> Evaluate:
        assert item.alias is not None
        self.names.expand(item)
        inner = _Resolver(self.names, self.clause, (*self.defining, item.alias.lower()), self.inside)
        evaluate = compile_expression(item.expression, inner, self.names.functions)
        if not self._is_volatile(item.expression):
            return evaluate
        self.names.uses_kept = True
        return _once_per_row(item.alias.lower(), evaluate)

    def _is_volatile(self, node: Expression) -> bool:
        for each in walk(node):
            if isinstance(each, FunctionCall):
                found = find(each.name, self.names.functions)
                if isinstance(found, Scalar) and found.volatile:
                    return True
        return False

    def call(self, node: FunctionCall) -> Evaluate | None:
        found = checked_definition(node, self.names.functions)
        if isinstance(found, AggregateFunction):
            return self._aggregate(node, found)
        if isinstance(found, Analytic):
            return self._analytic(node, found)
        if isinstance(found, Planned):
            return self._planned(node)
        return None

    def is_whole(self, node: Expression) -> bool:
        names = self.names
        scope = NameScope(names, Origin.computed, self.clause, self.defining, self.inside)
        return "float" not in Inference(names.functions).later(node, scope).kinds

    def _aggregate(self, node: FunctionCall, found: AggregateFunction) -> Evaluate | None:
        if self.inside or not self.clause.aggregates:
            if found.scalar is not None and node.filter is None:
                return None
            if self.inside:
                raise refused(node.at, f"aggregate {node.written} within aggregate {self.inside}")
            raise refused(node.at, f"aggregate {node.written} is not allowed in {self.clause.title}")
        if node.over is not None:
            raise refused(node.at, f"OVER after {node.written}", "OVER belongs to analytic functions")
        defining = self.defining[-1:] if self.names.reads_alias(node) else ()
        key = (tree_key(node), defining)
        number = self.names.known_aggregate(key, lambda: self._aggregate_call(node, found))
        return lambda row, context: context.values[number]

    def _aggregate_call(self, node: FunctionCall, found: AggregateFunction) -> AggregateCall:
        names = self.names
        known = [_constant(argument, names.functions) for argument in node.arguments]
        check_constants(node, found, known)
        taken, constants = found.split(node.arguments)
        _, values = found.split(known)
        for argument, value in zip(constants, values, strict=True):
            if value is UNKNOWN or value is None:
                raise refused(argument.at, f"{node.written}: want a constant here")
        try:
            if not found.context:
                found.start(*values)
        except (TypeError, ValueError) as error:
            raise refused(node.at, f"{node.written}: {error}") from None
        inner = _Resolver(names, self.clause, self.defining, node.written)
        evaluates: list[Evaluate] = []
        if found.whole_row:
            evaluates.append(names.whole(None))
        for argument in taken:
            if isinstance(argument, Star):
                if not found.star:
                    raise refused(argument.at, f"{node.written}(*): want a column")
                evaluates.append(names.whole(argument.stream))
            else:
                evaluates.append(compile_expression(argument, inner, names.functions))
        condition = None
        if node.filter is not None:
            filtered = Clause(f"FILTER of {node.written}")
            condition = compile_condition(
                node.filter, _Resolver(names, filtered, self.defining), names.functions
            )
        if found.uncut is not None and not all(map(inner.is_whole, taken)):
            found = replace(found, start=found.uncut)
        give, take = _giving(evaluates, condition), _taking(evaluates, condition)
        return AggregateCall(node.written, found, tuple(values), give, take)

    def _analytic(self, node: FunctionCall, found: Analytic) -> Evaluate | None:
        names = self.names
        if found.spread and not self.spreads:
            raise refused(node.at, f"{node.written} is not allowed here", "write it by itself in SELECT")
        if not self.clause.analytic:
            raise refused(node.at, f"{node.written} is not allowed in {self.clause.title}")
        if node.filter is not None:
            raise refused(node.at, f"FILTER after {node.written}", "FILTER belongs to aggregates")
        key = (tree_key(node), self.defining[-1:])
        call = names.known_analytic(key, lambda slot: self._analytic_call(node, found, slot))
        slot, source = call.key, call.source
        if call.late:
            return lambda row, context: context.late.get(slot)
        if not names.joined:
            return lambda row, context: row.get(slot)

        def evaluate(row: Value, context: Value) -> Value:
            own = row[source]
            return None if own is None else own.get(slot)

        return evaluate

    def _analytic_call(self, node: FunctionCall, found: Analytic, slot: str) -> AnalyticCall:
        names = self.names
        known = [_constant(argument, names.functions) for argument in node.arguments]
        check_constants(node, found, known)
        partition_by = node.over.partition_by if node.over else ()
        when = node.over.when if node.over else None
        read = (*node.arguments, *partition_by, *([when] if when is not None else []))
        origins = set[int]().union(*[names.origins_of(each, self.defining[-1:]) for each in read])
        if len(origins) > 1:
            raise refused(node.at, f"{node.written} reads columns of several streams; want one")
        source = min(origins, default=0)
        late = (
            self.clause.aggregates
            and not self.inside
            and any(names.calls(each, AggregateFunction, self.defining[-1:]) for each in node.arguments)
        )
        inner = _Resolver(names, Clause(node.written, aggregates=late), self.defining)

        def compiled(each: Expression) -> Evaluate:
            return compile_expression(each, inner, names.functions)

        spread: tuple[str | None, ...] = ()
        if found.spread:
            spread = tuple(_spread_name(each) for each in node.arguments[2:])
        elif not found.star and any(isinstance(each, Star) for each in node.arguments):
            raise refused(node.at, f"{node.written}(*): want a value, not *")
        arguments = [
            self._star(each, compiled) if isinstance(each, Star) else compiled(each)
            for each in node.arguments
        ]
        return AnalyticCall(
            slot,
            source,
            node.written,
            found,
            tuple(arguments),
            spread,
            tuple(compiled(each) for each in partition_by),
            None if when is None else compile_condition(when, inner, names.functions),
            late,
        )

    def _star(self, node: Star, compiled: Callable[[Expression], Evaluate]) -> Evaluate:
        """`*` as an argument, with its EXCEPT and REPLACE."""
        whole = self.names.whole(node.stream)
        if not node.leave_out and not node.replace:
            return whole
        left_out = {name.lower() for name in node.leave_out}
        replaced = [(name, compiled(each)) for each, name in node.replace]

        def evaluate(row: Value, context: Value) -> Value:
            found = {
                name: value for name, value in whole(row, context).items() if name.lower() not in left_out
            }
            return found | {name: each(row, context) for name, each in replaced}

        return evaluate

    def _planned(self, node: FunctionCall) -> Evaluate:
        name = node.name
        if node.filter is not None:
            raise refused(node.at, f"FILTER after {node.written}", "FILTER belongs to aggregates")
        if name in _HITS:
            return self._hits(node)
        if node.over is not None:
            raise refused(
                node.at,
                f"OVER after {node.written}: it has no partitions",
                "OVER belongs to analytic functions and last_hit_*",
            )
        if name == "window_trigger":
            return lambda row, context: context.window_trigger_ms
        if not self.clause.row_number:
            raise refused(node.at, f"{node.written} is allowed in SELECT alone")
        return lambda row, context: context.row_number

    def _hits(self, node: FunctionCall) -> Evaluate:
        names, name, over = self.names, node.name, node.over
        clause, place = self.clause, _HITS[name]
        names.hit_calls.append(node)
        if self.inside or (name.startswith("last_agg") and not clause.aggregates):
            raise refused(node.at, f"{node.written} is not allowed in {self.inside or clause.title}")
        key = (clause.match, clause.aggregates, tree_key(over) if over else None, self.defining)
        number = names.known_hits(key, lambda: self._hit_call(over))
        return lambda row, context: context.hits.last(number, row, context)[place]

    def _hit_call(self, over: Over | None) -> HitCall:
        match, functions = self.clause.match, self.names.functions
        if over is None:
            return HitCall(match, (), None)
        keys = tuple(compile_expression(each, self, functions) for each in over.partition_by)
        when = None if over.when is None else compile_condition(over.when, self, functions)
        return HitCall(match, keys, when)


_HITS = {"last_hit_count": 0, "last_hit_time": 1, "last_agg_hit_count": 0, "last_agg_hit_time": 1}
"""Function -> its place in what `HitCounters.last` returns."""


def _constant(node: Expression, functions: Functions | None) -> Value:
    """The constant value, or UNKNOWN where it reads a row."""
    if any(isinstance(each, Column | Star) for each in walk(node)):
        return UNKNOWN
    if any(
        isinstance(each, FunctionCall) and not isinstance(find(each.name, functions), Scalar)
        for each in walk(node)
    ):
        return UNKNOWN
    return constant_value(node, functions)


def _spread_name(node: Expression) -> str | None:
    if isinstance(node, Star):
        return None
    if isinstance(node, Column | MemberOf):
        return node.name
    if isinstance(node, FunctionCall):
        return node.written
    if isinstance(node, Literal):
        return str(node.value)
    raise refused(node.at, "want columns or * here")


def _giving(evaluates: Sequence[Evaluate], condition: Evaluate | None) -> Give:
    """A function that adds a record's arguments to an aggregate."""
    if len(evaluates) == 1:
        (argument,) = evaluates

        def give(accumulator: Value, row: Value, context: Value) -> None:
            accumulator.add(argument(row, context))
    else:

        def give(accumulator: Value, row: Value, context: Value) -> None:
            accumulator.add(*[argument(row, context) for argument in evaluates])

    if condition is None:
        return give

    def give_where(accumulator: Value, row: Value, context: Value) -> None:
        if condition(row, context):
            give(accumulator, row, context)

    return give_where


def _taking(evaluates: Sequence[Evaluate], condition: Evaluate | None) -> Take:
    """A function that returns the arguments without adding them."""

    def take(row: Value, context: Value) -> list[Value] | None:
        if condition is not None and not condition(row, context):
            return None
        return [argument(row, context) for argument in evaluates]

    return take


def _once_per_row(alias: str, evaluate: Evaluate) -> Evaluate:
    """A volatile alias (rand() AS r) has one value per row, wherever it is used."""

    def once(row: Value, context: Value) -> Value:
        kept = context.kept
        if alias not in kept:
            kept[alias] = evaluate(row, context)
        return kept[alias]

    return once
