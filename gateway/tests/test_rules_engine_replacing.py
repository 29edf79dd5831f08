"""The engine: rules and streams that are replaced while records flow."""

import threading
from pathlib import Path

import pytest
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.engine.lifecycle import sink_pool
from opq_rules.errors import RuleError


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


def test_the_same_statement_keeps_its_window(tmp_path: Path) -> None:
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


def test_a_changed_statement_begins_empty(tmp_path: Path) -> None:
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


def test_a_redefined_stream_restarts_its_rules(tmp_path: Path) -> None:
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


def test_a_rule_with_stuck_sinks_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_pool, "STOP_S", 0.5)  # they never end
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
        thread.join(240)
        wait_for(lambda: len(hands.got) >= given[0] and engine.settled())
        assert hands.contexts == [source]  # the source ran on
        rows = [row for data in dict(hands.got).values() for row in data]  # qos 1: once per id
        assert [row["v"] for row in rows] == list(range(given[0]))
        versions = [row["version"] for row in rows]
        assert versions == sorted(versions)
