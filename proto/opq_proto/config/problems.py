"""The text of all problems of a configuration, reported at once.

gateway.toml: 2 problems, nothing was started
  uplink.endpont           unknown key; did you mean "endpoint"?
  clock.holdover_s         is 1000000000.0; want 0.0 to 86_400.0
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from opq_proto.config.fields import bounds_of, fields_of, item_of, table_of, wanted
from opq_proto.errors import problem_count

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: where (keys and list positions) and what."""

    path: Path
    text: str


def text_of(cls: type[Any], where: str, problems: Iterable[Problem]) -> str:
    """Returns the message, one line per problem, in the order of the dataclass."""
    listed = sorted(dict.fromkeys(problems), key=lambda problem: _order(cls, problem.path))
    names = [name_of(problem.path) or "(top)" for problem in listed]
    width = max((len(name) for name in names), default=0) + 5
    lines = [f"  {name.ljust(width)}{problem.text}" for name, problem in zip(names, listed, strict=True)]
    return "\n".join([f"{where}: {problem_count(listed)}, nothing was started", *lines])


def name_of(path: Path) -> str:
    """Returns, for example, `box[0].port`; a key that is not a plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w-]{1,60}", part) else shown(part)
            text += f".{word}" if text else word
    return text


def from_validation(cls: type[Any], data: Any, error: ValidationError) -> list[Problem]:
    """Converts pydantic's errors on `data` to problems in this project's words."""
    problems = []
    for detail in error.errors(include_url=False):
        kind = detail["type"]
        path, value = _place(data, detail["loc"], missing=kind == "missing")
        info = _field(cls, path)
        if kind == "missing":
            problems.append(Problem(path, f"missing: {_help(info)}"))
        elif kind in ("value_error", "assertion_error"):
            words = detail["msg"].split(", ", 1)[-1]
            problems.append(Problem(path, words if _has_table(value) else f"is {shown(value)}; {words}"))
        else:
            want = detail["msg"] if info is None else wanted(info.annotation, bounds_of(info))
            if path and isinstance(path[-1], int) and want.startswith("a list of tables"):
                want = "a table"
            problems.append(Problem(path, f"is {shown(value)}; want {want}"))
    return problems


def shown(value: Any) -> str:
    """Returns the value as a file would have it, cut to 60 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        return "a list of tables"
    text = repr(value) if isinstance(value, str | int | float | list) else repr(str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _has_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _help(info: FieldInfo | None) -> str:
    if info is None:
        return "must be given"
    words = info.description or wanted(info.annotation, bounds_of(info))
    return f"{words}, e.g. {info.examples[0]}" if info.examples else words


def _place(data: Any, loc: Sequence[str | int], missing: bool) -> tuple[Path, Any]:
    """Returns the part of `loc` that is in `data` (unions add names of types), and the value there."""
    path: list[str | int] = []
    value = data
    for index, part in enumerate(loc):
        if _has(value, part):
            value = value[part]
        elif missing and index == len(loc) - 1:
            value = None
        else:
            continue
        path.append(part)
    return tuple(path), value


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, str):
        return isinstance(value, Mapping) and part in value
    return isinstance(value, list | tuple) and 0 <= part < len(value)


def _field(cls: type[Any], path: Path) -> FieldInfo | None:
    """Returns the field at `path`; for an entry of a plain list, one with the type of its entries."""
    current: type[Any] | None = cls
    info: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            current = None if info is None else item_of(info.annotation)
            if current is None and info is not None:
                args = getattr(info.annotation, "__args__", ())
                kinds = [arg for arg in args if arg not in (Ellipsis, type(None))]
                info = FieldInfo.from_annotation(kinds[min(part, len(kinds) - 1)]) if kinds else None
            continue
        info = fields_of(current).get(part) if current is not None else None
        current = None if info is None else (table_of(info.annotation) or None)
        if current is None and info is not None and item_of(info.annotation) is not None:
            current = item_of(info.annotation)
    return info


def _order(cls: type[Any], path: Path) -> tuple[int, ...]:
    current: type[Any] | None = cls
    order: list[int] = []
    for part in path:
        if isinstance(part, int):
            order.append(part)
            continue
        names = list(fields_of(current)) if current is not None else []
        order.append(names.index(part) if part in names else -1)
        info = fields_of(current).get(part) if current is not None else None
        current = None if info is None else (table_of(info.annotation) or item_of(info.annotation))
    return tuple(order)
