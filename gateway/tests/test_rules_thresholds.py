"""The index over thresholds finds what asking each rule would find."""

import operator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.engine.running.threshold_index import Comparison, SortedThresholds, split
from opq_rules.sql.parse import parse, shape
from opq_rules.sql.syntax import Select

HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
numbers = st.one_of(st.integers(-5, 5), st.floats(allow_nan=False), st.integers(-(1 << 70), 1 << 70))


@dataclass(eq=False)
class Rule:
    constants: Any


def select(sql: str) -> Select:
    found = parse(sql)
    assert isinstance(found, Select)
    return found


@settings(deadline=None)
@given(
    st.sampled_from(list(HOLDS)), st.lists(numbers, max_size=40), st.lists(numbers, max_size=10), st.data()
)
def test_index_equals_asking_each(
    sign: str, constants: list[Any], values: list[Any], data: st.DataObject
) -> None:
    index: Any = SortedThresholds([Comparison("v", sign, 0, False, False)])
    rules = [Rule(constant) for constant in constants]
    for rule in rules:
        index.add(rule)
    gone = data.draw(st.sets(st.sampled_from(rules))) if rules else set()
    for rule in gone:
        index.remove(rule)
    left = [rule for rule in rules if rule not in gone]
    for value in [*values, *constants]:
        wanted = {id(rule) for rule in left if HOLDS[sign](value, rule.constants)}
        assert {id(rule) for rule in index.first(value)} == wanted
        if left:
            edge_sign, edge = index.edge
            assert (value in edge if edge_sign == "in" else HOLDS[edge_sign](value, edge)) == bool(wanted)


@pytest.mark.parametrize(
    ("sql", "free", "rest"),
    [
        ("SELECT v FROM s WHERE v > 126", [("v", ">", 126)], None),
        ("SELECT v FROM s WHERE 126 < v", [("v", ">", 126)], None),
        ("SELECT v FROM s WHERE s.v >= -3.5", [("v", ">=", -3.5)], None),
        ("SELECT v FROM s AS a WHERE a.v <= 3", [("v", "<=", 3)], None),
        (
            "SELECT v FROM s WHERE v > 126 AND box = 'a' AND f != 50",
            [("box", "=", "a"), ("v", ">", 126)],
            "!=",
        ),
        ("SELECT v FROM s WHERE abs(v) > 2 AND v < 9", [("v", "<", 9)], ">"),
    ],
)
def test_what_is_split_off(sql: str, free: list[tuple[str, str, Any]], rest: str | None) -> None:
    found = split(select(sql))
    assert found is not None
    literals = shape(sql).literals
    assert [(each.column, each.operator, each.constant(literals)) for each in found.free] == free
    where: Any = found.rest.where
    assert (where.operator if where is not None else None) == rest


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT v FROM s",
        "SELECT v FROM s WHERE v != 3",
        "SELECT v FROM s WHERE v > w",
        "SELECT v FROM s WHERE v > 'a'",
        "SELECT v FROM s WHERE v > 3 OR v < 2",
        "SELECT w AS v FROM s WHERE v > 3",
        "SELECT lag(v) FROM s WHERE v > 3",
        "SELECT count(*) FROM s WHERE v > 3 GROUP BY COUNTWINDOW(2)",
        "SELECT rule_id() FROM s WHERE v > 3",
        "SELECT row_number() FROM s WHERE v > 3",
        "SELECT last_hit_count() FROM s WHERE v > 3",
        "SELECT v FROM s WHERE v > 3 ORDER BY v",
    ],
)
def test_what_is_not_split(sql: str) -> None:
    assert split(select(sql)) is None


def test_nan_is_not_a_threshold() -> None:
    free = Comparison("v", ">", 0, False, False)
    assert free.constant(["text"]) is None
    assert free.constant([float("nan")]) is None
    assert free.constant([True]) is None
    assert Comparison("v", ">", 0, True, False).constant([3]) == -3
