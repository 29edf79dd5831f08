"""Origins: the streams and tables that FROM and JOIN name, and how their columns are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.expressions.closures import lookup as lookup
from opq_rules.query.planning.analysis import MARK
from opq_rules.sql.syntax import Column, FromItem
from opq_rules.streams.columns import near_column
from opq_rules.streams.definition import StreamDefinition, StreamKind
from opq_rules.values.batch import Value
from opq_rules.values.types import BIGINT, UNKNOWN_TYPE, WITHOUT_FRACTION, ValueType, of_column


@dataclass(frozen=True, slots=True)
class Origin:
    """One name of FROM, with its number `index`. `columns`: lower case -> as declared; None: schemaless."""

    index: int
    name: str
    stream: str
    kind: StreamKind
    columns: Mapping[str, str] | None
    definition: StreamDefinition

    @classmethod
    def of(cls, index: int, source: FromItem, definition: StreamDefinition) -> "Origin":
        fields = definition.fields
        columns = None if fields is None else {field.name.lower(): field.name for field in fields}
        return cls(index, source.name, source.stream, definition.kind, columns, definition)

    @property
    def is_strict(self) -> bool:
        """Whether its columns are sure to hold their declared types."""
        return self.kind == "stream" and self.definition.strict_validation

    def declared(self, name: str) -> ValueType:
        """The type that CREATE gives the column."""
        fields = self.definition.fields or ()
        found = (of_column(field.type) for field in fields if field.name.lower() == name.lower())
        return next(found, UNKNOWN_TYPE)

    def held(self, name: str) -> ValueType:
        """The declared type where the engine enforces it, else unknown."""
        return self.declared(name) if self.is_strict else UNKNOWN_TYPE

    def computed(self, name: str) -> ValueType:
        """The type for computing: the declared one, or bigint where the source gives whole numbers."""
        if self.columns is not None:
            return self.declared(name)
        whole = self.definition.whole_columns
        if whole is None:
            return WITHOUT_FRACTION
        return BIGINT if name.lower() in whole else UNKNOWN_TYPE

    def has(self, name: str) -> bool:
        """Whether it may have the column."""
        if self.columns is None:
            return self.definition.known is None or self.definition.known.has(name)
        return name.lower() in self.columns

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it declares, or that its source is known to have."""
        if self.columns is not None:
            return tuple(self.columns.values())
        return () if self.definition.known is None else self.definition.known.names


def found_among(origins: Sequence[Origin], node: Column) -> list[Origin]:
    """The origins that may have the column. Raises RuleError if no origin may have it."""
    if node.stream is not None:
        named = [origin for origin in origins if origin.name == node.stream]
        if not named:
            raise refused(node.at, f"{node.stream} is not a stream of FROM or JOIN")
    else:
        named = list(origins)
    found = [origin for origin in named if origin.has(node.name)]
    if not found:
        known = [column for origin in named for column in origin.names]
        where = " and ".join(origin.name for origin in named)
        raise refused(node.at, f"unknown column {node.name} of {where}", near_column(node.name, known))
    return found


def column_of_row(key: str) -> Evaluate:
    """A column in rules with one origin: `row` is its dict."""

    def evaluate(row: Value, context: Value) -> Value:
        try:
            return row[key]
        except KeyError:
            return lookup(row, key)

    return evaluate


def column_of_joined(key: str, indices: Sequence[int]) -> Evaluate:
    """A column in joins, where `row` has a dict or None per origin: the first value that is not null."""
    if len(indices) == 1:
        (index,) = indices

        def of_one(row: Value, context: Value) -> Value:
            own = row[index]
            return None if own is None else lookup(own, key)

        return of_one

    def of_any(row: Value, context: Value) -> Value:
        for index in indices:
            own = row[index]
            if own is not None:
                value = lookup(own, key)
                if value is not None:
                    return value
        return None

    return of_any


def whole_row(origins: Sequence[Origin], joined: bool, stream: str | None) -> Evaluate:
    """The value of `*` or `stream.*`: a new dict; among equal names the first of `origins` wins."""
    declared = [
        (origin.index, None if origin.columns is None else tuple(origin.columns.values()))
        for origin in origins
        if stream is None or origin.name == stream
    ]
    if not joined:
        columns = declared[0][1]
        if columns is not None:
            return lambda row, context: {name: lookup(row, name) for name in columns}
        return lambda row, context: {key: each for key, each in row.items() if key[:1] != MARK}

    def evaluate(row: Value, context: Value) -> Value:
        found: dict[str, Value] = {}
        for index, columns in reversed(declared):
            own = row[index]
            if own is None:
                continue
            if columns is None:
                found.update((key, each) for key, each in own.items() if key[:1] != MARK)
            else:
                found.update((name, lookup(own, name)) for name in columns)
        return found

    return evaluate
