"""Rules over one window: each gives what it would alone, whenever it comes and goes."""

import gc
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_engine import rule, running, stream
from waiting import wait_for

from opq_rules.batch import Batch, Emission
from opq_rules.engine.clock import SystemClock
from opq_rules.engine.fronts import front_key
from opq_rules.engine.rule import Rule
from opq_rules.engine.together import Part, Together
from opq_rules.query.plan import Plan, plan
from opq_rules.query.query import Query
from opq_rules.query.run import Facts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of

BASE = 1_700_000_040_000
WINDOWS = [
    "TUMBLINGWINDOW(ms, 200)",
    "TUMBLINGWINDOW(ms, 200) FILTER (WHERE v > -5)",
    "CYCLEWINDOW(10)",
    "HOPPINGWINDOW(ms, 300, 100)",
    "HOPPINGWINDOW(ms, 100, 300)",
    "SESSIONWINDOW(ms, 500, 150)",
    "STATEWINDOW(v > 3, v < 0) OVER (PARTITION BY k)",
    "STATEWINDOW(v > 3)",
    "SLIDINGWINDOW(ms, 300)",
    "SLIDINGWINDOW(ms, 300, 200) OVER (WHEN v > 2)",
    "COUNTWINDOW(3)",
    "COUNTWINDOW(4, 3)",
]
BACKS = [
    "SELECT k, avg(v) AS a FROM s {} HAVING avg(v) > 1",
    "SELECT k, avg(v) AS a FROM s {} HAVING avg(v) > -2 AND count(*) > 1",
    "SELECT k, sum(v) AS v, count(*) AS c FROM s {} ORDER BY c DESC LIMIT 1",
    "SELECT k, count(*) FILTER (WHERE v > 0) AS c, max(v), collect(v) AS vs FROM s {}",
    "SELECT sum(x) AS x, avg(v) FROM s {}",
    "SELECT avg(v) AS m, sum(x) AS x FROM s {}",
    "SELECT k, median(v) AS m, window_start() AS a, window_end() AS b FROM s {}",
    "SELECT k, v + 1 AS w, max(w) AS m FROM s {}",
    "SELECT max(w) AS m FROM s {}",
    "SELECT * FROM s {}",
    "SELECT v, t FROM s {} ORDER BY v",
]


def planned(sql: str) -> Plan:
    create = parse('CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t", SHARED="true")')
    assert isinstance(create, Create)
    select = parse(sql)
    assert isinstance(select, Select)
    return plan(select, {"s": definition_of(create)})


