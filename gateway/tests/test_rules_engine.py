"""The engine: how rules come, share, fail, are replaced, wait and go."""

import shutil
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rules_engine import Hands, rule, running, stream
from waiting import wait_for

from opq_plugins.sdk import Context, Function
from opq_rules.engine import lifecycle, sinks
from opq_rules.errors import RuleError


def test_rules_of_one_shape_are_a_crowd_and_each_gives_its_own(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        bodies = [rule(f"r{k}", f"SELECT v, {k % 2} AS half FROM s WHERE v > {k}") for k in range(10)]
        assert engine.create_rules(bodies) == {}
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 4}, {"v": None}, {"w": 9}, {"V": 1}, {"v": "text"}, {"v": True}])
        wait_for(lambda: len(hands.got) >= 5)
        by_rule = sorted((row_id.split(":")[0], tuple(data[0].items())) for row_id, data in hands.got)
        wanted = [(f"r{k}", (("v", 4), ("half", k % 2))) for k in range(4)]
        assert by_rule == sorted([*wanted, ("r0", (("v", 1), ("half", 0)))])
        assert "crowd" in engine.views.explain("r4")
        assert engine.views.totals()["units"] <= 4
        status = engine.views.rule_status("r9")
        assert status["op_2_filter_0_records_in_total"] == 6
        assert status["op_2_filter_0_exceptions_total"] == 2
        assert "number" in status["op_2_filter_0_last_exception"]
        assert status["sink_kept_0_0_records_in_total"] == 0
        assert engine.views.rule_status("r0")["sink_kept_0_0_records_out_total"] == 2


def test_what_one_turn_gives_to_rules_behind_a_topic_of_memory_fits_there(tmp_path: Path) -> None:
    """At qos 0, many times the length of their buffers."""
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute('CREATE STREAM behind () WITH (DATASOURCE="t", TYPE="memory", FORMAT="json")')
        engine.create_rule({"id": "b", "sql": "SELECT v FROM behind", "actions": [{"kept": {}}]})
        engine.create_rule({"id": "a", "sql": "SELECT v FROM s", "actions": [{"memory": {"topic": "t"}}]})
        wait_for(lambda: hands.contexts)
        hands.give([{"v": k} for k in range(4000)])
        wait_for(lambda: hands.rows and hands.rows[-1]["v"] == 3999)
        assert [row["v"] for row in hands.rows] == list(range(4000))


def test_rules_that_say_the_same_run_once(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        for name in ("a", "b"):
            engine.create_rule(rule(name, "SELECT v + 1 AS w FROM s"))
        assert engine.views.totals()["units"] == 1
        engine.delete_rule("a")
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: hands.got)
        assert {row_id.split(":")[0] for row_id, _ in hands.got} == {"b"}
        engine.delete_rule("b")
        assert engine.views.totals()["units"] == 0
        wait_for(lambda: not hands.contexts)


def test_rules_with_a_window_have_one_each(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        sql = "SELECT count(*) AS n FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
        engine.create_rule(rule("first", sql))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}], arrived_ms=1_000)
        wait_for(lambda: engine.views.usage()["first"]["records"] == 1)
        engine.create_rule(rule("late", sql))
        assert engine.views.totals()["units"] == 2
        hands.give([{"v": 1}], arrived_ms=1_500)
        hands.give([{"v": 1}], arrived_ms=1 << 42)
        wait_for(lambda: len(hands.got) == 2)
        counts = {row_id.split(":")[0]: data for row_id, data in hands.got}
        assert counts == {"first": [{"n": 2}], "late": [{"n": 1}]}


def test_a_wrong_replacement_leaves_the_old_rule_running(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v AS old FROM s"))
        wait_for(lambda: hands.contexts)
        for wrong in (
            rule("r", "SELECT FROM"),
            rule("r", "SELECT * FROM nowhere"),
            rule("r", "SELECT nosuchfunction(v) FROM s"),
            rule("r", "SELECT v FROM s") | {"actions": [{"nosuchsink": {}}]},
            rule("r", "SELECT v FROM s", qos=7),
            rule("other", "SELECT v FROM s"),
        ):
            with pytest.raises(RuleError) as told:
                engine.replace_rule("r", wrong)
            assert told.value.http == 400
        hands.give([{"v": 1}])
        wait_for(lambda: hands.rows == [{"old": 1}])
        engine.replace_rule("r", rule("r", "SELECT v AS new FROM s"))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 2}])
        wait_for(lambda: hands.rows == [{"old": 1}, {"new": 2}])


