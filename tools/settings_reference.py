"""Writes docs/reference/settings-*.md: each setting, its meaning, and why one would change it.

python tools/settings_reference.py

All of it comes from the sections of the configuration (`opq_proto.config.reading.section`).
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from opq_proto.config.fields import bounds_of, fields_of, item_of, table_of, wanted, why_of
from opq_proto.config.sample import toml_value

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
PAGES = {
    "gateway": ("the gateway", "opq_gateway.config:Config"),
    "cloud": ("the cloud", "opq_cloud.core.settings.config:CloudConfig"),
    "rules": ("a rule engine alone", "opq_rules.api.rules_config:Config"),
}
"""Name of the page -> whose settings they are, and their class."""
HEAD = """# Settings of {whose}

Made by `python tools/settings_reference.py`. As a file: `opq-tools config check --sample {kind}`.
"""
OF_UP = """
In the file of `opq-tools up --config`, `[{section}]` is `[{kind}.{section}]`, and so are all sections.
"""
UP_SECTIONS = {"gateway": "mqtt", "cloud": "view"}
"""Page whose settings such a file holds -> a section of it, as the example."""
COLUMNS = ("setting", "default", "allowed", "meaning", "why one would change it")


def page(kind: str) -> str:
    """The text of one page; the settings at the top come first, then a table for each section."""
    whose, place = PAGES[kind]
    module, _, name = place.partition(":")
    cls = getattr(importlib.import_module(module), name)
    own: list[str] = []
    parts: list[str] = []
    for key, info in fields_of(cls).items():
        inner = table_of(info.annotation) or item_of(info.annotation)
        if inner is None:
            own.append(_row(key, info))
            continue
        brackets = f"[[{key}]]" if item_of(info.annotation) else f"[{key}]"
        parts += [f"## {brackets}", "", *_first_line(inner), *_table(_rows(inner, ""))]
    head = HEAD.format(whose=whose, kind=kind)
    if kind in UP_SECTIONS:
        head += OF_UP.format(kind=kind, section=UP_SECTIONS[kind])
    return "\n".join([head, *(_table(own) if own else ()), *parts]).rstrip() + "\n"


def _first_line(cls: type[Any]) -> list[str]:
    text = (cls.__doc__ or "").strip().partition("\n")[0]
    return [] if not text or text.startswith(f"{cls.__name__}(") else [text, ""]


def _table(rows: "Iterator[str] | list[str]") -> list[str]:
    return [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS), *rows, ""]


def _rows(cls: type[Any], prefix: str) -> Iterator[str]:
    for name, info in fields_of(cls).items():
        inner = table_of(info.annotation) or item_of(info.annotation)
        if inner is None:
            yield _row(f"{prefix}{name}", info)
        else:
            yield from _rows(inner, f"{prefix}{name}.")


def _row(key: str, info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True, validated_data={})
    shown = "required" if info.is_required() else ""
    if default is not PydanticUndefined and default is not None:
        shown = f"`{toml_value(default)}`"
    allowed = wanted(info.annotation, bounds_of(info))
    cells = (f"`{key}`", shown, allowed, info.description or "", why_of(info))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    for each in PAGES:
        (FOLDER / f"settings-{each}.md").write_text(page(each), encoding="utf-8")