class House:
    """Rules that share what they can, beside the same rules each in a query of its own."""

    def __init__(self, **options: Any) -> None:
        self.now_ms = BASE
        self._options = options
        self._units: dict[Any, Together] = {}
        self._rules: dict[int, tuple[Rule, Query]] = {}
        self.got: dict[int, list[Emission]] = {}
        self.wanted: dict[int, list[Emission]] = {}
        self._numbers: dict[str, int] = {}

    def start(self, sql: str, waiting: bool = False) -> None:
        number = len(self._numbers)
        made, facts = planned(sql), Facts("", self.now_ms, **self._options)
        one = self._put(number, Part(sql, made), waiting)
        self._rules[number] = (one, Query(made, facts))

    def picked(self, places: Sequence[int]) -> list[int]:
        """Rules that run, by their place."""
        numbers = list(self._rules)
        return list(dict.fromkeys(numbers[place % len(numbers)] for place in places)) if numbers else []

    def _put(self, number: int, part: Part, waiting: bool = False) -> Rule:
        key = front_key(part.plan)
        assert key is not None
        one = Rule(f"r{number}")
        one.constants, one.start_ms = part, self.now_ms
        unit = self._units.get(key)
        if unit is None:
            unit = self._units[key] = Together(key, {}, Facts("", BASE, **self._options), "")
        one.unit = unit
        self._numbers[one.id] = number
        unit.add(one, waiting)
        return one

    def stop(self, *numbers: int) -> None:
        for number in numbers:
            self._end(number)

    def _end(self, number: int) -> Any:
        """Its state, as it would be kept."""
        one, _ = self._rules.pop(number)
        unit = one.unit
        assert unit is not None
        state = json.loads(json.dumps(unit.state(one)))
        unit.remove(one)
        if not unit.rules():
            del self._units[unit.key]
        return state

    def restart(self, numbers: Sequence[int]) -> None:
        """Each goes on with its own state."""
        kept = [(number, *self._rules[number]) for number in numbers]
        parts = [Part(was.constants.text, was.constants.plan) for _, was, _ in kept]
        states = [self._end(number) for number, _, _ in kept]
        for (number, _, query), part, state in zip(kept, parts, states, strict=True):
            one = self._put(number, part)
            assert one.unit is not None
            one.unit.resume(one, state)
            query.counters.errors = 0
            self._rules[number] = (one, query)

    def follow(self, *numbers: int) -> None:
        """Or no more."""
        for number in numbers:
            one, _ = self._rules[number]
            assert one.unit is not None
            if one.unit.followed(one) is None:
                one.unit.apart(one)
            else:
                one.unit.in_again(one)

    def give(self, rows: Sequence[Any], after_ms: Sequence[int]) -> None:
        arrived = []
        for each in after_ms:
            self.now_ms += each
            arrived.append(self.now_ms)
        batch = Batch("s", list(rows), arrived if len(set(arrived)) > 1 else arrived[0])
        for unit in list(self._units.values()):
            unit.feed(batch, self._take)
        for number, (_, query) in self._rules.items():
            self.wanted.setdefault(number, []).extend(query.feed(batch))

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        for unit in list(self._units.values()):
            unit.advance(self.now_ms, self._take)
        for number, (_, query) in self._rules.items():
            self.wanted.setdefault(number, []).extend(query.advance(self.now_ms))

    def _take(self, one: Rule, emissions: Sequence[Emission]) -> None:
        self.got.setdefault(self._numbers[one.id], []).extend(emissions)

    def check(self) -> None:
        for number in self.wanted:
            assert self.got.get(number, []) == self.wanted[number], number
        for one, query in self._rules.values():
            assert one.unit is not None
            trouble = one.unit.trouble(one)
            assert (trouble.errors, trouble.late) == (query.counters.errors, query.counters.late)
            if trouble.errors:
                assert trouble.last_error == query.counters.last_error
        for unit in self._units.values():
            dues = [query.next_due_ms for one, query in self._rules.values() if one.unit is unit]
            assert unit.next_due_ms == min((due for due in dues if due is not None), default=None)

    @property
    def windows(self) -> int:
        return sum(len(unit._fronts) + len(unit._apart) for unit in self._units.values())


def a_row(draw: Random) -> dict[str, Any]:
    return {
        "t": BASE + draw.randrange(40) * 10,
        "k": draw.choice(["a", "a", "a", "b", True, 1, None]),
        "v": draw.choice([None, draw.randint(-9, 9), draw.uniform(-4, 4)]),
        "w": draw.randrange(4),
        "x": draw.choice([1, 1, 1, 2, "text"]),
    }


def a_step(house: House, texts: Sequence[str], draw: Random) -> None:
    picked = house.picked([draw.randrange(10)])
    match draw.choices(["give", "wait", "start", "stop", "restart", "follow"], [24, 3, 5, 2, 1, 2])[0]:
        case "give":
            count = draw.randint(1, 3)
            after_ms = draw.choice([[0] * count, [draw.randrange(90) for _ in range(count)]])
            given = [a_row(draw) for _ in range(count)]
            for each in given:
                each["t"] += house.now_ms - BASE - 200
            house.give(given, after_ms)
        case "wait":
            house.wait(draw.randrange(250))
        case "start":
            house.start(draw.choice(texts))
        case "stop":
            house.stop(*picked)
        case "restart":
            house.restart(picked)
        case "follow":
            house.follow(*picked)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=15, deadline=None)
