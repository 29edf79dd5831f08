"""Items of SELECT, compiled, and which columns of its streams a statement reads.

An item is a star, a named value, or a call that spreads as columns or rows.
"""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from opq_rules.batch import Value
from opq_rules.expressions.closures import Evaluate
from opq_rules.expressions.compiled import refused
from opq_rules.functions.registry import Analytic, Functions, Scalar, built_in, find
from opq_rules.query.names import ORDER_BY, SELECT, Names
from opq_rules.query.projection import NamedItem, Projection, StarItem, titles
from opq_rules.query.resolver import Compiler
from opq_rules.sql.syntax import Column, Expression, FunctionCall, Item, Select, Star
from opq_rules.sql.walk import walk


def projection_of(items: Sequence[Item], names: Compiler) -> tuple[Projection, tuple[str, ...]]:
    """With the names of the columns put out. Raises RuleError."""
    stars: list[StarItem] = []
    named: list[NamedItem] = []
    columns: list[tuple[str, Evaluate]] = []
    rows: tuple[str, Evaluate] | None = None
    shown: list[str] = []
    for item, name in zip(items, titles(items), strict=True):
        node = item.expression
        if isinstance(node, Star):
            replaced = tuple((column, names.expression(each, SELECT)) for each, column in node.replace)
            leave_out = frozenset(column.lower() for column in node.leave_out) - {
                column.lower() for column, _ in replaced
            }
            bare = not names.joined and names.origins[0].columns is None
            stars.append(StarItem(names.whole(node.stream), bare, leave_out, replaced))
            shown.append(name)
            continue
        spreads = _spreads(node, names)
        if spreads is None:
            evaluate = names.item(item, SELECT)
        else:
            evaluate = names.spread(item, SELECT, _as_ordinary(node, names))
        if item.invisible:
            continue
        if spreads == "rows":
            if rows is not None:
                raise refused(item.at, "a second unnest; a SELECT has one")
            rows = (name, evaluate)
        else:
            if spreads is None:
                named.append((name, evaluate, not names.is_column(item)))
            else:
                columns.append((name, evaluate))
        shown.append(name)
    return Projection(tuple(stars), tuple(named), tuple(columns), rows), tuple(dict.fromkeys(shown))


def _spreads(node: Expression, names: Compiler) -> str | None:
    """How an item that is a call spreads: "rows", "columns", or None."""
    if not isinstance(node, FunctionCall):
        return None
    found = find(node.name, names.functions)
    if isinstance(found, Analytic):
        return "columns" if found.spread else None
    return found.spread if isinstance(found, Scalar) else None


def _as_ordinary(node: Expression, names: Compiler) -> Functions:
    """The functions, with the one that `node` calls allowed to stand; its arguments may not call it."""
    functions = built_in() if names.functions is None else names.functions
    assert isinstance(node, FunctionCall)
    found = find(node.name, functions)
    if not isinstance(found, Scalar):
        return functions
    for each in (each for argument in node.arguments for each in walk(argument)):
        if isinstance(each, FunctionCall) and each.name == node.name:
            raise refused(each.at, f"{each.written} within {node.written}")
    return ChainMap({node.name: replace(found, spread=None)}, functions)  # type: ignore[arg-type]  # read only


def ordered_by(node: Expression, names: Compiler) -> tuple[Evaluate, str | None]:
    """A key of ORDER BY: its value, and the column of an unnested row that goes before it."""
    if isinstance(node, Column) and node.stream is None:
        item = names.aliases.get(node.name.lower())
        if item is None:
            return names.expression(node, ORDER_BY), node.name
        if _spreads(item.expression, names) == "rows":
            return _null, item.alias
    return names.expression(node, ORDER_BY), None


def _null(row: Value, context: Value) -> None:
    return None


def used_columns(select: Select, names: Names) -> dict[str, frozenset[str] | None]:
    """By stream, in lower case; None: all of them. What could be of several streams is read of each."""
    found: dict[str, set[str]] = {origin.stream: set() for origin in names.origins}
    whole: set[str] = set()
    for expression in _expressions(select):
        counted = {
            id(argument)
            for each in walk(expression)
            if isinstance(each, FunctionCall) and each.name == "count"
            for argument in each.arguments
        }
        for each in walk(expression):
            if isinstance(each, Star) and id(each) not in counted:
                whole |= {o.stream for o in names.origins if each.stream in (None, o.name)}
            elif isinstance(each, Column):
                for origin in names.origins:
                    if each.stream in (None, origin.name) and origin.has(each.name):
                        found[origin.stream].add(each.name.lower())
    return {stream: None if stream in whole else frozenset(read) for stream, read in found.items()}


def _expressions(select: Select) -> Iterator[Expression]:
    yield from (item.expression for item in select.items)
    yield from (join.on for join in select.joins if join.on is not None)
    yield from select.group_by
    yield from (key.expression for key in select.order_by)
    window = select.window
    conditions = (window.filter, window.when, window.begin, window.end) if window else ()
    yield from (each for each in (select.where, select.having, *conditions) if each is not None)
    yield from window.partition_by if window else ()
