"""The engine: sources and sinks that fail, wait or overflow, and records that cannot be judged."""

import shutil
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rules_engine import Hands, rule, running, stream
from waiting import wait_for

from opq_plugins.sdk import Context, Function
from opq_rules.engine.lifecycle import rule_lifecycle as lifecycle
from opq_rules.errors import RuleError


def test_a_failing_source_is_reopened(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.broken = True
    with running(tmp_path, hands) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        wait_for(lambda: "the source's peer is away" in engine.views.rule_status("r")["degraded"])
        assert engine.views.rule_status("r")["status"] == "running"
        assert engine.views.rule_status("r")["source_s_0_connection_status"] == -1
        wait_for(lambda: hands.failed > 1)
        hands.broken = False
        wait_for(lambda: hands.contexts)
        assert engine.views.rule_status("r")["degraded"] == ""
        hands.give([{"v": 1}])
        wait_for(lambda: hands.rows == [{"v": 1}])
        assert engine.views.rule_status("r")["source_s_0_exceptions_total"] == hands.failed


def test_a_refusing_sink_gets_everything_in_order(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        body = rule("r", "SELECT v FROM s") | {"actions": [{"kept": {"retryInterval": 20}}]}
        engine.create_rule(body)
        wait_for(lambda: hands.contexts)
        hands.refuse = True
        for v in range(5):
            hands.give([{"v": v}])
        wait_for(lambda: "away" in engine.views.rule_status("r")["degraded"])
        hands.refuse = False
        wait_for(lambda: hands.rows == [{"v": v} for v in range(5)])


def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(BUFFER_FULL_POLICY="dropOldest"))
        body = rule("r", "SELECT v FROM s") | {"actions": [{"kept": {"bufferLength": 10}}]}
        engine.create_rule(body)
        wait_for(lambda: hands.contexts)
        hands.gate.clear()
        total = 200
        for v in range(total):
            hands.give([{"v": v}])
            wait_for(lambda v=v: engine.views.usage()["r"]["records"] == v + 1)
        wait_for(lambda: engine.views.totals()["emissions_dropped_total"] >= total - 2 * 10 - 2)
        hands.gate.set()
        wait_for(lambda: len(hands.got) == total - engine.views.totals()["emissions_dropped_total"])
        status = engine.views.rule_status("r")
        assert status["sink_kept_0_0_dropped_total"] == total - len(hands.got)
        assert hands.rows[-1] == {"v": total - 1}


def test_a_blocking_source_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(BUFFER_FULL_POLICY="block"))
        body = rule("r", "SELECT v FROM s", bufferLength=8) | {"actions": [{"kept": {"bufferLength": 8}}]}
        engine.create_rule(body)
        wait_for(lambda: hands.contexts)
        for v in range(0, 300, 5):  # five do not fit thrice
            hands.give([{"v": v + k} for k in range(5)])
        wait_for(lambda: hands.rows == [{"v": v} for v in range(300)])
        assert engine.views.totals()["emissions_dropped_total"] == 0


def test_a_qos_1_rule_holds_the_source(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(TYPE="live"))
        engine.create_rule(rule("first", "SELECT v AS w FROM s", bufferLength=8))
        engine.create_rule(rule("second", "SELECT v FROM s", qos=1))
        wait_for(lambda: hands.contexts)
        context = hands.contexts[0]
        hands.gate.clear()
        thread = threading.Thread(target=lambda: [context.emit({"v": v}) for v in range(5000)])
        thread.start()
        wait_for(lambda: engine._lifecycle.streams.by_key["feed  s"].runner.held)
        hands.gate.set()
        thread.join(240)
        wait_for(lambda: sum("v" in row for row in list(hands.rows)) >= 5000)
        assert [row for row in hands.rows if "v" in row] == [{"v": v} for v in range(5000)]
        wait_for(engine.settled)
        assert engine.views.totals()["records_dropped_total"] == 0
        engine.delete_rule("second")
        assert engine._lifecycle.streams.by_key["feed  s"].runner.blocks is False