def test_a_replacement_with_the_same_statement_keeps_its_window(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        sql = "SELECT sum(v) AS s FROM s GROUP BY COUNTWINDOW(3)"
        engine.create_rule(rule("r", sql))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}, {"v": 2}])
        wait_for(lambda: engine.views.usage()["r"]["records"] == 2)
        engine.replace_rule("r", rule("r", sql) | {"actions": [{"kept": {"name": "other"}}]})
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 4}])
        wait_for(lambda: hands.rows == [{"s": 7}])


def test_what_cannot_be_created_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        with pytest.raises(RuleError, match="wrong"):
            engine.execute(stream("bad", EXTRA='{\\"wrong\\": 1}'))
        assert engine.catalogue.names("stream") == ["s"]
        for body in (
            rule("a/b", "SELECT * FROM s"),
            rule("r", "SELEC"),
            {"id": "r", "sql": "SELECT * FROM s"},
        ):
            with pytest.raises(RuleError):
                engine.create_rule(body)
        assert engine.views.rules() == []
        engine.create_rule(rule("r", "SELECT * FROM s"))
        with pytest.raises(RuleError, match="already exists"):
            engine.create_rule(rule("r", "SELECT * FROM s"))
        with pytest.raises(RuleError, match="1 rules use it: r"):
            engine.drop_stream("s")
        with pytest.raises(RuleError) as told:
            engine.views.rule_status("nobody")
        assert (told.value.http, told.value.code) == (404, 1002)
        with pytest.raises(RuleError) as told:
            engine.validate(rule("x", "SELECT * FROM nowhere"))
        assert told.value.http == 422
        assert engine.drop_stream("s", force=True)
        assert engine.views.rules()[0]["status"] == "stopped by error"


def test_a_source_that_fails_is_opened_again_and_the_rule_stays(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.broken = True
    with running(tmp_path, hands) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        wait_for(lambda: "nobody is there" in engine.views.rule_status("r")["degraded"])
        assert engine.views.rule_status("r")["status"] == "running"
        assert engine.views.rule_status("r")["source_s_0_connection_status"] == -1
        wait_for(lambda: hands.failed > 1)
        hands.broken = False
        wait_for(lambda: hands.contexts)
        assert engine.views.rule_status("r")["degraded"] == ""
        hands.give([{"v": 1}])
        wait_for(lambda: hands.rows == [{"v": 1}])
        assert engine.views.rule_status("r")["source_s_0_exceptions_total"] == hands.failed


def test_a_sink_that_refuses_gets_all_again_in_order(tmp_path: Path) -> None:
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


def test_a_source_that_blocks_loses_nothing_to_a_slow_sink(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(BUFFER_FULL_POLICY="block"))
        body = rule("r", "SELECT v FROM s", bufferLength=8) | {"actions": [{"kept": {"bufferLength": 8}}]}
        engine.create_rule(body)
        wait_for(lambda: hands.contexts)
        for v in range(0, 300, 5):  # five do not fit thrice
            hands.give([{"v": v + k} for k in range(5)])
        wait_for(lambda: hands.rows == [{"v": v} for v in range(300)])
        assert engine.views.totals()["emissions_dropped_total"] == 0


def test_a_rule_of_qos_1_makes_the_shared_source_wait(tmp_path: Path) -> None:
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
        thread.join(60)
        wait_for(lambda: engine.settled() and len(hands.rows) >= 5000)
        assert [row for row in hands.rows if "v" in row] == [{"v": v} for v in range(5000)]
        assert engine.views.totals()["records_dropped_total"] == 0
        engine.delete_rule("second")
        assert engine._lifecycle.streams.by_key["feed  s"].runner.blocks is False


def test_rules_and_their_memory_come_back_after_a_restart(tmp_path: Path) -> None:
    sql = "SELECT sum(v) AS s FROM s GROUP BY COUNTWINDOW(3)"
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("kept", sql, qos=1))
        engine.create_rule(rule("temporary", sql) | {"temp": True})
        engine.create_rule(rule("waits", sql) | {"triggered": False})
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}, {"v": 2}], offset=7)
        wait_for(lambda: engine.views.usage()["kept"]["records"] == 2)
    with running(tmp_path) as (engine, hands):
        assert [each["id"] for each in engine.views.rules()] == ["kept", "waits"]
        wait_for(lambda: hands.contexts)
        assert hands.rewound == [7]
        hands.give([{"v": 4}])
        wait_for(lambda: hands.rows == [{"s": 7}])
        assert engine.views.rule("kept")["sql"] == sql


