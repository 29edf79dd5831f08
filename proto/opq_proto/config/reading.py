"""Configuration: TOML or the original JSON into nested frozen pydantic dataclasses.

All problems are reported at once, in one ConfigError, before anything starts. Values are
read strictly: text is not a number and true is not 1. A field has its default, its range and
one line of help; `opq_proto.config.sample` prints the sample file from them.

    @section
    class Uplink:
        endpoint: str = Field(description="where makai listens", examples=["tcp://makai:8194"])
        queue_windows: int = Field(default=1000, ge=1, le=100_000, description="windows kept while off line")

    @section
    class Gateway:
        uplink: Uplink  # required, since a key in it is
        clock: Clock = Clock()  # a frozen default is shared safely
        box: tuple[Box, ...] = ()  # [[box]]
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from opq_proto.config.fields import Fields, Why, bounds_of, fields_of, item_of, table_of
from opq_proto.config.problems import Problem, from_validation, text_of
from opq_proto.errors import ConfigError
from opq_proto.kit.ports import host_problem

__all__ = ["Field", "Why", "build", "load", "read_document", "section"]

Config = TypeVar("Config")
CrossCheck = Callable[[Mapping[str, Any]], Iterable[Problem]]

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

ADDRESS_KEYS = ("endpoint", "host", "port", "server", "uri", "url")
"""How the keys of addresses end; a `port` that is text is one of a Box, e.g. socket://box.example:5000."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field, dataclasses.field))
def section(cls: type[Config]) -> type[Config]:
    """Decorates a class: makes a frozen pydantic dataclass that refuses unknown keys."""
    make = pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    return cast(type[Config], make(cls))


def load(
    cls: type[Config],
    path: Path | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    cross_check: CrossCheck | None = None,
) -> Config:
    """Reads a `cls` from a file (None for all defaults), changed by `overrides`.

    Args:
        overrides: nested, or with dotted keys (`uplink.endpoint`); None values count as not given.
        cross_check: finds problems beyond single fields, such as a name that no other key defines. It gets
        the
            document before its types are checked, so that all problems are reported together.
    Raises:
        ConfigError: the file cannot be read, or has problems; its text lists them all.
    """
    document = {} if path is None else read_document(path)
    where = "configuration" if path is None else Path(path).name
    return build(cls, document, where, overrides, cross_check)


def read_document(path: Path | str) -> dict[str, Any]:
    """Returns the file's keys and values unchecked; reads JSON by name or first character, else TOML.

    Raises:
        ConfigError: not readable, not UTF-8, not TOML or JSON, or not a table.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file, nothing was started") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8, nothing was started") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}, nothing was started") from error
    as_json = path.suffix == ".json" or (path.suffix != ".toml" and text.lstrip().startswith("{"))
    try:
        document = json.loads(text) if as_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if as_json else "TOML"
        raise ConfigError(f"{path.name}: is not {kind}: {error}, nothing was started") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path.name}: want a table of keys at the top, nothing was started")
    return document


def build(
    cls: type[Config],
    document: Mapping[str, Any],
    where: str = "configuration",
    overrides: Mapping[str, Any] | None = None,
    cross_check: CrossCheck | None = None,
) -> Config:
    """Makes a `cls` from keys and values as `load` does; `where` names their origin in the error."""
    problems: list[Problem] = []
    known = _known(cls, _merge(document, _expand(overrides or {})), (), problems)
    if cross_check is not None:
        problems += cross_check(known)
    config: Config | None = None
    try:
        # through JSON: strict, and yet a list for a tuple and text for a path, as files have them
        config = TypeAdapter(cls).validate_json(json.dumps(known, default=_plain), strict=True)
    except ValidationError as error:
        problems += from_validation(cls, known, error)
    if config is None or problems:
        raise ConfigError(text_of(cls, where, problems))
    return config


def _known(
    cls: type[Any], table: Mapping[str, Any], path: tuple[str | int, ...], problems: list[Problem]
) -> dict[str, Any]:
    """Returns `table` without keys that `cls` does not have; these are added to `problems`."""
    fields: Fields = fields_of(cls)
    kept: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            problems.append(Problem((*path, key), _unknown(key, fields)))
            continue
        inner = table_of(fields[key].annotation)
        item = item_of(fields[key].annotation)
        if inner is not None and isinstance(value, Mapping):
            value = _known(inner, value, (*path, key), problems)
        elif item is not None and isinstance(value, list | tuple):
            value = [
                _known(item, entry, (*path, key, index), problems) if isinstance(entry, Mapping) else entry
                for index, entry in enumerate(value)
            ]
        else:
            problems += _blank(fields[key], value, (*path, key))
            problems += _unreachable(value, (*path, key))
        kept[key] = value
    return kept


def _blank(info: FieldInfo, value: Any, path: tuple[str | int, ...]) -> list[Problem]:
    """Returns a problem for text without a character, which would stand for a default or for the folder of
    the process; for each such entry of a list. A length or a pattern reports its own."""
    if isinstance(value, list | tuple):
        return [each for index, entry in enumerate(value) for each in _blank(info, entry, (*path, index))]
    if not isinstance(value, str) or value.strip() or {"min_length", "pattern"} & bounds_of(info).keys():
        return []
    if not isinstance(path[-1], int) and info.default == "":
        return []
    start = "want" if info.is_required() else "leave the key out, or give a value:"
    return [Problem(path, f"is empty; {start} {info.description or 'text'}")]


def _unreachable(value: Any, path: tuple[str | int, ...]) -> list[Problem]:
    """Returns a problem for an address, by the key's name, that no TCP connection reaches. It names the host
    alone, because an address may contain a password."""
    is_address = isinstance(value, str) and str(path[-1]).endswith(ADDRESS_KEYS)
    words = host_problem(value) if is_address else ""
    return [Problem(path, words)] if words else []


def _unknown(key: str, fields: Fields) -> str:
    """Returns the text for a key that a section does not have."""
    near = difflib.get_close_matches(key, fields, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "allowed: " + ", ".join(fields)
    return f"unknown key; {hint}"


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)  # a Path; a date of TOML


def _expand(overrides: Mapping[str, Any]) -> dict[str, Any]:
    expanded: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is None:
            continue
        *folders, name = key.split(".")
        inner = value if not isinstance(value, Mapping) else _expand(value)
        for folder in reversed([*folders, name]):
            inner = {folder: inner}
        expanded = _merge(expanded, inner)
    return expanded


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value)
        merged[key] = value
    return merged
