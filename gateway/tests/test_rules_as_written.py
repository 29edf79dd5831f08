"""What people write for eKuiper: keys in any case, keys of others, no DATASOURCE, templates of Go."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from rules_house import House
from waiting import wait_for

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.ask("POST", "/streams", {"sql": DEMO}, 201)
    yield made
    assert made.stop() == []


def rule(action: dict[str, Any], name: str = "r") -> dict[str, Any]:
    return {"id": name, "sql": "SELECT * FROM demo", "actions": [action]}


def test_keys_are_found_in_any_case(house: House) -> None:
    port = free_port()
    action = {
        "mqtt": {"SERVER": f"tcp://127.0.0.1:{port}", "Topic": "t", "clientId": "me", "SENDSINGLE": True}
    }
    assert house.ask("POST", "/rules", rule(action), 201) == "Rule r was created successfully."
    sql = 'CREATE STREAM m () WITH (DATASOURCE="t", TYPE="mqtt", EXTRA=\'{"clientId": "x", "QOS": 0}\')'
    assert house.ask("POST", "/streams", {"sql": sql}, 201) == "Stream m is created."


def test_an_ekuiper_key_is_reported_and_ignored(house: House) -> None:
    told = house.ask("POST", "/rules", rule({"log": {"runAsync": True, "sendSingle": True}}), 201)
    assert told.endswith(" Note: sink log ignores the unknown runAsync.")
    assert "sink log ignores the unknown runAsync" in house.ask("GET", "/rules/r/explain")
    sql = 'CREATE STREAM m () WITH (DATASOURCE="t", TYPE="mqtt", EXTRA=\'{"traceId": "x"}\')'
    told = house.ask("POST", "/streams", {"sql": sql}, 201)
    assert told.endswith(" Note: source mqtt ignores the unknown traceId.")


def test_a_misspelt_key_is_refused(house: House) -> None:
    told = house.ask("POST", "/rules", rule({"mqtt": {"topik": "t"}}), 400)["message"]
    assert "topik" in told and 'did you mean "topic"?' in told
    sql = 'CREATE STREAM m () WITH (DATASOURCE="t", TYPE="mqtt", EXTRA=\'{"pasword": "x"}\')'
    assert 'did you mean "password"?' in house.ask("POST", "/streams", {"sql": sql}, 400)["message"]


def test_httppush_file_and_simulator_need_no_datasource(house: House, tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir(exist_ok=True)
    house.ask("PUT", "/metadata/sources/httppush/confKeys/own", {"server": f"127.0.0.1:{free_port()}"})
    for sql in (
        'CREATE STREAM p () WITH (TYPE="httppush", CONF_KEY="own")',
        'CREATE STREAM f () WITH (TYPE="file", EXTRA=\'{"path": "in.json"}\')',
        'CREATE STREAM sim () WITH (TYPE="simulator")',
    ):
        house.ask("POST", "/streams", {"sql": sql}, 201)
    told = house.ask("POST", "/streams", {"sql": 'CREATE STREAM g () WITH (TYPE="file")'}, 400)["message"]
    assert "DATASOURCE" in told
    action = {"memory": {"topic": "seen"}}
    got: list[Any] = []
    house.service.engine.topics.listen("seen", lambda topic, rows: got.extend(rows))
    house.ask("POST", "/rules", {"id": "s", "sql": "SELECT temperature FROM sim", "actions": [action]}, 201)
    wait_for(lambda: got)
    assert got[0] == {"temperature": 10}


def test_the_memory_sink_decodes_what_its_template_made(house: House) -> None:
    got: list[Any] = []
    house.service.engine.topics.listen("made", lambda topic, rows: got.extend(rows))
    template = '{"volts": {{.v}}}'
    action = {"memory": {"topic": "made", "dataTemplate": template, "sendSingle": True}}
    house.ask("POST", "/rules", rule(action), 201)
    house.service.engine.topics.publish("demo", [{"v": 5}, {"v": 6}])
    wait_for(lambda: len(got) >= 2)
    assert got == [{"volts": 5}, {"volts": 6}]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{add .v 1}}", "add"),
        ('{{printf "%d" .v}}', "printf"),
        ("{{mul 2 .v}}", "mul"),
        ("{{upper .v}}", "upper"),
    ],
)
def test_a_go_function_is_refused_by_name(house: House, template: str, name: str) -> None:
    told = house.ask("POST", "/rules", rule({"log": {"dataTemplate": template}}), 400)["message"]
    assert f"the function {name} of Go is not supported" in told


def test_a_jinja_template_is_not_go(house: House) -> None:
    template = json.dumps("{{ v - 0.5 }} {{ 'a.b' }} {{ row.v }} {{ v if v > 1 else 2.5 }}")
    house.ask("POST", "/rules", rule({"log": {"dataTemplate": template}}), 201)
