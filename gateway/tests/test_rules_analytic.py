"""Analytic functions of SQL: docs/reference/rules.md, D.5. Each record's answer, found by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from opq_rules.errors import RowError
from opq_rules.functions.registry import UNKNOWN, Analytic, AnalyticState, built_in, find

HELD_NOT = object()
"""In front of a record's arguments: WHEN did not hold."""


def analytic(name: str) -> Analytic:
    found = find(name)
    assert isinstance(found, Analytic)
    return found


def answers(name: str, records: list[tuple[Any, ...]], analysis: AnalyticState | None = None) -> list[Any]:
    """The answer for each record in turn; the state is handed to a fresh object before each."""
    analysis = analysis or analytic(name).start()
    found = []
    for record in records:
        restored = analytic(name).start()
        restored.restore(json.loads(json.dumps(analysis.state())))
        analysis = restored
        if record[0] is HELD_NOT:
            before = json.dumps(analysis.state())
            found.append(analysis.last(*record[1:]))
            assert json.dumps(analysis.state()) == before
        else:
            found.append(analysis.update(*record))
    return found


N = HELD_NOT
CASES: list[tuple[str, list[tuple[Any, ...]], list[Any]]] = [
    ("lag", [(1,), (2,), (None,), (3,)], [None, 1, 2, 2]),
    ("lag", [(1, 2), (2, 2), (3, 2), (4, 2)], [None, None, 1, 2]),
    ("lag", [(1, 1, 0), (2, 1, 0)], [0, 1]),
    ("lag", [(1, 1, 0, False), (None, 1, 0, False), (3, 1, 0, False)], [0, 1, None]),
    ("lag", [(1, 0), (2, 0)], [1, 2]),
    ("lag", [(1,), (N, 2), (3,)], [None, 1, 1]),
    ("lag", [(N, 1, 1, 9), (2, 1, 9)], [9, 9]),
    ("latest", [(None,), (1,), (None,), (2,)], [None, 1, 1, 2]),
    ("latest", [(None, 5), (1, 5), (N, 7, 5), (None, 5)], [5, 1, 1, 1]),
    (
        "changed_col",
        [(True, 23), (True, 23), (True, None), (True, 25), (N, True, 26)],
        [23, None, None, 25, None],
    ),
    ("changed_col", [(False, 23), (False, None), (False, 23)], [23, None, 23]),
    ("changed_col", [(True, 1), (True, 1.0), (True, True)], [1, None, True]),
    (
        "had_changed",
        [(True, 23, 88), (True, 23, 88), (True, 23, 90), (N, True, 1, 1), (True, 23, 90)],
        [True, False, True, False, False],
    ),
    ("had_changed", [(True, None), (True, 1), (True, None), (True, 1)], [False, True, False, False]),
    ("had_changed", [(False, None), (False, None), (False, 1), (False, None)], [True, False, True, True]),
    (
        "had_changed",
        [(True, {"a": 1}), (True, {"a": 1, "b": 2}), (True, {"b": 2}), (True, {"b": 3})],
        [True, True, False, True],
    ),
    ("had_changed", [(False, {"a": 1}), (False, {}), (False, {})], [True, True, False]),
    (
        "changed_cols",
        [
            ("c_", True, {"t": 23, "h": 88}),
            ("c_", True, {"t": 23, "h": 88}),
            ("c_", True, {"t": 25, "h": None}),
            (N, "c_", True, {"t": 26}),
            ("c_", True, {"t": 25, "h": 90}),
        ],
        [{"c_t": 23, "c_h": 88}, {}, {"c_t": 25}, {}, {"c_h": 90}],
    ),
    (
        "changed_cols",
        [("", False, {"t": 23}), ("", False, {}), ("", False, {"t": 23})],
        [{"t": 23}, {"t": None}, {"t": 23}],
    ),
    ("acc_sum", [(1,), (2,), (None,), (3,), (N, 9)], [1, 3, 3, 6, 6]),
    ("acc_sum", [(0.1,)] * 3, [0.1, 0.2, 0.3]),
    (
        "acc_sum",
        [
            (1, False, False),
            (2, True, False),
            (3, False, False),
            (4, False, True),
            (5, False, False),
            (6, True, True),
            (7, True, False),
        ],
        [0, 2, 5, 9, 0, 6, 7],
    ),
    ("acc_avg", [(1,), (2,), (3,)], [1.0, 1.5, 2.0]),
    ("acc_min", [(None,), (3,), (1,), (2,)], [None, 3, 1, 1]),
    ("acc_max", [(1,), (3,), (2,)], [1, 3, 3]),
    ("acc_count", [(1,), (None,), (3,)], [1, 1, 2]),
    ("acc_count", [(1, False, False), (1, True, False), (1, True, False)], [0, 1, 2]),
    ("change_to", [(0, 1), (1, 1), (None, 1), (1, 1), (2, 1)], [False, True, False, True, False]),
    ("change_to", [(0, 1, True), (1, 1, True), (None, 1, True), (1, 1, True)], [False, True, False, False]),
    ("change_to", [(1, 1), (N, 2, 1), (1, 1)], [True, False, False]),
    (
        "change_capture",
        [(10, 0, 1), (11, 1, 1), (12, 1, 1), (13, 2, 1), (N, 14, 1, 1), (15, 1, 1)],
        [None, 11, 11, 11, 11, 15],
    ),
    ("consecutive_count", [(False,), (True,), (True,), (N, True), (None,), (True,)], [0, 1, 2, 2, 0, 1]),
    (
        "consecutive_start",
        [(False, 1), (True, 2), (True, 3), (N, True, 4), (False, 5), (True, 6)],
        [None, 2, 2, 2, None, 6],
    ),
]


