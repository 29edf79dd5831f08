"""The sandbox of templates: Jinja2, restricted; the common part of Go's templates is translated to it.

`{{ v }}`, `{{ row.v }}`, `{{ rows[0].v }}`, `{{ row | json }}`; in Go's form `{{.v}}`:
[opq_rules.delivery.go_template].

A template cannot reach Python, and can neither loop nor grow without limit. It cannot set, define or include
anything: `{% set a = a ~ a %}` thirty times is a gigabyte. It can call only methods that read, or that make
no text longer: `ljust(1000000000)` is a gigabyte too.

Source: docs/reference/rules.md, E.3; Jinja2's documentation of its sandbox.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from jinja2 import ChainableUndefined, Template, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_round
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from opq_rules.delivery.go_template import as_jinja
from opq_rules.values.batch import JsonObject

MAX_RESULT_CHARS = 1_000_000
"""Characters of a template's result."""

MAX_ROUNDS = 1_000_000
"""Rounds of all loops together in one emission: three nested loops over 1,000 rows make 10^9."""
_MAX_PLACES = 15

MAX_LOOPS = 3
"""Depth of nested loops."""
METHODS = frozenset(
    {
        "get",
        "items",
        "keys",
        "values",
        "upper",
        "lower",
        "strip",
        "lstrip",
        "rstrip",
        "title",
        "capitalize",
        "startswith",
        "endswith",
        "find",
        "count",
        "index",
        "split",
        "isoformat",
    }
)
FILTERS = frozenset(
    {
        "abs",
        "attr",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "groupby",
        "int",
        "items",
        "json",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "round",
        "select",
        "selectattr",
        "sort",
        "string",
        "sum",
        "title",
        "tojson",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
    }
)
"""Filters of Jinja, some replaced by ours. `map` calls filters by name, so all others must be removed."""
_PARTS = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.For,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Pos,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Concat,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.Keyword,
    nodes.Pair,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
)


def _check(node: nodes.Node, loops: int = 0) -> None:
    """Raises ValueError for the first part that is not allowed in a template."""
    where = f"dataTemplate, line {node.lineno}"
    if not isinstance(node, _PARTS) or (isinstance(node, nodes.For) and node.recursive):
        raise ValueError(f"{where}: {type(node).__name__.lower()} is not allowed in templates")
    if isinstance(node, nodes.Call) and not (
        isinstance(node.node, nodes.Getattr) and node.node.attr in METHODS
    ):
        raise ValueError(f"{where}: only methods can be called: {', '.join(sorted(METHODS))}")
    loops += isinstance(node, nodes.For)
    if loops > MAX_LOOPS:
        raise ValueError(f"{where}: more than {MAX_LOOPS} nested loops")
    for each in node.iter_child_nodes():
        _check(each, loops)


def count_rounds(node: nodes.Node) -> None:
    """Adds the filter `rounds` to each loop of the tree."""
    for each in node.find_all(nodes.For):
        each.iter = nodes.Filter(each.iter, "rounds", [], [], None, None, lineno=each.lineno)


@pass_context
def rounds(context: Context, values: Iterable[object]) -> Iterator[object]:
    """Counts rounds of loops. Raises ValueError after MAX_ROUNDS; the count is for this emission alone."""
    left = context.parent["rounds left"]
    for each in values:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"dataTemplate: more than {MAX_ROUNDS} rounds of its loops")
        yield each


def _rounded(value: float, precision: int = 0, method: str = "common") -> float:
    """Jinja's filter with a limit, because it would compute 10 to the power of any precision."""
    if not -_MAX_PLACES <= precision <= _MAX_PLACES:
        raise ValueError(f"dataTemplate: round to {precision}; want at most {_MAX_PLACES} places")
    return do_round(value, precision, method)  # type: ignore[arg-type]  # it checks the method itself


def numbered(values: Mapping[object, object] | Iterable[object] | None) -> Iterable[tuple[object, object]]:
    """What Go's range iterates over: places and elements, or keys and values by key; nothing for null."""
    if isinstance(values, Mapping):
        return sorted(values.items(), key=lambda pair: str(pair[0]))
    return enumerate(values if values is not None else ())


def _join(values: Iterable[object], separator: object = "", attribute: str | None = None) -> str:
    """Jinja's filter with a limit to its result."""
    texts = [
        str(each.get(attribute, "") if attribute is not None and isinstance(each, Mapping) else each)
        for each in values
    ]
    between = str(separator)
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_RESULT_CHARS:
        raise ValueError(f"dataTemplate: join gives more than {MAX_RESULT_CHARS} characters")
    return between.join(texts)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuses powers, and products with text, which could take all memory."""
        if operator == "**" or not all(isinstance(each, int | float) for each in (left, right)):
            raise SecurityError(f"{operator} needs numbers, and templates have no powers")
        return super().call_binop(context, operator, left, right)


def _written(value: object) -> object:
    """The value as JSON and Go write it; null and a missing column give ""."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


_SANDBOX = _Sandbox(undefined=ChainableUndefined, autoescape=False, finalize=_written)
_SANDBOX.filters = {name: each for name, each in _SANDBOX.filters.items() if name in FILTERS} | {
    "join": _join,
    "numbered": numbered,
    "round": _rounded,
    "rounds": rounds,
}
_SANDBOX.filters["json"] = lambda value: msgspec.json.encode(value).decode()
_SANDBOX.filters["tojson"] = _SANDBOX.filters["json"]
for _name in ("lipsum", "range"):  # they make text or loops without data; loops should go over the data
    _SANDBOX.globals.pop(_name, None)


def sandboxed(text: str) -> Callable[[object], str]:
    """The template as a function of rows, or of one row. Raises ValueError: it does not parse."""
    try:
        source = as_jinja(text)
        tree = _SANDBOX.parse(source)
        _check(tree)
        count_rounds(tree)
        template = Template.from_code(_SANDBOX, _SANDBOX.compile(tree), _SANDBOX.make_globals(None))
    except RecursionError:
        raise ValueError("dataTemplate: too many nested parts") from None
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise ValueError(f"dataTemplate{where}: {error}") from error

    def render(data: object) -> str:
        names: JsonObject = {"here": data, "rows": data if isinstance(data, list) else [data]}
        if isinstance(data, Mapping):
            names = {**data, **names, "row": data}
        names["rounds left"] = [MAX_ROUNDS]
        pieces, length = [], 0
        for piece in template.generate(names):
            length += len(piece)
            if length > MAX_RESULT_CHARS:
                raise ValueError(f"dataTemplate gives more than {MAX_RESULT_CHARS} characters")
            pieces.append(piece)
        return "".join(pieces)

    return render
