"""Translates a part of Go's templates, which rules written for eKuiper have in `dataTemplate`, to Jinja2.

`{{.v}}`, `{{.a.b}}`, `{{json .}}`, `{{toJson .a}}`, `{{range .}}`, `{{range $i, $row := .}}`, `{{end}}`. Any
other tag of Go's is refused; every other tag stays unchanged, for Jinja2.

Source: docs/reference/rules.md, E.3; the documentation of Go's text/template.
"""

import json
import re

_TAG = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_PATH = re.compile(r"\$?\w*(?:\.\w+)*|\.")
_JSON = re.compile(r"(?:json|toJson)\s+([.$][\w.]*)")
_RANGE = re.compile(r"range\s+(?:(?:\$(\w+)\s*,\s*)?\$(\w+)\s*:=\s*)?([.$][\w.]*)")
_OF_GO = re.compile(
    r"(?:if|with|range|define|template|block)\s.*|else\b.*|[.$].*"
    r"|\(*(?:and|eq|ge|gt|index|json|le|len|lt|ne|not|or|toJson)\s+(?:\(\w+\s+)*[.$].*",
    re.DOTALL,
)
_CALL = re.compile(r"(\w+)(?:\s+(?:-?[0-9.]+|\"[^\"]*\"))*\s+\(*[.$]\w")
"""A call in Go's form, such as `add .v 1` or `printf "%d" .v`."""
READ_GO = "only {{.field}}, {{json .}} and {{range .}} of Go are read; write it in Jinja2, {% if v > 10 %}"


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
    """Translates tag by tag: holds the open loops, and the meaning of the dot and the variables."""

    def __init__(self) -> None:
        self._dot, self._names = "here", {"": "here"}
        self._open: list[tuple[str, dict[str, str]]] = []

    def tag(self, inner: str, written: str) -> str:
        """The tag for Jinja2; `written` unchanged where it is not a tag of Go's."""
        if inner.startswith((".", "$")) and _PATH.fullmatch(inner):
            return "{{ " + self._path(inner) + " }}"
        if found := _JSON.fullmatch(inner):
            return "{{ " + self._path(found[1]) + " | json }}"
        if found := _RANGE.fullmatch(inner):
            return self._opened(*found.groups())
        if inner == "end" and self._open:
            self._dot, self._names = self._open.pop()
            return "{% endfor %}"
        if _OF_GO.fullmatch(inner):
            raise ValueError(READ_GO)
        if called := _CALL.match(inner):
            raise ValueError(f"the function {called[1]} of Go is not supported; {READ_GO}")
        return written

    def _opened(self, place: str | None, row: str | None, path: str) -> str:
        value = self._path(path)
        self._open.append((self._dot, self._names))
        number, each = f"number{len(self._open)}", f"each{len(self._open)}"
        self._dot = each
        if row:
            self._names = {**self._names, row: each} | ({place: number} if place else {})
        return "{% for " + f"{number}, {each} in {value} | numbered" + " %}"

    def _path(self, written: str) -> str:
        """Translates `.a.b` and `$x.a` to access by key, so that a column may be named `items`."""
        head, *keys = written.split(".")
        if head[1:] not in self._names:
            raise ValueError(f"{written} is neither a column nor a variable")
        start = self._names[head[1:]] if head else self._dot
        return start + "".join(f"[{json.dumps(key)}]" for key in keys if key)
