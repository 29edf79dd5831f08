"""The tutorial of eKuiper's sink plug-in: written, packed, served, deployed by REST, replaced under load.

All is real and as a user has it: `opq-tools plugin`, `opq-gateway rules`, mosquitto, HTTP, MariaDB.
"""

import functools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine_token import token_auth
from free_ports import free_port
from mariadb_of_ones_own import MariaDb, reason_without, running
from mosquitto_of_ones_own import MOSQUITTO, Broker
from waiting import wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "mysql-sink"
STREAM = 'CREATE STREAM demo () WITH (DATASOURCE="demo", FORMAT="JSON", CONF_KEY="here")'
AHEAD = 300
"""Rows that may be on their way: a rule at qos 0 drops what a slow database cannot take."""

pytestmark = [
    pytest.mark.skipif(reason_without() is not None, reason=str(reason_without())),
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with running(tmp_path_factory.mktemp("mariadb")) as made:
        yield made


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which anyone may fetch what lies in it."""
    folder = tmp_path / "www" / "plugins" / "sinks"
    folder.mkdir(parents=True)
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/plugins/sinks"
    server.shutdown()
    server.server_close()
    thread.join(240)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """The test does not read it."""


class Rules:
    """`opq-gateway rules` as a process, its REST, and what it logs."""

    def __init__(self, folder: Path, database: MariaDb) -> None:
        port, config = free_port(), folder.with_suffix(".toml")
        config.write_text(f'[plugins]\nnetwork = ["tcp:{database.port}"]\n')
        command = [
            sys.executable,
            "-m",
            "opq_gateway",
            "rules",
            "--config",
            str(config),
            "--data-dir",
            str(folder),
            "--port",
            str(port),
        ]
        self.log = folder / "rules.log"
        folder.mkdir()
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        url, auth = f"http://127.0.0.1:{port}", token_auth(folder)
        self._http = httpx.Client(base_url=url, timeout=240, trust_env=False, verify=False, auth=auth)
        wait_for(self._answers)

    def ask(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = self._http.request(method, path, json=body)
        assert answer.status_code == code, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def emitted(self) -> int:
        """Rows that the log action told."""
        return sum(
            len(json.loads(line)["rows"])
            for line in self.log.read_text().splitlines()
            if '"rule.emitted"' in line and line.endswith("}")
        )

    def stop(self) -> int:
        self._http.close()
        self._process.terminate()
        return self._process.wait(240)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self._http.get("/ping").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def rules(tmp_path: Path, database: MariaDb) -> Iterator[Rules]:
    made = Rules(tmp_path / "rules", database)
    yield made
    made.kill()


class Sender(threading.Thread):
    """Publishes numbered rows, each acknowledged by the broker, at most AHEAD of the table."""

    def __init__(self, port: int, database: MariaDb) -> None:
        super().__init__()
        self.sent, self.end = 0, threading.Event()
        self._port, self._database = port, database

    def run(self) -> None:
        import paho.mqtt.client as mqtt

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        while not self.end.is_set():
            if self.sent % 50 == 0:
                wait_for(lambda: self.sent - _count(self._database) < AHEAD)
            row = {"id": self.sent, "name": f"Maßstab {self.sent}"}
            client.publish("demo", json.dumps(row), qos=1).wait_for_publish(30)
            self.sent += 1
        client.disconnect()
        client.loop_stop()


@pytest.mark.timeout(600)
def test_the_tutorial_runs_under_load(
    tmp_path: Path, database: MariaDb, shelf: tuple[Path, str], rules: Rules
) -> None:
    folder, url = shelf
    database.ask("CREATE TABLE test (id INT, name VARCHAR(80) CHARACTER SET utf8mb4, written_by VARCHAR(20))")
    source = tmp_path / "mysql-sink"
    _tool("plugin", "new", "sink", "mysql", str(source))
    _write_sink(source, "1.0.0")
    _tool("plugin", "pack", str(source), "--out", str(folder / "mysqlSink.zip"))

    rules.ask("POST", "/plugins/sinks", {"name": "mysql", "file": f"{url}/mysqlSink.zip"}, 201)
    assert rules.ask("GET", "/plugins/sinks/mysql") == {"name": "mysql", "version": "1.0.0"}

    with Broker(tmp_path) as broker:
        server = {"server": f"tcp://127.0.0.1:{broker.port}", "qos": 1}
        rules.ask("PUT", "/metadata/sources/mqtt/confKeys/here", server)
        rules.ask("POST", "/streams", {"sql": STREAM}, 201)
        into = {"url": f"user:test@tcp(localhost:{database.port})/opq", "table": "test"}
        rule = {"id": "ruleTest", "sql": "SELECT * from demo", "actions": [{"log": {}, "mysql": into}]}
        rules.ask("POST", "/rules", rule, 201)
        wait_for(
            lambda: rules.ask("GET", "/rules/ruleTest/status")["source_demo_0_connection_status"] == 1, 60
        )

        sender = Sender(broker.port, database)
        sender.start()
        wait_for(lambda: _count(database) > 200)
        _write_sink(source, "1.0.1")
        _tool("plugin", "pack", str(source), "--out", str(folder / "mysqlSink-1.0.1.zip"))
        body = {"name": "mysql", "file": f"{url}/mysqlSink-1.0.1.zip"}
        answer = rules.ask("PUT", "/plugins/sinks/mysql", body)
        at_swap = _count(database)
        assert (answer["from"], answer["to"], answer["rules"]) == ("1.0.0", "1.0.1", 1)
        assert rules.ask("GET", "/plugins/sinks/mysql") == {"name": "mysql", "version": "1.0.1"}
        wait_for(lambda: _count(database) > at_swap + 200)
        sender.end.set()
        sender.join(240)
        assert not sender.is_alive()
        wait_for(lambda: _count(database) >= sender.sent)
        wait_for(lambda: rules.emitted() >= sender.sent)
        status = rules.ask("GET", "/rules/ruleTest/status")
        assert rules.stop() == 0

    stored = database.ask("SELECT id, name, written_by FROM test ORDER BY id")
    assert [row[0] for row in stored] == list(range(sender.sent)), "a row is lost or doubled"
    assert all(name == f"Maßstab {number}" for number, name, _ in stored)
    by = [row[2] for row in stored]
    first_of_new = by.index("1.0.1")
    assert first_of_new > 200
    assert by == ["1.0.0"] * first_of_new + ["1.0.1"] * (sender.sent - first_of_new), "the order is not kept"
    assert rules.emitted() == sender.sent
    assert {key: value for key, value in status.items() if key.endswith("exceptions_total") and value} == {}


def _count(database: MariaDb) -> int:
    return int(database.ask("SELECT COUNT(*) FROM test")[0][0])


def _tool(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from opq_tools.cli import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _write_sink(folder: Path, version: str) -> None:
    """The example of the guide; each version says in the table which one it is."""
    told = json.loads((EXAMPLE / "plugin.json").read_text()) | {"version": version}
    (folder / "plugin.json").write_text(json.dumps(told))
    shutil.copy(EXAMPLE / "samples.json", folder)
    shutil.copy(EXAMPLE / "sinks" / "mysql.json", folder / "sinks")
    code = (EXAMPLE / "sinks" / "mysql.py").read_text()
    before = "values = {checked("
    assert before in code
    line = f'row = {{**row, "written_by": "{version}"}}\n        '
    (folder / "sinks" / "mysql.py").write_text(code.replace(before, line + before))
