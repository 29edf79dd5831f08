"""docs/rules-sql.md is right: statements that it calls supported are planned, the others are refused."""

import re
from pathlib import Path

import pytest

from opq_rules.errors import RuleError
from opq_rules.query.planning.select_plan import plan
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.sql.tokens import RESERVED
from opq_rules.streams.definition import FORMATS, OPTIONS, definition_of

PAGE = (Path(__file__).parents[2] / "docs" / "rules-sql.md").read_text()
ROW = re.compile(
    r"^\| (?P<clause>[^|]+) \| (?P<ticks>`+)(?P<sql>.+?)(?P=ticks) \| (?P<state>.+) \|$", re.MULTILINE
)
EXAMPLES = [(row["sql"].replace(r"\|", "|"), row["state"]) for row in ROW.finditer(PAGE)]
STREAMS = (
    'CREATE STREAM demo () WITH (TYPE="mock")',
    'CREATE STREAM s () WITH (TYPE="mock")',
    'CREATE TABLE held () WITH (TYPE="mock")',
)


def accept(text: str) -> None:
    """Parse and check as far as an engine would before it runs anything."""
    statement = parse(text)
    if isinstance(statement, Create):
        definition_of(statement)
    elif isinstance(statement, Select):
        created = [parse(each) for each in STREAMS]
        plan(statement, {each.name: definition_of(each) for each in created if isinstance(each, Create)})


def test_every_row_of_the_page_has_an_example() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---",))]
    heads = [line for line in rows if "| example |" in line]
    assert len(EXAMPLES) == len(rows) - len(heads) and len(EXAMPLES) > 60


@pytest.mark.parametrize(("text", "state"), EXAMPLES)
def test_an_example_is_as_the_page_says(text: str, state: str) -> None:
    if re.match(r"not\b", state):
        with pytest.raises(RuleError):
            accept(text)
    else:
        accept(text)


def test_the_page_names_words_options_and_formats() -> None:
    assert set(re.findall(r"Reserved: ([A-Z ]+)\.", PAGE)[0].split()) == RESERVED
    told = re.findall(r"Options: (.+?)\n\n", PAGE, re.DOTALL)[0]
    assert set(re.findall(r"[A-Z_]{3,}", told.split("Numbers,")[0])) - {"JSON"} == set(OPTIONS)
    assert set(FORMATS) <= set(re.findall(r"`(\w+)`", PAGE.split("Formats:")[1]))
