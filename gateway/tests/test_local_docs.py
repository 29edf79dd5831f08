"""docs/gateway*.md say what the code does: every counter, gauge, section and route."""

import inspect
import os
import re
from pathlib import Path

import pytest

from opq_gateway import counters
from opq_gateway.config import MAX_CYCLES, MIN_CYCLES, Config
from opq_gateway.local.metrics import GAUGES
from opq_gateway.mqtt.mqtt import MqttPublisher
from opq_gateway.phasors.alignment import AXIS_NS
from opq_gateway.serial_side.system_time import SETTLED_S
from opq_gateway.setup.guard import CHANGE_S, GUESS_S, MAX_BODY_BYTES
from opq_gateway.setup.wifi import PATIENCE_S
from opq_proto.config.fields import fields_of, item_of, table_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "gateway-health.md"
"""The page with the counters."""
TEXT = "\n".join(page.read_text() for page in sorted(DOCS.glob("gateway*.md")))
UNIT = Path(__file__).parents[2] / "tools/opq_tools/system/service/units/opq-gateway.service"
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


def default(name: str) -> float:
    """The default of a key of the configuration's top level."""
    value = fields_of(Config)[name].default
    assert isinstance(value, int | float)
    return value


def test_figures_in_prose_equal_the_codes() -> None:
    watchdog = re.search(r"^WatchdogSec=(\d+)$", UNIT.read_text(), re.M)
    assert watchdog is not None
    first_s, longest_s = inspect.signature(MqttPublisher.__init__).parameters["waits_s"].default
    in_page = (
        f"`ring_hours` ({default('ring_hours'):g}), `measurement_cycles` ({default('measurement_cycles')})",
        f"when it hears nothing for {watchdog[1]} s",
        f"the watchdog starves at {int(watchdog[1]) // 2} |",
        f"looked for again after {first_s:g} s, doubling up to {longest_s:g} s",
        f"(± 1 h) is not followed until it has stayed there, synchronised, for {SETTLED_S / 60:g} minutes",
        f"A gateway that has been off line for {PATIENCE_S:g} s becomes",
        f"then one per {GUESS_S:g} s and address",
        f"at most {MAX_BODY_BYTES >> 10} kB and one a second",
        f"A Box more than {AXIS_NS // 10**9} s beside the one with the best",
    )
    page = " ".join(TEXT.split())
    assert [text for text in in_page if text not in page] == []
    assert CHANGE_S == 1.0
    assert f"{MIN_CYCLES} to {MAX_CYCLES} cycles" in counters.MEANING["rate_refused"]
