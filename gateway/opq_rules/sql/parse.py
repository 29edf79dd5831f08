"""Text -> statement, or a RuleError with line, column, what was found and what is allowed.

A shape is a statement without its constants: texts of one shape share a plan, and need no parser. It is found
in one pass of one regular expression, made of the tokens' own pieces: its literal n is slot n of the tree.
"""

import difflib
import re
from dataclasses import dataclass
from typing import get_args

from opq_rules.errors import SQL_SYNTAX, STREAM, RuleError
from opq_rules.sql.cursor import Cursor
from opq_rules.sql.select import select
from opq_rules.sql.syntax import ColumnType, Create, Field, Named, Select, Show, Statement, TextPlace, Type
from opq_rules.sql.tokens import COMMENT, NAME, NUMBER, TEXT, UNENDED_QUOTE, Tokens, check_text, literal

_PIECE = re.compile(rf"({NUMBER}|{TEXT})|({COMMENT}|{NAME}|{UNENDED_QUOTE}.*)", re.DOTALL)
_MARKS = {int: "\0i", float: "\0f", str: "\0s"}
"""Marks for the literals in the key, by type: 7 / 2 and 7.0 / 2 differ. No statement contains a NUL."""


@dataclass(frozen=True, slots=True)
class StatementShape:
    """`key`: the text with a mark for each literal. Trees with equal keys differ only in their literals."""

    key: str
    literals: tuple[int | float | str, ...]


def shape(text: str) -> StatementShape:
    """The shape of any text; `parse` decides whether it is a statement. Raises RuleError."""
    check_text(text)
    pieces = _PIECE.split(text)
    if len(pieces) == 1:
        return StatementShape(text, ())
    literals: list[int | float | str] = []
    key = [pieces[0]]
    for at in range(1, len(pieces), 3):
        written = pieces[at]
        if written is None:
            key.append(pieces[at + 1])
        else:
            bare = written.lstrip()
            try:
                value = literal(bare)
            except ValueError as error:
                Tokens(text)  # refuses it by its place, which is not counted here
                raise RuleError(str(error), SQL_SYNTAX) from None
            literals.append(value)
            key.append(written[: len(written) - len(bare)] + _MARKS[type(value)])
        key.append(pieces[at + 2])
    return StatementShape("".join(key), tuple(literals))


_NAMED = {"DESCRIBE": "describe", "DROP": "drop", "EXPLAIN": "explain"}


def parse(text: str) -> Statement:
    """One statement: SELECT, CREATE, SHOW, DESCRIBE, DROP or EXPLAIN. Raises nothing but RuleError."""
    cursor = Cursor(text)
    if cursor.kinds[0] == "SELECT":
        return select(cursor)
    if cursor.is_word("CREATE"):
        return create(cursor)
    if cursor.is_word("WITH"):
        cursor.fail("WITH is not supported", "chain rules over memory topics")
    if cursor.accept_word("SHOW"):
        for word in ("STREAMS", "TABLES"):
            if cursor.accept_word(word):
                cursor.rest_is_empty(f"the end after {word}")
                return Show("streams" if word == "STREAMS" else "tables")
        cursor.unexpected("STREAMS or TABLES")
    for word, verb in _NAMED.items():
        if cursor.accept_word(word):
            what = stream_or_table(cursor)
            name = cursor.stream_name(f"the name of the {what}")
            cursor.rest_is_empty("the end after the name")
            return Named(verb, what, name)  # type: ignore[arg-type]
    return cursor.unexpected("SELECT, CREATE, SHOW, DESCRIBE, DROP or EXPLAIN")


def parse_select(text: str) -> Select:
    """The SELECT statement of a rule."""
    statement = parse(text)
    if not isinstance(statement, Select):
        raise RuleError("a rule's sql is a SELECT", SQL_SYNTAX, line=1, column=1)
    return statement


def parse_create(text: str) -> Create:
    """The CREATE statement of a stream or table."""
    statement = parse(text)
    if not isinstance(statement, Create):
        raise RuleError("want CREATE STREAM or CREATE TABLE", STREAM)
    return statement


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
    """A whole CREATE; the cursor is at its first word."""
    cursor.index += 1
    what = stream_or_table(cursor)
    name = cursor.stream_name(f"the name of the {what}")
    fields: tuple[Field, ...] | None = None
    if cursor.accept("("):
        fields = _fields(cursor, 0) or None
        cursor.want_word("WITH", 'WITH (OPTION="value", ...) after the columns')
    else:
        cursor.want_word("WITH", "( and columns, or WITH")
    options = _options(cursor)
    cursor.rest_is_empty("the end after the options")
    return Create(what, name, fields, options, cursor.tokens.text.strip())  # type: ignore[arg-type]


def stream_or_table(cursor: Cursor) -> str:
    for word in ("STREAM", "TABLE"):
        if cursor.accept_word(word):
            return word.lower()
    return cursor.unexpected("STREAM or TABLE")


def _fields(cursor: Cursor, nesting: int) -> tuple[Field, ...]:
    """`name TYPE [DEFAULT v], ...)`, the opening one is taken; a comma at the end does no harm."""
    fields: list[Field] = []
    names: set[str] = set()
    while not cursor.accept(")"):
        at = cursor.at()
        name = cursor.name("a column's name or )")
        if name.lower() in names:
            cursor.fail(f"column {name} is there twice", at=at)
        names.add(name.lower())
        kind = _type(cursor, nesting)
        default = None
        if cursor.accept_word("DEFAULT"):
            default = _default(cursor, name, kind)
        fields.append(Field(name, kind, default))
        if not cursor.accept(",") and cursor.kinds[cursor.index] != ")":
            cursor.unexpected("DEFAULT, a comma or )")
    return tuple(fields)


def _type(cursor: Cursor, nesting: int) -> Type:
    if nesting > MAX_NESTING:
        cursor.fail(f"more than {MAX_NESTING} nested types")
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
    minus = cursor.accept("-")
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
    """`(NAME="value", ...)`; numbers, true and false may be bare."""
    cursor.want("(", "( after WITH")
    options: list[tuple[str, str, TextPlace]] = []
    names: set[str] = set()
    while not cursor.accept(")"):
        at = cursor.at()
        name = cursor.name("an option's name or )").upper()
        if name in names:
            cursor.fail(f"option {name} is there twice", at=at)
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
        if not cursor.accept(",") and cursor.kinds[cursor.index] != ")":
            cursor.unexpected("a comma or )")
    return tuple(options)
