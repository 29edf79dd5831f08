"""Settings of a part (a plug-in, a source, a sink, a rule): a mapping into its frozen `Config` dataclass.

It reads plain dataclasses with the standard library alone, so that a worker process needs no more;
`opq_proto.config.reading` reads a service's whole file, with pydantic. All problems are found before any is
reported. A field may narrow its range by its metadata:
`field(default=0.9, metadata={"minimum": 0.0, "maximum": 1.0, "help": "..."})`. A whole number with
`"ms": True` there may be given as a duration, `"10s"`; words of a choice in any case. `"read"` there is a
function from what was given to the value; its ValueError says what is wanted.
"""

import difflib
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
LONGEST_SHOWN = 100
"""Characters of a wrong value in a problem."""
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", re.ASCII)
DURATION_WANTED = 'want ms as a whole number, or text such as "500ms", "10s", "1h30m"'

Config = TypeVar("Config")


def milliseconds(value: Any) -> int:
    """A duration as users write it: a whole number of ms, or text with Go's units.

    Raises:
        ValueError: it is neither; the text says what is wanted.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return round(sum(float(number) * UNITS_MS[unit] for number, unit in _PART.findall(value)))
    raise ValueError(f"is {value!r}; {DURATION_WANTED}")


def checked_config(
    config_class: type[Config], settings: Mapping[str, Any]
) -> tuple[Config | None, list[str]]:
    """The Config and no problem, or None and every problem as `key  what is wrong`.

    Raises:
        TypeError: `config_class` is not a dataclass (the part's fault, not the user's).
    """
    if not is_dataclass(config_class):
        raise TypeError(f"{config_class.__name__} is not a dataclass")
    hints = get_type_hints(config_class)
    known = {item.name: item for item in fields(config_class) if item.init}
    problems = [f"{key}  {unknown_key(key, known)}" for key in settings if key not in known]
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in settings:
            value, problem = _read(settings[name], hints[name], item)
            problem = problem or _out_of_range(value, item)
            if problem:
                problems.append(f"{name}  is {_shown(settings[name])}; {problem}")
            values[name] = value
        elif item.default is MISSING and item.default_factory is MISSING:
            problems.append(f"{name}  missing{_help(item)}")
    if problems:
        return None, problems
    try:
        return config_class(**values), []
    except ValueError as error:  # a rule over several fields, in __post_init__
        return None, [str(error)]


def configured(config_class: type[Config], settings: Mapping[str, Any]) -> Config:
    """Returns the Config; raises ValueError with every problem."""
    config, problems = checked_config(config_class, settings)
    if config is None:
        raise ValueError("; ".join(problems))
    return config


def unknown_key(key: str, known: Mapping[str, object]) -> str:
    """Returns the text for an unknown key: the key that was probably meant, or all known keys."""
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; it has {', '.join(known) or 'none'}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _help(item: "Field[Any]") -> str:
    text = item.metadata.get("help")
    return f": {text}" if text else ""


def _out_of_range(value: Any, item: "Field[Any]") -> str | None:
    low, high = item.metadata.get("minimum"), item.metadata.get("maximum")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if (low is None or value >= low) and (high is None or value <= high):
        return None
    ends = [f"from {low:g}"] if low is not None else []
    ends += [f"to {high:g}"] if high is not None else []
    return f"want {' '.join(ends)}"


def _read(value: Any, kind: Any, item: "Field[Any]") -> tuple[Any, str | None]:
    """Checks a field's value as `_checked` does; the field may be a duration or have its own reader."""
    read = milliseconds if item.metadata.get("ms") else item.metadata.get("read")
    if read is None:
        return _checked(value, kind)
    try:
        return read(value), None
    except ValueError as error:
        return value, str(error).removeprefix(f"is {value!r}; ")


def _checked(value: Any, kind: Any) -> tuple[Any, str | None]:
    """Returns `value` as `kind`, and what is wrong with it (None if nothing is)."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value, None
    if origin in (Union, types.UnionType):
        answers = [_checked(value, each) for each in arguments]
        good = [answer for answer in answers if answer[1] is None]
        return good[0] if good else (value, " or ".join(str(problem) for _, problem in answers))
    if origin is Literal:
        return _one_of(value, arguments)
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            return value, "want a list"
        inner = [_checked(each, arguments[0] if arguments else Any) for each in value]
        bad = next((problem for _, problem in inner if problem), None)
        return origin(each for each, _ in inner), bad
    if (origin or kind) in (dict, Mapping):
        return (value, None) if isinstance(value, Mapping) else (value, "want a table")
    return _plain(value, kind)


def _one_of(value: Any, words: tuple[Any, ...]) -> tuple[Any, str | None]:
    if isinstance(value, str):
        value = next(
            (word for word in words if isinstance(word, str) and word.lower() == value.lower()), value
        )
    good = any(value == word and isinstance(value, bool) == isinstance(word, bool) for word in words)
    return value, None if good else f"want one of {', '.join(map(repr, words))}"


def _plain(value: Any, kind: Any) -> tuple[Any, str | None]:
    if kind is type(None):
        return value, None if value is None else "want nothing"
    if kind is float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        return (float(value), None) if good else (value, "want a number")
    if kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
        return value, None if good else "want a whole number"
    names = {bool: "want true or false", str: "want text"}
    return value, None if isinstance(value, kind) else names.get(kind, f"want a {kind.__name__}")
