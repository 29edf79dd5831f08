"""The engine: how rules come, share, wait, are asked about and go."""

import threading
from pathlib import Path

import pytest
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.engine.clock import SystemClock
from opq_rules.engine.lifecycle import rule_lifecycle
from opq_rules.errors import RuleError


def test_rules_of_one_shape_share_an_index(tmp_path: Path) -> None:
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
        assert "with 3 other rules of the same form" in engine.views.explain("r4")
        assert engine.views.totals()["units"] <= 4
        status = engine.views.rule_status("r9")
        assert status["op_2_filter_0_records_in_total"] == 6
        assert status["op_2_filter_0_exceptions_total"] == 2
        assert "number" in status["op_2_filter_0_last_exception"]
        assert status["sink_kept_0_0_records_in_total"] == 0
        assert engine.views.rule_status("r0")["sink_kept_0_0_records_out_total"] == 2


def test_one_turns_rows_fit_a_memory_topic(tmp_path: Path) -> None:
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


def test_a_stopped_rule_states_its_dropped_stream(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT * FROM s"))
        engine.stop_rule("r")
        engine.drop_stream("s", force=True)
        found = engine.views.rule_status("r")
        assert (found["status"], found["message"]) == ("stopped by error", "stream s was dropped")


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
        with pytest.raises(RuleError, match="because it is used by r"):
            engine.drop_stream("s")
        with pytest.raises(RuleError) as told:
            engine.views.rule_status("absent")
        assert (told.value.http, told.value.code) == (404, 1002)
        with pytest.raises(RuleError) as told:
            engine.validate(rule("x", "SELECT * FROM nowhere"))
        assert told.value.http == 422
        assert engine.drop_stream("s", force=True)
        assert engine.views.rules()[0]["status"] == "stopped by error"


def test_rules_and_memory_survive_a_restart(tmp_path: Path) -> None:
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


def test_memory_topics_chain_rules(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute(stream("middle", TYPE="memory", DATASOURCE="boxes/+/rms"))
        engine.execute(stream("ring", TYPE="memory", DATASOURCE="ring"))
        first = rule("first", "SELECT box, v + 1 AS v FROM s")
        engine.create_rule(first | {"actions": [{"memory": {"topic": "boxes/{{ box }}/rms"}}]})
        engine.create_rule(rule("second", "SELECT v, meta(topic) AS t FROM middle"))
        engine.create_rule(rule("round", "SELECT v FROM ring") | {"actions": [{"memory": {"topic": "ring"}}]})
        wait_for(lambda: hands.contexts)
        engine.topics.publish("ring", [{"v": 0}])  # goes round for ever, and delays no other rule
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


class SetClock(SystemClock):
    """Its wall clock stands still until the test sets it."""

    ms = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.ms


def test_a_schedule_starts_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_lifecycle, "LONGEST_WAIT_S", 0.01)
    clock = SetClock()
    span = {"begin": clock.ms + 3_600_000, "end": clock.ms + 7_200_000}
    with running(tmp_path, clock=clock) as (engine, _):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", cronDatetimeRange=[span]))
        status = engine.views.rule_status("r")
        assert status["status"] == "stopped: waiting for next schedule."
        assert status["nextStartTimestamp"] == span["begin"]
        clock.ms = span["begin"]
        wait_for(lambda: engine.views.rule_status("r")["status"] == "running")
        clock.ms = span["end"]
        wait_for(lambda: engine.views.rule_status("r")["status"] == "stopped: waiting for next schedule.")
        assert engine.views.rule_status("r")["nextStartTimestamp"] == 0


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


def test_one_engine_per_folder(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(RuleError, match="another"), running(tmp_path):
        pass


def begun_since(before: set[threading.Thread]) -> int:
    """Threads of another test that end meanwhile do not count."""
    return len({*threading.enumerate()} - before)


def test_rules_that_go_leave_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute(stream("own", SHARED="false"))
        threads = {*threading.enumerate()}
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
        wait_for(lambda: begun_since(threads) == 0)
        lives = engine._lifecycle
        assert (lives.units, lives.streams.by_key, lives.sinks.by_key) == ({}, {}, {})
        assert not len(lives.sinks)
        assert engine._loop.inputs == {}
        assert hands.contexts == []


def test_stopped_rules_stay_stopped(tmp_path: Path) -> None:
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


def test_idle_sinks_cost_no_thread(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        threads = {*threading.enumerate()}
        bodies = [
            rule(f"r{k}", f"SELECT v FROM s WHERE v > {k}") | {"actions": [{"kept": {"name": f"{k}"}}]}
            for k in range(300)
        ]
        assert engine.create_rules(bodies) == {}
        wait_for(lambda: hands.contexts)
        wait_for(lambda: begun_since(threads) == 1)  # the source
        hands.give([{"v": 2}])
        wait_for(lambda: len(hands.got) == 2 and engine.settled())
        wait_for(lambda: begun_since(threads) == 3)


def test_a_streams_wrong_use_is_refused(tmp_path: Path) -> None:
    """A TEMP stream is gone after a restart; a form of times that no source reads gives no time."""
    with running(tmp_path) as (engine, _):
        engine.execute(stream("passing", TEMP="true"))
        engine.execute(stream("odd", TIMESTAMP="t", TIMESTAMP_FORMAT="QQ"))
        for body, why in (
            (rule("r", "SELECT v FROM passing"), "passing is TEMP"),
            (
                rule("r", "SELECT v FROM odd", isEventTime=True),
                'TIMESTAMP_FORMAT: pattern "QQ": QQ means nothing',
            ),
        ):
            for tried in (engine.validate, engine.create_rule):
                with pytest.raises(RuleError, match=why):
                    tried(body)
        engine.create_rule(rule("r", "SELECT v FROM passing") | {"temp": True})
        engine.create_rule(rule("arrival", "SELECT v FROM odd"))


def test_a_state_resets_only_to_valid_offsets(tmp_path: Path) -> None:
    """To an offset that its source takes."""
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


def test_a_keyed_value_applies_from_the_next_record(tmp_path: Path) -> None:
    """Also after a restart."""
    limit = "SELECT v FROM s WHERE v > get_keyed_state('limit', 'float', 10.0)"
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", limit))
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 5}, {"v": 11}])
        wait_for(lambda: [row["v"] for row in hands.rows] == [11])
        engine.keyed_values.put("limit", 4)
        hands.give([{"v": 5}, {"v": 3}])
        wait_for(lambda: [row["v"] for row in hands.rows] == [11, 5])
        with pytest.raises(RuleError, match="want a number"):
            engine.keyed_values.put("limit", [4])
        with pytest.raises(RuleError, match="not found"):
            engine.keyed_values.delete("other")
    with running(tmp_path) as (engine, hands):
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 6}])
        wait_for(lambda: [row["v"] for row in hands.rows] == [6])
        engine.keyed_values.delete("limit")
        hands.give([{"v": 6}, {"v": 12}])
        wait_for(lambda: [row["v"] for row in hands.rows] == [6, 12])


def test_what_gives_way_to_a_limit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_rules.query.planning.analysis.MAX_PARTITIONS", 2)
    monkeypatch.setattr("opq_rules.sources.memory.MAX_KEPT", 2)
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.execute('CREATE TABLE t () WITH (DATASOURCE="t", TYPE="memory", KIND="lookup", KEY="v")')
        engine.create_rule(rule("j", "SELECT s.v FROM s INNER JOIN t ON s.v = t.v"))
        engine.create_rule(rule("a", "SELECT v, lag(v) OVER (PARTITION BY v) AS before FROM s"))
        wait_for(lambda: hands.contexts)
        engine.topics.publish("t", [{"v": k} for k in range(5)])
        hands.give([{"v": k} for k in range(5)])
        wait_for(lambda: engine.views.rule_status("a")["op_2_analytic_0_forgotten_total"] == 3)
        assert engine.views.totals()["table_rows_lost_total"] == 3
