"""docs/rules-functions.md against the registry: every function has its row, and every row its function."""

import re
from pathlib import Path

from opq_rules.functions.registry import MAX_ARGUMENTS, built_in

PAGE = Path(__file__).parents[2] / "docs" / "rules-functions.md"
SIGNATURE = re.compile(r"`(\w+)\(([^)`]*)\)`")


def _documented() -> dict[str, str]:
    """Name -> arguments: of each row's first cell, and of what it calls aliases."""
    found: dict[str, str] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 4 or not cells[0].startswith("`"):
            continue
        row = SIGNATURE.fullmatch(cells[0])
        assert row, f"{line!r}: the first cell is one signature"
        aliases = re.findall(r"alias(?:es)? ((?:`[^`]*`(?:, )?)+)", cells[1])
        for name, arguments in [row.groups(), *SIGNATURE.findall(" ".join(aliases))]:
            assert name not in found, f"{name} has two rows"
            found[name] = arguments
    return found


def _counts(arguments: str) -> tuple[int, int]:
    """Least and most of `a, b[, c[, d]], ...`."""
    depth = least = most = 0
    for token in re.findall(r"[\[\]]|\.\.\.|[^,\[\]\s]+", arguments):
        if token == "...":
            most = MAX_ARGUMENTS
        elif token in "[]":
            depth += 1 if token == "[" else -1
        else:
            most += 1
            least += depth == 0
    return least, min(most, MAX_ARGUMENTS)


def test_functions_and_rows_correspond() -> None:
    assert set(_documented()) == set(built_in())


def test_the_page_says_how_many_arguments_there_are() -> None:
    told = {name: _counts(arguments) for name, arguments in _documented().items()}
    assert told == {name: (found.least, found.most) for name, found in built_in().items()}
