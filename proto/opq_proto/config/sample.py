"""A sample TOML file printed from a configuration dataclass: each key, its meaning, range, and why one
would change it."""

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from opq_proto.config.fields import bounds_of, fields_of, item_of, table_of, wanted, why_of


def sample_toml(cls: type[Any]) -> str:
    """Returns TOML with the defaults; keys without one (required, or unset) are comments."""
    lines: list[str] = [f"# {line}" for line in (cls.__doc__ or "").strip().splitlines()[:1]]
    _table(cls, "", lines, comment="")
    return "\n".join(lines).strip() + "\n"


def _table(cls: type[Any], prefix: str, lines: list[str], comment: str) -> None:
    fields = fields_of(cls)
    for name, info in fields.items():
        if table_of(info.annotation) is None and item_of(info.annotation) is None:
            lines += [f"{comment}# {words}" for words in (_words(info), why_of(info)) if words]
            lines.append(f"{comment}{_line(name, info)}")
    for name, info in fields.items():
        key = f"{prefix}{name}"
        inner = table_of(info.annotation)
        item = item_of(info.annotation)
        if inner is not None:
            unset = comment or (
                "# " if _default(info) in (None, PydanticUndefined) and not _free(inner) else ""
            )
            lines += ["", *_heading(info, comment), f"{unset}[{key}]"]
            _table(inner, f"{key}.", lines, unset)
        elif item is not None:
            lines += ["", *_heading(info, comment), f"# [[{key}]]"]
            _table(item, f"{key}.", lines, "# ")


def _free(cls: type[Any]) -> bool:
    return all(not info.is_required() for info in fields_of(cls).values())


def _heading(info: FieldInfo, comment: str) -> list[str]:
    return [f"{comment}# {words}" for words in (info.description, why_of(info)) if words]


def _words(info: FieldInfo) -> str:
    want = wanted(info.annotation, bounds_of(info))
    words = f"{info.description} ({want})" if info.description else want
    return words + ("; required" if info.is_required() else "")


def _line(name: str, info: FieldInfo) -> str:
    default = _default(info)
    if default is PydanticUndefined or default is None:
        example = info.examples[0] if info.examples else None
        return f"# {name} = {'' if example is None else toml_value(example)}".rstrip()
    return f"{name} = {toml_value(default)}"


def _default(info: FieldInfo) -> Any:
    return info.get_default(call_default_factory=True, validated_data={})


def toml_value(value: Any) -> str:
    """Returns one value in TOML's syntax."""
    if isinstance(value, Enum):
        return toml_value(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return toml_value({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {toml_value(entry)}" for key, entry in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
