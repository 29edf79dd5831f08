"""`opq-tools rules` and `opq-tools plugin` against a real `opq-gateway rules` process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from command_in_process import run_in_process
from engine_token import token_auth
from free_ports import free_port

from opq_cloud.store import open_store
from opq_proto.errors import OpqError
from opq_proto.keys.rest_token import named_token
from opq_proto.kit import system_place
from opq_proto.kit.ports import PORTS
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.opq_pb2 import DESCRIPTOR
from opq_tools.cli import tools

OPQ = DESCRIPTOR.serialized_pb
SIMULATED = '() WITH (DATASOURCE="x", TYPE="simulator", CONF_KEY="three")'


class Engine:
    """Its own rule engine, and `opq-tools` that speaks to it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "opq_gateway", "rules", "--data-dir", str(self._folder / "D")]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "log").open("ab"),
        )
        until = time.monotonic() + 240
        while True:
            assert self.process.poll() is None, (self._folder / "log").read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False, verify=False).json()[
                    "ok"
                ]:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, "the engine does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(240)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def exports(self) -> Path:
        return self._folder / "D" / "exports"

    @property
    def auth(self) -> Callable[[httpx.Request], httpx.Request]:
        return token_auth(self._folder / "D")

    def tools(self, *arguments: str, code: int = 0, given: str | None = None) -> str:
        done = run(*arguments, url=self.url, given=given)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.tools(*arguments))


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, url: str | None = "http://127.0.0.1:9", given: str | None = None) -> Done:
    """As the shell does, without the half second that Python takes to start."""
    told = CliRunner().invoke(tools, list(arguments), input=given, env={"OPQ_RULES_URL": url})
    if isinstance(told.exception, OpqError):
        return Done(told.exception.exit_code, told.stdout, f"opq-tools: {told.exception}\n")
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    return Done(told.exit_code, told.stdout, told.stderr)


