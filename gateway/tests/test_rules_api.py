"""REST of the rule engine over a real server: paths, codes and texts as users of eKuiper know them."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules_house import House
from waiting import wait_for

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit.system_answers import read_system
from opq_proto.kit.system_record import RULES, file_of, read_record
from opq_proto.kit.system_verdict import ServiceState
from opq_rules.api import request_batch
from opq_rules.api import rules_config as configuration
from opq_rules.api.rules_service import RulesService
from opq_rules.errors import RuleError

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'
SIMULATED = 'CREATE STREAM sim () WITH (DATASOURCE="x", TYPE="simulator", CONF_KEY="three", SHARED="true")'
RULE = {"id": "r1", "sql": "SELECT v FROM demo WHERE v > 126", "actions": [{"memory": {"topic": "out"}}]}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert made.stop() == []


def test_streams_are_made_shown_replaced_and_dropped(house: House) -> None:
    assert house.ask("POST", "/streams", {"sql": DEMO}, 201) == "Stream demo is created."
    assert house.ask("POST", "/streams", {"sql": DEMO}, 400)["error"] == 3000
    assert house.ask("GET", "/streams") == ["demo"]
    assert house.ask("GET", "/streamdetails") == [{"name": "demo", "type": "memory", "format": "json"}]
    assert house.ask("GET", "/streams/demo")["Name"] == "demo"
    assert house.ask("GET", "/streams/nowhere", code=404)["error"] == 1002
    typed = 'CREATE STREAM demo (v FLOAT, box STRING) WITH (DATASOURCE="demo", TYPE="memory")'
    house.ask("PUT", "/streams/demo", {"sql": typed})
    assert house.ask("GET", "/streams/demo/schema") == {"v": {"type": "float"}, "box": {"type": "string"}}
    assert "dropped" in house.ask("DELETE", "/streams/demo")
    assert house.ask("DELETE", "/streams/demo", code=404)["error"] == 1002


def test_a_stream_has_its_paths(house: House) -> None:
    made = 'CREATE STREAM demo (v FLOAT) WITH (DATASOURCE="demo", TYPE="memory")'
    house.ask("POST", "/streams", {"sql": made}, 201)
    assert house.ask("GET", "/streams/demo/schema") == {"v": {"type": "float"}}
    house.ask("PUT", "/streams/demo", {"sql": made})
    assert house.http.get("/streams/", follow_redirects=True).json() == ["demo"]
    assert house.http.get("/streams/demo/", follow_redirects=True).json()["Name"] == "demo"
    for statement in ("SHOW STREAMS", "DESCRIBE STREAM demo", "EXPLAIN STREAM demo", "DROP STREAM demo"):
        house.ask("POST", "/streams", {"sql": statement}, 200)
    assert house.ask("GET", "/streams") == []


def test_two_items_of_one_name_are_reported(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    rule = {**RULE, "id": "twice", "sql": "SELECT *, v AS x, w AS x FROM demo"}
    note = "several items are named x; the last one is sent"
    assert house.ask("POST", "/rules", rule, 201).endswith(f" Note: {note}.")
    assert note in house.ask("GET", "/rules/twice/explain")


def test_tables_have_paths_of_their_own(house: House) -> None:
    table = 'CREATE TABLE limits () WITH (DATASOURCE="limits", TYPE="memory", KIND="scan")'
    house.ask("POST", "/tables", {"sql": table}, 201)
    assert house.ask("GET", "/tables") == ["limits"]
    assert house.ask("GET", "/tables?kind=lookup") == []
    assert house.ask("GET", "/streams") == []
    house.ask("POST", "/streams", {"sql": table.replace("limits", "other")}, 400)
    house.ask("DELETE", "/tables/limits")


def test_a_rule_lives_from_creation_to_deletion(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    assert house.ask("POST", "/rules", RULE, 201) == "Rule r1 was created successfully."
    assert "already exists" in house.ask("POST", "/rules", RULE, 400)["message"]
    assert house.ask("GET", "/rules")[0] | {"tags": []} == {
        "id": "r1",
        "name": "",
        "status": "running",
        "version": "",
        "trace": False,
        "tags": [],
    }
    assert house.ask("GET", "/rules/r1")["sql"] == RULE["sql"]
    status = house.ask("GET", "/rules/r1/status")
    assert status["status"] == "running"
    assert status["source_demo_0_records_in_total"] == 0
    house.ask("DELETE", "/streams/demo", code=400)  # the rule needs it
    house.ask("POST", "/rules/r1/stop")
    assert house.ask("GET", "/rules/r1/status")["status"] == "stopped"
    house.ask("POST", "/rules/r1/start")
    house.ask("POST", "/rules/r1/restart")
    assert house.ask("GET", "/rules/status/all")["r1"]["status"] == "running"
    assert house.ask("GET", "/rules/r1/topo")["sources"] == ["source_demo"]
    assert "demo" in house.ask("GET", "/rules/r1/explain")
    assert list(house.ask("GET", "/rules/r1/schema")) == ["v"]
    house.ask("DELETE", "/rules/r1")
    for path in ("/rules/r1", "/rules/r1/status", "/rules/r1/explain", "/rules/r1/topo"):
        assert house.ask("GET", path, code=404)["error"] == 1002
    for path in ("/rules/r1/start", "/rules/r1/stop", "/rules/r1/restart"):
        house.ask("POST", path, code=404)


def test_a_bad_replacement_keeps_the_rule(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    house.ask("PUT", "/rules/r1", RULE)  # upsert
    bad = {**RULE, "sql": "SELECT v FROM nowhere"}
    house.ask("PUT", "/rules/r1", bad, 400)
    assert house.ask("GET", "/rules/r1")["sql"] == RULE["sql"]
    assert house.ask("GET", "/rules/r1/status")["status"] == "running"
    house.ask("PUT", "/rules/other", RULE, 400)  # the body says r1


def test_sql_errors_name_place_and_allowed(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    told = house.ask("POST", "/rules", {**RULE, "sql": "SELECT v\nFRM demo"}, 400)
    assert (told["error"], told["line"], told["column"]) == (2001, 2, 1)
    assert "FRM" in told["message"]
    assert "FROM" in told["message"]
    told = house.ask("POST", "/rules", {**RULE, "sql": "SELECT nope(v) FROM demo"}, 400)
    assert (told["error"], told["line"], told["column"]) == (2101, 1, 8)


def test_validate_answers_422_or_400(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    assert house.ask("POST", "/rules/validate", RULE) == {"sources": ["demo"], "valid": True}
    house.ask("POST", "/rules/validate", {**RULE, "sql": "SELECT"}, 422)
    answer = house.http.post("/rules/validate", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, 1004)
    assert house.ask("GET", "/rules") == []


def test_records_flow_from_source_to_topic(house: House) -> None:
    house.ask(
        "PUT", "/metadata/sources/simulator/confKeys/three", {"data": [{"v": 1}, {"v": 200}], "interval": 1}
    )
    house.ask("POST", "/streams", {"sql": SIMULATED}, 201)
    house.ask("POST", "/rules", {**RULE, "sql": "SELECT v FROM sim WHERE v > 126"}, 201)
    wait_for(lambda: house.ask("GET", "/rules/r1/status")["sink_memory_0_0_records_out_total"] > 3)
    usage = house.ask("GET", "/rules/usage/cpu")
    assert usage["r1"]["records"] > 3


def test_keyed_values_are_set_shown_and_deleted(house: House) -> None:
    assert house.ask("GET", "/keyed_state") == {}
    for key, value in (("limit", 108.5), ("count", 3), ("name", "Keller"), ("on", True)):
        house.ask("PUT", f"/keyed_state/{key}", value)
    assert house.ask("GET", "/keyed_state") == {"limit": 108.5, "count": 3, "name": "Keller", "on": True}
    for wrong in ([1], {"a": 1}, 2**64, "x" * 5000):
        assert "want a number of 64 bits" in house.ask("PUT", "/keyed_state/limit", wrong, 400)["message"]
    house.ask("PUT", "/keyed_state/no%20key", 1, 400)
    house.ask("DELETE", "/keyed_state/limit")
    house.ask("DELETE", "/keyed_state/limit", None, 404)


def test_secrets_are_not_shown(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    action = {"mqtt": {"server": "tcp://127.0.0.1:1", "topic": "t", "password": "secret"}}
    house.ask("POST", "/rules", {**RULE, "actions": [action], "triggered": False}, 201)
    assert "secret" not in json.dumps(house.ask("GET", "/rules/r1"))
    house.ask("PUT", "/metadata/sinks/mqtt/confKeys/mine", {"password": "secret"})
    assert "secret" not in json.dumps(house.ask("GET", "/metadata/sinks/yaml/mqtt"))


def test_tags_choose_rules_to_start_and_stop(house: House) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    for k in range(3):
        house.ask("POST", "/rules", {**RULE, "id": f"r{k}"}, 201)
        house.ask("PUT", f"/rules/r{k}/tags", {"tags": ["all", f"t{k % 2}"]})
    answer = house.ask("POST", "/rules/bulkstop", {"tags": ["t0"]})
    assert [each["id"] for each in answer] == ["r0", "r2"]
    states = {each["id"]: each["status"] for each in house.ask("GET", "/rules")}
    assert states == {"r0": "stopped", "r1": "running", "r2": "stopped"}
    house.ask("PATCH", "/rules/r1/tags", {"tags": ["new"]})
    house.ask("DELETE", "/rules/r1/tags", {"keys": ["all"]})
    assert house.ask("GET", "/rules")[1]["tags"] == ["t1", "new"]


def test_a_batch_does_many_requests_and_tells_each(house: House) -> None:
    told = house.ask(
        "POST",
        "/batch/req",
        [
            {"method": "POST", "path": "/streams", "body": json.dumps({"sql": DEMO})},
            {"method": "POST", "path": "rules", "body": json.dumps(RULE)},
            {"method": "GET", "path": "/rules/none/status"},
            {"method": "POST", "path": "/stop"},
        ],
    )
    assert [each["code"] for each in told] == [201, 201, 404, 400]
    assert house.ask("GET", "/streams") == ["demo"]


def test_a_batch_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    body = json.dumps({"sql": "SELECT * FROM demo"})
    paths = ("query", "//query", "%71uery", "x/../query", "/stop", "%73top", "batch/req/", "batch%2freq")
    answers = house.ask(
        "POST", "/batch/req", [{"method": "POST", "path": path, "body": body} for path in paths]
    )
    assert [each["code"] for each in answers] == [400] * len(paths)
    monkeypatch.setattr(request_batch, "MAX_ANSWER_CHARACTERS", 100_000)
    many = house.ask("POST", "/batch/req", [{"method": "GET", "path": "/openapi.json"}] * 100)
    codes = [each["code"] for each in many]
    assert codes == sorted(codes) and set(codes) == {200, 413}
    assert sum(len(each["response"]) for each in many if each["code"] == 200) < 300_000


def test_a_rule_set_moves_between_houses(house: House, tmp_path: Path) -> None:
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    house.ask("POST", "/rules", RULE, 201)
    exported = house.ask("POST", "/ruleset/export")
    assert set(exported) == {"streams", "tables", "rules", "sourceConfig", "sinkConfig"}
    other = House(tmp_path / "other")
    try:
        counts = other.ask("POST", "/ruleset/import", {"content": json.dumps(exported)})
        assert counts["made"] == {"streams": ["demo"], "tables": [], "rules": ["r1"]}
        assert other.ask("GET", "/rules/r1/status")["status"] == "running"
        again = other.ask("POST", "/ruleset/import", {"content": json.dumps(exported)})
        assert again["left"]["rules"] == {"r1": "it is the same"}
        other.ask("POST", "/ruleset/import", {}, 400)
    finally:
        assert other.stop() == []


def test_an_import_of_everything_is_all_or_nothing(house: House) -> None:
    house.ask("PUT", "/metadata/sinks/log/confKeys/mine", {"sendSingle": True})
    house.ask("POST", "/streams", {"sql": DEMO}, 201)
    house.ask("POST", "/rules", RULE, 201)
    data = house.ask("POST", "/ruleset/export")
    assert data["sinkConfig"] == {"log": {"mine": {"sendSingle": True}}}
    worse = {
        **data,
        "rules": {**data["rules"], "r2": json.dumps({**RULE, "id": "r2", "sql": "SELECT v FROM no"})},
    }
    told = house.ask("POST", "/ruleset/import", {"content": json.dumps(worse)}, 400)
    assert "r2" in told["message"]
    assert [each["id"] for each in house.ask("GET", "/rules")] == ["r1"]
    assert house.ask("GET", "/rules/r1/status")["status"] == "running"
    unread = {"streams": {"x": "SELECT"}, "nonsense": {"a": 1}, "Schema": {"a": {}}, "rules": {"r9": "{}"}}
    told = house.ask("POST", "/ruleset/import?dry=true", {"content": json.dumps(unread)}, 400)
    for words in ("nonsense: unknown", "Schema: unknown", "streams.x", "rules.r9"):
        assert words in told["message"]


def test_an_uploads_answer_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = House(Path("opq"))
    try:
        path = made.ask("POST", "/config/uploads", {"name": "set.json", "content": "{}"}, 201)
        assert Path(path).is_absolute() and path == str(tmp_path / "opq/data/rules/uploads/set.json")
        made.ask("POST", "/ruleset/import", {"file": f"file://{path}"})
    finally:
        assert made.stop() == []


def test_uploads_stay_in_their_folder(house: House, tmp_path: Path) -> None:
    path = house.ask("POST", "/config/uploads", {"name": "set.json", "content": "{}"}, 201)
    assert Path(path).read_text() == "{}"
    assert house.ask("GET", "/config/uploads") == [path]
    for name in ("../x", "a/b", "", "..", ".hidden", "a\0b"):
        house.ask("POST", "/config/uploads", {"name": name, "content": "x"}, 400)
    house.ask("POST", "/ruleset/import", {"file": f"file://{path}"})
    house.ask("POST", "/ruleset/import", {"file": "file:///etc/passwd"}, 400)
    house.ask("DELETE", "/config/uploads/set.json")
    house.ask("DELETE", "/config/uploads/set.json", code=404)


def test_half_a_character_is_no_fault_of_ours(house: House) -> None:
    for method, path in (("PUT", "/metadata/sources/mqtt/confKeys/k"), ("POST", "/rules")):
        told = house.http.request(method, path, content=b'{"id": "\\ud800"}')
        assert told.status_code == 400, told.text


def test_the_service_tells_of_itself(house: House) -> None:
    assert {"version", "os", "arch", "upTimeSeconds"} <= house.ask("GET", "/").keys()
    assert house.ask("GET", "/ping") == ""
    wait_for(lambda: house.ask("GET", "/health")["ok"])
    assert "opq_rules_records_in_total 0.0" in house.ask("GET", "/metrics")
    assert "/rules/{rule_id}" in house.ask("GET", "/openapi.json")["paths"]
    assert house.ask("POST", "/stop", code=400)["error"] == 5000  # embedded: not its own to end
    assert house.ask("GET", "/plugins/udfs") == []
    assert house.ask("GET", "/plugins/sinks") == []
    assert house.ask("GET", "/plugins/sinks/none", code=404)["error"] == 1002
    assert house.ask("GET", "/plugins/nonsense", code=404)["error"] == 1002


def test_another_sites_page_may_not_write(house: House) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ):
        assert house.http.post("/rules", json=RULE, headers=headers).status_code == 403
    own = {"Origin": house.url}
    assert house.http.post("/streams", json={"sql": DEMO}, headers=own).status_code == 201


def test_a_body_without_bound_is_refused(tmp_path: Path) -> None:
    made = House(tmp_path, most_body_mb=1)

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100_000

    try:
        assert made.http.post("/rules", content=b" " * 2_000_000).status_code == 413
        assert made.http.post("/rules", content=pieces()).status_code in (400, 413)  # without a length
    finally:
        made.stop()


def test_tokens_are_asked_for_where_they_are_set(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    as_printed = f"{hashlib.sha256(b'by sha256sum').hexdigest()}  -\n"
    file.write_text(f"# of the plant\n{hashlib.sha256(b'open sesame').hexdigest()}  # Ada\n{as_printed}")
    made = House(tmp_path / "data", token_file=file)
    try:
        assert made.http.get("/rules").status_code == 200  # the engine's own
        assert made.http.get("/rules", headers={"Authorization": ""}).status_code == 401
        assert made.http.get("/rules", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert made.http.get("/ping").status_code == 200
        for header in ("open sesame", "Bearer open sesame", "bearer open sesame", "by sha256sum"):
            assert made.http.get("/rules", headers={"Authorization": header}).status_code == 200
    finally:
        made.stop()


def test_an_address_beyond_loopback_needs_tokens(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "localhost.example", "127.example", "127.0.0.1.example", "::"):
        with pytest.raises(ConfigError, match="token_file"):
            configuration.load(None, tmp_path, host)
    for host in ("localhost", "127.0.0.2", "::1", "[::1]"):
        configuration.load(None, tmp_path, host)
    with pytest.raises(ConfigError, match="want host:port"):
        configuration.load(None, tmp_path, "pi/rules")
    file = tmp_path / "tokens"
    file.write_text("not a hash\n")
    config = tmp_path / "rules.toml"
    config.write_text(f'endpoint = "0.0.0.0:9081"\ntoken_file = "{file}"\n')
    with pytest.raises(ConfigError, match="entry 1"):
        configuration.load(config)
    config.write_text('endpont = "x"\nmost_body_mb = 0\n')
    with pytest.raises(
        ConfigError, match=r"did you mean \"endpoint\"[\s\S]*most_body_mb|most_body_mb[\s\S]*endpoint"
    ):
        configuration.load(config)


def test_rules_alone_are_in_the_record(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "opq_gateway", "rules", "--data-dir", str(tmp_path), "--port", "0"]
    for number, stays in ((signal.SIGTERM, True), (signal.SIGINT, False)):
        file_of(tmp_path, RULES).unlink(missing_ok=True)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: read_system(read_record(tmp_path), 0).ok)
            (service,) = (each for each in read_system(read_record(tmp_path), 0).services if each.meant)
            assert (service.name, service.state) == (RULES, ServiceState.RUNS)
            process.send_signal(number)
            assert process.wait(240) == 0
        finally:
            process.kill()
            process.wait()
        verdict = read_system(read_record(tmp_path), 0)
        assert [each.thing for each in verdict.troubles] == (["rules"] if stays else []), service


def test_a_busy_address_or_folder_is_reported(house: House, tmp_path: Path) -> None:
    taken = configuration.Config(data_dir=tmp_path / "x", endpoint=f"127.0.0.1:{house.service.port}")
    with pytest.raises(PortBusyError, match=str(house.service.port)):
        RulesService(taken)
    with pytest.raises(RuleError, match="another rule engine"):
        RulesService(configuration.Config(data_dir=house.config.data_dir, endpoint="127.0.0.1:0"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WRITES = [
    ("POST", "/streams"),
    ("POST", "/tables"),
    ("PUT", "/streams/demo"),
    ("POST", "/rules"),
    ("PUT", "/rules/r1"),
    ("POST", "/rules/validate"),
    ("PUT", "/rules/r1/tags"),
    ("POST", "/rules/bulkstart"),
    ("PUT", "/rules/r1/reset_state"),
    ("POST", "/plugins/sinks"),
    ("PUT", "/plugins/sinks/x"),
    ("POST", "/config/uploads"),
    ("POST", "/ruleset/import"),
    ("POST", "/batch/req"),
    ("PUT", "/metadata/sinks/log/confKeys/x"),
    ("PATCH", "/configs"),
]
KEYED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "sql", "actions", "options", "name", "file", "content", "params"), JSON),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(WRITES), body=KEYED | JSON | st.just({**RULE, "sql": "SELECT * FROM demo"}))
def test_no_body_is_a_fault_of_ours(house: House, where: tuple[str, str], body: Any) -> None:
    answer = house.http.request(*where, json=body)
    assert answer.status_code < 500, f"{where} {body!r}: {answer.text}"
    if answer.status_code >= 400:
        assert set(answer.json()) >= {"error", "message"}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(min_size=1, max_size=20),
    kind=st.sampled_from(["rules", "streams", "plugins/sinks"]),
)
def test_no_name_is_a_fault_of_ours(house: House, name: str, kind: str) -> None:
    from urllib.parse import quote

    answer = house.http.get(f"/{kind}/{quote(name, safe='')}")
    assert answer.status_code in (200, 307, 400, 404, 405), answer.text
