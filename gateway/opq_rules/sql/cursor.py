"""The parser's position in the tokens, and the errors for tokens that it cannot accept."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from opq_rules.errors import SQL_SYNTAX, RuleError
from opq_rules.sql.syntax import TextPlace
from opq_rules.sql.tokens import RESERVED, Tokens

NOT_OURS = {
    "UNION": "make two rules with the same action",
    "INTERSECT": "join the streams in one window",
    "INSERT": "name the sink in the rule's actions",
    "UPDATE": "name the sink in the rule's actions",
    "DELETE": "name the sink in the rule's actions",
    "MERGE": "name the sink in the rule's actions",
    "ALTER": "replace the stream with a new definition",
    "TRUNCATE": "drop the table and create it again",
    "DISTINCT": "write GROUP BY column and a window",
    "EXISTS": "join the streams in one window",
    "OFFSET": "only LIMIT n",
    "IS": "write isNull(x) or NOT isNull(x)",
    "CAST": 'write cast(x, "bigint")',
    "USING": "write ON a.x = b.x",
    "NATURAL": "write JOIN ... ON a.x = b.x",
    "RECURSIVE": "chain rules over memory topics",
    "QUALIFY": "use HAVING",
    "ESCAPE": "a backslash takes % and _ for what they are",
    "ILIKE": "write lower(x) LIKE ...",
    "&&": "write AND",
    "||": "write concat(a, b)",
    "==": "write =",
    "!": "write NOT",
}
"""What other SQL has and ours does not, and what to write instead."""


class Cursor:
    """Tokens and the index of the next one.

    `streams`: what a stream may be called -> its name in FROM or JOIN; such an `a.b` is its column b.
    """

    __slots__ = ("depth", "index", "kinds", "streams", "tokens", "values")

    def __init__(self, text: str, streams: Iterable[str] = ()) -> None:
        self.tokens = Tokens(text)
        self.kinds = self.tokens.kinds
        self.values = self.tokens.values
        self.index = 0
        self.depth = 0
        self.streams: dict[str, str] = {name: name for name in streams}

    def at(self) -> TextPlace:
        return self.tokens.place(self.index)

    def accept(self, kind: str) -> bool:
        """Take the next token if it is `kind`; returns whether it was."""
        if self.kinds[self.index] != kind:
            return False
        self.index += 1
        return True

    def want(self, kind: str, allowed: str) -> Any:
        """The value of the next token, which must be `kind`; else an error that names `allowed`."""
        if self.kinds[self.index] != kind:
            self.unexpected(allowed)
        self.index += 1
        return self.values[self.index - 1]

    def is_word(self, word: str) -> bool:
        """Whether the next token is `word` (upper case), which is not a reserved word."""
        return self.kinds[self.index] == "word" and self.values[self.index].upper() == word

    def accept_word(self, word: str) -> bool:
        if not self.is_word(word):
            return False
        self.index += 1
        return True

    def want_word(self, word: str, allowed: str) -> None:
        if not self.accept_word(word):
            self.unexpected(allowed)

    def name(self, allowed: str) -> str:
        """A name, bare or in backticks."""
        kind = self.kinds[self.index]
        if kind != "word" and kind != "name":
            hint = None
            if kind in RESERVED:
                hint = f"{kind} is reserved; write it in backticks to use it as a name"
            elif kind == "text":
                hint = "quotes make a text; write a name bare or in backticks"
            self.unexpected(allowed, hint)
        self.index += 1
        return str(self.values[self.index - 1])

    def stream_name(self, allowed: str) -> str:
        found = self.name(allowed)
        if self.kinds[self.index] == "/":
            self.fail("found /; a stream's name has letters, digits, _ and -", "name it without /")
        return found

    def whole_number(self, allowed: str, least: int = 1) -> int:
        """A literal whole number of at least `least`."""
        value = self.values[self.index]
        if self.kinds[self.index] != "number" or not isinstance(value, int) or value < least:
            self.unexpected(f"{allowed}, a whole number of at least {least}")
        self.index += 1
        return value

    def rest_is_empty(self, allowed: str) -> None:
        """Check that nothing but `;` follows."""
        while self.accept(";"):
            pass
        if self.kinds[self.index] != "end":
            if self.kinds[self.index - 1] == ";":
                self.fail("found a second statement; want one", hint="send them one by one")
            self.unexpected(allowed)

    def unexpected(self, allowed: str, hint: str | None = None) -> NoReturn:
        """Raise the error for the next token. `allowed`: what may come here, words in upper case."""
        tokens = self.tokens
        found = tokens.found(self.index)
        word = found.upper()
        instead = NOT_OURS.get(word)
        if instead is not None and self.kinds[self.index] != "name":
            self.fail(f"{word} is not supported", hint=instead)
        hint = hint or self._meant(self.index, allowed) or self._meant(self.index - 1, allowed)
        self.fail(f"found {found}, want {allowed}", hint=hint)

    def _meant(self, index: int, allowed: str) -> str | None:
        """The word among the upper-case words of `allowed` that the word at `index` resembles."""
        found = str(self.values[index])
        if self.kinds[index] != "word" or len(found) < 3:
            return None
        words = [each for each in re.findall(r"\w+", allowed) if each.isupper() and len(each) > 2]
        if found.upper() in words:
            return None
        near = difflib.get_close_matches(found.upper(), words, n=1)
        return f"did you mean {near[0]} for {found}?" if near else None

    def fail(self, message: str, hint: str | None = None, at: TextPlace | None = None) -> NoReturn:
        at = at or self.at()
        raise RuleError(message, SQL_SYNTAX, line=at.line, column=at.column, hint=hint)