@pytest.mark.parametrize(("name", "records", "wanted"), CASES)
def test_each_record_has_the_answer_found_by_hand(
    name: str, records: list[tuple[Any, ...]], wanted: list[Any]
) -> None:
    found = answers(name, records)
    for ours, theirs in zip(found, wanted, strict=True):
        assert type(ours) is type(theirs)
        assert ours == (pytest.approx(theirs, rel=1e-15) if isinstance(theirs, float) else theirs)


def test_every_analytic_function_is_in_the_table_above() -> None:
    assert {name for name, found in built_in().items() if isinstance(found, Analytic)} == {
        name for name, *_ in CASES
    }


@pytest.mark.parametrize(
    ("name", "record", "words"),
    [
        ("lag", (1, -1), "offset"),
        ("lag", (1, 1, None, "yes"), "is not a condition"),
        ("changed_col", (3, 1), "is not a condition"),
        ("acc_sum", ("x",), "want a number"),
        ("acc_max", ("x",), "want a number"),
        ("acc_sum", (1, 5, True), "is not a condition"),
        ("consecutive_count", (7,), "is not a condition"),
    ],
)
def test_an_impossible_value_keeps_the_state(name: str, record: tuple[Any, ...], words: str) -> None:
    analysis = analytic(name).start()
    before = repr(analysis.state())
    with pytest.raises((RowError, ValueError, TypeError), match=words):
        analysis.update(*record)
    assert repr(analysis.state()) == before


@pytest.mark.parametrize(
    ("name", "constants", "words"),
    [
        ("lag", [UNKNOWN, 1.5], "offset"),
        ("lag", [UNKNOWN, UNKNOWN], "a constant"),
        ("acc_sum", [UNKNOWN, UNKNOWN], "one argument, or three"),
    ],
)
def test_wrong_constants_are_refused_early(name: str, constants: list[Any], words: str) -> None:
    check = analytic(name).check
    assert check is not None
    assert words in check(constants)


@given(some.lists(some.none() | some.integers(-3, 3), max_size=12), some.integers(1, 4), some.booleans())
def test_lag_skips_ignored_values(values: list[int | None], offset: int, ignored: bool) -> None:
    wanted = []
    for place in range(len(values)):
        before = [value for value in values[:place] if value is not None or not ignored]
        wanted.append(before[-offset] if len(before) >= offset else "none yet")
    assert answers("lag", [(value, offset, "none yet", ignored) for value in values]) == wanted


@given(some.lists(some.tuples(some.integers(-3, 3), some.booleans(), some.booleans()), max_size=15))
def test_a_running_sum_counts_from_begin_to_reset(records: list[tuple[int, bool, bool]]) -> None:
    wanted, total, begun = [], 0, False
    for value, begin, reset in records:
        if not begun:
            total = 0
        begun = begun or begin
        total += value if begun else 0
        wanted.append(total)
        begun = begun and not reset
    assert answers("acc_sum", list(records)) == wanted
