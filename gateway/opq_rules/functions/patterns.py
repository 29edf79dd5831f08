"""Regular expressions that cannot stop the engine: one that may backtrack without end gets a time limit.

Python's `re` is faster and has no limit. It is used on texts that are not long, if the form of the expression
bounds its cost (one `*`, `+`, `?` or `{n,m}`, which is not in a repeated group, or a few `|`). Everything
else is searched by the package `regex`, which is 7 us slower, for at most MAX_S. Without that package there
is not a limit.
"""

import re
from functools import lru_cache
from importlib import import_module

from opq_rules.values.batch import Value

MAX_S = 0.25
"""Seconds that one record may take of the engine's one thread."""
LONG_CHARACTERS = 4_096
"""Longer texts get a time limit: a single `.*` alone takes the square of the length."""

MAX_PARTS = 100_000
"""Most characters of an expression with each `{n}` expanded: `regex` expands them, without a time limit."""

_QUANTIFIED = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?|(\)(?:[*+?]|\{\d*,?\d*\}))|((?:[*+?]|\{\d*,\d*\})[?+]?|\|)",
    re.DOTALL,
)
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*),?(\d*)\}|.", re.DOTALL)


class Pattern:
    """A compiled expression; `first` and `replaced` raise ValueError if they take too long."""

    __slots__ = ("_always_limited", "_expression", "_limited", "_quick")

    def __init__(self, expression: str) -> None:
        """Compile the expression. Raises ValueError that says what is wrong with it."""
        package = _package()
        self._expression = expression
        if _parts(expression) > MAX_PARTS:
            raise ValueError(f"regular expression {expression[:80]!r}: more than {MAX_PARTS} parts")
        try:
            self._quick = re.compile(expression)
            self._limited: Value = None if package is None else package.compile(expression)
        except _errors() as error:
            raise ValueError(f"regular expression {expression[:80]!r}: {error}") from None
        self._always_limited = self._limited is not None and _may_backtrack(expression)

    def first(self, text: str) -> str | None:
        """The first match, or None."""
        try:
            if self.limits(text):
                found = self._limited.search(text, timeout=MAX_S)
            else:
                found = self._quick.search(text)
        except TimeoutError:
            raise self._too_long(text) from None
        return None if found is None else str(found.group())

    def replaced(self, text: str, replacement: str) -> str:
        """All matches replaced; `\\1` is the first group. Raises ValueError for a wrong replacement."""
        try:
            if self.limits(text):
                return str(self._limited.sub(replacement, text, timeout=MAX_S))
            return self._quick.sub(replacement, text)
        except TimeoutError:
            raise self._too_long(text) from None
        except _errors() as error:
            raise ValueError(f"replacement {replacement!r}: {error}") from None

    def limits(self, text: str) -> bool:
        """Whether searching `text` has a time limit."""
        return self._always_limited or (self._limited is not None and len(text) > LONG_CHARACTERS)

    def _too_long(self, text: str) -> ValueError:
        return ValueError(f"{self._expression!r} took more than {MAX_S} s on {len(text)} characters")


def _may_backtrack(expression: str) -> bool:
    found = list(_QUANTIFIED.finditer(expression))
    choices = sum(match.group(2) == "|" for match in found) if "(" in expression else 0  # else it only adds
    marks = sum(match.group(2) not in (None, "|") for match in found)
    return marks + choices // 2 > 1 or any(match.group(1) for match in found)


def _parts(expression: str) -> int:
    """The number of characters with each `{n,m}` expanded, including those of groups."""
    sizes, last = [0], 0  # of the open groups, and of what a `{n,m}` would repeat
    for match in _PART.finditer(expression):
        if match.group(1) or match.group(2):
            times = max(int(each[:12]) for each in match.groups() if each)
            sizes[-1] += last * (max(times, 1) - 1)
            last *= max(times, 1)
        elif match.group() == "(":
            sizes.append(0)
        elif match.group() == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 1
            sizes[-1] += 1
    return sum(sizes)


@lru_cache(maxsize=1)
def _package() -> Value:
    try:
        return import_module("regex")
    except ImportError:
        return None


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions raised for a wrong expression or replacement."""
    package = _package()
    wrong = (re.error, IndexError, OverflowError, RecursionError)
    return wrong if package is None else (*wrong, package.error)


@lru_cache(maxsize=512)
def pattern(expression: str) -> Pattern:
    """The compiled expression, cached. Raises ValueError that says what is wrong with it."""
    return Pattern(expression)
