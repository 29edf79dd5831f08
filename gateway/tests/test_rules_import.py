"""Imports of whole sets: rehearsed before anything changes, in JSON and YAML, at once or as a task.

Source: docs/reference/rules.md, A.5.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_house import House
from waiting import wait_for

from opq_rules.api import exchange, sections, sets
from opq_rules.errors import IO_ERROR, RuleError

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'
OTHER = 'CREATE STREAM other () WITH (DATASOURCE="other", TYPE="memory")'
THREE = {
    "id": "three",
    "sql": "SELECT collect(v) AS vs FROM demo GROUP BY COUNTWINDOW(3)",
    "actions": [{"file": {"path": "three.jsonl"}}],
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)
    made = House(tmp_path)
    made.ask("POST", "/streams", {"sql": DEMO}, 201)
    made.ask("POST", "/rules", THREE, 201)
    yield made
    assert made.stop() == []


def rule(name: str, **more: Any) -> str:
    return json.dumps({"id": name, "sql": "SELECT v FROM other", "actions": [{"nop": {}}], **more})


BAD = {
    "streams": {"other": OTHER},
    "tables": {"other": OTHER.replace("STREAM", "TABLE")},
    "sinkConfig": {"rest": {"mine": {"url": "http://127.0.0.1:1/{{", "connectionSelector": "there"}}},
    "connectionConfig": {"rest": {"there": {"url": "ftp://x"}}},
    "rules": {
        "a": rule("a", sql="SELECT v FROM demo"),
        "b": rule("b", actions=[{"mqtt": {}}]),
        "c": rule("c", sql="SELECT nope(v) FROM other"),
        "d": rule("d"),
    },
}


@pytest.mark.parametrize("path", ["/data/import", "/data/import?partial=1"])
def test_a_bad_import_leaves_what_runs_alone(house: House, tmp_path: Path, path: str) -> None:
    publish = house.service.engine.topics.publish
    publish("demo", [{"v": 1}, {"v": 2}])
    before = house.ask("GET", "/data/export")
    told = house.ask("POST", path, {"content": json.dumps(BAD)}, 400)["message"]
    for part in ("tables.other: other already exists", "connectionConfig.rest.there", "rules.b", "rules.c"):
        assert part in told
    assert ("rules.a" in told) == ("partial" not in path)  # the stream of those that are there
    assert "rules.d" not in told
    assert house.ask("GET", "/data/export") == before
    publish("demo", [{"v": 3}])
    wait_for(lambda: (tmp_path / "three.jsonl").exists() and (tmp_path / "three.jsonl").read_text())
    assert json.loads((tmp_path / "three.jsonl").read_text()) == {"vs": [1, 2, 3]}


def test_connections_come_along_and_are_used(house: House, tmp_path: Path) -> None:
    house.ask("POST", "/connections", {"id": "base", "typ": "sql", "props": {"url": "sqlite:///a.db"}}, 201)
    action = {"sql": {"table": "t", "resourceId": "mine"}}
    house.ask("PUT", "/metadata/sinks/sql/confKeys/mine", {"connectionSelector": "base"})
    house.ask("POST", "/rules", {**THREE, "id": "stored", "actions": [action]}, 201)
    data = house.ask("GET", "/data/export")
    assert data["connectionConfig"] == {"sql": {"base": {"url": "sqlite:///a.db"}}}
    data["sinkConfig"] = {"sql": json.dumps(data["sinkConfig"]["sql"])}  # as eKuiper writes it
    other = House(tmp_path / "other")
    try:
        assert other.ask("POST", "/data/import", {"content": json.dumps(data)})["rules"] == 2
        assert other.ask("GET", "/connections/base")["users"] == ["rule stored"]
        assert other.ask("GET", "/data/export")["sinkConfig"]["sql"]["mine"] == {"connectionSelector": "base"}
        other.ask("DELETE", "/connections/base", code=400)
    finally:
        assert other.stop() == []


def test_a_rule_is_exported_with_what_it_needs(house: House, tmp_path: Path) -> None:
    for name in ("mine", "yours"):
        house.ask("POST", "/connections", {"id": name, "typ": "rest", "props": {"url": "http://a"}}, 201)
        for kind, type_name in (("sources", "httppull"), ("sinks", "rest")):
            path = f"/metadata/{kind}/{type_name}/confKeys/{name}"
            house.ask("PUT", path, {"connectionSelector": name, "method": "PUT"})
        sql = f'CREATE STREAM {name} () WITH (DATASOURCE="/a", TYPE="httppull", CONF_KEY="{name}")'
        house.ask("POST", "/streams", {"sql": sql}, 201)
        sql = f'CREATE TABLE held_{name} () WITH (DATASOURCE="a", TYPE="memory", KIND="lookup", KEY="id")'
        house.ask("POST", "/tables", {"sql": sql}, 201)
        made = {
            "id": name,
            "sql": f"SELECT * FROM {name} INNER JOIN held_{name} ON {name}.id = held_{name}.id",
            "actions": [{"rest": {"resourceId": name}}],
            "triggered": False,
        }
        house.ask("POST", "/rules", made, 201)
    data = house.ask("POST", "/data/export", ["mine"])
    names = {
        section: sorted(name for each in found.values() for name in each) if "Config" in section else [*found]
        for section, found in data.items()
    }
    assert names == {
        "streams": ["mine"],
        "tables": ["held_mine"],
        "rules": ["mine"],
        "Schema": [],
        "connectionConfig": ["mine"],
        "sourceConfig": ["mine"],
        "sinkConfig": ["mine"],
        "portablePlugins": [],
    }
    other = House(tmp_path / "other")
    try:
        assert other.ask("POST", "/data/import", {"content": json.dumps(data)})["rules"] == 1
        assert other.ask("GET", "/data/export") == data
    finally:
        assert other.stop() == []
    house.ask("POST", "/data/export", ["nobody"], 404)


def test_a_connection_that_a_running_rule_does_not_take_is_not_imported(house: House) -> None:
    there = {"id": "there", "typ": "rest", "props": {"url": "http://127.0.0.1:1"}}
    house.ask("POST", "/connections", there, 201)
    action = {"rest": {"connectionSelector": "there"}}
    house.ask("POST", "/rules", {**THREE, "id": "posting", "actions": [action]}, 201)
    wanted = json.dumps({"connectionConfig": {"rest": {"there": {"url": "http://{{"}}}})
    told = house.ask("POST", "/data/import?partial=1", {"content": wanted}, 400)["message"]
    assert "connectionConfig.rest.there: sink 'rest'" in told
    assert house.ask("GET", "/connections/there")["props"] == there["props"]


@pytest.mark.parametrize("where", ["create_rules", "delete_rule"])
def test_what_the_disk_refuses_later_is_undone(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    engine = house.service.engine
    work, left = getattr(engine, where), [1]

    def refused_once(*given: Any) -> Any:
        if left:
            left.pop()
            raise RuleError("the rules' database refuses: disk full", IO_ERROR)
        return work(*given)

    monkeypatch.setattr(engine, where, refused_once)
    house.ask("PUT", "/metadata/sinks/log/confKeys/mine", {"sendSingle": True})
    before = house.ask("GET", "/data/export")
    wanted = {
        "streams": {"other": OTHER},
        "rules": {"d": rule("d")},
        "sinkConfig": {"log": {"mine": {}, "new": {}}},
        "connectionConfig": {"rest": {"there": {"url": "http://127.0.0.1:1"}}},
    }
    assert "disk full" in house.ask("POST", "/data/import", {"content": json.dumps(wanted)}, 400)["message"]
    assert house.ask("GET", "/data/export") == before
    assert house.ask("GET", "/rules/three/status")["status"] == "running"


def test_a_set_goes_out_and_in_as_yaml(house: House, tmp_path: Path) -> None:
    data = house.ask("GET", "/data/export")
    text = house.http.get("/v2/data/export").text
    assert "\n    sql: SELECT collect(v) AS vs FROM demo" in text  # rules are not text in text
    assert house.http.post("/v2/data/export", json=["three"]).text == text
    house.ask("POST", "/v2/data/export", ["nosuch"], 404)
    other = House(tmp_path / "other")
    try:
        for body in (text, json.dumps({"content": text})):
            assert other.http.post("/v2/data/import?dry=1", content=body).json()["rules"] == 1
            told = other.http.post("/v2/data/import", content=body)
            assert told.json() == {"streams": 1, "tables": 0, "rules": 1}, told.text
        assert other.ask("GET", "/data/export") == data
        path = other.ask("POST", "/config/uploads", {"name": "set.yaml", "content": text}, 201)
        wanted = other.http.post("/v2/data/import?partial=1", json={"file": f"file://{path}"})
        assert wanted.json() == {"streams": 0, "tables": 0, "rules": 0}
    finally:
        assert other.stop() == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("streams: &a {x: 1}\ntables: *a", "line 2: *a"),
        ("rules: " + "[" * 60, "50 nested objects"),
        ("rules: !!python/object/apply:os.system ['true']", "no YAML"),
        ("a: b: c", "no YAML"),
        ("? [a]\n: b", "no YAML"),
        ("at: 2026-99-99", "no YAML"),
        ("- a", "want an object"),
        ("nonsense: {a: 1}", "nonsense"),
        ("content: a\nfile: b", "either content or file"),
        ("x" * (sections.MAX_YAML + 1), "longer"),
    ],
)
def test_yaml_that_is_none_or_too_much_is_refused(text: str, part: str) -> None:
    with pytest.raises(RuleError) as refused:
        sets._of_yaml(text.encode(), Path("/nowhere"))
    assert part in str(refused.value)


def test_yaml_of_a_hundred_thousand_levels_is_refused() -> None:
    """From version 6.0.4 on PyYAML itself refuses more than 1,000 levels; before, our limit of 50 does."""
    with pytest.raises(RuleError, match=r"50 nested objects|maximum nesting depth"):
        sets._of_yaml(b"rules: " + b"[" * 100_000, Path("/nowhere"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100)
@given(document=JSON)
def test_what_is_written_as_yaml_is_read_as_it_was(document: Any) -> None:
    assert json.loads(sections.json_of_yaml(sections.yaml_of(document))) == document


@settings(max_examples=100)
@given(text=st.text(alphabet=st.sampled_from("ab:-?{}[]&*!|>%@`'\"#,\n \t0.<"), max_size=40))
def test_whatever_text_is_yaml_or_refused(text: str) -> None:
    with contextlib.suppress(RuleError):
        sections.json_of_yaml(text)


def test_an_import_as_a_task_is_told_of(house: House) -> None:
    good = json.dumps({"streams": {"other": OTHER}})
    for content, status in ((good, "finished"), (json.dumps(BAD), "failed")):
        name = house.ask("POST", "/async/data/import?partial=1", {"content": content})["id"]
        wait_for(lambda: house.ask("GET", f"/async/task/{name}")["status"] == status)  # noqa: B023
        house.ask("POST", f"/async/task/{name}/cancel", code=400)
    assert "rules.b" in house.ask("GET", f"/async/task/{name}")["message"]
    assert house.ask("GET", "/streams") == ["demo", "other"]
    house.ask("GET", "/async/task/nosuch", code=404)
    house.ask("POST", "/async/data/import", {}, 400)


def test_tasks_wait_their_turn_can_be_cancelled_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MAX_WAITING", 2)
    monkeypatch.setattr(sets, "MAX_KEPT", 3)
    told, begun = sets.Tasks(), threading.Event()

    def until_cancelled(stopped: Callable[[], bool]) -> Any:
        begun.set()
        wait_for(stopped)
        raise RuleError("cancelled in the middle")

    first = told.add(until_cancelled)
    assert begun.wait(60)
    waiting = [told.add(lambda stopped: 7) for _ in range(2)]
    with pytest.raises(RuleError, match="2 tasks wait"):
        told.add(lambda stopped: 7)
    told.cancel(waiting[0])
    assert told.get(waiting[0])["status"] == "cancelled"
    told.cancel(first)
    done = {"id": waiting[1], "status": "finished", "message": "", "result": 7}
    wait_for(lambda: told.get(waiting[1]) == done)
    assert told.get(first)["status"] == "cancelled"
    for _ in range(4):
        last = told.add(lambda stopped: 1 / 0)
        wait_for(lambda: told.get(last)["status"] == "failed")  # noqa: B023
    with pytest.raises(RuleError, match="not found"):
        told.get(first)


def test_an_import_that_is_cancelled_in_its_rehearsal_changes_nothing(house: House) -> None:
    engine, plugins = house.service.engine, house.service.plugins
    found = sections.read(json.dumps({"streams": {"other": OTHER}}))
    with pytest.raises(RuleError, match="cancelled"):
        exchange.take_over(engine, plugins, found, beside=False, stopped=lambda: True)
    assert house.ask("GET", "/streams") == ["demo"]


def test_an_upload_can_be_fetched_and_reads_no_file_elsewhere(house: House, tmp_path: Path) -> None:
    path = house.ask("POST", "/config/uploads", {"name": "a.txt", "content": "text"}, 201)
    copy = house.ask("POST", "/config/uploads", {"name": "b.txt", "file": f"file://{path}"}, 201)
    assert Path(copy).read_text() == "text"
    fetched = house.ask("POST", "/config/uploads", {"name": "c.txt", "file": f"{house.url}/ping"}, 201)
    assert Path(fetched).read_bytes() == b""
    (tmp_path / "secret").write_text("secret")
    for file in (f"file://{tmp_path}/secret", "ftp://x/y", f"http://127.0.0.1:{free_port()}/x", ""):
        house.ask("POST", "/config/uploads", {"name": "d.txt", "file": file}, 400)
    house.ask("POST", "/config/uploads", {"name": "d.txt"}, 400)
    house.ask("POST", "/config/uploads", {"name": "d.txt", "file": f"file://{path}", "content": "x"}, 400)
    house.ask("POST", "/config/uploads", {"name": "../d", "file": f"file://{path}"}, 400)
    assert sorted(Path(each).name for each in house.ask("GET", "/config/uploads")) == [
        "a.txt", "b.txt", "c.txt"
    ]  # fmt: skip
