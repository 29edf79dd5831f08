"""Translates Go's templates, which rules written for eKuiper have in `dataTemplate`, to Jinja2.

`{{.v}}`, `{{.a.b}}`, `{{json .}}`, `{{index . 0}}`, `{{(index . 0).v}}`, `{{len .}}`, `{{$x := .a}}`, `{{if
lt .v 10.0}}`, `{{else if ...}}`, `{{with .a}}`, `{{range .}}`, `{{range $i, $row := .}}`, `{{end}}`;
functions in parentheses and after `|`. Any other tag stays unchanged, for Jinja2.

Source: docs/reference/rules.md, E.3; the documentation of Go's text/template.
"""

import json
import re
from collections.abc import Callable

_TAG = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<close>\)(?:\.\w+)*)|(?P<mark>[(|])|(?P<text>\"(?:[^\"\\\n]|\\.)*\")|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<path>\$?\w*(?:\.\w+)+|\$\w*|\.)|(?P<word>[A-Za-z_]\w*))"
)
_RANGE = re.compile(r"(?:(?:\$(\w+)\s*,\s*)?\$(\w+)\s*:=\s*)?(.+)", re.DOTALL)
_SET = re.compile(r"\$(\w+)\s*:=\s*([.$][\w.]*)")
_DEEPEST = 20


def _chain(operator: str) -> Callable[[list[str]], str]:
    return f" {operator} ".join


def _compared(operator: str) -> Callable[[list[str]], str]:
    """`eq a b c`: whether a equals b or c."""
    return lambda given: " or ".join(f"{given[0]} {operator} {each}" for each in given[1:])


def _filtered(name: str) -> Callable[[list[str]], str]:
    return lambda given: f"{given[0]} | {name}"


_FUNCTIONS: dict[str, tuple[int, int, Callable[[list[str]], str]]] = {
    "and": (2, 9, _chain("and")),
    "eq": (2, 9, _compared("==")),
    "ge": (2, 2, _compared(">=")),
    "gt": (2, 2, _compared(">")),
    "index": (2, 9, lambda given: given[0] + "".join(f"[{each}]" for each in given[1:])),
    "json": (1, 1, _filtered("json")),
    "le": (2, 2, _compared("<=")),
    "len": (1, 1, _filtered("length")),
    "lt": (2, 2, _compared("<")),
    "ne": (2, 2, _compared("!=")),
    "not": (1, 1, lambda given: f"not {given[0]}"),
    "or": (2, 9, _chain("or")),
    "toJson": (1, 1, _filtered("json")),
}
"""Name -> fewest and most arguments, and its form in Jinja2."""


def as_jinja(text: str) -> str:
    """The template for Jinja2. Raises ValueError for a tag of Go's that cannot be translated."""
    reader = _Reader()

    def tag(match: re.Match[str]) -> str:
        try:
            return reader.tag(match[1], match[0])
        except ValueError as error:
            line = text.count("\n", 0, match.start()) + 1
            raise ValueError(f"dataTemplate, line {line}: {match[0][:80]}: {error}") from None

    return _TAG.sub(tag, text)


class _Reader:
    """Translates tag by tag: holds the open blocks, and the meaning of the dot and the variables."""

    def __init__(self) -> None:
        self._dot, self._names = "here", {"": "here"}
        self._open: list[tuple[str, str, dict[str, str]]] = []

    def tag(self, inner: str, written: str) -> str:
        """The tag for Jinja2; `written` unchanged where it is no tag of Go's."""
        word, _, rest = inner.partition(" ")
        if word in ("if", "with", "range") and rest:
            return self._opened(word, rest)
        if self._open and inner in ("else", "end"):
            return "{% else %}" if inner == "else" else self._closed()
        if self._open and self._open[-1][0] == "if" and inner.startswith("else if "):
            return "{% elif " + self._value(inner.removeprefix("else if ")) + " %}"
        if found := _SET.fullmatch(inner):
            self._names = {**self._names, found[1]: self._path(found[2])}
            return ""
        try:
            return "{{ " + self._value(inner) + " }}"
        except ValueError:
            if inner.startswith((".", "$")):
                raise
            return written

    def _opened(self, word: str, rest: str) -> str:
        self._open.append((word, self._dot, self._names))
        if word == "if":
            return "{% if " + self._value(rest) + " %}"
        if word == "with":
            self._dot = self._path(rest.strip())
            return "{% if " + self._dot + " %}"
        found = _RANGE.fullmatch(rest)
        value = self._value(found[3] if found else rest)
        number, each = f"number{len(self._open)}", f"each{len(self._open)}"
        self._dot = each
        if found and found[2]:
            self._names = {**self._names, found[2]: each} | ({found[1]: number} if found[1] else {})
        return "{% for " + f"{number}, {each} in {value} | numbered" + " %}"

    def _closed(self) -> str:
        word, self._dot, self._names = self._open.pop()
        return "{% endfor %}" if word == "range" else "{% endif %}"

    def _path(self, written: str) -> str:
        """Translates `.a.b` and `$x.a` to access by key, so that a column may be named `items`."""
        head, *keys = written.split(".")
        if (head.removeprefix("$") == head and head) or head[1:] not in self._names:
            raise ValueError(f"{written} is no column and no variable")
        start = self._names[head[1:]] if head else self._dot
        return start + "".join(f"[{json.dumps(key)}]" for key in keys if key)

    # -- expressions

    def _value(self, text: str) -> str:
        tokens, at = [], 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"{text[at:][:20].strip()!r} is not understood")
            tokens.append((str(found.lastgroup), found[0].strip()))
            at = found.end()
        value, left = self._pipeline(tokens, 0)
        if left:
            raise ValueError(f"{left[0][1]!r} is not understood")
        return value

    def _pipeline(self, tokens: list[tuple[str, str]], depth: int) -> tuple[str, list[tuple[str, str]]]:
        if depth > _DEEPEST:
            raise ValueError("too many nested parentheses")
        value, tokens = self._call(tokens, None, depth)
        while tokens and tokens[0][1] == "|":
            value, tokens = self._call(tokens[1:], value, depth)
        return value, tokens

    def _call(
        self, tokens: list[tuple[str, str]], last: str | None, depth: int
    ) -> tuple[str, list[tuple[str, str]]]:
        """Translates a call. `last`: the value before the pipe."""
        name, given = "", []
        if tokens and tokens[0][0] == "word" and tokens[0][1] not in ("true", "false"):
            name, tokens = tokens[0][1], tokens[1:]
            if name not in _FUNCTIONS:
                raise ValueError(f"there is no function {name!r}; there are: {', '.join(_FUNCTIONS)}")
        while tokens and tokens[0][1] != "|" and tokens[0][0] != "close":
            value, tokens = self._operand(tokens, depth)
            given.append(value)
        given += [] if last is None else [last]
        if not name:
            if len(given) != 1 or last is not None:
                raise ValueError("want one value, or a function")
            return given[0], tokens
        fewest, most, made = _FUNCTIONS[name]
        if not fewest <= len(given) <= most:
            raise ValueError(f"{name} takes {fewest} arguments{' and more' if most > fewest else ''}")
        return f"({made(given)})", tokens

    def _operand(self, tokens: list[tuple[str, str]], depth: int) -> tuple[str, list[tuple[str, str]]]:
        (kind, written), tokens = tokens[0], tokens[1:]
        if kind == "mark":
            value, tokens = self._pipeline(tokens, depth + 1)
            if not tokens or tokens[0][0] != "close":
                raise ValueError("want )")
            keys = tokens[0][1].split(".")[1:]
            return value + "".join(f"[{json.dumps(key)}]" for key in keys), tokens[1:]
        if kind == "path":
            return self._path(written), tokens
        if kind == "text":
            return repr(json.loads(written)), tokens
        if kind == "number" or written in ("true", "false"):
            return written, tokens
        raise ValueError(f"{written!r} is not understood")
