"""Writes the measured table of a page of the documentation from the result of the command that measured it.

opq-tools bench store --json | python tools/figures.py intervals

Only the text between the two marks of the page changes. The page's head names its command.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"


class FiguresPage(NamedTuple):
    """A page with the table of one command's figures."""

    file: str
    command: str
    leaves_out: str = ""
    """Regular expression: cases that only the command's own result has."""
    part: str = ""
    """Beginning of the cases of this page, where others are not; the table leaves it out."""
    columns: str = ""
    """Regular expression for the beginning of a case. Its group finds the heading of a column, the rest of
    the case names the row."""


PAGES = {
    "change": FiguresPage(
        "../cloud/plugins/change/README.md",
        "python cloud/plugins/change/tests/change_figures.py",
    ),
    "firmware": FiguresPage(
        "firmware-figures.md",
        "opq-tools bench firmware --json",
        r"^pyboard|: (flash|sram|heap|ram code|boot|interrupt stack|task stack)$",
    ),
    "intervals": FiguresPage("intervals.md", "opq-tools bench store --json", part="class A: "),
    "makai": FiguresPage(
        "makai-figures.md", "opq-tools bench makai --json", r", p99\.9$", columns=r"(\d+ Boxes)[ ,:]+"
    ),
    "mauka": FiguresPage("mauka-running.md", "opq-tools bench pipeline --json", r", p90$|^cores ", "Mauka: "),
    "recordings": FiguresPage("recordings.md", "opq-tools bench measure --json", part="recordings: "),
    "rules": FiguresPage("rules-figures.md", "opq-tools bench rules --json"),
    "view": FiguresPage(
        "visitor-shares.md",
        "opq-tools bench view --json",
        r": (first byte|whole|CPU of|on the wire)|stored: |^a bare page|^resident|^from the start",
    ),
}
"""Name of the figures -> the page that has them, and the command that measures them."""
END = "<!-- end of figures -->"
Case = Mapping[str, Any]


def head_of(name: str) -> str:
    """The line at the head of the page."""
    return f"Figures: `{PAGES[name].command} | python tools/figures.py {name}`."


def begin_of(name: str) -> str:
    return f"<!-- figures of {name} -->"


def table_of(name: str, result: Mapping[str, Any]) -> str:
    """What was measured where, and a row for each case; columns that no case fills are left out."""
    page = PAGES[name]
    all_cases = [
        {**each, "case": each["case"].removeprefix(page.part)}
        for each in result["results"]
        if each["case"].startswith(page.part)
    ]
    cases = [
        each for each in all_cases if not page.leaves_out or not re.search(page.leaves_out, each["case"])
    ]
    machine, baseline = result["machine"], None if page.part else result.get("baseline")
    facts = [
        f"Commit {result['commit']}",
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}",
    ]
    if baseline:
        facts.append(f"beside {baseline['name']}: {_number(baseline['value'])} {baseline['unit']}")
    if len(cases) < len(all_cases):
        facts.append(f"{len(cases)} of {len(all_cases)} figures, the command prints all")
    rows = _rows_side_by_side(cases, page.columns) if page.columns else _rows_below_each_other(cases)
    return f"{'; '.join(facts)}.\n\n{rows}"


def _rows_below_each_other(cases: Sequence[Case]) -> str:
    ranged = any(each["runs"] > 1 for each in cases)
    limited = any(each.get("limit") is not None for each in cases)
    peers = any(each.get("peer") is not None for each in cases)
    remarks = any(each.get("because") for each in cases)
    head = ["figure", "value", *["least to most"] * ranged, *["wanted"] * limited]
    lines = [[*head, *["peer"] * peers, *["remark"] * remarks]]
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
        if remarks:
            row.append(each.get("because", ""))
        lines.append(row)
    return _markdown(lines)


def _rows_side_by_side(cases: Sequence[Case], columns: str) -> str:
    """A row for the cases that differ only in what `columns` finds; remarks are below the table.

    Raises:
        ValueError: a case does not begin so.
    """
    headings: dict[str, None] = {}
    rows: dict[str, dict[str, Case]] = {}
    remarks: dict[str, str] = {}
    for each in cases:
        begin = re.match(columns, each["case"])
        if begin is None:
            raise ValueError(f"{each['case']!r} does not begin with {columns}")
        headings[begin[1]] = None
        rows.setdefault(each["case"][begin.end() :], {})[begin[1]] = each
        if each.get("because"):
            remarks.setdefault(each["because"], each["case"])
    lines = [["figure", "unit", *headings, "wanted"]]
    for name, found in rows.items():
        one = next(iter(found.values()))
        values = [_number(found[heading]["value"]) if heading in found else "" for heading in headings]
        lines.append([name, one["unit"], *values, _number(one.get("limit"))])
    below = "".join(f"\n- {case}: {remark}" for remark, case in remarks.items())
    return _markdown(lines) + (f"\n{below}" if below else "")


def _markdown(lines: Iterable[Sequence[str]]) -> str:
    head, *rows = lines
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in (head, ["---"] * len(head), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def page_with(text: str, name: str, result: Mapping[str, Any]) -> str:
    """The page with the table of this result between its marks.

    Raises:
        ValueError: the result is of another command, or the page has no such marks.
    """
    if result["bench"] not in PAGES[name].command:
        raise ValueError(f"the result is of {result['bench']}; want that of {PAGES[name].command}")
    before, mark, rest = text.partition(f"{begin_of(name)}\n")
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page has no {begin_of(name)} with {END} after it")
    return f"{before}{mark}\n{table_of(name, result)}\n\n{end}{after}"


def _number(value: float | str | None) -> str:
    """Three figures; what is already in words stays."""
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def main() -> None:
    (name,) = sys.argv[1:]
    path = DOCS / PAGES[name].file
    path.write_text(page_with(path.read_text(encoding="utf-8"), name, json.load(sys.stdin)), encoding="utf-8")


if __name__ == "__main__":
    main()
