"""SELECT's items (a star, a named value, a call that spreads), the row that they make, what they read."""

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.functions.registry import Analytic, Functions, Scalar, built_in, find
from opq_rules.query.planning.analysis import MARK
from opq_rules.query.planning.names import ORDER_BY, SELECT, Names
from opq_rules.query.planning.resolver import Compiler
from opq_rules.sql.syntax import Column, Expression, FunctionCall, Item, Select, Star
from opq_rules.sql.walk import expressions_of, walk
from opq_rules.values.batch import Row, Value
from opq_rules.values.sql_values import put_out, shown

Project = Callable[[Value, Value], Row]
Spread = Callable[[Value, Value], list[Row]]
NamedItem = tuple[str, Evaluate, bool]
"""Name, value, and whether that is computed: then a whole number is written without a decimal point."""


def titles(items: Sequence[Item]) -> list[str]:
    """The names of SELECT's items: `*`, `s.*`, alias, column or function, or kuiper_field_0 ..."""
    found: list[str] = []
    unnamed = 0
    for item in items:
        node, name = item.expression, item.alias
        if isinstance(node, Star):
            name = "*" if node.stream is None else f"{node.stream}.*"
        elif name is None and isinstance(node, Column | FunctionCall):
            name = node.name if isinstance(node, Column) else node.written
        if name is None:
            name, unnamed = f"kuiper_field_{unnamed}", unnamed + 1
        found.append(name)
    return found


@dataclass(frozen=True, slots=True)
class StarItem:
    """`* EXCEPT (a) REPLACE (e AS b)`: REPLACE wins over EXCEPT."""

    whole: Evaluate
    bare: bool
    """`whole` is the record itself: one origin, schemaless."""
    leave_out: frozenset[str]
    """Names in lower case."""
    replace: tuple[tuple[str, Evaluate], ...]

    def columns(self, row: Value, context: Value) -> Row:
        found: Row = self.whole(row, context)
        if self.leave_out:
            found = {name: value for name, value in found.items() if name.lower() not in self.leave_out}
        for name, evaluate in self.replace:
            lower = name.lower()
            written = next((each for each in found if each.lower() == lower), name)
            try:
                found[written] = put_out(evaluate(row, context))
            except RowError as error:
                raise RowError(f"Select {name}: {error}") from None
        return found


@dataclass(frozen=True, slots=True)
class Projection:
    """The compiled items. `columns`: objects whose keys become columns; `rows`: (name, array) of unnest."""

    stars: tuple[StarItem, ...]
    named: tuple[NamedItem, ...]
    columns: tuple[tuple[str, Evaluate], ...]
    rows: tuple[str, Evaluate] | None

    def project(self, send_nil: bool) -> Project:
        """A function row -> row without null columns, unless `send_nil`; it raises RowError."""
        if len(self.stars) == 1 and not self.named and not self.columns and not self.stars[0].replace:
            return _star_alone(self.stars[0], send_nil)
        if not self.stars and not self.columns:
            return _named_alone(self.named, send_nil)

        def project(row: Value, context: Value) -> Row:
            found: Row = {}
            for star in self.stars:
                found.update(star.columns(row, context))
            for name, evaluate in self.columns:
                try:
                    found.update(put_out(_object(evaluate(row, context))))
                except RowError as error:
                    raise RowError(f"Select {name}: {error}") from None
            for name, evaluate, computed in self.named:
                try:
                    value = evaluate(row, context)
                    found[name] = put_out(value) if computed else value
                except RowError as error:
                    raise RowError(f"Select {name}: {error}") from None
            return found if send_nil else {name: value for name, value in found.items() if value is not None}

        return project

    def spread(self, send_nil: bool) -> Spread:
        """A function that makes a row of each element of unnest's array; objects win over equal columns."""
        assert self.rows is not None
        project, (name, array) = self.project(send_nil), self.rows

        def spread(row: Value, context: Value) -> list[Row]:
            plain = project(row, context)
            try:
                elements = put_out(array(row, context))
            except RowError as error:
                raise RowError(f"Select {name}: {error}") from None
            if elements is None:
                return []
            if not isinstance(elements, list):
                raise RowError(f"Select {name}: unnest({shown(elements)}): want an array")
            found = []
            for element in elements:
                own = element if isinstance(element, dict) else {name: element}
                if not send_nil:
                    own = {key: value for key, value in own.items() if value is not None}
                found.append(plain | own)
            return found

        return spread


def _star_alone(star: StarItem, send_nil: bool) -> Project:
    """`SELECT *`: a null that came with the record is sent, as in eKuiper; a missing column is not."""
    if send_nil:
        return star.columns
    if star.bare and not star.leave_out:
        # keys that begin with NUL belong to analytic calls
        return lambda row, context: {name: value for name, value in row.items() if name[:1] != MARK}

    def project(row: Value, context: Value) -> Row:
        columns = star.columns(row, context)
        return {name: value for name, value in columns.items() if value is not None or name in row}

    return project


def _named_alone(named: Sequence[NamedItem], send_nil: bool) -> Project:
    def project(row: Value, context: Value) -> Row:
        found: Row = {}
        name = ""
        try:
            for name, evaluate, computed in named:
                value = evaluate(row, context)
                if computed:
                    kind = type(value)
                    if value.is_integer() if kind is float else kind is list or kind is dict:
                        value = put_out(value)
                if value is not None or send_nil:
                    found[name] = value
        except RowError as error:
            raise RowError(f"Select {name}: {error}") from None
        return found

    return project


def _object(value: Value) -> Row:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(f"{shown(value)}: want an object to spread as columns")
    return value


def projection_of(items: Sequence[Item], names: Compiler) -> tuple[Projection, tuple[str, ...]]:
    """The projection, and the names of its columns. Raises RuleError."""
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
                raise refused(item.at, "a second unnest; want at most one in a SELECT")
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
    """The functions with the spreading one of `node` as an ordinary one; its arguments may not call it."""
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
    """A key of ORDER BY: its value, and the column of an unnested row that takes precedence over it."""
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
    """Columns read, by stream, in lower case; None: all. One of unclear origin counts for each."""
    found: dict[str, set[str]] = {origin.stream: set() for origin in names.origins}
    whole: set[str] = set()
    for expression in expressions_of(select):
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
