"""docs/gateway*.md name every counter, gauge and section."""

import os
import re
from pathlib import Path

import pytest

from opq_gateway import counters
from opq_gateway.config import Config
from opq_gateway.local.metrics import GAUGES
from opq_proto.config.fields import fields_of, item_of, table_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "gateway-health.md"
"""The page with the counters."""
TEXT = "\n".join(page.read_text() for page in sorted(DOCS.glob("gateway*.md")))
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


def test_every_counter_is_on_the_page() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    now, behind = rest.split(END)
    if os.environ.get("OPQ_WRITE_DOCS"):
        PAGE.write_text(before + BEGIN + table() + END + behind)
        return
    assert now == table(), f"OPQ_WRITE_DOCS=1 pytest {Path(__file__).name} writes it"
    assert all(f"| `{name}` | {meaning} |" in now for name, meaning in counters.MEANING.items())


@pytest.mark.parametrize("name", GAUGES)
def test_every_gauge_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_every_configuration_section_is_on_the_page() -> None:
    for name, info in fields_of(Config).items():
        if table_of(info.annotation) is not None:
            assert f"| `[{name}]` |" in TEXT, name
        elif item_of(info.annotation) is not None:
            assert f"| `[[{name}]]` |" in TEXT, name
        else:
            assert f"`{name}`" in TEXT, name
