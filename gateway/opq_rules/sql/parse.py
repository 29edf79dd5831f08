"""The door: text -> statement, or a RuleError that tells line, column, what was found, what is allowed."""

from collections.abc import Iterable

from opq_rules.sql.cursor import Cursor
from opq_rules.sql.ddl import create, stream_or_table
from opq_rules.sql.expression import expression
from opq_rules.sql.select import select
from opq_rules.sql.syntax import Expression, Named, Show, Statement

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
                cursor.rest_is_empty(f"the end behind {word}")
                return Show("streams" if word == "STREAMS" else "tables")
        cursor.unexpected("STREAMS or TABLES")
    for word, verb in _NAMED.items():
        if cursor.take_word(word):
            what = stream_or_table(cursor)
            name = cursor.stream_name(f"the name of the {what}")
            cursor.rest_is_empty("the end behind the name")
            return Named(verb, what, name)  # type: ignore[arg-type]
    return cursor.unexpected("SELECT, CREATE, SHOW, DESCRIBE, DROP or EXPLAIN")


def parse_expression(text: str, streams: Iterable[str] = ()) -> Expression:
    """One expression alone, for tests and prompts. `streams`: names that make `a.b` a column of stream a."""
    cursor = Cursor(text, streams)
    found = expression(cursor)
    cursor.rest_is_empty("an operator or the end")
    return found
