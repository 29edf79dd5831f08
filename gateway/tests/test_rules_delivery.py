"""What survives: the store, the outbox, packing; what is refused by a disk waits and comes."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.api.service_routes import health_of
from opq_rules.engine.definitions.rule_store import RuleStore
from opq_rules.engine.state.checkpoint import PAGE
from opq_rules.engine.state.outbox import Outbox, packed, unpacked
from opq_rules.errors import RuleError
from opq_rules.feeds.memory_topics import Topics, matches

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(74),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_packing_gives_back_what_came(value: Any) -> None:
    assert unpacked(packed(value)) == value


def test_packing_of_bytes_times_and_strangers() -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    assert unpacked(packed([b"\\0\\xff", moment])) == [b"\\0\\xff", moment]
    assert unpacked(packed({"path": Path("a")})) == {"path": "a"}


def test_the_store_is_all_or_nothing(tmp_path: Path) -> None:
    store = RuleStore(tmp_path / "rules.sqlite3")
    store.put_many("rule", {"b": "2", "a": "1"})
    broken: Any = {"c": "3", "d": object()}
    with pytest.raises(RuleError):
        store.put_many("rule", broken)
    store.close()
    store = RuleStore(tmp_path / "rules.sqlite3")
    assert store.all("rule") == {"a": "1", "b": "2"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("rules.sqlite3*")} == {0o600}
    store.delete("rule", ["a"])
    assert store.get("rule", "a") is None
    store.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(RuleError, match="cannot be opened"):
        RuleStore(tmp_path / "file" / "rules.sqlite3")
    (tmp_path / "rules.sqlite3").write_bytes(bytes(100))
    with pytest.raises(RuleError, match=r"rules\.sqlite3: .*damaged or no database; restore a copy"):
        RuleStore(tmp_path / "rules.sqlite3")


def test_a_commit_is_whole(tmp_path: Path) -> None:
    delivery = Outbox(tmp_path / "d.sqlite3")
    rows = delivery.commit({"feed  s": {"offset": 3}}, [("r", 7, "out", [{"v": 1}])], ())
    with pytest.raises(sqlite3.Error):
        broken: Any = [("r", 8, "out", [{}]), (None, 9, None, [{}])]
        delivery.commit({"feed  s": {"offset": 4}}, broken, rows)
    delivery.close()
    delivery = Outbox(tmp_path / "d.sqlite3")
    assert delivery.state("feed  s") == {"offset": 3}
    assert delivery.waiting("out", 0, 10) == [(rows[0], "r", 7, [{"v": 1}])]
    later = delivery.commit({"feed  s": None}, [("r", 8, "out", [])], rows)
    assert later[0] > rows[0]
    assert delivery.state("feed  s") is None
    assert delivery.readdress("r", ["new"]) == 1
    assert delivery.count("out") == 0
    assert delivery.waiting("new", later[0], 10)[0][1:] == ("r", 8, [])
    delivery.delete_rule("r")
    assert delivery.count("new") == 0
    delivery.close()


def test_the_outbox_holds_the_overflow_in_order(tmp_path: Path) -> None:
    total = 6 * PAGE
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", qos=1, bufferLength=100_000))
        wait_for(lambda: hands.contexts)
        hands.gate.clear()
        hands.give([{"v": v} for v in range(total)])
        wait_for(lambda: engine.views.totals()["commits_total"])
        hands.gate.set()
        wait_for(lambda: len(hands.got) == total)
        assert hands.rows == [{"v": v} for v in range(total)]
        assert len({row_id for row_id, _ in hands.got}) == total


def test_refused_rows_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", qos=1))
        wait_for(lambda: hands.contexts)
        hands.refuse = True
        hands.give([{"v": 1}, {"v": 2}], offset=2)
        wait_for(lambda: "away" in engine.views.rule_status("r")["degraded"])
        wait_for(lambda: engine.views.rule_status("r")["sink_kept_0_0_buffer_length"] == 2)  # both refused
        status = engine.views.rule_status("r")
        assert (status["sink_kept_0_0_records_in_total"], status["sink_kept_0_0_records_out_total"]) == (2, 0)
        engine.replace_rule("r", rule("r", "SELECT v FROM s", qos=1) | {"actions": [{"kept": {"name": "b"}}]})
    with running(tmp_path) as (engine, hands):
        wait_for(lambda: hands.rows == [{"v": 1}, {"v": 2}])
        ids = [row_id for row_id, _ in hands.got]
        assert ids == sorted(ids)
        wait_for(lambda: hands.contexts)
        assert hands.rewound == [2]


def test_a_full_disk_holds_the_source(tmp_path: Path) -> None:
    total = 30_000
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", qos=1))
        engine.create_rule(rule("free", "SELECT v AS w FROM s WHERE v < 0"))
        wait_for(lambda: hands.contexts)
        database = engine._checkpoint._outbox._file.connection
        pages = engine._loop.call(lambda: database.execute("PRAGMA page_count").fetchone()[0])
        engine._loop.call(lambda: database.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        context = hands.contexts[0]

        def give() -> None:
            for v in range(0, total, 10):
                assert context.emit_many([{"v": v + k} for k in range(10)])

        thread = threading.Thread(target=give)
        thread.start()
        wait_for(lambda: "full" in engine.views.rule_status("r")["degraded"])
        wait_for(lambda: engine._lifecycle.streams.by_key["feed  s"].runner.held)
        assert engine.views.rule_status("free")["degraded"] == ""
        health = health_of(engine, {})
        assert not health["ok"] and "full" in health["subcomponents"][0]["info"]
        assert len(hands.got) < total
        engine._loop.call(lambda: database.execute("PRAGMA max_page_count = 1000000000").fetchone())
        thread.join(60.0)
        wait_for(lambda: len(hands.got) >= total and engine.settled(), 200)
        assert hands.rows == [{"v": v} for v in range(total)]
        assert engine.views.rule_status("r")["degraded"] == ""
        assert health_of(engine, {})["ok"]


def test_a_deleted_rule_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream(SHARED="false"))
        engine.create_rule(rule("r", "SELECT v FROM s", qos=2))
        wait_for(lambda: hands.contexts)
        hands.refuse = True
        hands.give([{"v": 1}], offset=1)
        wait_for(lambda: "away" in engine.views.rule_status("r")["degraded"])
        engine.delete_rule("r")
    database = sqlite3.connect(tmp_path / "delivery.sqlite3")
    assert database.execute("SELECT name FROM state").fetchall() == []
    assert database.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("a/b", "a", False),
    ],
)
def test_topics(pattern: str, topic: str, fits: bool) -> None:
    assert matches(pattern, topic) is fits
    topics, got = Topics(), []
    listener = lambda name, rows: got.append((name, rows))  # noqa: E731
    topics.listen(pattern, listener)
    assert topics.publish(topic, [{}]) == int(fits)
    topics.leave(listener)
    assert topics.publish(topic, [{}]) == 0
    assert len(got) == int(fits)
