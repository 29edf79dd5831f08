"""dataTemplate: Jinja2 in its sandbox, and the common part of Go's templates put into it.

`{{ v }}`, `{{ row.v }}`, `{{ rows[0].v }}`, `{{ row | json }}`; of Go's form `{{.v}}`:
[opq_rules.delivery.go_template].
A template cannot reach Python, and can neither loop nor grow without bound.
Source: reference/rules.md, E.3; Jinja2's documentation of its sandbox.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from jinja2 import ChainableUndefined, Template, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from opq_rules.batch import JsonObject
from opq_rules.delivery.bounded import (
    FILTERS,
    LONGEST,
    MOST_ROUNDS,
    check,
    count_rounds,
    join,
    numbered,
    rounded,
    rounds,
)
from opq_rules.delivery.go_template import as_jinja


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """A product of text, or a great power, would take all memory."""
        if operator == "**" or not all(isinstance(each, int | float) for each in (left, right)):
            raise SecurityError(f"{operator} is for numbers, and powers are not for templates")
        return super().call_binop(context, operator, left, right)


def _written(value: object) -> object:
    """As in JSON and Go; null, as a missing column, writes nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


_SANDBOX = _Sandbox(undefined=ChainableUndefined, autoescape=False, finalize=_written)
_SANDBOX.filters = {name: each for name, each in _SANDBOX.filters.items() if name in FILTERS} | {
    "join": join,
    "numbered": numbered,
    "round": rounded,
    "rounds": rounds,
}
_SANDBOX.filters["json"] = lambda value: msgspec.json.encode(value).decode()
_SANDBOX.filters["tojson"] = _SANDBOX.filters["json"]
for _name in ("lipsum", "range"):  # text and loops out of nothing; loops go over the data
    _SANDBOX.globals.pop(_name, None)


def compiled(text: str) -> Callable[[object], str]:
    """`text` as a function of an emission (a list of rows), or of one row.

    Raises ValueError: the template does not parse; its line is named.
    """
    try:
        source = as_jinja(text)
        tree = _SANDBOX.parse(source)
        check(tree)
        count_rounds(tree)
        template = Template.from_code(_SANDBOX, _SANDBOX.compile(tree), _SANDBOX.make_globals(None))
    except RecursionError:
        raise ValueError("dataTemplate: too many parts in each other") from None
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise ValueError(f"dataTemplate{where}: {error}") from error

    def render(data: object) -> str:
        names: JsonObject = {"here": data, "rows": data if isinstance(data, list) else [data]}
        if isinstance(data, Mapping):
            names = {**data, **names, "row": data}
        names["rounds left"] = [MOST_ROUNDS]
        pieces, length = [], 0
        for piece in template.generate(names):
            length += len(piece)
            if length > LONGEST:
                raise ValueError(f"dataTemplate gives more than {LONGEST} characters")
            pieces.append(piece)
        return "".join(pieces)

    return render


def per_row(text: str) -> Callable[[object], str]:
    """A property such as `topic: "boxes/{{.box}}"`: `text`, or what its template gives for the (first) row.

    Raises ValueError: the template does not parse.
    """
    if "{{" not in text and "{%" not in text:
        return lambda data: text
    render = compiled(text)
    return lambda data: render(data[0] if isinstance(data, list) and data else data)
