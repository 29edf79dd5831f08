"""docs/gateway.md says what the code does: every counter, gauge, section and route."""

import os
import re
from pathlib import Path

import pytest

from opq_gateway import counters
from opq_gateway.config import Config
from opq_gateway.local.metrics import GAUGES
from opq_proto.config_fields import fields_of, item_of, table_of

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
BEGIN, END = "<!-- counters -->\n", "<!-- end of counters -->"


def table() -> str:
    """The table of MEANING, one part per comment in it."""
    lines = []
    source = Path(counters.__file__).read_text()
    inside = source[source.index("MEANING =") : source.index('"""Every counter')]
    for line in inside.splitlines():
        heading = re.fullmatch(r"\s+# (.*)", line)
        entry = re.match(r'\s+"(\w+)":', line)
        if heading:
            lines += ["", f"| {heading.group(1)} | |", "| --- | --- |"]
        elif entry:
            lines.append(f"| `{entry.group(1)}` | {counters.MEANING[entry.group(1)]} |")
    return "\n".join(lines) + "\n\n"


def test_every_counter_stands_in_the_page_with_its_meaning() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    now, behind = rest.split(END)
    if os.environ.get("OPQ_WRITE_DOCS"):
        PAGE.write_text(before + BEGIN + table() + END + behind)
        return
    assert now == table(), f"OPQ_WRITE_DOCS=1 pytest {Path(__file__).name} writes it anew"
    assert all(f"| `{name}` | {meaning} |" in now for name, meaning in counters.MEANING.items())


@pytest.mark.parametrize("name", GAUGES)
def test_every_gauge_of_a_box_stands_in_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text()


def test_every_section_of_the_configuration_stands_in_the_page() -> None:
    text = PAGE.read_text()
    for name, info in fields_of(Config).items():
        if table_of(info.annotation) is not None:
            assert f"| `[{name}]` |" in text, name
        elif item_of(info.annotation) is not None:
            assert f"| `[[{name}]]` |" in text, name
        else:
            assert f"`{name}`" in text, name
