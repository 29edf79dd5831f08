"""Text -> tokens, by one regular expression. `shape` is built of the same pieces, so that both agree.

A minus right after `=`, `<` or `>` belongs to its number: `v > -5` differs from `v > 5` in a constant only.
`--` begins a comment up to the end of the line, as in all SQL.
"""

import re
from bisect import bisect_right
from math import isinf
from typing import Any

from opq_rules.errors import SQL_SYNTAX, RuleError
from opq_rules.sql.syntax import TextPlace

MAX_CHARS = 100_000
"""Most characters of a statement; the longest in eKuiper's documentation has some 500."""

_DIGITS = r"(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+)(?!\w)"
NUMBER = rf"(?:(?<=[=<>])\s*-\s*{_DIGITS}|(?<![\w.]){_DIGITS})"
TEXT = r"""(?:'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|"[^"\\]*(?:(?:\\.|"")[^"\\]*)*")"""
NAME = r"`[^`\n]+`"
COMMENT = r"(?:/\*.*?\*/|--[^\n]*(?:\n|\Z))"
UNENDED_QUOTE = r"""(?:/\*|['"`])"""

_TOKEN = re.compile(
    rf"(?P<word>[^\W\d]\w*)|(?P<number>{NUMBER})|(?P<space>\s+|{COMMENT})|(?P<text>{TEXT})|(?P<name>{NAME})"
    rf"|(?P<unended>{UNENDED_QUOTE})|(?P<sign>->|<=|>=|!=|<>|==|&&|\|\||[-+*/%&|^=<>(),.\[\]:;!])|(?P<bad>.)",
    re.DOTALL,
)

RESERVED = frozenset(
    re.findall(
        r"\w+",
        "SELECT FROM JOIN LEFT INNER ON WHERE GROUP ORDER HAVING BY ASC DESC AND OR CASE WHEN THEN ELSE END"
        " IN NOT BETWEEN LIKE OVER PARTITION TRUE FALSE NULL",
    )
)
"""Words that are names only in backticks."""

_ESCAPED = {"\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_TOO_LARGE = 2**64


class Tokens:
    """The statement's tokens as parallel lists, closed by one of kind "end".

    `kinds`: "word", "name" (in backticks), "number", "text", a sign such as "<=", or a reserved word in
    upper case. `values`: what it says. `slots`: the literal's number, from 0. `text[start:end]`: as written.
    """

    __slots__ = ("_lines", "ends", "kinds", "slots", "starts", "text", "values")

    def __init__(self, text: str) -> None:
        """Raises RuleError: too long, an unknown character, or a text or comment that does not end."""
        check_text(text)
        self.text = text
        self.kinds: list[str] = []
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.slots: list[int | None] = []
        self._lines = [at for at, character in enumerate(text) if character == "\n"] if "\n" in text else []
        self._read()

    def _read(self) -> None:
        add_kind, add_value, add_slot = self.kinds.append, self.values.append, self.slots.append
        add_start, add_end = self.starts.append, self.ends.append
        literals = 0
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup or ""
            if kind == "space":
                continue
            value: Any = match.group()
            start, end = match.span()
            slot = None
            if kind == "word":
                upper = value.upper()
                if upper in RESERVED:
                    kind = upper
            elif kind == "sign":
                kind = "!=" if value == "<>" else value
            elif kind == "number" or kind == "text":
                start = end - len(value.lstrip())
                value = self._literal(kind, value, start)
                slot = literals
                literals += 1
            elif kind == "name":
                value = value[1:-1]
            else:
                raise self._unreadable(kind, value, start)
            add_kind(kind)
            add_value(value)
            add_start(start)
            add_end(end)
            add_slot(slot)
        add_kind("end")
        add_value("")
        add_start(len(self.text.rstrip()))
        add_end(len(self.text))
        add_slot(None)

    def place(self, index: int) -> TextPlace:
        """The line and column of token `index`."""
        return self._place_of(self.starts[index])

    def _place_of(self, offset: int) -> TextPlace:
        lines = self._lines
        if not lines:
            return TextPlace(1, offset + 1)
        line = bisect_right(lines, offset - 1)
        return TextPlace(line + 1, offset - (lines[line - 1] if line else -1))

    def found(self, index: int) -> str:
        """Token `index` as errors show it."""
        if self.kinds[index] == "end":
            return "the end"
        written = self.text[self.starts[index] : self.ends[index]]
        return written if len(written) <= 40 else f"{written[:37]}..."

    def _literal(self, kind: str, written: str, start: int) -> Any:
        try:
            return literal(written)
        except ValueError as error:
            at = self._place_of(start)
            raise RuleError(str(error), SQL_SYNTAX, line=at.line, column=at.column) from None

    def _unreadable(self, kind: str, value: str, start: int) -> RuleError:
        at = self._place_of(start)
        hint = None
        if kind == "unended":
            what = {"/*": "a comment", "`": "a name in backticks"}.get(value, "a text")
            message = f"found {value} with no end: {what} was begun and not closed"
        elif "0" <= value <= "9":
            message = f"found a name or number that begins with {value}; a name begins with a letter"
            hint = "put it in backticks"
        else:
            message = f"found {value!r}, a character of no clause"
            hint = "write text in quotes, odd names in backticks"
        return RuleError(message, SQL_SYNTAX, line=at.line, column=at.column, hint=hint)


def check_text(text: str) -> None:
    """Raises RuleError: `text` is too long, or cannot be stored as UTF-8."""
    if len(text) > MAX_CHARS:
        raise RuleError(f"the statement has {len(text):_} characters; want at most {MAX_CHARS:_}", SQL_SYNTAX)
    if "\0" in text:
        raise RuleError("the statement holds a NUL character", SQL_SYNTAX)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RuleError("the statement holds half a character (a lone surrogate)", SQL_SYNTAX) from None


def literal(written: str) -> int | float | str:
    """The value of a NUMBER or TEXT. Raises ValueError if it needs more than 64 bits."""
    quote = written[0]
    if quote == "'" or quote == '"':
        inner = written[1:-1]
        if "\\" not in inner and quote not in inner:
            return inner
        return _unescaped(inner, quote)
    digits = "".join(written.split())
    if digits.lstrip("-").isdigit():
        if len(digits) > 21 or abs(int(digits)) >= _TOO_LARGE:
            raise ValueError(f"found a whole number of {len(digits)} digits; want at most 64 bits")
        return int(digits)
    number = float(digits)
    if isinf(number):
        raise ValueError(f"found {digits}; a float holds at most 1.8e308")
    return number


def _unescaped(inner: str, quote: str) -> str:
    """`\\\\`, `\\n`, `\\t`, `\\r` and the quote, escaped or doubled; other backslashes stay, for LIKE."""

    def one(match: re.Match[str]) -> str:
        escaped = match.group(1)
        if escaped is None or escaped == quote:
            return quote
        return _ESCAPED.get(escaped, match.group())

    return re.sub(rf"\\(.)|{quote}{quote}", one, inner, flags=re.DOTALL)
