"""706 statements with what a running eKuiper answered, through the code of `rule try`.

The cases stand beside the repository (`../shared/data/ekuiper/cases.json`, Apache-2.0, from eKuiper's own
tests) and are not part of it. `OTHERWISE` names those that this engine answers otherwise on
purpose, ten at most.
"""

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from opq_rules.trying import try_text

ROOT = Path(__file__).parents[2]
PLACES = [parent / "shared" / "data" / "ekuiper" / "cases.json" for parent in list(ROOT.parents)[:2]]
CASES_FILE = next((place for place in PLACES if place.exists()), None)
pytestmark = pytest.mark.skipif(
    CASES_FILE is None, reason="../shared/data/ekuiper/cases.json is not beside the repository"
)
_TIME_WINDOW = re.compile(r"(?i)tumblingwindow|hoppingwindow|sessionwindow")
_END_MS = 20_000

OTHERWISE: dict[str, str] = {
    "an expression that fails for every record is refused when the rule is made": """
        parse-054 parse-060 parse-061""",
    "a sign before a column is taken: -f is a number": "parse-147",
    "beside an alias of its name a column can be aggregated: count(v) AS v, sum(v) AS s": """
        plan-010 aggregate-088""",
    "columns are found whatever the case of their letters, declared or not": "project-005 sendNil-004",
    "a DATETIME keeps its microseconds: six digits after its seconds": "strict-035",
}
"""Why ours is better for users -> cases."""
MOST = 10
NOT_HERE: dict[str, str] = {
    "format knows no locales": """
        text-014 text-015 text-016 text-017 text-020 text-021 text-022 text-023 text-028 text-029""",
    "a protobuf schema is one of the built-in messages": "ddl-002",
}
"""What ours does not have -> cases."""


@cache
def cases() -> dict[str, dict[str, Any]]:
    assert CASES_FILE is not None
    return {each["id"]: each for each in json.loads(CASES_FILE.read_bytes())}


def answered(case: dict[str, Any]) -> Any:
    """The emissions as JSON has them, or None: refused."""
    options = {key: value for key, value in case["options"].items() if key != "end_ms"}
    sql = case["sql"]
    if sql is None:
        named = re.search(r"CREATE (?:STREAM|TABLE) `?(\w+)", case["ddl"][0])
        assert named is not None
        sql = f"SELECT * FROM `{named[1]}`"
    if _TIME_WINDOW.search(sql):
        options["end_ms"] = _END_MS
    records = [
        {**{key: each[key] for key in each if key != "raw"}, "data": json.loads(each["raw"])}
        if "raw" in each
        else each
        for each in case["input"]
    ]
    asked = {"stream_ddl": case["ddl"], "sql": sql, "options": options, "input": records}
    answer = json.loads(try_text(json.dumps(asked)))
    return answer.get("emissions")


def same(found: Any, wanted: Any) -> bool:
    """5 and 5.0 are not: whole numbers are written without a point."""
    if type(found) is not type(wanted):
        return False
    if isinstance(found, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in found)
    if isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return math.isclose(found, wanted, rel_tol=1e-12) if isinstance(found, float) else bool(found == wanted)


def told(emissions: Any) -> list[Any]:
    """Without empty ones, and the texts of errors, which are each engine's own."""
    lists = [each if isinstance(each, list) else [each] for each in emissions if each]
    return [[{"error": ""} if row.keys() == {"error"} else row for row in each] for each in lists]


def agrees(case: dict[str, Any]) -> bool:
    found, rows = answered(case), case["expected"].get("rows")
    if found is None or rows is None:
        return found is rows
    ours, theirs = told(found), told(rows)
    if "ORDER BY" not in (case["sql"] or "").upper() and "GROUP BY" in (case["sql"] or "").upper():
        ours, theirs = in_any_order(ours), in_any_order(theirs)
    return same(ours, theirs)


def in_any_order(emissions: list[Any]) -> list[Any]:
    """The groups of one window have no order in eKuiper."""
    return [sorted(rows, key=lambda row: json.dumps(row, sort_keys=True)) for rows in emissions]


def test_unlisted_cases_answer_as_ekuiper() -> None:
    """Cases with `quirk` are not a model: eKuiper's answer is a fault or an oddity."""
    listed, not_here = (" ".join(each.values()).split() for each in (OTHERWISE, NOT_HERE))
    assert len(cases()) >= 706 and len(listed) <= MOST
    models = {name: case for name, case in cases().items() if "quirk" not in case}
    found = {name for name, case in models.items() if not agrees(case)}
    wanted = {*listed, *not_here}
    assert found == wanted, f"new: {sorted(found - wanted)}, gone: {sorted(wanted - found)}"
