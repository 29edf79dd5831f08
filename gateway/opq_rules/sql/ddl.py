"""CREATE STREAM and TABLE, with their columns and options. Source: reference/rules.md, C.1."""

import difflib
from typing import get_args

from opq_rules.sql.cursor import Cursor
from opq_rules.sql.syntax import ColumnType, Create, Field, TextPlace, Type

TYPES = get_args(ColumnType)
_DEFAULTS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "float": (float, int),
    "bigint": (int,),
}
"""Types that take a DEFAULT -> what it may be."""
MAX_NESTING = 32


def create(cursor: Cursor) -> Create:
    """A whole CREATE; the cursor stands on its first word."""
    cursor.index += 1
    what = stream_or_table(cursor)
    name = cursor.stream_name(f"the name of the {what}")
    fields: tuple[Field, ...] | None = None
    if cursor.take("("):
        fields = _fields(cursor, 0) or None
        cursor.want_word("WITH", 'WITH (OPTION="value", ...) after the columns')
    else:
        cursor.want_word("WITH", "( and columns, or WITH")
    options = _options(cursor)
    cursor.rest_is_empty("the end after the options")
    return Create(what, name, fields, options, cursor.tokens.text.strip())  # type: ignore[arg-type]


def stream_or_table(cursor: Cursor) -> str:
    for word in ("STREAM", "TABLE"):
        if cursor.take_word(word):
            return word.lower()
    return cursor.unexpected("STREAM or TABLE")


def _fields(cursor: Cursor, nesting: int) -> tuple[Field, ...]:
    """`name TYPE [DEFAULT v], ...)`, the opening one is taken; a comma at the end is no harm."""
    fields: list[Field] = []
    names: set[str] = set()
    while not cursor.take(")"):
        at = cursor.at()
        name = cursor.name("a column's name or )")
        if name.lower() in names:
            cursor.fail(f"column {name} stands twice", at=at)
        names.add(name.lower())
        kind = _type(cursor, nesting)
        default = None
        if cursor.take_word("DEFAULT"):
            default = _default(cursor, name, kind)
        fields.append(Field(name, kind, default))
        if not cursor.take(",") and cursor.kinds[cursor.index] != ")":
            cursor.unexpected("DEFAULT, a comma or )")
    return tuple(fields)


def _type(cursor: Cursor, nesting: int) -> Type:
    if nesting > MAX_NESTING:
        cursor.fail(f"more than {MAX_NESTING} types in each other")
    written = str(cursor.values[cursor.index]) if cursor.kinds[cursor.index] == "word" else ""
    name = next((each for each in TYPES if each == written.lower()), None)
    if name is None:
        near = difflib.get_close_matches(written.lower(), TYPES, n=1)
        cursor.unexpected(
            f"a type: {', '.join(map(str.upper, TYPES))}",
            f"did you mean {near[0].upper()}?" if near else None,
        )
    cursor.index += 1
    if name == "array":
        cursor.want("(", "( and the type of its elements, such as ARRAY(FLOAT)")
        of = _type(cursor, nesting + 1)
        cursor.want(")", ") after the type of its elements")
        return Type("array", of)
    if name == "struct":
        cursor.want("(", "( and its columns, such as STRUCT(a FLOAT)")
        return Type("struct", None, _fields(cursor, nesting + 1))
    return Type(name)


def _default(cursor: Cursor, column: str, kind: Type) -> bool | int | float | str:
    at = cursor.at()
    if kind.name not in _DEFAULTS:
        cursor.fail(
            f"column {column} is {kind.name.upper()}, which takes no DEFAULT",
            "STRING, BOOLEAN, FLOAT and BIGINT do",
            at,
        )
    minus = cursor.take("-")
    token, value = cursor.kinds[cursor.index], cursor.values[cursor.index]
    if token in ("TRUE", "FALSE") and not minus:
        value = token == "TRUE"
    elif token != "number" and (token != "text" or minus):
        value = None
    if type(value) not in _DEFAULTS[kind.name]:
        cursor.unexpected(f"a {kind.name.upper()} constant after DEFAULT")
    cursor.index += 1
    value = -value if minus else value
    return float(value) if kind.name == "float" else value


def _options(cursor: Cursor) -> tuple[tuple[str, str, TextPlace], ...]:
    """`(NAME="value", ...)`; numbers, true and false may stand bare."""
    cursor.want("(", "( after WITH")
    options: list[tuple[str, str, TextPlace]] = []
    names: set[str] = set()
    while not cursor.take(")"):
        at = cursor.at()
        name = cursor.name("an option's name or )").upper()
        if name in names:
            cursor.fail(f"option {name} stands twice", at=at)
        names.add(name)
        cursor.want("=", f'= after {name}; it is {name}="value"')
        kind = cursor.kinds[cursor.index]
        if kind == "text":
            value = str(cursor.values[cursor.index])
        elif kind in ("number", "TRUE", "FALSE"):
            value = cursor.tokens.found(cursor.index).lower()
        else:
            cursor.unexpected("a text in quotes")
        cursor.index += 1
        options.append((name, value, at))
        if not cursor.take(",") and cursor.kinds[cursor.index] != ")":
            cursor.unexpected("a comma or )")
    return tuple(options)
