"""Options, durations, schedules, restarts, definitions: what is read from a rule's JSON, what is refused."""

import re
from contextlib import nullcontext
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.config.settings import configured, milliseconds
from opq_rules.connections.secrets import without_secrets
from opq_rules.delivery.transform import divided
from opq_rules.engine.definitions.rule_definition import IDLE, Options, RestartStrategy, definition, options
from opq_rules.engine.definitions.schedule import NEVER_MS, RuleSchedule
from opq_rules.engine.lifecycle.rule_lifecycle import RuleLifecycle
from opq_rules.engine.running.rule import Rule
from opq_rules.errors import RuleError
from opq_rules.sinks.mqtt import Config as Mqtt
from opq_rules.sinks.rest import Config as Rest

RULE: dict[str, Any] = {"id": "r", "sql": "SELECT * FROM s", "actions": [{"log": {}}]}


@pytest.mark.parametrize(
    ("given_text", "ms"),
    [
        (0, 0),
        (1500, 1500),
        ("1500", 1500),
        ("10s", 10_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("0.5s", 500),
    ],
)
def test_durations(given_text: int | str, ms: int) -> None:
    assert milliseconds(given_text) == ms


@pytest.mark.parametrize("wrong", [-1, True, 1.5, None, "", "s", "10 s", "1d", "-5s"])
def test_wrong_durations(wrong: Any) -> None:
    with pytest.raises(ValueError, match="10s"):
        milliseconds(wrong)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_defaults_are_those_of_the_reference() -> None:
    read = options({})
    assert (read.qos, read.lateTolerance, read.bufferLength, read.checkpointInterval) == (
        0,
        1000,
        1024,
        300_000,
    )
    strategy = read.restartStrategy
    assert (strategy.attempts, strategy.delay, strategy.multiplier) == (0, 1000, 2.0)
    assert (strategy.maxDelay, strategy.jitterFactor) == (30_000, 0.1)
    assert options({"checkpointInterval": "10s"}).checkpointInterval == 10_000
    assert options({"restartStrategy": {"delay": "2s", "maxDelay": "1m"}}).restartStrategy.maxDelay == 60_000
    assert options({"debug": True, "concurrency": 2}) == options({})  # of eKuiper, without a meaning here


def test_properties_read_durations_and_words_in_any_case() -> None:
    rest: Rest = configured(Rest, {"url": "http://a", "method": "put", "bodyType": "JSON", "timeout": "2s"})
    assert (rest.method, rest.bodyType, rest.timeout) == ("PUT", "json", 2000)
    common, _ = divided({"lingerInterval": "1s500ms", "retryInterval": 20})
    assert (common.lingerInterval, common.retryInterval) == (1500, 20)
    for wrong in (
        {"timeout": "2 days"},
        {"timeout": "1h"},
        {"timeout": -1},
        {"method": "brew"},
        {"method": 1},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}  is .*; want (ms|from|one of)"):
            configured(Rest, {"url": "http://a", **wrong})
    with pytest.raises(ValueError, match="qos  is True; want one of 0, 1, 2"):
        configured(Mqtt, {"topic": "t", "qos": True})


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(RuleError) as told:
        options({"qos": 3, "lateTolerance": -1, "isEventtime": True, "restartStrategy": {"attempts": "x"}})
    text = str(told.value)
    for part in ("qos", "lateTolerance", 'did you mean "isEventTime"', "restartStrategy.attempts"):
        assert part in text
    assert told.value.http == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "x", "duration": "1m"},
        {"cron": "* * * * *"},
        {"cron": "@every 1h", "duration": "1m"},
        {"duration": "1m"},
        {"cronDatetimeRange": [{"begin": "2026-01-02 00:00:00", "end": "2026-01-01 00:00:00"}]},
        {"cronDatetimeRange": "always"},
    ],
)
def test_wrong_schedules(wrong: dict[str, Any]) -> None:
    with pytest.raises(RuleError, match=r"cron|duration"):
        options(wrong)


def test_cron_starts_and_duration_stops() -> None:
    schedule = RuleSchedule.of("0 8 * * *", "30m", None)
    assert schedule is not None
    assert not schedule.runs_at(ms("2026-11-20 07:59:59"))
    assert schedule.runs_at(ms("2026-11-20 08:00:00"))
    assert schedule.runs_at(ms("2026-11-20 08:29:59"))
    assert not schedule.runs_at(ms("2026-11-20 08:30:00"))
    assert schedule.next_change_ms(ms("2026-11-20 07:00:00")) == ms("2026-11-20 08:00:00")
    assert schedule.next_change_ms(ms("2026-11-20 08:00:00")) == ms("2026-11-20 08:30:00")
    assert schedule.next_start_ms(ms("2026-11-20 08:10:00")) == ms("2026-11-21 08:00:00")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("@hourly", "2026-11-20 09:00:00"),
        ("@Daily", "2026-11-21 00:00:00"),
        ("@midnight", "2026-11-21 00:00:00"),
        ("@weekly", "2026-11-22 00:00:00"),
        ("@monthly", "2026-12-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
    ],
)
def test_cron_has_names(name: str, start: str) -> None:
    schedule = RuleSchedule.of(name, "1m", None)
    assert schedule is not None
    assert schedule.next_start_ms(ms("2026-11-20 08:10:00")) == ms(start)


