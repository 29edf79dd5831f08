"""Traces: what happened to a record on its way through a rule, in an engine that runs."""

from pathlib import Path
from typing import Any

import pytest
from rules_engine import Hands, rule, running, stream
from waiting import wait_for

from opq_rules.engine.engine import Engine
from opq_rules.engine.traces import MAX_BYTES, MAX_TRACES, Traces, TraceSpan, traced_value
from opq_rules.errors import RuleError


def steps(tree: dict[str, Any]) -> list[tuple[str, int, int, str]]:
    """(name, in, out, error) along the tree, sinks last."""
    found, waiting = [], [tree["span"]]
    while waiting:
        span = waiting.pop(0)
        found.append((span["name"], span["in"], span["out"], span["error"]))
        waiting += span["children"]
    return found


def ended(engine: Engine, rule_id: str) -> list[dict[str, Any]]:
    """All traces of a rule, once each of their spans has an end."""

    def all_ended() -> bool:
        return all(_ended(engine.views.trace(each)["span"]) for each in engine.views.traces(rule_id))

    wait_for(all_ended)
    return [engine.views.trace(each) for each in engine.views.traces(rule_id)]


def _ended(span: dict[str, Any]) -> bool:
    return span["end_ns"] is not None and all(map(_ended, span["children"]))


def given(engine: Engine, hands: Hands, rows: list[dict[str, Any]]) -> None:
    wait_for(lambda: hands.contexts)
    hands.give(rows)
    wait_for(engine.settled)