@given(
    draw=st.randoms(use_true_random=True),
    event_time=st.booleans(),
    send_error=st.booleans(),
    send_empty_window=st.booleans(),
)
def test_each_gives_what_it_would_alone(
    window: str, draw: Random, event_time: bool, send_error: bool, send_empty_window: bool
) -> None:
    house = House(
        event_time=event_time,
        late_tolerance_ms=100,
        send_error=send_error,
        send_empty_window=send_empty_window,
    )
    where, group_by = draw.choice(["", "WHERE v > -7"]), draw.choice(["k, ", ""])
    texts = [each.format(f"{where} GROUP BY {group_by}{window}") for each in BACKS]
    for _ in range(draw.randrange(4)):
        house.start(draw.choice(texts))
    for _ in range(60):
        a_step(house, texts, draw)
    house.wait(1000)
    house.check()


ROW = {"t": BASE, "k": "a", "v": 5, "w": 1, "x": 1}


def test_rules_that_begin_together_have_one_window() -> None:
    house = House()
    texts = [each.format("GROUP BY k, TUMBLINGWINDOW(ms, 200)") for each in BACKS[:5]]
    for each in [*texts, texts[0]]:
        house.start(each)
    (unit,) = house._units.values()
    (front,) = unit._fronts
    assert len(front.backs) == 5  # two say the same
    written = [call.written for call in front._calls]
    assert written == ["avg", "count", "sum", "count", "max", "collect", "sum"]  # one count has a FILTER
    for _ in range(20):
        house.give([a_row(Random(1))], [50])
    house.stop(3)
    assert [call.written for call in front._calls] == ["avg", "count", "sum", "sum"]
    house.give([a_row(Random(2))], [250])
    house.wait(1000)
    house.check()


def test_one_that_comes_later_has_a_window_of_its_own_until_it_is_the_same() -> None:
    house = House()
    texts = [each.format("GROUP BY k, TUMBLINGWINDOW(ms, 200)") for each in BACKS[:3]]
    house.start(texts[0])
    house.give([ROW], [10])
    house.start(texts[1])
    house.start(texts[2], waiting=True)  # records from before its start are still to come
    house.give([ROW], [10])
    assert house.windows == 3
    house.give([ROW], [200])
    assert house.windows == 1
    house.give([ROW], [200])
    house.check()
    assert all(house.got[number] for number in (0, 2))


def test_rules_that_come_and_go_within_one_window_leave_none_behind() -> None:
    house = House()
    seen: weakref.WeakSet[Any] = weakref.WeakSet()
    for number in range(10):
        house.start("SELECT avg(v) FROM s GROUP BY TUMBLINGWINDOW(ss, 100)")
        house.give([ROW], [10])
        seen |= {front for unit in house._units.values() for front in unit._fronts}
        if number:
            house.stop(number - 1)
    gc.collect()
    assert len(seen) == house.windows == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT avg(v) FROM s GROUP BY {}", "SELECT avg(v) FROM s WHERE v > 1 GROUP BY {}"),
        ("SELECT avg(v) FROM s GROUP BY {}", "SELECT avg(v) FROM s GROUP BY k, {}"),
        (
            "SELECT avg(v) FROM s WHERE w > 1 GROUP BY {}",
            "SELECT v AS w, avg(v) FROM s WHERE w > 1 GROUP BY {}",
        ),
        ("SELECT k FROM s GROUP BY k, {}", "SELECT v AS k FROM s GROUP BY k, {}"),
        ("SELECT count(*) FROM s GROUP BY {}", "SELECT * FROM s GROUP BY {}"),
    ],
)
def test_what_differs_before_the_window_is_not_shared(one: str, other: str) -> None:
    first, second = (front_key(planned(each.format("TUMBLINGWINDOW(ms, 200)"))) for each in (one, other))
    assert first is not None
    assert second is not None
    assert first != second


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT v FROM s",
        "SELECT rule_id(), count(*) FROM s GROUP BY {}",
        "SELECT avg(v) FROM s WHERE rand() > 0 GROUP BY {}",
        "SELECT lag(count(*)) FROM s GROUP BY {}",
        "SELECT v FROM s GROUP BY {} HAVING count(*) > 1",
        "SELECT max(window_start()) FROM s GROUP BY {}",
        "SELECT window_start() AS a, max(a) FROM s GROUP BY {}",
        "SELECT count(*) FROM s GROUP BY {} HAVING last_agg_hit_count() < 3",
    ],
)
def test_what_is_its_own_rules_is_not_shared(sql: str) -> None:
    assert front_key(planned(sql.format("TUMBLINGWINDOW(ms, 200)"))) is None


