"""Text -> statement, or a RuleError with line, column, what was found and what is allowed.

A shape is a statement without its constants: texts of one shape share a plan, and need no parser. It is found
in one pass of one regular expression, made of the tokens' own pieces: its literal n is slot n of the tree.
"""

import re
from dataclasses import dataclass

from opq_rules.errors import SQL_SYNTAX, STREAM, RuleError
from opq_rules.sql.cursor import Cursor
from opq_rules.sql.ddl import create, stream_or_table
from opq_rules.sql.select import select
from opq_rules.sql.syntax import Create, Named, Select, Show, Statement
from opq_rules.sql.tokens import COMMENT, NAME, NUMBER, TEXT, UNENDED, Tokens, check_text, literal

_PIECE = re.compile(rf"({NUMBER}|{TEXT})|({COMMENT}|{NAME}|{UNENDED}.*)", re.DOTALL)
_MARKS = {int: "\0i", float: "\0f", str: "\0s"}
"""For a literal in the key, by its type: 7 / 2 and 7.0 / 2 differ. No statement holds a NUL."""


@dataclass(frozen=True, slots=True)
class StatementShape:
    """`key`: the text, a mark for each literal. Trees of equal keys differ in their literals only."""

    key: str
    literals: tuple[int | float | str, ...]


def shape(text: str) -> StatementShape:
    """The shape of any text; `parse` says whether it is a statement. Raises RuleError as the tokens do."""
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
    """One statement: SELECT, CREATE, SHOW, DESCRIBE, DROP or EXPLAIN; a `;` may end it.

    Raises RuleError, and never anything else.
    """
    cursor = Cursor(text)
    if cursor.kinds[0] == "SELECT":
        return select(cursor)
    if cursor.is_word("CREATE"):
        return create(cursor)
    if cursor.is_word("WITH"):
        cursor.fail("WITH is not supported", "chain rules over memory topics")
    if cursor.take_word("SHOW"):
        for word in ("STREAMS", "TABLES"):
            if cursor.take_word(word):
                cursor.rest_is_empty(f"the end after {word}")
                return Show("streams" if word == "STREAMS" else "tables")
        cursor.unexpected("STREAMS or TABLES")
    for word, verb in _NAMED.items():
        if cursor.take_word(word):
            what = stream_or_table(cursor)
            name = cursor.stream_name(f"the name of the {what}")
            cursor.rest_is_empty("the end after the name")
            return Named(verb, what, name)  # type: ignore[arg-type]
    return cursor.unexpected("SELECT, CREATE, SHOW, DESCRIBE, DROP or EXPLAIN")


def parse_select(text: str) -> Select:
    """A rule's statement."""
    statement = parse(text)
    if not isinstance(statement, Select):
        raise RuleError("a rule's sql is a SELECT", SQL_SYNTAX, line=1, column=1)
    return statement


def parse_create(text: str) -> Create:
    """A stream's or table's."""
    statement = parse(text)
    if not isinstance(statement, Create):
        raise RuleError("want CREATE STREAM or CREATE TABLE", STREAM)
    return statement