def test_a_record_from_source_to_sink(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r-1", "SELECT v + 1 AS w, password FROM s WHERE abs(v) > 0"))
        engine.trace("r-1")
        given(engine, hands, [{"v": 1, "password": "x", "wave": [1.5] * 100}, {"v": 0}, {"v": "text"}])
        assert engine.views.traces("r-1") == ["r-1-1", "r-1-2", "r-1-3"]
        passed, refused, failed = ended(engine, "r-1")
        source, op, project = "source_s", "op_2_filter", "op_3_project"
        assert steps(passed) == [
            (source, 1, 1, ""),
            (op, 1, 1, ""),
            (project, 1, 1, ""),
            ("sink_kept_0", 1, 1, ""),
        ]
        assert steps(refused) == [(source, 1, 1, ""), (op, 1, 0, "")]
        assert [each[:3] for each in steps(failed)] == [(source, 1, 1), (op, 1, 0)]
        assert "abs" in steps(failed)[1][3]
        span = passed["span"]
        assert span["rows"] == [{"v": 1, "password": "******", "wave": [*[1.5] * 8, "... 100 in all"]}]
        made = span["children"][0]["children"][0]
        assert made["rows"] == [{"w": 2, "password": "******"}]
        times = []
        while True:
            times += [span["start_ns"], span["end_ns"]]
            if not span["children"]:
                break
            assert span["children"][0]["parentSpanId"] == span["spanId"]
            span = span["children"][0]
        assert times == sorted(times)
        assert hands.rows == [{"w": 2, "password": "x"}]


def test_what_is_traced_gives_the_same_and_then_is_itself_again(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(
            rule("r", "SELECT sum(v) AS n, lag(sum(v)) AS before FROM s GROUP BY COUNTWINDOW(4)")
        )
        unit: Any = engine._lifecycle.rules["r"].unit
        kind, work = type(unit.query), unit.query._work
        given(engine, hands, [{"v": 1}])
        engine.trace("r")
        given(engine, hands, [{"v": 2}, {"v": 3}])
        engine.trace("r", None)
        assert (type(unit.query), unit.query._work) == (kind, work)
        assert unit.tracing is None
        given(engine, hands, [{"v": 4}, *[{"v": 1}] * 4])
        assert hands.rows == [{"n": 10}, {"n": 4, "before": 10}]
        assert len(engine.views.traces("r")) == 2
        assert engine.views.rules()[0]["trace"] is False


def test_a_window_names_its_records(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(TIMESTAMP="t"))
        sql = "SELECT sum(v) AS n FROM s WHERE v > 0 GROUP BY TUMBLINGWINDOW(ss, 1) HAVING sum(v) > 2"
        engine.create_rule(rule("r", sql, isEventTime=True, lateTolerance=0))
        engine.trace("r")
        rows = [
            {"v": 1, "t": 1000},
            {"v": 0, "t": 1100},
            {"v": 2, "t": 1200},
            {"v": 1, "t": 2100},
            {"v": 1, "t": 3000},
        ]
        given(engine, hands, rows)
        found = {each["traceId"]: each for each in ended(engine, "r")}
        windows = [each for each in found.values() if "window" in each]
        assert [each["window"] for each in windows] == [
            {"start": 1000, "end": 2000},
            {"start": 2000, "end": 3000},
        ]
        records = [[found[name]["span"]["rows"][0]["v"] for name in each["records"]] for each in windows]
        assert records == [[1, 2], [1]]
        op, project = "op_3_window", "op_6_project"
        assert steps(windows[0]) == [(op, 2, 1, ""), (project, 1, 1, ""), ("sink_kept_0", 1, 1, "")]
        assert steps(windows[1]) == [(op, 1, 1, ""), (project, 1, 0, "")]
        first = found[windows[0]["records"][0]]
        assert steps(first) == [("source_s", 1, 1, ""), ("op_2_filter", 1, 1, ""), (op, 1, 0, "")]


def test_head_is_the_first_of_a_batch(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        engine.trace("r", "head")
        given(engine, hands, [{"v": k} for k in range(100)])
        assert [each["span"]["rows"] for each in ended(engine, "r")] == [[{"v": 0}]]
        assert [row["v"] for row in hands.rows] == list(range(100))


def test_one_rule_of_many_that_share_their_work(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        for k in range(4):
            engine.create_rule(rule(f"r{k}", f"SELECT v FROM s WHERE v > {k * 10}"))
        engine.trace("r1")
        engine.trace("r2")
        given(engine, hands, [{"v": 15}, {"v": 5}])
        assert len(hands.rows) == 3
        both, one = ended(engine, "r1")
        names = ["source_s", "op_2_filter", "op_3_project", "sink_kept_0"]
        assert [each[0] for each in steps(both)] == names
        assert steps(one) == [("source_s", 1, 1, ""), ("op_2_filter", 1, 0, "")]
        assert [len(steps(each)) for each in ended(engine, "r2")] == [2, 2]
        assert engine.views.traces("r0") == []
        engine.restart_rule("r1")
        given(engine, hands, [{"v": 15}])
        assert len(engine.views.traces("r1")) == 3


def test_a_sink_that_refuses_is_seen(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", qos=1))
        engine.trace("r")
        hands.refuse = True
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: "away" in engine.views.rule_status("r")["degraded"])
        (waiting,) = engine.views.traces("r")
        assert engine.views.trace(waiting)["span"]["children"][0]["children"][0]["end_ns"] is None
        hands.refuse = False
        (sent,) = ended(engine, "r")
        assert steps(sent)[-1][:3] == ("sink_kept_0", 1, 1)


def test_what_is_not_there(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        for name in ("r-1", "r", "x-1", ""):
            with pytest.raises(RuleError, match="not found") as refused:
                engine.views.trace(name)
            assert refused.value.http == 404
        assert engine.views.traces("r") == []


def test_traces_are_bounded() -> None:
    traces = Traces("r")
    for _ in range(2 * MAX_TRACES):
        traces.new(0)
    assert len(traces.ids()) == MAX_TRACES
    for _ in range(MAX_TRACES):
        traces.new(0).spans.append(TraceSpan("x", 0, rows=[{"v": "x" * (MAX_BYTES // 20)}]))
    assert len(traces.ids()) <= 21


def test_what_is_shown_is_json_and_small() -> None:
    assert traced_value({"a": float("nan"), "b": b"12", "c": 1 << 70, 1: (1, 2)}) == {
        "a": "nan", "b": "2 bytes", "c": str(1 << 70), "1": [1, 2]
    }  # fmt: skip
    assert traced_value({"Token": {"deep": 1}}) == {"Token": "******"}
    assert traced_value({"a": {"b": {"c": {"d": 1}}}}) == {"a": {"b": {"c": "1 in all"}}}
    assert len(traced_value({str(k): k for k in range(100)})) == 31
