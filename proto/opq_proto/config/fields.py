"""Type, range, default and help of the fields of a configuration dataclass.

Reads pydantic dataclasses (with ranges and help from `Field`) and plain ones.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

Fields = dict[str, FieldInfo]


@dataclasses.dataclass(frozen=True, slots=True)
class Why:
    """One sentence of a setting: why an operator would change it. Part of its `Annotated`."""

    text: str


def why_of(info: FieldInfo) -> str:
    """Returns why an operator would change this setting; empty where that is not said."""
    return next((each.text for each in info.metadata if isinstance(each, Why)), "")


def fields_of(cls: type[Any]) -> Fields:
    """Returns name -> field of a dataclass, in order."""
    ready = getattr(cls, "__pydantic_fields__", None)
    if ready is not None:
        return dict(ready)
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: Fields = {}
    for field in dataclasses.fields(cls):
        info = FieldInfo.from_annotation(hints[field.name])
        if field.default is not dataclasses.MISSING:
            info.default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            info.default_factory = field.default_factory
        fields[field.name] = info
    return fields


def plain_type(annotation: Any) -> Any:
    """Returns the annotation without `| None` and Annotated."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            rest = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def is_table(annotation: Any) -> bool:
    """Whether a value of this type is a dataclass, i.e. a section."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def table_of(annotation: Any) -> type[Any] | None:
    """Returns the dataclass of a section; None where the field is something else."""
    plain = plain_type(annotation)
    return plain if is_table(plain) else None


def item_of(annotation: Any) -> type[Any] | None:
    """Returns the dataclass in a list of tables (`tuple[Box, ...]`); None where it is something else."""
    plain = plain_type(annotation)
    if typing.get_origin(plain) in (tuple, list, Sequence):
        args = typing.get_args(plain)
        return table_of(args[0]) if args else None
    return None


def bounds_of(info: FieldInfo) -> dict[str, Any]:
    """Returns a field's `ge gt le lt min_length max_length pattern multiple_of` and `examples`, if any."""
    found: dict[str, Any] = {"examples": info.examples} if info.examples else {}
    for entry in info.metadata:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "multiple_of"):
            value = getattr(entry, name, None)
            if value is not None:
                found[name] = value
    return found


def wanted(annotation: Any, bounds: Mapping[str, Any]) -> str:
    """Returns what a value must be, in words: `a whole number from 1 to 100_000`, `0.0 to 86_400.0`."""
    plain = plain_type(annotation)
    origin = typing.get_origin(plain)
    if origin is Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(plain))
    if isinstance(plain, type) and issubclass(plain, Enum):
        return "one of " + ", ".join(repr(value.value) for value in plain)
    if plain is bool:
        return "true or false"
    if plain is int:
        return _number("a whole number", bounds, whole=True)
    if plain is float:
        return _number("a number", bounds, whole=False)
    if plain is str:
        return _text(bounds)
    if plain is Path:
        return "a path"
    if is_table(plain):
        return "a table"
    if origin in (tuple, list, Sequence, set, frozenset):
        args = typing.get_args(plain)
        return "a list of tables" if item_of(plain) else f"a list{_each(args)}{_length(bounds)}"
    if origin in (dict, Mapping) or plain in (dict, Mapping):
        return "a table"
    return str(getattr(plain, "__name__", plain))


def _number(noun: str, bounds: Mapping[str, Any], whole: bool) -> str:
    def show(limit: float) -> str:
        return f"{int(limit):_}" if whole else f"{float(limit):_}"

    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f"{noun} from {show(low)} to {show(high)}" if whole else f"{show(low)} to {show(high)}"
    limits = [
        f"{words} {show(bounds[name])}"
        for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if name in bounds
    ]
    return f"{noun}, {' and '.join(limits)}" if limits else noun


def _text(bounds: Mapping[str, Any]) -> str:
    if "examples" in bounds:
        return f"text such as {' or '.join(map(repr, bounds['examples']))}"
    if "pattern" in bounds:
        choices = re.fullmatch(r"\^\((\w+(?:\|\w+)+)\)\$|\^\[(\w+)\]\??\$", bounds["pattern"])
        found = () if choices is None else choices[1].split("|") if choices[1] else tuple(choices[2])
        return f"one of {', '.join(map(repr, found))}" if found else "text of another form"
    return "text" + _length(bounds)


def _length(bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get("min_length"), bounds.get("max_length")
    if low is not None and high is not None:
        return f", length {low} to {high}"
    if low is not None:
        return f", length at least {low}"
    return "" if high is None else f", length at most {high}"


def _each(args: tuple[Any, ...]) -> str:
    kinds = [arg for arg in args if arg is not Ellipsis]
    if len(set(map(str, kinds))) != 1:
        return " of " + ", ".join(wanted(kind, {}) for kind in kinds) if kinds else ""
    what = {"a whole number": "whole numbers", "a number": "numbers", "a path": "paths"}
    each = wanted(kinds[0], {})
    many = f"{len(kinds)} " if Ellipsis not in args and len(kinds) > 1 else ""
    return f" of {many}{what.get(each, each)}"
