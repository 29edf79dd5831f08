"""A statement without its constants: texts of one shape share a plan, and need no parser.

One pass of one regular expression, made of the tokens' own pieces: its literal n is slot n of the tree.
"""

import re
from dataclasses import dataclass

from opq_rules.errors import SQL_SYNTAX, RuleError
from opq_rules.sql.tokens import COMMENT, NAME, NUMBER, TEXT, UNENDED, Tokens, check, literal

_PIECE = re.compile(rf"({NUMBER}|{TEXT})|({COMMENT}|{NAME}|{UNENDED}.*)", re.DOTALL)
_MARKS = {int: "\0i", float: "\0f", str: "\0s"}
"""For a literal in the key, by its type: 7 / 2 and 7.0 / 2 differ. No statement holds a NUL."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`key`: the text, a mark for each literal. Trees of equal keys differ in their literals only."""

    key: str
    literals: tuple[int | float | str, ...]


def shape(text: str) -> Shape:
    """Of any text; whether it is a statement, `parse` says. Raises RuleError as the tokens do."""
    check(text)
    pieces = _PIECE.split(text)
    if len(pieces) == 1:
        return Shape(text, ())
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
    return Shape("".join(key), tuple(literals))
