"""More than the engine can do: what waits is bounded in bytes too, and whoever changes a rule is heard.

And rules that come and go for long: nothing of them stays.
"""

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rules_engine import Hands, Idle, rule, running, stream
from waiting import wait_for

from opq_plugins import sdk
from opq_rules.engine.clock import SystemClock
from opq_rules.engine.engine import Engine
from opq_rules.engine.running import source_runner as feeds
from opq_rules.engine.running.source_runner import SourceRunner
from opq_rules.engine.state.checkpoint import Checkpoint


def feed(blocks: bool) -> SourceRunner:
    made: Callable[[], Any] = lambda: None  # noqa: E731 - it is not started
    return SourceRunner("s", "r", made, 1000, blocks, Idle())


def test_payload_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_BYTES", 2_500)
    made = feed(blocks=False)
    for k in range(5):
        assert made.emit_bytes([b"%d" % k * 1_000])
    assert (made.waiting, made.dropped) == (2, 3)
    assert [each.payloads[0][:1] for each in made.take_entries(10) if each.payloads] == [b"3", b"4"]
    assert made.emit_bytes([b"x" * 10_000])  # one alone may be as large as its source lets it
    assert (made.waiting, made.dropped) == (1, 3)


def test_a_waiting_source_waits_for_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_BYTES", 2_500)
    made = feed(blocks=True)
    sender = threading.Thread(target=lambda: [made.emit_bytes([b"x" * 1_000]) for _ in range(6)])
    sender.start()
    taken = 0
    while taken < 6:
        wait_for(lambda: made.waiting > 0)
        assert made.waiting <= 2
        taken += len(made.take_entries(1))
    sender.join(240)
    assert not sender.is_alive() and made.dropped == 0


class CountedWakes(Idle):
    """Counts how often a source woke the engine."""

    count = 0

    def wake(self, runner: SourceRunner) -> None:
        self.count += 1


def test_a_source_held_while_empty_still_wakes() -> None:
    """A rule is replaced just after the engine took the last record."""
    wakes = CountedWakes()
    made = SourceRunner("s", "r", lambda: None, 1000, True, wakes)  # type: ignore[arg-type, return-value]
    made.emit({"v": 1})
    assert (wakes.count, len(made.take_entries(10))) == (1, 1)
    made.held = True
    made.release()
    made.emit({"v": 2})
    assert wakes.count == 2


class Slow(SystemClock):
    """Each record takes 50 ms of it."""

    def __init__(self) -> None:
        self.worked_s = 0.0

    def monotonic_s(self) -> float:
        return self.worked_s


class Works(sdk.Function):
    def __init__(self, clock: Slow) -> None:
        self._clock = clock

    def exec(self, args: Any, context: Any) -> Any:
        self._clock.worked_s += 0.05
        return args[0]


def test_a_rule_change_overtakes_waiting_records(tmp_path: Path) -> None:
    hands, clock = Hands(tmp_path), Slow()
    hands.made_functions["works"] = lambda: Works(clock)
    engine = Engine(tmp_path, hands, clock)
    engine.start()
    held, go_on = threading.Event(), threading.Event()
    done_before: list[int] = []

    def hold() -> None:
        held.set()
        go_on.wait(240)

    def change() -> None:
        done_before.append(round(clock.worked_s / 0.05))

    try:
        assert engine.ready.wait(240)
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT works(v) AS v FROM s"))
        wait_for(lambda: hands.contexts)
        threads = [threading.Thread(target=engine._loop.call, args=(each,)) for each in (hold, change)]
        threads[0].start()
        assert held.wait(240)
        for k in range(200):
            hands.give([{"v": k}])
        threads[1].start()
        wait_for(lambda: engine._loop._inbox.qsize() == 2)  # the records, and behind them the change
        go_on.set()
        for each in threads:
            each.join(240)
        wait_for(lambda: len(hands.rows) == 200)
        assert done_before[0] < 20
    finally:
        go_on.set()
        assert engine.stop() == []


def test_endless_rules_leave_turns_to_callers(tmp_path: Path) -> None:
    hands, clock = Hands(tmp_path), Slow()
    hands.made_functions["works"] = lambda: Works(clock)
    engine = Engine(tmp_path, hands, clock)
    engine.start()
    try:
        assert engine.ready.wait(240)
        engine.execute('CREATE STREAM t () WITH (TYPE="memory", DATASOURCE="t")')
        ring = {"id": "ring", "sql": "SELECT works(v) AS v FROM t", "actions": [{"memory": {"topic": "t"}}]}
        engine.create_rule(ring)
        engine.topics.publish("t", [{"v": 1}])
        wait_for(lambda: clock.worked_s > 10)
        heard = threading.Event()
        threading.Thread(target=engine._loop.call, args=(heard.set,), daemon=True).start()
        assert heard.wait(240)
    finally:
        assert engine.stop() == []


def test_a_commit_waits_for_memory_topics(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute('CREATE STREAM t () WITH (TYPE="memory", DATASOURCE="t")')
        for k in range(40):
            engine.create_rule(rule(f"r{k}", "SELECT v FROM t", qos=1))
        left: list[int] = []

        def given_and_committed() -> None:
            engine.topics.publish("t", [{"v": 1}])
            engine._loop.commit()
            left.append(len(engine._loop._direct))

        engine._loop.call(given_and_committed)
        assert left == [0]
        wait_for(lambda: len(hands.rows) == 40)


def test_ended_rules_leave_no_sinks(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        engine.create_rule(rule("r", "SELECT v FROM s", qos=1))
        for k in range(10):
            wait_for(lambda: hands.contexts)
            hands.give([{"v": k}])
            wait_for(lambda k=k: len(hands.rows) == k + 1)  # type: ignore[misc]
            engine.restart_rule("r")
            engine.replace_rule("r", rule("r", f"SELECT v FROM s WHERE v > {k}", qos=1))
        gc.collect()
        assert len(engine._checkpoint._waiting) <= 2


def test_waiting_rows_are_counted_across_threads() -> None:
    outlet, made = Anything(), Checkpoint(Anything(), SystemClock())
    one: Any = Anything(id="r", sinks=Anything(runners=(outlet,)))

    def add() -> None:
        for _ in range(20_000):
            made.add(one, 0, [[{}]])
            made._emissions.clear()

    def taken() -> None:
        for _ in range(20_000):
            made.record_sent(outlet, [1])
            made._sent.clear()

    often, before = 1e-6, sys.getswitchinterval()
    sys.setswitchinterval(often)
    try:
        for _ in range(3):
            threads = [threading.Thread(target=each) for each in (add, taken)]
            for each in threads:
                each.start()
            for each in threads:
                each.join(240)
            assert made.waiting(outlet) == 0
    finally:
        sys.setswitchinterval(before)


class Anything(SimpleNamespace):
    __hash__ = object.__hash__