def test_ranges_alone_and_around_cron() -> None:
    spans = [{"begin": "2026-11-20 08:00:00", "end": "2026-11-20 09:00:00"}]
    alone = RuleSchedule.of(None, None, spans)
    both = RuleSchedule.of("*/10 * * * *", "1m", spans)
    assert alone is not None
    assert both is not None
    assert alone.runs_at(ms("2026-11-20 08:30:30"))
    assert not both.runs_at(ms("2026-11-20 08:35:00"))
    assert both.runs_at(ms("2026-11-20 08:30:30"))
    assert not both.runs_at(ms("2026-11-20 09:00:30"))
    assert alone.next_change_ms(ms("2026-11-20 09:00:00")) == NEVER_MS
    assert alone.next_start_ms(ms("2026-11-20 08:30:00")) is None


def test_a_schedule_follows_a_set_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, waits, done = {"now": "2026-11-20 05:00:00"}, [], []
    store: Any = SimpleNamespace(changing=nullcontext)
    loop: Any = SimpleNamespace(clock=SimpleNamespace(now_ms=lambda: ms(wall["now"])))
    delayed: Any = SimpleNamespace(later=lambda wait_s, work: waits.append((wait_s, work)))
    nothing: Any = None
    lifecycle = RuleLifecycle(store, nothing, nothing, nothing, loop, delayed)
    monkeypatch.setattr(lifecycle, "start", lambda *_: done.append("start"))
    monkeypatch.setattr(lifecycle, "stop", lambda *_: done.append("stop"))
    rule = lifecycle.rules["r"] = Rule("r")
    lifecycle.begin(rule, definition({**RULE, "options": {"cron": "0 8 * * *", "duration": "30m"}}))
    for now, then in (
        ("2026-11-20 08:10:00", "start"),
        ("2026-11-20 07:00:00", "stop"),
        ("2026-11-20 08:29:50", "start"),
        ("2031-01-01 12:00:00", "stop"),
    ):
        wait_s, work = waits.pop()
        assert wait_s <= 60 and waits == []
        wall["now"] = now
        work()
        assert done[-1] == then


@given(st.integers(1, 50), st.floats(0, 1))
def test_restarts_wait_longer_up_to_the_most(failed: int, draw: float) -> None:
    strategy = RestartStrategy(attempts=5, delay=100, multiplier=2.0, maxDelay=3000, jitterFactor=0.1)
    wait_ms = strategy.wait_ms(failed, lambda: draw)
    plain_ms = min(100 * 2 ** (failed - 1), 3000)
    assert 0.9 * plain_ms <= wait_ms <= 1.1 * plain_ms


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "a/b"}, "id"),
        ({"id": ""}, "id"),
        ({"sql": ""}, "sql"),
        ({"actions": []}, "actions"),
        ({"actions": [3]}, "actions"),
        ({"actions": [{"log": 3}]}, "log"),
        ({"graph": {}}, "graph"),
        ({"triggered": "yes"}, "triggered"),
        ({"tags": [1]}, "tags"),
        ({"options": []}, "options"),
    ],
)
def test_wrong_definitions(change: dict[str, Any], told: str) -> None:
    with pytest.raises(RuleError, match=told):
        definition(RULE | change)


def test_the_path_and_the_body_name_one_rule() -> None:
    assert definition({key: value for key, value in RULE.items() if key != "id"}, "r").id == "r"
    with pytest.raises(RuleError, match="path"):
        definition(RULE, "other")


def test_one_action_may_hold_several_sinks() -> None:
    made = definition(RULE | {"actions": [{"log": {}, "mysql": {"url": "u", "Password": "p"}}]})
    assert [action.type for action in made.actions] == ["log", "mysql"]
    shown = without_secrets(
        {"actions": [{"mysql": {"Password": "p", "nested": [{"token": "t"}], "url": "u"}}]}
    )
    assert shown == {
        "actions": [{"mysql": {"Password": "******", "nested": [{"token": "******"}], "url": "u"}}]
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
KEYS = ("id", "name", "sql", "actions", "options", "triggered", "tags", "temp", "version", "graph")
keys = st.sampled_from([*KEYS, "options", "actions", "id", "qos"]) | st.text(max_size=5)
option_keys = st.sampled_from(
    [field.name for field in fields(Options)] + ["cron", "duration", "cronDatetimeRange"]
)


@given(
    st.dictionaries(keys, json_values) | json_values, st.dictionaries(option_keys, json_values), st.booleans()
)
def test_any_body_is_read_or_refused(body: Any, given_options: dict[str, Any], near: bool) -> None:
    if near and isinstance(body, dict):
        body = RULE | {"options": given_options} | dict(list(body.items())[:1])
    try:
        definition(body)
    except RuleError as error:
        assert error.http == 400


def test_the_page_names_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rules-engine.md").read_text()
    named = {
        word for line in page.splitlines() if line.startswith("| ") for word in re.split(r"[ ,|]+", line)
    }
    known = {field.name for field in fields(Options)} - {"schedule"} | {
        "cron",
        "duration",
        "cronDatetimeRange",
    }
    assert known | set(IDLE) <= named