def test_settled_is_asked_between_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a commit its emissions are counted neither as staged nor as waiting for a sink."""
    with running(tmp_path) as (engine, _):
        asked, totals = list[threading.Thread](), engine.views.totals
        monkeypatch.setattr(
            engine.views, "totals", lambda: (asked.append(threading.current_thread()), totals())[1]
        )
        assert engine.settled()
        assert asked == [engine._loop._thread]


class Failing(Function):
    """Raises what no function should."""

    def exec(self, args: Any, context: Context) -> Any:
        if args[0] == 13:
            raise SystemError("a fault of the plug-in")
        return args[0]


def test_a_function_that_raises_costs_its_record_alone(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.made_functions["failing"] = Failing
    with running(tmp_path, hands) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("bad", "SELECT failing(v) AS v FROM s"))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 13}, {"v": 1}])
        wait_for(lambda: hands.rows == [{"v": 1}])
        status = engine.views.rule_status("bad")
        assert (status["status"], status["op_2_project_0_exceptions_total"]) == ("running", 1)
        assert "a fault of the plug-in" in status["op_2_project_0_last_exception"]


def test_our_fault_stops_its_rule_alone(tmp_path: Path) -> None:
    """Its restart strategy starts it again."""
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        strategy = {"attempts": 1, "delay": 10}
        engine.create_rule(rule("bad", "SELECT v + 0 AS v FROM s", restartStrategy=strategy))
        engine.create_rule(rule("good", "SELECT v AS w FROM s"))
        wait_for(lambda: hands.contexts)

        def broken(batch: Any) -> Any:
            raise LookupError("a fault of ours")

        def units() -> list[Any]:
            return [unit for unit in engine._lifecycle.units.values() if "v + 0" in unit.statement]

        first = units()[0]
        first.query.feed = broken
        hands.give([{"v": 1}])
        wait_for(lambda: units() and units()[0] is not first)  # the one attempt
        hands.give([{"v": 2}])
        wait_for(lambda: {"v": 2} in hands.rows)
        units()[0].query.feed = broken
        hands.give([{"v": 3}])
        wait_for(lambda: engine.views.rule_status("bad")["status"] == "stopped by error")
        assert "a fault of ours" in engine.views.rule_status("bad")["message"]
        with pytest.raises(RuleError, match="other rules"):
            engine.reset_state("bad", "s", None)
        wait_for(lambda: {"w": 3} in hands.rows)
        assert [row for row in hands.rows if "w" in row] == [{"w": 1}, {"w": 2}, {"w": 3}]
        engine.stop_rule("good")
        assert engine.reset_state("bad", "s", None) == "success"  # a failed rule begins again by it
        wait_for(lambda: hands.contexts)
        assert engine.views.rule_status("bad")["message"] == ""
        hands.give([{"v": 4}])
        wait_for(lambda: {"v": 4} in hands.rows)


def test_record_errors_travel_on_request(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s WHERE v > 3", sendError=True))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": "x"}, {"v": 5}])
        wait_for(lambda: len(hands.rows) == 2)
        assert "error" in hands.rows[0]
        assert hands.rows[1] == {"v": 5}


def test_a_payload_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        wait_for(lambda: hands.contexts)
        assert hands.contexts[0].emit_bytes([b'{"v": 1}', b"{", b'[{"v": 2}, {"v": 3}]', b"3"])
        wait_for(lambda: hands.rows == [{"v": 1}, {"v": 2}, {"v": 3}])
        assert engine.views.rule_status("r")["source_s_0_exceptions_total"] == 2


@pytest.mark.parametrize("qos", [0, 1])
def test_a_wrong_record_is_sent_but_unwindowed(tmp_path: Path, qos: int) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(
            'CREATE STREAM s (v BIGINT) WITH (TYPE="hand", DATASOURCE="x", STRICT_VALIDATION="true")'
        )
        engine.create_rule(rule("r", "SELECT v FROM s", sendError=True, qos=qos))
        engine.create_rule(
            rule("n", "SELECT count(v) AS n FROM s GROUP BY COUNTWINDOW(2)", sendError=True, qos=qos)
        )
        engine.create_rule(rule("quiet", "SELECT v FROM s WHERE v > 1", qos=qos))
        wait_for(lambda: len(hands.contexts) == 3)
        for context in list(hands.contexts):
            assert context.emit_bytes([b'{"v": 1}', b"{", b'{"v": "x"}', b'{"v": 2}'])

        def told(rule_id: str) -> list[Any]:
            return [row for row_id, data in hands.got if row_id.startswith(f"{rule_id}:") for row in data]

        wait_for(lambda: len(hands.rows) == 6)
        error, *rest = told("r")
        assert (rest, told("quiet")) == ([{"v": 1}, {"v": 2}], [{"v": 2}])
        assert told("n") == [error, {"n": 2}]
        assert error == {"error": 's: column v is string "x"; want bigint (the last of 2)'}
        assert len({row_id for row_id, _ in hands.got}) == 6


@pytest.mark.parametrize(
    ("sql", "last"),
    [
        ("SELECT count(v) AS n FROM s GROUP BY COUNTWINDOW(4)", {"n": 4}),
        ("SELECT v, lag(v) AS before FROM s", {"v": 4, "before": 3}),
    ],
)
def test_a_sent_error_keeps_the_memory(tmp_path: Path, sql: str, last: dict[str, int]) -> None:
    killed = tmp_path / "killed"
    with running(tmp_path / "first") as (engine, hands):
        engine.execute(
            'CREATE STREAM s (v BIGINT) WITH (TYPE="hand", DATASOURCE="x", STRICT_VALIDATION="true")'
        )
        engine.create_rule(rule("r", sql, qos=1, sendError=True))
        wait_for(lambda: hands.contexts)
        for k, payload in enumerate([b'{"v":1}', b'{"v":2}', b'{"v":3}', b"{"]):
            hands.contexts[0].emit_bytes([payload], offset=k + 1)
        wait_for(lambda: any("error" in row for row in hands.rows))
        engine._loop.call(engine._loop.commit)
        hands.contexts[0].emit_bytes([b"{"], offset=5)
        wait_for(lambda: len([row for row in hands.rows if "error" in row]) == 2)
        engine._loop.call(engine._loop.commit)
        engine._loop.call(lambda: shutil.copytree(tmp_path / "first", killed))
    with running(killed) as (engine, hands):
        wait_for(lambda: hands.contexts)
        hands.contexts[0].emit_bytes([b'{"v":4}'], offset=6)
        wait_for(lambda: last in hands.rows)


def test_a_failed_scheduled_rule_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    look = lifecycle.RuleLifecycle._follow_schedule
    monkeypatch.setattr(lifecycle, "LONGEST_WAIT_S", 0.01)
    followed = lambda *of: (looks.append(of), look(*of))  # noqa: E731
    monkeypatch.setattr(lifecycle.RuleLifecycle, "_follow_schedule", followed)
    now_ms = round(datetime.now().timestamp() * 1000)
    span = {"begin": now_ms - 60_000, "end": now_ms + 3_600_000}
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", cronDatetimeRange=[span]))
        wait_for(lambda: hands.contexts)
        (unit,) = engine._lifecycle.units.values()

        def broken(batch: Any) -> Any:
            raise LookupError("a fault of ours")

        unit.query.feed = broken
        hands.give([{"v": 1}])
        wait_for(lambda: engine.views.rule_status("r")["status"] == "stopped by error")
        before = len(looks)
        wait_for(lambda: len(looks) > before + 5)
        assert engine.views.rule_status("r")["status"] == "stopped by error"
