"""What a user of eKuiper expects: statements through `rule try`, REST over a real server.

Source: docs/reference/rules.md, parts A and D.
"""

import asyncio
import importlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine_token import token_auth
from waiting import wait_for

from opq_rules.api import queries
from opq_rules.api import rules_config as configuration
from opq_rules.api.rules_service import RulesService
from opq_rules.connections.secrets import with_secrets, without_secrets
from opq_rules.delivery.transform import SinkProperties
from opq_rules.engine.running import taps
from opq_rules.trying import try_case

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'
RULE = {"id": "r1", "sql": "SELECT v FROM demo WHERE v > 126", "actions": [{"memory": {"topic": "out"}}]}


class House:
    """A service on a free port, and a client of it that sends what it is told."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        config = configuration.Config(data_dir=folder, endpoint="127.0.0.1:0", **limits)
        self.service = RulesService(config)
        self.service.start()
        assert self.service.engine.ready.wait(240), "sources begin when all rules are loaded"
        url = f"http://127.0.0.1:{self.service.port}"
        self.http = httpx.Client(
            base_url=url, timeout=200, trust_env=False, verify=False, auth=token_auth(folder)
        )

    def ask(self, method: str, path: str, body: Any = None, code: int = 200, **sent: Any) -> Any:
        if body is not None:
            sent["content"] = json.dumps(body)
        answer = self.http.request(method, path, **sent)
        assert answer.status_code == code, f"{method} {path}: {answer.status_code} {answer.text}"
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json else answer.text


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.ask("POST", "/streams", {"sql": DEMO}, 201)
    yield made
    made.http.close()
    assert made.service.stop() == []


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", None])
def test_a_body_is_json_whatever_curl_calls_it(house: House, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    house.ask("POST", "/rules", RULE, 201, headers=headers)
    assert house.ask("GET", "/rules/r1")["sql"] == RULE["sql"]


@pytest.mark.parametrize(
    "path",
    [
        "/stop",
        "//stop",
        "/%73top",
        "/./stop",
        "/ping/../stop",
        "/stop/",
        "/batc%68/req",
        "/stop?a=1",
    ],
)
def test_nothing_in_a_batch_ends_the_server(house: House, path: str) -> None:
    (told,) = house.ask("POST", "/batch/req", [{"method": "GET", "path": path}])
    assert told["code"] == 400, told
    house.ask("GET", "/ping")


@pytest.mark.parametrize("path", ["/\0", "a" * 70_000, "//other.example:99999999/"])
def test_a_wrong_path_costs_a_batch_one_answer(house: House, path: str) -> None:
    wanted = [{"method": "GET", "path": path}, {"method": "GET", "path": "/streams"}]
    told = house.ask("POST", "/batch/req", wanted)
    assert told[0]["code"] in (400, 404)
    assert told[1] == {"code": 200, "response": '["demo"]'}


def test_half_a_character_makes_a_batch_not_json(house: House) -> None:
    told = house.ask("POST", "/batch/req", [{"method": "GET", "path": "/\ud800"}], code=400)
    assert told["error"] == 1004 and "not JSON" in told["message"]


def test_another_sites_image_ends_nothing(house: House) -> None:
    for site in ("cross-site", "same-site"):
        told = house.ask("GET", "/stop", code=403, headers={"Sec-Fetch-Site": site})
        assert told["error"] == 1000
    house.ask("GET", "/ping", headers={"Sec-Fetch-Site": "none"})  # typed into the address line


def test_a_shown_rule_returns_with_secrets(house: House) -> None:
    sink = {"server": "tcp://127.0.0.1:1", "topic": "a", "password": "secret"}
    rule = {
        "id": "m",
        "sql": "SELECT * FROM demo",
        "actions": [{"log": {}, "mqtt": sink}],
        "triggered": False,
    }
    house.ask("POST", "/rules", rule, 201)
    shown = house.ask("GET", "/rules/m")
    assert shown["actions"][0]["mqtt"]["password"] == "******"
    shown["actions"][0]["mqtt"]["topic"] = "b"
    house.ask("PUT", "/rules/m", shown)
    stored = json.loads(house.ask("POST", "/ruleset/export")["rules"]["m"])
    assert stored["actions"][0]["mqtt"] == {**sink, "topic": "b"}
    house.ask("PUT", "/metadata/sinks/mqtt/confKeys/k", sink)
    house.ask("PUT", "/metadata/sinks/mqtt/confKeys/k", {**sink, "password": "******", "topic": "c"})
    assert house.ask("POST", "/ruleset/export")["sinkConfig"]["mqtt"]["k"] == {**sink, "topic": "c"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql+pymysql://me:deep@host/base", "mysql+pymysql://me:******@host/base"),
        ("me:deep@tcp(localhost:3307)/base", "me:******@tcp(localhost:3307)/base"),
        ("tcp://host:1883", "tcp://host:1883"),
        ("http://host:80/a?b=c:d@e", "http://host:80/a?b=c:d@e"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_an_addresss_password_is_hidden(address: str, shown: str) -> None:
    assert without_secrets({"url": address}) == {"url": shown}
    assert with_secrets({"url": shown}, {"url": address}) == {"url": address}
    assert with_secrets({"url": "x:******@y"}, {"url": address}) == {"url": "x:******@y"}


def test_a_form_uploads_a_zip_exactly(house: House) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("plugin.json", bytes(range(256)) * 3 + b"\r\n--\r\n")
    path = house.ask(
        "POST",
        "/config/uploads",
        code=201,
        files={"uploadFile": ("x.zip", packed.getvalue(), "application/zip")},
    )
    assert Path(path).read_bytes() == packed.getvalue()
    for name, field in (("../x.zip", "uploadFile"), ("x.zip", "other"), ("", "uploadFile")):
        house.ask("POST", "/config/uploads", code=400, files={field: (name, b"x", "application/zip")})
    assert house.ask("GET", "/config/uploads") == [path]
    house.ask(
        "POST", "/config/uploads", code=400, content=b"--", headers={"Content-Type": "multipart/form-data"}
    )
    house.ask("POST", "/config/uploads", {"name": "x"}, 400)


def test_an_import_with_one_bad_rule_changes_nothing(house: House) -> None:
    counting = {**RULE, "sql": "SELECT count(*) AS n FROM demo GROUP BY COUNTWINDOW(2)"}
    house.ask("POST", "/rules", counting, 201)
    house.ask("PUT", "/metadata/sinks/log/confKeys/old", {"sendSingle": True})
    before = house.ask("POST", "/ruleset/export")
    held: list[Any] = []
    house.service.engine.topics.listen("out", lambda topic, rows: held.extend(rows))
    house.service.engine.topics.publish("demo", [{"v": 1}])
    wait_for(house.service.engine.settled)
    content = {
        "streams": {"new": DEMO.replace("demo ", "new ")},
        "rules": {
            "good": json.dumps({**RULE, "id": "good"}),
            "bad": json.dumps({**RULE, "id": "bad", "sql": "SELECT nofn(v) FROM demo"}),
        },
    }
    content["sinkConfig"] = {"log": {"new": {}, "old": {}}}
    told = house.ask("POST", "/ruleset/import", {"content": json.dumps(content)}, 400)
    assert "rules.bad" in told["message"]
    assert house.ask("POST", "/ruleset/export") == before
    house.service.engine.topics.publish("demo", [{"v": 2}])
    wait_for(house.service.engine.settled)
    assert held == [{"n": 2}]


@pytest.mark.parametrize(
    ("sent", "code", "part"),
    [
        (b"{", 1004, "not JSON"),
        (b"\xff", 1004, "JSON"),
        (b'{"a":' * 100_000, 1004, "JSON"),
        (b"[" * 100_000, 5000, "Expected object, got array"),
        (b"{}", 4000, "id"),
        (b'{"id": "x"}', 4000, "sql is missing"),
        (b'{"id": "x", "sql": "SELECT * FROM demo"}', 4000, "actions is missing"),
        (b'{"id": "..", "sql": "SELECT * FROM demo", "actions": [{"log": {}}]}', 4000, "id '..'"),
        (b'{"id": "x", "sql": "SELECT no(v) FROM demo", "actions": [{"log": {}}]}', 2101, "no"),
        (b'{"id": "x", "sql": "SELECT v FROM demo", "actions": [{"nosink": {}}]}', 4000, "there are: file"),
        (b'{"id": "x", "sql": "SELEC v FROM demo", "actions": [{"log": {}}]}', 2001, "SELECT"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(house: House, sent: bytes, code: int, part: str) -> None:
    told = house.ask("POST", "/rules", code=400, content=sent)
    assert told["error"] == code
    assert part in told["message"], told
    assert house.ask("GET", "/rules") == []


PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()


def test_the_page_names_every_path(house: House) -> None:
    words = set(re.findall(r"[A-Za-z]+", PAGE))
    for path in house.ask("GET", "/openapi.json")["paths"]:
        parts = re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", path))
        assert set(parts) <= words, path


@pytest.mark.parametrize("kind", ["sources", "sinks"])
def test_the_page_names_every_type_and_property(kind: str) -> None:
    folder = Path(importlib.import_module(f"opq_rules.{kind}").__file__ or "").parent
    configs: list[Any] = [SinkProperties]
    for file in folder.glob("[a-z]*.py"):
        if file.stem != "mock":  # for `rule try`
            assert f"\n| {file.stem} " in PAGE, file.stem
            configs.append(importlib.import_module(f"opq_rules.{kind}.{file.stem}").Config)
    absent = {field.name for config in configs for field in fields(config)} - set(re.findall(r"\w+", PAGE))
    assert absent <= {"key"}  # of memory's lookup table: KEY of the statement


def test_explain_says_how_a_rule_runs(house: House) -> None:
    house.ask("POST", "/rules", RULE, 201)
    assert house.ask("GET", "/rules/r1/explain").splitlines()[-1].strip().startswith("runs ")


@pytest.mark.parametrize("name", ["a%0ab", "%00", "a%20", "caf%C3%A9", "x" * 129, "a.b"])
@pytest.mark.parametrize("rest", ["", "/status", "/topo", "/explain"])
def test_an_id_that_cannot_be_one_is_refused(house: House, name: str, rest: str) -> None:
    assert house.ask("GET", f"/rules/{name}{rest}", code=400)["error"] == 4000
    assert house.ask("GET", f"/rules/fine{rest}", code=404)["error"] == 1002


def test_a_query_ends_with_its_client(house: House) -> None:
    with house.http.stream("POST", "/query", content=b'{"sql": "SELECT v FROM demo"}') as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": begun"
        house.service.engine.topics.publish("demo", [{"v": 1}])
        assert next(line for line in lines if line.startswith("data")) == 'data: {"v":1}'
        assert len(house.ask("GET", "/rules")) == 1
    wait_for(lambda: house.ask("GET", "/rules") == [])


def test_a_rules_rows_come_with_its_window(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_PING_S", 0.05)
    sql = "SELECT count(*) AS n, min(v) AS low FROM demo GROUP BY COUNTWINDOW(3)"
    house.ask("POST", "/rules", {"id": "r1", "sql": sql, "actions": [{"memory": {"topic": "out"}}]}, 201)
    engine = house.service.engine
    engine.topics.publish("demo", [{"v": 1}, {"v": 2}])
    wait_for(engine.settled)
    with house.http.stream("GET", "/query/r1") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(("event", "data")))

        def state() -> dict[str, Any]:
            assert next(lines) == "event: state"
            found: dict[str, Any] = json.loads(next(lines).removeprefix("data: "))
            return found

        assert state() == {"status": "running", "message": "", "dropped": 0}
        assert len(house.ask("GET", "/rules")) == 1, "no second rule"
        engine.topics.publish("demo", [{"v": 3}])
        assert next(lines) == 'data: {"n":3,"low":1}', "two came before anybody read"
        house.ask("POST", "/rules/r1/stop")
        assert state()["status"] == "stopped"
        house.ask("POST", "/rules/r1/start")
        assert state()["status"] == "running"
        engine.topics.publish("demo", [{"v": 5}] * 3)
        assert next(lines) == 'data: {"n":3,"low":5}'
        house.ask("DELETE", "/rules/r1")
        assert state() == {"status": "deleted"}
        assert list(lines) == []
    wait_for(lambda: not engine._loop.taps.by_rule)
    assert house.ask("GET", "/query/r1", code=404)["error"] == 1002


def test_a_slow_readers_losses_are_reported(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_WAITING", 5)
    rows = queries._Rows()
    rows.add_emissions([[{"n": n}] for n in range(8)])

    async def first() -> list[str]:
        events = rows.events(lambda: {"status": "running", "message": ""})
        return [await anext(events) for _ in range(3)]

    _, state, given = asyncio.run(first())
    assert '"dropped":3' in state and given.count("data: ") == 5 and '{"n":3}' in given
    house.ask("POST", "/rules", RULE, 201)
    monkeypatch.setattr(taps, "MAX_TAPS", 0)
    assert "readers of rows are open" in house.ask("GET", "/query/r1", code=400)["message"]


def test_a_long_body_without_length_is_refused(tmp_path: Path) -> None:
    made = House(tmp_path, most_body_mb=1)
    try:
        told = made.ask("POST", "/rules", code=413, content=(b" " * 100_000 for _ in range(30)))
        assert "1048576" in told["message"]
    finally:
        made.http.close()
        assert made.service.stop() == []


TEN_S = 1_765_792_480_000
"""A multiple of ten seconds."""

BY_RECORD: list[tuple[str, list[dict[str, Any]], list[list[dict[str, Any]]]]] = [
    ("SELECT COUNT(*) FROM s", [{"a": 1}], [[{"COUNT": 1}]]),
    ("SELECT abs(a), a+1, a+2 FROM s", [{"a": 1}], [[{"abs": 1, "kuiper_field_0": 2, "kuiper_field_1": 3}]]),
    ("SELECT x*2 AS y, a*2 AS x INVISIBLE FROM s", [{"a": 1}], [[{"y": 4}]]),
    ("SELECT * EXCEPT(a) REPLACE(a*2 AS a) FROM s", [{"a": 1, "b": 2}], [[{"a": 2, "b": 2}]]),
    ("SELECT a+1 AS a, a+1 AS c FROM s", [{"a": 1}], [[{"a": 2, "c": 3}]]),
    ("SELECT a+1 AS a FROM s WHERE a > 2", [{"a": 1}, {"a": 2}], [[{"a": 3}]]),
    ("SELECT a, lag(a) AS l FROM s WHERE a > 2", [{"a": 1}, {"a": 2}, {"a": 3}], [[{"a": 3, "l": 2}]]),
    ("SELECT count(*) AS n FROM s WHERE a > 1 GROUP BY COUNTWINDOW(2)", [{"a": 1}, {"a": 2}], [[{"n": 1}]]),
    (
        "SELECT count(*) AS n FROM s GROUP BY COUNTWINDOW(2) FILTER(WHERE a > 1)",
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [[{"n": 2}]],
    ),
    (
        "SELECT a, sum(b) FROM s GROUP BY COUNTWINDOW(2)",
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        [[{"a": 1, "sum": 6}]],
    ),
    (
        "SELECT collect(a) AS v FROM s GROUP BY STATEWINDOW(a > 4)",
        [{"a": a} for a in (0, 5, 1, 6, 7, 2)],
        [[{"v": [5, 1]}], [{"v": [6]}]],
    ),
    (
        "SELECT collect(a) AS v FROM s GROUP BY STATEWINDOW(a > 4, a = 0)",
        [{"a": a} for a in (0, 5, 1, 0, 1, 6, 2)],
        [[{"v": [5, 1, 0]}]],
    ),
    ("SELECT avg(a) AS m FROM s GROUP BY COUNTWINDOW(2)", [{"a": 1}, {"a": 2}], [[{"m": 1.5}]]),
    ("SELECT unnest(x), a FROM s", [{"x": [{"a": 1}, {"a": 2}], "a": 5}], [[{"a": 1}, {"a": 2}]]),
    ("SELECT changed_cols('t', true, *) FROM s", [{"a": 1, "b": 2}, {"a": 1}], [[{"ta": 1, "tb": 2}], [{}]]),
    (
        "SELECT 1 AS r FROM s WHERE a > 1 AND last_hit_count() < 1",
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [[{"r": 1}]],
    ),
]


@pytest.mark.parametrize(("sql", "rows", "wanted"), BY_RECORD)
def test_order_of_work_and_names_of_columns(
    sql: str, rows: list[dict[str, Any]], wanted: list[list[dict[str, Any]]]
) -> None:
    assert tried(sql, [(k, row) for k, row in enumerate(rows)]) == wanted


VALUES: list[tuple[str, dict[str, Any], Any]] = [
    ("7/2", {}, 3),
    ("-7/2", {}, -3),
    ("7.0/2", {}, 3.5),
    ("5^6", {}, 3),
    ("a != 1", {}, False),
    ("a NOT IN (1, 2)", {}, False),
    ("a NOT BETWEEN 1 AND 2", {}, False),
    ("NOT (a = 1)", {}, True),
    ("1 IN a", {}, False),
    ("1 NOT IN a", {}, True),
    ("a LIKE 'x\\_z'", {"a": "xyz"}, False),
    ("a[-1]", {"a": [1, 2]}, 2),
    ("a[5]", {"a": [1, 2]}, None),
    ("a[-1:]", {"a": [1, 2]}, [2]),
    ("a->b.c", {"a": 5}, None),
    ("CASE WHEN a > 1 THEN 1 ELSE 2 END", {}, 2),
    ("concat('a', x, 'b')", {}, "ab"),
    ("lpad('ab', 2)", {}, "  ab"),
    ("substring('abcd', 1, 3)", {}, "bc"),
]


@pytest.mark.parametrize(("expression", "row", "wanted"), VALUES)
def test_values_and_null(expression: str, row: dict[str, Any], wanted: Any) -> None:
    told = tried(f"SELECT {expression} AS r FROM s", [(0, row)])
    assert told == [[{} if wanted is None else {"r": wanted}]]
    assert wanted is None or type(told[0][0]["r"]) is type(wanted)


WINDOWS: list[tuple[str, list[int], list[tuple[int, int, int]]]] = [
    ("TUMBLINGWINDOW(ss, 10)", [0, 9_999, 10_000, 20_000], [(2, 0, 10_000), (1, 10_000, 20_000)]),
    ("HOPPINGWINDOW(ss, 10, 5)", [1_000, 6_000, 11_000], [(1, -5_000, 5_000), (2, 0, 10_000)]),
    ("HOPPINGWINDOW(ss, 5, 10)", [1_000, 6_000, 16_000], [(1, 5_000, 10_000)]),
    ("SLIDINGWINDOW(ss, 1)", [0, 1_000, 2_001], [(1, -1_000, 0), (2, 0, 1_000), (1, 1_001, 2_001)]),
    ("SESSIONWINDOW(ss, 60, 5)", [1_000, 2_000, 20_000], [(2, 1_000, 7_000)]),
]


@pytest.mark.parametrize(("window", "times_ms", "wanted"), WINDOWS)
def test_edges_of_windows(window: str, times_ms: list[int], wanted: list[tuple[int, int, int]]) -> None:
    sql = f"SELECT count(*) AS n, window_start() AS a, window_end() AS b FROM s GROUP BY {window}"
    told = tried(sql, [(ms, {}) for ms in times_ms])
    assert [(row["n"], row["a"] - TEN_S, row["b"] - TEN_S) for (row,) in told] == wanted


def test_event_time_restores_order() -> None:
    """Equal times are kept, older ones dropped."""
    rows = [(0, {"a": 2, "ts": TEN_S + 500}), (1, {"a": 1, "ts": TEN_S}), (2, {"a": 3, "ts": TEN_S + 1500})]
    late = [(3, {"a": 8, "ts": TEN_S + 499}), (4, {"a": 9, "ts": TEN_S + 500}), (5, {"ts": TEN_S + 2500})]
    assert tried("SELECT a FROM s", rows + late, isEventTime=True) == [[{"a": a}] for a in (1, 2, 9, 3)]


REFUSED = [
    ("SELECT * AS x FROM s", 2001, 1),
    ("SELECT b AS a, a AS b FROM s", 2101, 1),
    ("SELECT a FROM s\nWHERE nosuch(a)", 2101, 2),
    ("SELECT abs(a, b) FROM s", 2101, 1),
    ("SELECT avg(sum(a)) FROM s GROUP BY COUNTWINDOW(2)", 2101, 1),
    ("SELECT a FROM s GROUP BY avg(a), COUNTWINDOW(2)", 2101, 1),
    ("SELECT a FROM s GROUP BY COUNTWINDOW(2) HAVING a > 1", 2101, 1),
    ("SELECT a FROM s GROUP BY TUMBLINGWINDOW('ss', 1)", 2001, 1),
    ("SELECT a FROM s GROUP BY COUNTWINDOW(2, 3)", 2001, 1),
    ("SELECT a FROM s WHERE row_number() = 1", 2101, 1),
    ("SELECT unnest(x), unnest(y) FROM s", 2101, 1),
    ("SELECT CASE a END FROM s", 2001, 1),
    ("SELECT a FROM s; DROP STREAM s", 2001, 1),
]


@pytest.mark.parametrize(("sql", "code", "line"), REFUSED)
def test_a_refusal_has_code_and_place(sql: str, code: int, line: int) -> None:
    error = try_case(case(sql, []))["error"]
    assert (error["code"], error["http"], error["line"]) == (code, 400, line)


def case(sql: str, records: list[tuple[int, dict[str, Any]]], **options: Any) -> dict[str, Any]:
    return {
        "name": "c",
        "stream_ddl": ['CREATE STREAM s () WITH (TYPE="mock", TIMESTAMP="ts")'],
        "sql": sql,
        "options": options,
        "input": [{"stream": "s", "ts": TEN_S + ms, "data": row} for ms, row in records],
    }


def tried(sql: str, records: list[tuple[int, dict[str, Any]]], **options: Any) -> Any:
    told = try_case(case(sql, records, **options))
    return told.get("emissions", told.get("error"))
