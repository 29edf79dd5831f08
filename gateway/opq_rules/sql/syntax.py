"""The parts of a parsed statement. They are frozen and keep their place in the text; nothing here computes.

Functions are in lower case, other names as written. Source: docs/reference/rules.md, D.1 to D.5 and C.1.
"""

from dataclasses import dataclass
from typing import Literal as OneOf


@dataclass(frozen=True, slots=True)
class TextPlace:
    """A place in the statement; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `slot` numbers the text's literals from 0: texts that differ only in them share a plan."""

    value: bool | int | float | str | None
    slot: int | None
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Column:
    """`name`, or `stream.name`; a path into an object is `Member`s around it."""

    name: str
    stream: str | None
    at: TextPlace


@dataclass(frozen=True, slots=True)
class MemberOf:
    """`of->name`, or `of.name` if `of` is not a stream."""

    of: "Expression"
    name: str
    at: TextPlace


@dataclass(frozen=True, slots=True)
class ElementAt:
    """`of[index]`, from 0; negative from the end."""

    of: "Expression"
    index: "Expression"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Slice:
    """`of[start:end]`, half open; an omitted end is None."""

    of: "Expression"
    start: "Expression | None"
    end: "Expression | None"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x`, `NOT x`."""

    operator: OneOf["-", "NOT"]
    operand: "Expression"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class BinaryOperation:
    """`left operator right`: + - * / % & | ^ = != < <= > >= AND OR, in upper case (`<>` is `!=`). D.4."""

    operator: str
    left: "Expression"
    right: "Expression"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class In:
    """`of [NOT] IN (a, b)`, or `of [NOT] IN array`: then `choices` is that array, and `array` is true."""

    of: "Expression"
    choices: tuple["Expression", ...]
    array: bool
    negated: bool
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Between:
    """`of [NOT] BETWEEN low AND high`, both ends included."""

    of: "Expression"
    low: "Expression"
    high: "Expression"
    negated: bool
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Like:
    """`of [NOT] LIKE pattern`: % any run, _ one character, \\ escapes."""

    of: "Expression"
    pattern: "Expression"
    negated: bool
    at: TextPlace


@dataclass(frozen=True, slots=True)
class CaseExpression:
    """`CASE [of] WHEN a THEN b ... [ELSE c] END`."""

    of: "Expression | None"
    whens: tuple[tuple["Expression", "Expression"], ...]
    otherwise: "Expression | None"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Star:
    """`*`, `s.*`, `* EXCEPT (a, b)`, `* REPLACE (expr AS a)`; as an argument (`count(*)`) plain."""

    stream: str | None
    leave_out: tuple[str, ...]
    replace: tuple[tuple["Expression", str], ...]
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Over:
    """`OVER ([PARTITION BY k, ...] [WHEN c])` after a call of an analytic function."""

    partition_by: tuple["Expression", ...]
    when: "Expression | None"
    at: TextPlace


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`name(arguments) [FILTER (WHERE c)] [OVER (...)]`; `name` in lower case, `written` as in the text."""

    name: str
    arguments: tuple["Expression", ...]
    filter: "Expression | None"
    over: Over | None
    written: str
    at: TextPlace


Expression = (
    Literal
    | Column
    | MemberOf
    | ElementAt
    | Slice
    | Unary
    | BinaryOperation
    | In
    | Between
    | Like
    | CaseExpression
    | Star
    | FunctionCall
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of SELECT: `expression [AS alias] [INVISIBLE]`; `text` is as written, without the alias."""

    expression: Expression
    alias: str | None
    invisible: bool
    text: str
    at: TextPlace


@dataclass(frozen=True, slots=True)
class FromItem:
    """`stream [AS alias]`; `name` is what columns are qualified with."""

    stream: str
    alias: str | None
    at: TextPlace

    @property
    def name(self) -> str:
        return self.alias or self.stream


@dataclass(frozen=True, slots=True)
class Join:
    kind: OneOf["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
    source: FromItem
    on: Expression | None
    at: TextPlace


WindowKind = OneOf["tumbling", "hopping", "sliding", "session", "count", "state", "cycle"]


@dataclass(frozen=True, slots=True)
class WindowClause:
    """A window of GROUP BY (D.2). Times in ms; what a kind does not have is None.

    tumbling: length. hopping: length, hop. sliding: length, delay (0: at once).
    session: length = the longest, timeout. count: count, every. state: begin, end (None: one condition)
    and `partition_by`. cycle: count cycles, aligned to the 10-minute tick.
    """

    kind: WindowKind
    at: TextPlace
    length_ms: int | None = None
    hop_ms: int | None = None
    delay_ms: int | None = None
    timeout_ms: int | None = None
    unit: str | None = None
    count: int | None = None
    every: int | None = None
    begin: Expression | None = None
    end: Expression | None = None
    filter: Expression | None = None
    when: Expression | None = None
    partition_by: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderKey:
    expression: Expression
    descending: bool
    at: TextPlace


@dataclass(frozen=True, slots=True)
class Select:
    items: tuple[Item, ...]
    source: FromItem
    joins: tuple[Join, ...]
    where: Expression | None
    group_by: tuple[Expression, ...]
    window: WindowClause | None
    having: Expression | None
    order_by: tuple[OrderKey, ...]
    limit: int | None
    text: str

    @property
    def from_items(self) -> tuple[FromItem, ...]:
        """The items of FROM and JOIN."""
        return (self.source, *(join.source for join in self.joins))

    @property
    def streams(self) -> frozenset[str]:
        """The names of all streams and tables that the statement reads."""
        return frozenset(each.stream for each in self.from_items)


ColumnType = OneOf["bigint", "float", "string", "bytea", "datetime", "boolean", "array", "struct"]


@dataclass(frozen=True, slots=True)
class Type:
    """A type; `of` is the type of an array's elements, `fields` are a struct's columns."""

    name: ColumnType
    of: "Type | None" = None
    fields: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: Type
    default: bool | int | float | str | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """CREATE STREAM or TABLE; `fields` None: schemaless. Option names in upper case, values as written."""

    what: OneOf["stream", "table"]
    name: str
    fields: tuple[Field, ...] | None
    options: tuple[tuple[str, str, TextPlace], ...]
    text: str


@dataclass(frozen=True, slots=True)
class Show:
    what: OneOf["streams", "tables"]


@dataclass(frozen=True, slots=True)
class Named:
    """DESCRIBE, DROP or EXPLAIN of one stream or table."""

    verb: OneOf["describe", "drop", "explain"]
    what: OneOf["stream", "table"]
    name: str


Statement = Select | Create | Show | Named