def test_a_statement_that_changes_begins_without_the_old_memory(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT sum(v) AS s FROM s GROUP BY COUNTWINDOW(3)", qos=1))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}, {"v": 2}])
        wait_for(lambda: engine.views.usage()["r"]["records"] == 2)
        engine.replace_rule("r", rule("r", "SELECT max(v) AS m FROM s GROUP BY COUNTWINDOW(2)", qos=1))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 4}, {"v": 3}])
        wait_for(lambda: hands.rows == [{"m": 4}])


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


def test_a_fault_of_ours_stops_its_rule_alone_and_the_strategy_starts_it_again(tmp_path: Path) -> None:
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
        assert engine.reset_state("bad", "s", None) == "success"  # what has failed begins anew by it
        wait_for(lambda: hands.contexts)
        assert engine.views.rule_status("bad")["message"] == ""
        hands.give([{"v": 4}])
        wait_for(lambda: {"v": 4} in hands.rows)


def test_errors_of_records_travel_where_the_rule_wants_them(tmp_path: Path) -> None:
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
def test_what_is_no_record_is_sent_too_where_errors_are_and_no_window_sees_it(
    tmp_path: Path, qos: int
) -> None:
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


def test_topics_of_memory_chain_rules_and_a_ring_ends(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute(stream("middle", TYPE="memory", DATASOURCE="boxes/+/rms"))
        engine.execute(stream("ring", TYPE="memory", DATASOURCE="ring"))
        first = rule("first", "SELECT box, v + 1 AS v FROM s")
        engine.create_rule(first | {"actions": [{"memory": {"topic": "boxes/{{ box }}/rms"}}]})
        engine.create_rule(rule("second", "SELECT v, meta(topic) AS t FROM middle"))
        engine.create_rule(rule("round", "SELECT v FROM ring") | {"actions": [{"memory": {"topic": "ring"}}]})
        wait_for(lambda: hands.contexts)
        engine.topics.publish("ring", [{"v": 0}])  # goes round for ever, and holds nobody up
        hands.give([{"box": 4, "v": 1}])
        wait_for(lambda: hands.rows == [{"v": 2, "t": "boxes/4/rms"}])
        engine.delete_rule("round")


def test_a_lookup_table_of_memory_is_joined(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute(
            'CREATE TABLE names () WITH (TYPE="memory", DATASOURCE="names", KIND="lookup", KEY="box")'
        )
        sql = "SELECT s.v AS v, names.name AS name FROM s LEFT JOIN names ON names.box = s.box"
        engine.create_rule(rule("r", sql))
        wait_for(lambda: hands.contexts)
        engine.topics.publish("names", [{"box": 1, "name": "kitchen"}])
        hands.give([{"box": 1, "v": 5}, {"box": 2, "v": 6}])
        wait_for(lambda: len(hands.rows) == 2)
        assert hands.rows == [{"v": 5, "name": "kitchen"}, {"v": 6}]


def test_a_schedule_starts_and_stops(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        begin = datetime.now() + timedelta(seconds=1)
        span = {
            "begin": round(begin.timestamp() * 1000),
            "end": round((begin + timedelta(seconds=1)).timestamp() * 1000),
        }
        engine.create_rule(rule("r", "SELECT v FROM s", cronDatetimeRange=[span]))
        status = engine.views.rule_status("r")
        assert status["status"] == "stopped: waiting for next schedule."
        assert status["nextStartTimestamp"] == span["begin"]
        wait_for(lambda: engine.views.rule_status("r")["status"] == "running")
        wait_for(lambda: engine.views.rule_status("r")["status"] == "stopped: waiting for next schedule.")
        assert engine.views.rule_status("r")["nextStartTimestamp"] == 0


@pytest.mark.parametrize(
    ("sql", "last"),
    [
        ("SELECT count(v) AS n FROM s GROUP BY COUNTWINDOW(4)", {"n": 4}),
        ("SELECT v, lag(v) AS before FROM s", {"v": 4, "before": 3}),
    ],
)
def test_an_error_that_is_sent_leaves_what_its_rule_remembers(
    tmp_path: Path, sql: str, last: dict[str, int]
) -> None:
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


def test_a_rule_that_has_failed_within_its_schedule_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_stop_start_and_restart(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s"))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: hands.rows)
        engine.stop_rule("r")
        wait_for(lambda: not hands.contexts)
        assert engine.views.rule_status("r")["status"] == "stopped"
        engine.start_rule("r")
        wait_for(lambda: hands.contexts)
        engine.restart_rule("r")
        wait_for(lambda: hands.contexts)
        assert engine.views.rules()[0]["status"] == "running"
        engine.set_tags("r", ["a", "b"], whole=True)
        engine.set_tags("r", ["c"], remove=["a"])
        assert engine.views.tagged(["c"]) == ["r"]
        assert engine.views.rules()[0]["tags"] == ["b", "c"]


def test_a_new_definition_of_a_stream_takes_its_rules_along(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT V FROM s"))
        wait_for(lambda: hands.contexts)
        engine.replace_stream("s", stream(TIMESTAMP="t"))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: hands.rows == [{"V": 1}])
        with pytest.raises(RuleError, match="SHARED"):
            engine.replace_stream("s", stream(SHARED="false"))


def test_a_rule_whose_sinks_do_not_return_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "STOP_S", 0.5)  # they never end
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        actions = [{"kept": {"name": str(k)}} for k in range(5)]
        engine.create_rule({**rule("r", "SELECT v FROM s"), "actions": actions})
        hands.gate.clear()
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 1}])
        wait_for(lambda: hands.waiting == 5)
        engine.delete_rule("r")
        assert engine.views.rules() == []
        assert (hands.waiting, hands.got) == (5, [])


