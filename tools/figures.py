"""Writes the measured table of a page of the documentation from the result of the command that measured it.

opq-tools bench rules --json | python tools/figures.py rules

Only what stands between the two marks of the page changes. The page's head names its command.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {
    "change": ("change.md", "python cloud/tests/change_figures.py"),
    "history": ("intervals.md", "opq-tools bench history --json"),
    "rules": ("rules-figures.md", "opq-tools bench rules --json"),
}
"""Name of the figures -> the page that has them, and the command that measures them."""
END = "<!-- end of figures -->"


def head_of(name: str) -> str:
    """The line at the head of the page."""
    return f"Figures: `{PAGES[name][1]} | python tools/figures.py {name}`."


def begin_of(name: str) -> str:
    return f"<!-- figures of {name} -->"


def table_of(result: Mapping[str, Any]) -> str:
    """What was measured where, and a row for each case; columns that no case fills are left out."""
    cases: Sequence[Mapping[str, Any]] = result["results"]
    ranged = any(each["runs"] > 1 for each in cases)
    limited = any(each.get("limit") is not None for each in cases)
    peers = any(each.get("peer") is not None for each in cases)
    columns = ["figure", "value", *["least to most"] * ranged, *["wanted"] * limited, *["peer"] * peers]
    rows = []
    for each in cases:
        row = [each["case"], f"{_number(each['value'])} {each['unit']}".rstrip()]
        if ranged:
            several = each["runs"] > 1
            row.append(
                f"{_number(each['min'])} to {_number(each['max'])}, {each['runs']} runs" if several else ""
            )
        if limited:
            row.append(_number(each.get("limit")))
        if peers:
            row.append(_number(each.get("peer")))
        rows.append(row)
    lines = [columns, ["---"] * len(columns), *rows]
    machine, baseline = result["machine"], result.get("baseline")
    facts = [
        f"Commit {result['commit']}",
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}",
    ]
    if baseline:
        facts.append(f"beside {baseline['name']}: {_number(baseline['value'])} {baseline['unit']}")
    table = "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
    return f"{'; '.join(facts)}.\n\n{table}"


def page_with(text: str, name: str, result: Mapping[str, Any]) -> str:
    """The page with the table of this result between its marks.

    Raises:
        ValueError: the result is of another name, or the page has no such marks.
    """
    if result["bench"] != name:
        raise ValueError(f"the result is of {result['bench']}; want {name}")
    before, mark, rest = text.partition(f"{begin_of(name)}\n")
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page has no {begin_of(name)} with {END} after it")
    return f"{before}{mark}\n{table_of(result)}\n\n{end}{after}"


def _number(value: float | str | None) -> str:
    """Three figures; what is already in words stays."""
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def main() -> None:
    (name,) = sys.argv[1:]
    path = DOCS / PAGES[name][0]
    path.write_text(page_with(path.read_text(encoding="utf-8"), name, json.load(sys.stdin)), encoding="utf-8")


if __name__ == "__main__":
    main()
