"""The figures of a page: one command measures them, one generator writes their table."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from opq_tools.sim.bench import BENCHMARKS

TREE = Path(__file__).resolve().parents[2]
figures = SimpleNamespace(**runpy.run_path(str(TREE / "tools" / "figures.py")))
CASE = {"value": 1234.5, "unit": "us", "median": 1234.5, "min": 0.0123, "max": 2000.0, "runs": 3}
SMALL = {
    "machine": {"cpu": "a CPU", "cores": 2, "python": "3.11.7"},
    "commit": "0123456789ab",
    "results": [
        {"case": "all | of it", "limit": 5.0, "peer": None, "because": "", **CASE},
        {"case": "one", "limit": None, "peer": 2.5, "because": "", **CASE, "runs": 1, "value": 0.25},
    ],
    "baseline": {"name": "a loop", "value": 2.0, "unit": "us"},
    "ratio": 2.0,
}
"""A result of `opq-tools bench NAME --json`, but for its name."""
TABLE = """Commit 0123456789ab; 2 cores of a CPU, Python 3.11.7; beside a loop: 2 us.

| figure | value | least to most | wanted | peer |
| --- | --- | --- | --- | --- |
| all \\| of it | 1,234 us | 0.0123 to 2,000, 3 runs | 5 |  |
| one | 0.25 us |  |  | 2.5 |"""
OF_BOXES = [
    {**CASE, "case": "4 Boxes at 6/s: all", "limit": 5.0, "because": "2 lost"},
    {**CASE, "case": "40 Boxes at 6/s: all", "value": 0.5, "limit": 5.0, "because": "2 lost"},
    {**CASE, "case": "40 Boxes, none connected: all", "unit": "ms/s", "value": 9.0, "because": ""},
    {**CASE, "case": "40 Boxes: crossing, p99.9", "because": ""},
]
SIDE_BY_SIDE = """2 us; 3 of 4 figures, the command prints all.

| figure | unit | 4 Boxes | 40 Boxes | wanted |
| --- | --- | --- | --- | --- |
| at 6/s: all | us | 1,234 | 0.5 | 5 |
| none connected: all | ms/s |  | 9 |  |

- 4 Boxes at 6/s: all: 2 lost"""


def result_of(name: str) -> dict[str, object]:
    """A result of the command of this page; what another page has is not in this one's table."""
    page = figures.PAGES[name]
    cases = OF_BOXES if page.columns else SMALL["results"]
    assert isinstance(cases, list)
    parts = [{**each, "case": f"{page.part}{each['case']}"} for each in cases]
    others = [{**CASE, "case": "a case elsewhere"}] if page.part else []
    words = page.command.split()
    return {**SMALL, "bench": words[2] if words[0] == "opq-tools" else name, "results": [*others, *parts]}


@pytest.mark.parametrize("name", figures.PAGES)
def test_a_page_names_a_command_that_exists(name: str) -> None:
    page = figures.PAGES[name]
    head = (figures.DOCS / page.file).read_text(encoding="utf-8").splitlines()[:4]
    assert figures.head_of(name) in head
    program, *words = page.command.split()
    if program == "python":
        assert (TREE / words[0]).is_file()
    else:
        assert program == "opq-tools" and words[::2] == ["bench", "--json"] and words[1] in BENCHMARKS


@pytest.mark.parametrize("name", figures.PAGES)
def test_the_generator_writes_a_pages_table(name: str) -> None:
    """Only the text between the marks changes, and a second run changes nothing."""
    text = (figures.DOCS / figures.PAGES[name].file).read_text(encoding="utf-8")
    made = figures.page_with(text, name, result_of(name))
    table = TABLE.replace("; beside a loop: 2 us", "") if figures.PAGES[name].part else TABLE
    assert (SIDE_BY_SIDE if figures.PAGES[name].columns else table) in made and "a case elsewhere" not in made
    begin, end = figures.begin_of(name), figures.END
    assert made.partition(begin)[0] == text.partition(begin)[0]
    assert made.partition(end)[2] == text.partition(end)[2]
    assert figures.page_with(made, name, result_of(name)) == made


def test_a_remark_has_a_column() -> None:
    cases = [{**CASE, "case": "read", "because": "60 wanted"}, {**CASE, "case": "peak", "because": ""}]
    table = figures.table_of("rules", {**SMALL, "results": cases}).splitlines()
    assert table[2] == "| figure | value | least to most | remark |"
    assert [line.split(" | ")[-1] for line in table[4:]] == ["60 wanted |", " |"]


def test_a_case_without_its_column_is_refused() -> None:
    """A case that names no number of Boxes is not silently left out."""
    with pytest.raises(ValueError, match="'read' does not begin with"):
        figures.table_of("makai", {**result_of("makai"), "results": [{**CASE, "case": "read"}]})


def test_a_result_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="the result is of rules; want that of opq-tools bench makai"):
        figures.page_with("", "makai", {"bench": "rules", **SMALL})
    with pytest.raises(ValueError, match="the page has no <!-- figures of makai -->"):
        figures.page_with("# Makai\n", "makai", {"bench": "makai", **SMALL})


@pytest.mark.slow
def test_the_figures_of_changes_are_a_result() -> None:
    """The command of the page about changes prints what the generator reads."""
    pytest.importorskip("ruptures", reason="a library of the plug-in change is not installed")
    package = TREE / "cloud" / "plugins" / "change"
    command = [sys.executable, str(package / "tests" / "change_figures.py"), "--quick"]
    known = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=known)
    result = json.loads(done.stdout)
    assert "found of all 24" in figures.table_of("change", result)