def test_aggregates_of_a_name_that_is_an_alias_are_not_taken_for_the_columns() -> None:
    house = House()
    for each in (
        "SELECT k, v + 1 AS w, max(w) AS m FROM s GROUP BY k, {}",
        "SELECT max(w) AS m FROM s GROUP BY k, {}",
    ):
        house.start(each.format("TUMBLINGWINDOW(ms, 200)"))
    assert house.windows == 1
    house.give([{"k": "a", "v": 5, "w": 1}], [10])
    house.wait(1000)
    house.check()
    assert [house.got[0][0][0]["m"], house.got[1][0][0]["m"]] == [6, 1]


def average(name: str, above: float, **options: Any) -> dict[str, Any]:
    having = f"HAVING avg(v) > {above}"
    return rule(name, f"SELECT avg(v) AS a FROM s GROUP BY TUMBLINGWINDOW(ss, 10) {having}", **options)


@pytest.mark.parametrize("qos", [0, 1])
def test_rules_in_an_engine_come_and_go_beside_each_other(tmp_path: Path, qos: int) -> None:
    start_ms = (SystemClock().now_ms() // 10_000 + 10) * 10_000
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        assert engine.create_rules([average(f"r{k}", k, qos=qos) for k in range(5)]) == {}
        assert engine.look.totals()["units"] == 1
        assert "for r0, r2, r3, r4" in engine.look.explain("r1")
        wait_for(lambda: hands.contexts)
        hands.give([{"v": 2}], arrived_ms=start_ms, offset=1)
        wait_for(lambda: engine.look.usage()["r1"]["records"] == 1)
        engine.create_rule(average("late", 0, qos=qos))
        assert "of its own" in engine.look.explain("late")
        engine.replace_rule("r1", average("r1", 1, qos=qos) | {"actions": [{"kept": {"name": "other"}}]})
        engine.delete_rule("r0")
        engine.trace("r2")
        assert "traced" in engine.look.explain("r2")
    with running(tmp_path, hands) as (engine, hands):
        wait_for(lambda: hands.contexts)
        if qos == 0:  # the window went with the process
            hands.give([{"v": 2}], arrived_ms=start_ms, offset=1)
        hands.give([{"v": 8}], arrived_ms=start_ms + 1, offset=2)
        hands.give([{"v": 1}], arrived_ms=start_ms + 10_000, offset=3)
        wait_for(lambda: len(hands.got) == 5)
        by_rule = {row_id.split(":")[0]: data for row_id, data in hands.got}
        late = 5.0 if qos == 0 else 8.0
        assert by_rule == {name: [{"a": 5.0}] for name in ("r1", "r2", "r3", "r4")} | {"late": [{"a": late}]}
        hands.give([{"v": -1}], arrived_ms=start_ms + 20_000, offset=4)
        wait_for(lambda: "for r1, r2, r3, r4" in engine.look.explain("late"))
        usage = engine.look.usage()
        assert {each["rules"] for each in usage.values()} == {5}


def test_a_fault_behind_the_window_stops_its_rule_alone(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, hands):
        engine.execute(stream())
        assert engine.create_rules([average("bad", 0), average("good", 1)]) == {}
        wait_for(lambda: hands.contexts)
        bad = engine._rulebook.rules["bad"].constants

        def broken(*_: Any) -> Any:
            raise LookupError("a fault of ours")

        bad._emitter.rows = broken
        hands.give([{"v": 2}])
        hands.give([{"v": 2}], arrived_ms=1 << 42)
        wait_for(lambda: "a fault of ours" in engine.look.rule_status("bad")["message"])
        assert engine.look.rule_status("bad")["status"] == "stopped by error"
        hands.give([{"v": 2}], arrived_ms=(1 << 42) + 20_000)
        wait_for(lambda: len(hands.got) == 2)
        assert {row_id.split(":")[0] for row_id, _ in hands.got} == {"good"}
        assert engine.look.totals()["units"] == 1