def test_one_engine_per_folder(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(RuleError, match="another"), running(tmp_path):
        pass


def test_rules_that_go_leave_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute(stream("own", SHARED="false"))
        threads = threading.active_count()
        for k in range(20):
            bodies = [
                rule("a", f"SELECT v FROM own WHERE v > {k}", qos=k % 2),
                rule("b", f"SELECT v FROM s WHERE v > {k}") | {"actions": [{"kept": {"name": str(k)}}]},
                rule("c", f"SELECT v FROM s WHERE v > {k}.5") | {"actions": [{"kept": {"batchSize": 3}}]},
                rule("d", "SELECT v FROM s") | {"actions": [{"memory": {"topic": "t"}}, {"log": {}}]},
            ]
            assert engine.create_rules(bodies) == {}
            for name in "abcd":
                engine.delete_rule(name)
        wait_for(lambda: threading.active_count() == threads)
        lives = engine._lifecycle
        assert (lives.units, lives.streams.by_key, lives.sinks.by_key) == ({}, {}, {})
        assert not len(lives.sinks)
        assert engine._loop.inputs == {}
        assert hands.contexts == []


def test_stopped_rules_stay_stopped_and_wrong_ones_hold_nobody_up(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        engine.execute(stream("gone"))
        engine.create_rule(rule("good", "SELECT v FROM s"))
        engine.create_rule(rule("bad", "SELECT v FROM gone"))
        engine.create_rule(rule("off", "SELECT v FROM s") | {"triggered": False})
        engine.drop_stream("gone", force=True)
    with running(tmp_path) as (engine, hands):
        assert {each["id"]: each["status"] for each in engine.views.rules()} == {
            "bad": "stopped by error",
            "good": "running",
            "off": "stopped",
        }
        assert "gone" in engine.views.rule_status("bad")["message"]
        wait_for(lambda: hands.contexts)


@pytest.mark.parametrize(("shared", "qos"), [("true", 0), ("false", 0), ("false", 1)])
def test_replacements_under_load_lose_and_double_nothing(tmp_path: Path, shared: str, qos: int) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(SHARED=shared, BUFFER_FULL_POLICY="block"))
        engine.create_rule(rule("r", "SELECT v, 0 AS version FROM s", qos=qos))
        wait_for(lambda: hands.contexts)
        source = hands.contexts[0]
        done = threading.Event()
        given = [0]

        def give() -> None:
            while not done.is_set() and source.emit({"v": given[0]}):
                given[0] += 1

        thread = threading.Thread(target=give)
        thread.start()
        for version in range(1, 30):
            engine.replace_rule("r", rule("r", f"SELECT v, {version} AS version FROM s", qos=qos))
            with pytest.raises(RuleError):
                engine.replace_rule("r", rule("r", "SELECT nosuch(v) FROM s", qos=qos))
        done.set()
        thread.join(60)
        wait_for(lambda: len(hands.got) >= given[0] and engine.settled())
        assert hands.contexts == [source]  # the source ran on
        rows = [row for data in dict(hands.got).values() for row in data]  # qos 1: once per id
        assert [row["v"] for row in rows] == list(range(given[0]))
        versions = [row["version"] for row in rows]
        assert versions == sorted(versions)


def test_idle_sinks_cost_no_thread(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        threads = threading.active_count()
        bodies = [
            rule(f"r{k}", f"SELECT v FROM s WHERE v > {k}") | {"actions": [{"kept": {"name": f"{k}"}}]}
            for k in range(300)
        ]
        assert engine.create_rules(bodies) == {}
        wait_for(lambda: hands.contexts)
        wait_for(lambda: threading.active_count() == threads + 1)  # the source
        hands.give([{"v": 2}])
        wait_for(lambda: len(hands.got) == 2 and engine.settled())
        wait_for(lambda: threading.active_count() == threads + 3)


def test_what_a_stream_is_not_for_is_refused_with_the_rule(tmp_path: Path) -> None:
    """A TEMP stream is gone after a restart; a form of times that nobody reads gives no time."""
    with running(tmp_path) as (engine, _):
        engine.execute(stream("passing", TEMP="true"))
        engine.execute(stream("odd", TIMESTAMP="t", TIMESTAMP_FORMAT="QQ"))
        for body, why in (
            (rule("r", "SELECT v FROM passing"), "passing is TEMP"),
            (rule("r", "SELECT v FROM odd", isEventTime=True), "'QQ': Q is unknown; want y M d"),
        ):
            for tried in (engine.validate, engine.create_rule):
                with pytest.raises(RuleError, match=why):
                    tried(body)
        engine.create_rule(rule("r", "SELECT v FROM passing") | {"temp": True})
        engine.create_rule(rule("arrival", "SELECT v FROM odd"))


def test_a_state_is_reset_to_an_offset_that_its_source_takes_or_not_at_all(tmp_path: Path) -> None:
    extra = r"{\"data\": [{\"v\": 0}, {\"v\": 1}, {\"v\": 2}], \"interval\": 0, \"loop\": false}"
    with running(tmp_path) as (engine, hands):
        engine.execute(f'CREATE STREAM f () WITH (TYPE="simulator", EXTRA="{extra}")')
        engine.execute('CREATE STREAM t () WITH (TYPE="memory", DATASOURCE="t")')
        engine.create_rule(rule("r", "SELECT v FROM f", qos=1))
        engine.create_rule(rule("m", "SELECT v FROM t"))
        wait_for(lambda: len(hands.rows) == 3)
        for rule_id, name, offset, why in (
            ("r", "f", "x", "does not take offset 'x'"),
            ("r", "t", 0, "does not read t, but f"),
            ("m", "t", 0, "cannot be rewound"),
        ):
            with pytest.raises(RuleError, match=why):
                engine.reset_state(rule_id, name, offset)
        assert engine.views.rule_status("r")["status"] == "running"
        engine.reset_state("r", "f", 1)
        wait_for(lambda: len(hands.rows) == 5)
        assert [row["v"] for row in hands.rows] == [0, 1, 2, 1, 2]
        engine.reset_state("m", "t", None)
        engine.stop_rule("m")
        with pytest.raises(RuleError, match="does not run"):
            engine.reset_state("m", "t", None)


def test_what_is_asked_of_a_rule(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute('CREATE TABLE held () WITH (TYPE="hand", DATASOURCE="x", RETAIN_SIZE="3")')
        sql = (
            "SELECT s.v AS v, count(*) AS n FROM s INNER JOIN held ON held.v = s.v "
            "GROUP BY s.v, TUMBLINGWINDOW(ss, 1)"
        )
        engine.create_rule(rule("joined", sql))
        engine.create_rule(rule("plain", "SELECT v FROM s WHERE v > 1", qos=1))
        wait_for(lambda: len(hands.contexts) == 2)
        assert engine.views.schema("joined") == {
            "v": {"hasIndex": True, "index": 0},
            "n": {"hasIndex": True, "index": 1, "type": "bigint"},
        }
        topo = engine.views.topo("joined")
        assert topo["sources"] == ["source_s", "source_held"]
        first = topo["edges"]["source_s"]
        assert first == topo["edges"]["source_held"]
        node = first[0]
        while node in topo["edges"]:
            (node,) = topo["edges"][node]
        assert node == "sink_kept_0"
        hands.give([{"v": v} for v in range(5)], arrived_ms=1000, offset=5)
        wait_for(lambda: len(engine.views.scan_tables("joined")["held"]) == 3)
        with pytest.raises(RuleError, match="other rules"):
            engine.reset_state("plain", "s", 2)
        engine.stop_rule("joined")
        assert engine.reset_state("plain", "s", 2) == "success"
        wait_for(lambda: hands.rewound == [2, 2])  # tried before the rule is stopped
        engine.start_rule("joined")
        assert set(engine.views.all_status()) == {"joined", "plain"}
        assert engine.views.usage()["plain"]["rules"] == 1
        exported = engine.views.exported()
        assert set(exported["rules"]) == {"joined", "plain"}
        assert set(exported["streams"]) == {"s"}
        assert set(exported["tables"]) == {"held"}
        assert engine.users_of("sink", "kept") == ["joined", "plain"]
        assert engine.users_of("function", "count") == ["joined"]
        assert engine.users_of("source", "hand") == ["s", "held"]
