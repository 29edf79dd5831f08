"""The form "It ran on my board" asks for each check of the table that a real board needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FORMS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")
    if path.stem != "config"
}
PAGE = (ROOT / "hil/README.md").read_text()


def first_cells(table: str) -> list[str]:
    """First cell of each row below the head."""
    return [line.split("|")[1].strip() for line in table.strip().splitlines()[2:]]


def test_the_form_asks_for_each_bench_check() -> None:
    table = re.search(r"^\| check \| instrument .*\n(?:\|.*\n)+", PAGE, re.M)
    assert table is not None
    checks = first_cells(table[0])
    fields = {field["id"]: field["attributes"] for field in FORMS["board"]["body"] if "id" in field}
    assert first_cells(fields["checks"]["value"]) == checks
    assert f"checks these {len(checks)} on each new board" in " ".join(PAGE.split())


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_form_is_one_that_github_takes(form: dict[str, Any]) -> None:
    """By its schema of forms; one that does not fit is not offered, without a word."""
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        needed = "value" if field["type"] == "markdown" else "label"
        assert field["attributes"][needed]
