"""STRICT_VALIDATION in a running engine: what rules read is looked at, and what comes and goes with them."""

from pathlib import Path
from typing import Any

from rules_engine import Hands, rule, running
from waiting import wait_for

from opq_rules.engine.engine import Engine

STREAM = (
    'CREATE STREAM s (v FLOAT, n BIGINT, box STRING DEFAULT "?")'
    ' WITH (TYPE="hand", DATASOURCE="x", SHARED="true", STRICT_VALIDATION="true")'
)


def errors(engine: Engine, rule_id: str) -> Any:
    return engine.views.rule_status(rule_id)["source_s_0_exceptions_total"]


def given(hands: Hands, rows: list[dict[str, Any]]) -> list[Any]:
    """What came out of `rows` and a last one that every rule passes."""
    hands.got.clear()
    hands.give([*rows, {"v": 1, "n": 1, "box": "end"}])
    wait_for(lambda: any("end" in row.values() for row in hands.rows))
    return [row for row in hands.rows if "end" not in row.values()]


def test_unread_columns_are_skipped(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(STREAM)
        engine.create_rule(rule("r", "SELECT box FROM s WHERE v > 0"))
        wait_for(lambda: hands.contexts)
        rows: list[dict[str, Any]] = [{"v": 5, "n": "no number"}, {"v": 5.5}, {"v": "5.5"}, {"n": 1}]
        assert given(hands, rows) == [{"box": "?"}, {"box": "?"}]
        assert errors(engine, "r") == 2
        assert "column v is missing" in engine.views.rule_status("r")["source_s_0_last_exception"]
        engine.create_rule(rule("q", "SELECT n, box FROM s"))
        assert {"n": 2, "box": "?"} in given(hands, [{"v": 5, "n": "no number"}, {"v": 5, "n": 2.0}])
        assert errors(engine, "r") == 3
        engine.delete_rule("q")
        assert given(hands, [{"v": 5, "n": "no number"}]) == [{"box": "?"}]
        assert errors(engine, "r") == 3


def test_a_star_reads_all_columns(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(STREAM)
        engine.create_rule(rule("r", "SELECT * FROM s"))
        wait_for(lambda: hands.contexts)
        assert given(hands, [{"v": 5}, {"v": 5, "n": 1}]) == [{"v": 5.0, "n": 1, "box": "?"}]
