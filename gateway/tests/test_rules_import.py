"""Imports of whole sets: rehearsed before anything changes, and replaced by version.

Source: docs/reference/rules.md, A.5.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from rules_house import House
from waiting import wait_for

from opq_rules.errors import IO_ERROR, RuleError

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory", VERSION="1")'
OTHER = 'CREATE STREAM other () WITH (DATASOURCE="other", TYPE="memory")'
THREE = {
    "id": "three",
    "sql": "SELECT collect(v) AS vs FROM demo GROUP BY COUNTWINDOW(3)",
    "actions": [{"file": {"path": "three.jsonl"}}],
    "version": "1",
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


def imported(house: House, found: Any, code: int = 200, path: str = "/ruleset/import") -> Any:
    return house.ask("POST", path, {"content": json.dumps(found)}, code)


BAD = {
    "streams": {"other": OTHER},
    "tables": {"other": OTHER.replace("STREAM", "TABLE")},
    "sinkConfig": {"rest": {"mine": {"url": "ftp://x"}}},
    "rules": {
        "a": rule("a", sql="SELECT v FROM demo"),
        "b": rule("b", actions=[{"mqtt": {}}]),
        "c": rule("c", sql="SELECT nope(v) FROM other"),
        "d": rule("d"),
        "e": rule("e", actions=[{"rest": {"resourceId": "mine"}}]),
    },
}


def test_a_bad_import_leaves_what_runs_alone(house: House, tmp_path: Path) -> None:
    publish = house.service.engine.topics.publish
    publish("demo", [{"v": 1}, {"v": 2}])
    before = house.ask("POST", "/ruleset/export")
    told = imported(house, BAD, 400)["message"]
    for part in ("tables.other: other already exists", "rules.b", "rules.c", "rules.e: sink 'rest'"):
        assert part in told
    assert "rules.a" not in told
    assert "rules.d" not in told
    assert house.ask("POST", "/ruleset/export") == before
    publish("demo", [{"v": 3}])
    wait_for(lambda: (tmp_path / "three.jsonl").exists() and (tmp_path / "three.jsonl").read_text())
    assert json.loads((tmp_path / "three.jsonl").read_text()) == {"vs": [1, 2, 3]}


def test_named_properties_come_along_and_are_used(house: House, tmp_path: Path) -> None:
    action = {"sql": {"table": "t", "resourceId": "mine"}}
    house.ask("PUT", "/metadata/sinks/sql/confKeys/mine", {"url": "sqlite:///a.db"})
    house.ask("POST", "/rules", {**THREE, "id": "stored", "actions": [action]}, 201)
    data = house.ask("POST", "/ruleset/export")
    written = {**data, "sinkConfig": {"sql": json.dumps(data["sinkConfig"]["sql"])}}  # as eKuiper writes it
    other = House(tmp_path / "other")
    try:
        answer = imported(other, written)
        assert answer["made"] == {"streams": ["demo"], "tables": [], "rules": ["stored", "three"]}
        assert other.ask("POST", "/ruleset/export") == data
        assert other.ask("GET", "/rules/stored/status")["status"] == "running"
    finally:
        assert other.stop() == []


def of(answer: Any, did: str) -> list[str]:
    return [name for names in answer[did].values() for name in names]


def test_an_import_replaces_older_definitions(house: House, tmp_path: Path) -> None:
    newer = {
        "streams": {"demo": DEMO.replace('"1"', '"2"').replace('DATASOURCE="demo"', 'DATASOURCE="new"')},
        "rules": {"three": json.dumps({**THREE, "sql": "SELECT v FROM demo", "version": "2"})},
    }
    old = {"streams": {"demo": DEMO.replace('"1"', '"0"')}, "rules": {"three": json.dumps(THREE)}}
    answer = imported(house, old)
    assert answer["left"]["streams"] == {"demo": "version 0 is older than 1"}
    assert answer["left"]["rules"] == {"three": "it is the same"} and not of(answer, "replaced")
    house.ask("POST", "/rules/three/stop")
    answer = imported(house, newer, path="/ruleset/import?dry=1")
    assert sorted(of(answer, "replaced")) == ["demo", "three"]
    assert house.ask("GET", "/rules/three")["version"] == "1"
    assert imported(house, newer) == answer
    assert sorted(of(imported(house, newer), "left")) == ["demo", "three"]
    wait_for(lambda: house.ask("GET", "/rules/three/status")["status"] == "running")
    house.service.engine.topics.publish("new", [{"v": 7}])
    wait_for(lambda: (tmp_path / "three.jsonl").exists() and (tmp_path / "three.jsonl").read_text())
    assert json.loads((tmp_path / "three.jsonl").read_text()) == {"v": 7}


def test_an_import_replaces_unversioned_definitions(house: House) -> None:
    other = {"streams": {"demo": DEMO.replace('DATASOURCE="demo"', 'DATASOURCE="new"')}, "rules": {}}
    assert of(imported(house, other), "replaced") == ["demo"]
    house.ask("POST", "/rules", {**THREE, "id": "plain", "version": ""}, 201)
    changed = {**THREE, "id": "plain", "version": "", "sql": "SELECT v FROM demo"}
    assert of(imported(house, {"streams": {}, "rules": {"plain": json.dumps(changed)}}), "replaced") == [
        "plain"
    ]
    assert house.ask("GET", "/rules/plain")["sql"] == "SELECT v FROM demo"


def test_an_unknown_import_parameter_is_refused(house: House) -> None:
    told = imported(house, {"streams": {}, "rules": {}}, 400, "/ruleset/import?partial=1")["message"]
    assert told == "partial: unknown; an import is all or nothing; its only parameter is dry=1"


def test_an_unreadable_newer_stream_is_not_imported(house: House) -> None:
    typed = DEMO.replace("()", "(w BIGINT)").replace('"1"', '"2"')
    told = imported(house, {"streams": {"demo": typed}}, 400)["message"]
    assert "rules.three: " in told and "v" in told
    shared = DEMO.replace('VERSION="1"', 'SHARED="true", VERSION="2"')
    assert "SHARED cannot change" in imported(house, {"streams": {"demo": shared}}, 400)["message"]
    assert house.ask("POST", "/ruleset/export")["streams"] == {"demo": DEMO}


@pytest.mark.parametrize("where", ["create_rules", "replace_rule"])
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
    before = house.ask("POST", "/ruleset/export")
    wanted = {
        "streams": {"other": OTHER, "demo": DEMO.replace('"1"', '"2"')},
        "rules": {"d": rule("d"), "three": json.dumps({**THREE, "version": "2", "actions": [{"nop": {}}]})},
        "sinkConfig": {"log": {"mine": {}, "new": {}}},
    }
    assert "disk full" in imported(house, wanted, 400)["message"]
    assert house.ask("POST", "/ruleset/export") == before
    assert house.ask("GET", "/rules/three/status")["status"] == "running"


def test_an_upload_is_fetched_from_its_folder(house: House, tmp_path: Path) -> None:
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
        "a.txt",
        "b.txt",
        "c.txt",
    ]
