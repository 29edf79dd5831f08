"""What SELECT puts out of a row: names and values, `*`, columns and rows that functions spread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opq_rules.batch import Row, Value
from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.expressions.values import put_out, shown
from opq_rules.query.analysis import MARK
from opq_rules.sql.syntax import Column, FunctionCall, Item, Star

Project = Callable[[Value, Value], Row]
Spread = Callable[[Value, Value], list[Row]]
NamedItem = tuple[str, Evaluate, bool]
"""Name, value, and whether that is computed: then a whole one is put out without a point."""


def titles(items: Sequence[Item]) -> list[str]:
    """What each of SELECT is called: `*`, `s.*`, its alias, its column or function, or kuiper_field_0 ..."""
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
    """Lower case."""
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
    """`columns`: objects whose keys are columns; `rows`: (name, array), unnest."""

    stars: tuple[StarItem, ...]
    named: tuple[NamedItem, ...]
    columns: tuple[tuple[str, Evaluate], ...]
    rows: tuple[str, Evaluate] | None

    def project(self, send_nil: bool) -> Project:
        """One row out of one row; null columns are left out unless `send_nil`. Raises RowError."""
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
        """As many rows as the array of unnest has elements; objects in it win over columns of their name."""
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

    @property
    def names(self) -> list[str]:
        """The types of the columns known beforehand."""
        return [name for name, _, _ in self.named]


def _star_alone(star: StarItem, send_nil: bool) -> Project:
    if send_nil:
        return star.columns
    if star.bare and not star.leave_out:
        # keys that begin with NUL are those of analytic calls
        return lambda row, context: {
            name: value for name, value in row.items() if value is not None and name[:1] != MARK
        }

    def project(row: Value, context: Value) -> Row:
        return {name: value for name, value in star.columns(row, context).items() if value is not None}

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