def run_in_shell(*arguments: str, url: str) -> Any:
    return subprocess.run(
        [sys.executable, "-c", "from opq_tools.cli import main; main()", *arguments],
        env={**os.environ, "OPQ_RULES_URL": url},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def one_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    assert made.end() == 0


@pytest.fixture
def engine(one_engine: Engine) -> Iterator[Engine]:
    """The module's engine; each test leaves it without rules, streams, tables and plug-ins."""
    yield one_engine
    with httpx.Client(base_url=one_engine.url, trust_env=False, verify=False, auth=one_engine.auth) as rest:
        until = time.monotonic() + 240
        while rules := rest.get("/rules").json():  # a query's own goes by itself, too
            for rule in rules:
                rest.delete(f"/rules/{rule['id']}")
            assert time.monotonic() < until, rules
        for kind in ("streams", "tables"):
            for name in rest.get(f"/{kind}").json():
                assert rest.delete(f"/{kind}/{name}").status_code == 200
        for plugin in rest.get("/plugins/packages").json():
            assert rest.delete(f"/plugins/packages/{plugin['name']}").status_code == 200


def simulated(engine: Engine) -> None:
    body = {"data": [{"v": 1}, {"v": 130}, {"v": 140}], "interval": 5}
    url = f"http://127.0.0.1:{engine.port}/metadata/sources/simulator/confKeys/three"
    assert httpx.put(url, json=body, trust_env=False, auth=engine.auth).status_code == 200
    assert engine.tools("rules", "stream", "create", "demo", SIMULATED) == "stream demo created\n"


@pytest.mark.slow  # gateway/tests/test_rules_killed.py always kills one
def test_a_rule_survives_a_kill(engine: Engine, tmp_path: Path) -> None:
    simulated(engine)
    assert engine.tools("rules", "stream", "show") == "demo\n"
    assert "TYPE: simulator" in engine.tools("rules", "stream", "show", "demo")
    table = '() WITH (DATASOURCE="known", TYPE="memory", KIND="lookup", KEY="v")'
    assert engine.tools("rules", "stream", "create", "--table", "known", table) == "table known created\n"
    assert engine.tools("rules", "stream", "show", "--table") == "known\n"
    assert "KIND: lookup" in engine.tools("rules", "stream", "show", "known", "--table")
    assert "dropped" in engine.tools("rules", "stream", "delete", "known", "--table")
    out = engine.exports / "out.jsonl"
    action = json.dumps({"file": {"path": str(out)}})
    engine.tools("rules", "create", "deep", "SELECT v FROM demo WHERE v > 126", "--action", action)
    assert engine.tools("rules", "show") == "rule  state\ndeep  running\n"
    rows = [
        json.loads(line)
        for line in engine.tools("rules", "query", "SELECT v FROM demo", "--limit", "4").splitlines()
    ]
    assert {row["v"] for row in rows} == {1, 130, 140}
    until = time.monotonic() + 240  # the query goes when the server sees that its listener has gone
    while [each["id"] for each in engine.json("rules", "show", "--json")] != ["deep"]:
        assert time.monotonic() < until, "the query's rule stays"
    engine.kill()
    engine.start()
    assert engine.tools("rules", "show") == "rule  state\ndeep  running\n"
    before = out.stat().st_size
    until = time.monotonic() + 240
    while out.stat().st_size == before:
        assert time.monotonic() < until, "the rule does not go on"
        time.sleep(0.05)
    assert engine.json("rules", "show", "deep", "--status", "--json")["status"] == "running"
    assert "filter" in engine.tools("rules", "show", "--plan", "deep")
    assert set(engine.json("rules", "show", "--plan", "deep", "--json")) == {"sources", "edges"}
    for words in (("stop",), ("start",), ("start", "--again"), ("delete",)):
        verb, *options = words
        engine.tools("rules", verb, "deep", *options)
    assert engine.tools("rules", "show") == "no rules\n"


def test_an_error_points_into_the_statement(engine: Engine) -> None:
    simulated(engine)
    told = engine.tools("rules", "create", "r", "SELECT v\nFRM demo", code=1)
    assert "line 2, column 1" in told
    assert "\n  FRM demo\n  ^" in told
    engine.tools("rules", "stream", "create", "boxes", '() WITH (DATASOURCE="*", TYPE="opqbox")')
    told = engine.tools("rules", "create", "r", "SELECT box FROM boxes WHERE rms_mn < 100", code=1)
    assert 'unknown column rms_mn of boxes; did you mean "rms_min"?' in told
    told = engine.tools("rules", "create", "r", "SELECT nope(v) FROM demo", "--dry-run", code=1)
    assert "nope" in told
    valid = engine.tools("rules", "create", "r", "SELECT v FROM demo", "--dry-run")
    assert valid == "The rule is valid; it reads demo.\n" and engine.tools("rules", "show") == "no rules\n"
    assert "is not found" in engine.tools("rules", "show", "none", code=1)


def test_a_whole_statement_refuses_another_stream(engine: Engine) -> None:
    """A statement has its stream's name, so another name given beside it is refused."""
    made = 'CREATE STREAM x () WITH (DATASOURCE="x", TYPE="memory", SHARED="true")'
    assert engine.tools("rules", "stream", "create", made) == "Stream x is created.\n"
    assert "SHARED: true" in engine.tools("rules", "stream", "show", "x")
    assert "'x', not of 'y'" in engine.tools("rules", "stream", "create", "y", made, code=2)
    assert "exist" in engine.tools("rules", "stream", "create", made, code=1)
    engine.tools("rules", "stream", "create", made.replace("()", "(v BIGINT)"), "--replace")
    assert "v\tbigint" in engine.tools("rules", "stream", "show", "x")
    assert "not found" in engine.tools("rules", "stream", "create", "y", SIMULATED, "--replace", code=1)
    assert engine.tools("rules", "stream", "show") == "x\n"


def test_the_tutorials_rule_works_from_stdin(engine: Engine) -> None:
    simulated(engine)
    body = json.dumps({"sql": "SELECT * from demo", "actions": [{"log": {}}]})
    engine.tools("rules", "create", "ruleTest", body)
    engine.tools("rules", "create", "ruleTest", "-f", "-", "--replace", given=body.replace("*", "v"))
    assert engine.json("rules", "show", "ruleTest")["sql"] == "SELECT v from demo"
    assert "not found" in engine.tools("rules", "create", "ruletest", body, "--replace", code=1)
    assert [rule["id"] for rule in engine.json("rules", "show", "--json")] == ["ruleTest"]
    assert "other" in engine.tools("rules", "create", "ruleTest", '{"id":"other"}', code=2)


def test_a_rule_set_leaves_and_comes_back(engine: Engine, tmp_path: Path) -> None:
    simulated(engine)
    engine.tools("rules", "create", "deep", "SELECT v FROM demo WHERE v > 126")
    file = tmp_path / "rules.json"
    engine.tools("rules", "export", str(file))
    assert file.stat().st_mode & 0o077 == 0
    engine.tools("rules", "delete", "deep")
    engine.tools("rules", "stream", "delete", "demo")
    file.write_text(file.read_text() + " " * (2 << 20))  # uploaded first
    assert engine.tools("rules", "import", "-f", str(file)) == "made: streams demo; rules deep\n"
    assert engine.tools("rules", "show") == "rule  state\ndeep  running\n"
    engine.tools("rules", "export", str(file))
    engine.tools("rules", "delete", "deep")
    said = engine.tools("rules", "import", "--dry", "-f", str(file))
    assert said == "made: rules deep\nleft, it is the same: demo\n"
    assert engine.tools("rules", "show") == "no rules\n"
    unused_url = f"127.0.0.1:{free_port()}"
    pushed = run("rules", "push", str(file), "--to", f"127.0.0.1:{engine.port}", "--to", unused_url)
    assert pushed.returncode == 1
    assert f"127.0.0.1:{engine.port}: made: rules deep; left, it is the same: demo" in pushed.stdout
    assert f"{unused_url}: no rule engine answers" in pushed.stdout
    assert "1 of 2 engines did not take" in pushed.stderr
    assert engine.tools("rules", "show") == "rule  state\ndeep  running\n"
    assert "want NAME" in engine.tools("rules", "stream", "create", code=2)


def test_a_query_prompts_until_its_end(engine: Engine) -> None:
    simulated(engine)
    given = "SELECT v FROM demo WHERE v = 130\nSELECT v FRM demo\nSELECT v + 1 AS w FROM demo\nquit\nSELECT"
    assert engine.tools("rules", "query", "--limit", "1", given=given).splitlines() == [
        '{"v":130}',
        '{"w":2}',
    ]
    assert engine.tools("rules", "query", given="") == ""
    row = json.loads(engine.tools("rules", "query", "SELECT v FROM demo WHERE v > 'x'", "--limit", "1"))
    assert "do not compare" in row["error"]


def test_plugins_are_listed_and_unknown_ones_reported(engine: Engine) -> None:
    assert engine.tools("plugin", "show", "sink") == "no sinks\n"
    assert "not found" in engine.tools("plugin", "show", "sink", "mysql", code=1)
    assert engine.tools("plugin", "show", "package") == "no packages\n"
    assert engine.tools("plugin", "show") == "no plug-ins\n"
    assert "want a URL or JSON" in engine.tools("plugin", "install", "sink", "mysql", code=2)
    other = '{"name": "b", "file": "http://127.0.0.1:1/b.zip"}'
    assert "'b', not of 'a'" in engine.tools("plugin", "install", "sink", "a", other, code=2)


def test_a_moved_systems_engine_is_found(engine: Engine) -> None:
    offset = str(engine.port - PORTS["rules"])
    for words in (("rules", "show"), ("rules", "stream", "show"), ("plugin", "show", "sink")):
        found = run(*words, "--port-offset", offset, url=None)
        assert found.returncode == 0 and found.stdout == run(*words, url=engine.url).stdout
    both = run("rules", "show", "--port-offset", offset, url=engine.url)
    assert both.returncode == 2 and f"OPQ_RULES_URL, {engine.url}) are both given" in both.stderr


def test_without_an_engine_one_line_helps() -> None:
    done = run_in_shell("rules", "show", url=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "opq-gateway rules" in done.stderr and "[triggering_service.rules] enabled" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rule_try_answers_cases_without_server(tmp_path: Path) -> None:
    case = {
        "name": "a",
        "stream_ddl": ['CREATE STREAM s () WITH (DATASOURCE="x", TYPE="mock")'],
        "sql": "SELECT v * 2 AS w FROM s WHERE v > 1",
        "input": [{"stream": "s", "ts": 1765792486013 + k, "data": {"v": k}} for k in range(4)],
    }
    for given, answer in (
        (case, {"name": "a", "emissions": [[{"w": 4}], [{"w": 6}]]}),
        ([{**case, "sql": "SELECT"}], None),
    ):
        file = tmp_path / "cases.json"
        file.write_text(json.dumps(given))
        done = run("rules", "try", str(file))
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        if answer is not None:
            assert told == answer
        else:
            assert (told[0]["error"]["code"], told[0]["error"]["http"]) == (2001, 400)
    assert run("rules", "try", str(tmp_path / "none.json")).returncode == 1


def test_a_backtest_reports_firing_times(tmp_path: Path) -> None:
    """A sine of 120 V whose third second has 80 %."""
    rate_hz, hz = 12_000, 60
    t = np.arange(5 * rate_hz) / rate_hz
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * hz * t) * np.where((t >= 2) & (t < 3), 0.8, 1.0)
    file = tmp_path / "dip.npy"
    np.save(file, volts)
    (tmp_path / "dip.json").write_text(
        json.dumps(
            {"rate_hz": rate_hz, "nominal_volts": 120, "nominal_hz": hz, "start_ns": 1_765_792_486 * 10**9}
        )
    )
    done = run(
        "rules",
        "backtest",
        "SELECT box, rms FROM boxes WHERE rms < 100",
        "--recording",
        str(file),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    seconds = [each["timestamp_ms"] / 1000 - 1_765_792_486 for each in told["emissions"]]
    assert len(seconds) >= 4
    assert all(2.0 < each <= 3.3 for each in seconds), seconds
    assert all(abs(each["rows"][0]["rms"] - 96) < 4 for each in told["emissions"])


def test_a_backtest_of_a_recording_needs_no_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that run here were asked for --data-dir, though neither was needed."""
    running = [system_place.RunningSystem(f"/srv/{number}", number, 1, "now") for number in (1, 2)]
    monkeypatch.setattr(system_place, "running_systems", lambda: running)
    file, start = tmp_path / "short.npy", "2026-11-20T10:00:00Z"
    np.save(file, 170 * np.sin(2 * np.pi * 60 * np.arange(12_000) / 6000))
    facts = ("--rate-hz", "6000", "--start", start, "--json")
    words = ("rules", "backtest", "SELECT rms FROM boxes", "--recording", str(file), *facts)
    done = run_in_process(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["emissions"]
    named = run_in_process("rules", "backtest", "deep", "--recording", str(file), *facts)
    assert named.returncode == 1 and "2 systems run here" in named.stderr


def test_a_backtest_takes_the_options_of_a_recording(tmp_path: Path) -> None:
    t_s = np.arange(12_000) / 6000
    counts = np.rint(np.column_stack((0 * t_s, 12_000 * np.sin(2 * np.pi * 60 * t_s))))
    np.save(tmp_path / "two.npy", counts.astype(np.int16))
    asked = ("rules", "backtest", "SELECT box, rms, timestamp_ms FROM boxes")
    facts = (
        "--rate-hz",
        "6000",
        "--volts-per-lsb",
        "0.02",
        "--channel",
        "2",
        "--start",
        "2026-11-20T10:00:00Z",
    )
    done = run(*asked, "--recording", str(tmp_path / "two.npy"), *facts, "--json")
    assert done.returncode == 0, done.stderr
    rows = [each["rows"][0] for each in json.loads(done.stdout)["emissions"]]
    assert rows and all(row["rms"] == pytest.approx(169.7, abs=0.1) for row in rows)
    assert 1_795_168_800_000 < rows[0]["timestamp_ms"] < 1_795_168_801_000
    done = run(*asked, "--rate-hz", "6000")
    assert done.returncode == 2 and "need --recording" in done.stderr


@pytest.mark.parametrize("family", ["rules", "plugin"])
def test_each_rules_command_has_an_example(family: str) -> None:
    def told(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        yield " ".join(path), run(*path, "--help").stdout
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from told(found, (*path, name))

    command = tools.get_command(click.Context(tools), family)
    assert command is not None
    for name, text in told(command, (family,)):
        lines = [line.strip() for line in text.splitlines()]
        examples = [line for line in lines if f"opq-tools {name}" in line and not line.startswith("Usage")]
        assert examples, text
        assert all(line.count("'") % 2 == line.count('"') % 2 == 0 for line in examples), examples
        assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")], text


def test_a_local_zip_is_installed(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    run("plugin", "new", "function", "twice", str(folder))
    run("plugin", "pack", str(folder), "--out", str(tmp_path / "twice.zip"))
    engine.tools("plugin", "install", str(tmp_path / "twice.zip"))
    uploads = f"http://127.0.0.1:{engine.port}/config/uploads"
    assert (
        httpx.get(uploads, trust_env=False, auth=engine.auth).json() == []
    )  # what was uploaded has been cleared away
    assert engine.json("plugin", "show", "function", "twice")["version"] == "1.0.0"
    assert engine.json("plugin", "show", "function", "twice")["name"] == "twice"
    assert engine.tools("plugin", "show", "udf") == "twice\n"
    assert engine.tools("plugin", "show") == "plug-in  version  has\ntwice    1.0.0    functions: twice\n"
    assert engine.json("plugin", "show", "udf", "twice") == {"name": "twice", "plugin": "twice"}


def test_a_folder_is_packed_and_replaced(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    run("plugin", "new", "function", "twice", str(folder))
    install = ("plugin", "install", str(folder))
    assert "twice is created" in engine.tools(*install)
    assert "installed already" in engine.tools(*install, code=1)
    manifest = folder / "plugin.json"
    manifest.write_text(manifest.read_text().replace("1.0.0", "1.1.0"))
    assert engine.json(*install)["to"] == "1.1.0"
    manifest.write_text(manifest.read_text().replace("1.1.0", "1.0.5"))
    assert "below the installed" in engine.tools(*install, code=1)
    assert engine.json(*install, "--downgrade")["to"] == "1.0.5"
    back = ("plugin", "install", "function", "twice", "--rollback")
    assert engine.json(*back)["to"] == "1.1.0"
    assert "need KIND NAME" in engine.tools(*install, "--rollback", code=2)
    assert "for a package at a URL give KIND NAME URL" in engine.tools("plugin", "install", "nowhere", code=2)
    assert "of the original's form" in engine.tools(*install, "--watch", code=2)


def test_earlier_commands_work_and_name_their_successor(engine: Engine, tmp_path: Path) -> None:
    run("plugin", "new", "function", "twice", str(tmp_path / "twice"))
    run("plugin", "pack", str(tmp_path / "twice"), "--out", str(tmp_path / "twice.zip"))
    package = ("function", "twice", "-z", str(tmp_path / "twice.zip"))
    assert "twice is created" in engine.tools("plugin", "install", *package)
    assert engine.tools("plugin", "show", "function") == "twice\n"
    assert "installed already" in engine.tools("plugin", "install", *package, code=1)
    engine.tools("rules", "stream", "create", "demo", '() WITH (DATASOURCE="demo", TYPE="memory")')
    engine.tools("rules", "create", "deep", "SELECT v FROM demo WHERE v > 126")
    assert "filter" in engine.tools("rules", "show", "deep", "--plan")
    assert engine.tools("rules", "stream", "show") == "demo\n"
    done = run_in_shell("rules", "show", url=engine.url)
    assert done.stdout == "rule  state\ndeep  running\n"


def test_a_backtest_of_history_takes_its_span(tmp_path: Path) -> None:
    """Only stored Measurements of that span and those Boxes are played."""
    first_ms = 1_795_000_000_000

    def measured(box_id: str, number: int) -> Measurement:
        end_ns = (first_ms + 1000 * number) * 10**6
        rms = Metric(90.0, 121.0, 100.0 + number)
        return Measurement(box_id, end_ns // 10**6, {"rms": rms}, start_ns=end_ns - 10**9, end_ns=end_ns)

    store = open_store(None, tmp_path)
    store.append_measurements([measured(box_id, number) for box_id in ("2", "10") for number in range(5)])
    store.close()
    sql = "SELECT box, rms FROM boxes WHERE rms > 102"
    options = ["--data-dir", str(tmp_path), "--json"]
    told = json.loads(run("rules", "backtest", sql, *options).stdout)
    assert told["records"] == 10
    assert [row for each in told["emissions"] for row in each["rows"]] == [
        {"box": box, "rms": rms} for rms in (103.0, 104.0) for box in ("2", "10")
    ]
    until = datetime.fromtimestamp(first_ms / 1000 + 4, UTC).isoformat()
    told = json.loads(run("rules", "backtest", sql, *options, "--box", "2", "--to", until).stdout)
    assert (told["records"], len(told["emissions"])) == (4, 1)
    done = run("rules", "backtest", "SELECT box FROM boxes WHERE box = 2", *options[:2])
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 emissions of 10 records; 10 errors, the last: " in done.stderr, done.stderr
    assert run("rules", "backtest", sql, "--from", until, "--to", "2020-01-01").returncode == 2
    done = run("rules", "backtest", sql, "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'none'}" in done.stderr
    assert not (tmp_path / "none").exists()


def test_the_token_comes_from_engine_or_file(engine: Engine, tmp_path: Path) -> None:
    """Not for an address of another machine, and no other file whatever an engine names."""
    engine.tools("rules", "show")
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 43)
    refused = engine.tools("rules", "show", "--token-file", str(wrong), code=1)
    assert "does not prove that it has the token" in refused and "--token-file" in refused
    for path in (str(wrong), "rules/rest_token", "/etc/passwd", 3):
        assert named_token(json.dumps({"token_file": path}).encode()) is None
    assert named_token(b"[" * 100_000) is None and named_token(b"") is None
