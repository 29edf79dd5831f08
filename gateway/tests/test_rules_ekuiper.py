"""706 statements with what a running eKuiper answered, through the code of `rule try`.

The cases stand beside the repository (`../shared/data/ekuiper/cases.json`, Apache-2.0, from eKuiper's own
tests) and are not part of it. `OTHERWISE` names those that this engine answers otherwise on purpose.
"""

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from opq_rules.engine.trying import try_text

ROOT = Path(__file__).parents[2]
PLACES = [parent / "shared" / "data" / "ekuiper" / "cases.json" for parent in list(ROOT.parents)[:2]]
CASES_FILE = next((place for place in PLACES if place.exists()), None)
pytestmark = pytest.mark.skipif(
    CASES_FILE is None, reason="../shared/data/ekuiper/cases.json is not beside the repository"
)
_TIME_WINDOW = re.compile(r"(?i)tumblingwindow|hoppingwindow|sessionwindow")
_END_MS = 20_000

OTHERWISE: dict[str, str] = {
    "stream names of older versions hold /": """
        parse-008 parse-009 parse-083 parse-089 parse-094 parse-095 parse-096 parse-097 parse-104 parse-105
        parse-106 parse-107 parse-110 parse-111 parse-112 parse-113""",
    "what no record could compute is refused when the rule is made": """
        parse-054 parse-060 parse-061 array-026 array-051""",
    "blanks within an operator or a number are refused": "parse-056 parse-127",
    "a sign before a column is taken": "parse-147",
    "changed_cols takes * alone": "parse-152 parse-153",
    "FILTER after an aggregate is taken, as in SQL": "parse-187",
    "GROUP BY without a window is taken, per record": "parse-237",
    "units of windows are no reserved words": "function_arguments-007 function_arguments-012",
    "functions of text take numbers and booleans as text": """
        function_arguments-031 function_arguments-032 function_arguments-033""",
    "an alias named as a column of an aggregate's argument means the column": "plan-010 aggregate-088",
    "beyond the end of an array is null": "array-007",
    "repeat and sequence work": "array-050 array-052 array-053 array-058 array-059",
    "objects compare": "array-071",
    "array_create keeps null, array_contains of null is null, object_construct leaves null out": """
        array-103 array-108 object-053""",
    "element_at of an object by number is null; erase takes any number of keys": "object-019 object-025",
    "split_value counts from the end below 0": "text-002",
    "conv has a sign, and refuses what is no number or no base": """
        math-004 math-005 math-006 math-007 math-010 math-011 math-012 math-013""",
    "format knows no locales": """
        text-014 text-015 text-016 text-017 text-020 text-021 text-022 text-023 text-028 text-029""",
    "now and cur_time take a precision": "date-004 date-005 date-006 date-007 date-011",
    "day_of_week of Sunday is 1": "date-018",
    "ln and log of what has no real answer are null": "math-039 math-092 math-093 math-143",
    "median leaves null out; percentile_cont is that of the SQL standard": """
        aggregate-049 aggregate-055 aggregate-056 aggregate-061 aggregate-062""",
    "acc_min and acc_max take texts too; before the first value they are null": """
        analytic-014 analytic-015 analytic-017""",
    "columns are found whatever the case of their letters": "project-005 sendNil-004",
    "name.* of the only stream has all its columns": "project-033",
    "collect(*) and SELECT * keep all declared columns": """
        aggregate-089 strict-028 strict-040 strict-042 decode-009""",
    "groups come in the order of their first records": "group_by-001",
    "chr gives a character": "math-188 math-189",
    "a value that converts without a guess is converted": "strict-008 strict-022",
    "null and missing are the same": "strict-017 decode-028 decode-029",
    "a time has no or six digits after its seconds": "strict-035",
    "without STRICT_VALIDATION what does not convert stays": "decode-014 decode-015 decode-016 decode-017",
    "a backslash in a text is an escape; LIKE of a number is an error": "like-006",
    "a protobuf schema is one of the built-in messages": "ddl-002",
    "the metadata of mock are those that the case gives": "end_to_end-003",
}
"""Reason -> cases."""


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
    return same(told(found), told(rows))


def test_all_cases_but_those_that_are_listed_are_answered_as_by_ekuiper() -> None:
    listed = " ".join(OTHERWISE.values()).split()
    assert len(listed) == len(set(listed)) and set(listed) <= set(cases())
    assert len(cases()) >= 706
    found = {name for name, case in cases().items() if not agrees(case)}
    assert found == set(listed), f"new: {sorted(found - set(listed))}, gone: {sorted(set(listed) - found)}"
