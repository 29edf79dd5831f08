"""What is known about a value before it exists: the kinds that it can have.

A type is a set of kinds, so the type of a CASE is the union of its branches, and a clash is an empty
intersection. Every type also allows null, but no set contains it: the type of NULL is the empty set.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from opq_rules.sql.syntax import Type
from opq_rules.values.batch import Value

_ORDER = ("bigint", "float", "string", "boolean", "datetime", "bytea", "array", "struct")
_OTHER = "other"
"""The kind of values that no column can be declared as: a NumPy array of a source, an object of a plug-in."""
_OF_LITERALS = {bool: "boolean", int: "bigint", float: "float", str: "string", datetime: "datetime"}


@dataclass(frozen=True, slots=True)
class ValueType:
    """The `kinds` of all values that are not null. `of`: the type of an array's elements, None: any.

    `fields`: the known keys of a struct; it may have others too.
    """

    kinds: frozenset[str]
    of: "ValueType | None" = None
    fields: tuple[tuple[str, "ValueType"], ...] = ()

    @property
    def element(self) -> "ValueType":
        return UNKNOWN_TYPE if self.of is None else self.of

    def member(self, name: str) -> "ValueType":
        """The type of `value->name`, which is null if the value is not a struct."""
        if "struct" not in self.kinds and _OTHER not in self.kinds:
            return NULL
        return dict(self.fields).get(name, UNKNOWN_TYPE)

    def narrowed(self, kinds: frozenset[str]) -> "ValueType":
        """The same type, when the value is known to be one of `kinds`."""
        return self if self.kinds <= kinds else ValueType(self.kinds & kinds, self.of, self.fields)

    def can_be(self, kinds: frozenset[str]) -> bool:
        """Whether some value of this type is one of `kinds`; null does not count."""
        return not self.kinds or not self.kinds.isdisjoint(kinds)

    def __str__(self) -> str:
        """Such as `float`, `number`, `array(string)`, `bigint or string`; `null`, `unknown`."""
        if self.kinds == UNKNOWN_TYPE.kinds:
            return "unknown"
        if self.kinds == NUMBER.kinds:
            return "number"
        return " or ".join(self._kind_words(kind) for kind in _ORDER if kind in self.kinds) or "null"

    def _kind_words(self, kind: str) -> str:
        if kind == "array" and self.of is not None:
            return f"array({self.of})"
        if kind == "struct" and self.fields:
            return f"struct({', '.join(f'{name} {each}' for name, each in self.fields)})"
        return kind

    def as_json(self) -> dict[str, Value]:
        """`{"type", "items"?, "properties"?}` as in GET /streams/{name}/schema; {} if it is unknown."""
        if self == UNKNOWN_TYPE:
            return {}
        if self.kinds == ARRAY.kinds:
            return {"type": "array", **({} if self.of is None else {"items": self.of.as_json()})}
        if self.kinds == STRUCT.kinds:
            return {"type": "struct", "properties": {name: each.as_json() for name, each in self.fields}}
        return {"type": str(self)}


def one(kind: str) -> ValueType:
    return ValueType(frozenset({kind}))


NULL = ValueType(frozenset())
UNKNOWN_TYPE = ValueType(frozenset({*_ORDER, _OTHER}))
BIGINT = one("bigint")
FLOAT = one("float")
STRING = one("string")
BOOLEAN = one("boolean")
DATETIME = one("datetime")
BYTEA = one("bytea")
ARRAY = one("array")
STRUCT = one("struct")
NUMBER = ValueType(BIGINT.kinds | FLOAT.kinds)
WITHOUT_FRACTION = ValueType(frozenset(_ORDER) - {"float", "struct"}, BIGINT)
"""Values of a source that has no whole number as a float; a member of it is null here, so no float either."""
BY_NAME = {name: one(name) for name in _ORDER}
"""The types by the names that CREATE STREAM and cast() use."""


def array_of(element: ValueType) -> ValueType:
    return ValueType(ARRAY.kinds, None if element == UNKNOWN_TYPE else element)


def joined(types: Iterable[ValueType]) -> ValueType:
    """The type of a value that has one of these types."""
    found = NULL
    for each in types:
        found = each if found is NULL else _either(found, each)
    return found


def _either(left: ValueType, right: ValueType) -> ValueType:
    if left == right or not right.kinds:
        return left
    if not left.kinds:
        return right
    arrays = [each for each in (left, right) if "array" in each.kinds]
    structs = [dict(each.fields) for each in (left, right) if "struct" in each.kinds]
    of = None if any(each.of is None for each in arrays) else joined(each.element for each in arrays)
    shared = [name for name in structs[0] if all(name in each for each in structs)] if structs else []
    fields = tuple((name, joined(each[name] for each in structs)) for name in shared)
    return ValueType(left.kinds | right.kinds, of if arrays else None, fields)


def of_literal(value: Value) -> ValueType:
    return NULL if value is None else BY_NAME[_OF_LITERALS[type(value)]]


def of_column(kind: Type) -> ValueType:
    """The type of a column as CREATE STREAM declares it."""
    if kind.of is not None:
        return array_of(of_column(kind.of))
    if not kind.fields:
        return BY_NAME[kind.name]
    return ValueType(STRUCT.kinds, None, tuple((each.name, of_column(each.type)) for each in kind.fields))
