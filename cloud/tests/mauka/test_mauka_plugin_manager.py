"""The plug-in manager on 12000, in `opq-cloud mauka` as a user starts it; the guide walked; kill -9."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import free_ports
import pytest
import zmq
from click.testing import CliRunner
from original_folders import plugin_code, write_folder

from opq_cloud.__main__ import cloud
from opq_cloud.mauka.bus.broker import NobodyListensError
from opq_cloud.mauka.operating import manager_client
from opq_cloud.mauka.operating.manager_client import query_manager, succeeded
from opq_cloud.mauka.original.deployments import PluginDeployments
from opq_proto.errors import PluginError
from opq_tools.cli import tools

GUIDE = Path(__file__).parents[3] / "docs" / "original-plugins.md"


class Mauka:
    """The process, and its manager."""

    def __init__(self, folder, offset):
        self.folder, self.offset = folder, offset
        self.manager = f"ipc://{folder}/sockets/plugin-manager"
        self.process = None
        self.open_port = free_ports.free_port()
        """The only one to which a plug-in may connect."""
        self.config = folder / "cloud.toml"
        self.config.write_text(f'[mauka.plugins]\nnetwork = ["tcp:{self.open_port}"]\n')

    def start(self):
        with (self.folder / "stderr").open("ab") as lines:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "opq_cloud",
                    "mauka",
                    "--config",
                    self.config,
                    "--data-dir",
                    self.folder,
                    "--port-offset",
                    str(self.offset),
                ],
                stderr=lines,
            )
        end_s = time.monotonic() + 240
        while True:
            try:
                return query_manager("help", self.manager, wait_s=1.0)
            except NobodyListensError:
                assert time.monotonic() < end_s and self.process.poll() is None, self.lines()

    def ask(self, command):
        return query_manager(command, self.manager)

    def status(self, name):
        return json.loads(self.ask(f"status {name}"))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(240)

    def lines(self):
        return (self.folder / "stderr").read_text()


@pytest.fixture(scope="module")
def mauka(tmp_path_factory):
    """One for all tests here: to start it is most of what they cost."""
    made = Mauka(tmp_path_factory.mktemp("data"), free_ports.free_offset())
    made.start()
    yield made
    made.process.kill()
    made.process.wait()


def run(arguments, mauka, cwd):
    group = {"opq-tools": tools, "opq-cloud": cloud}[arguments[0]]
    here = Path.cwd()
    os.chdir(cwd)
    try:
        done = CliRunner().invoke(group, [*arguments[1:], "--data-dir", str(mauka.folder)])
    finally:
        os.chdir(here)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_guide_is_walked_as_it_is_written(mauka, tmp_path, until):
    text = GUIDE.read_text()
    (tmp_path / "my-plugins" / "plugins").mkdir(parents=True)
    for name, code in re.findall(
        r"\n`(my-plugins/[^`]+\.py)`[^\n]*:\n\n```python\n(.*?)```", text, re.DOTALL
    ):
        (tmp_path / name).write_text(code)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert lines[0] == "mkdir -p my-plugins/plugins"
    said = []
    for line in lines[1:]:
        if line.startswith("opq-tools mauka status"):  # it has come by then
            until(lambda: "foo hello" in mauka.status("MyFancyPlugin")["output_tail"])
            until(lambda: mauka.status("MyFancyPlugin")["handled"] and mauka.status("MyFancyPlugin")["gives"])
        done = run(line.split(), mauka, tmp_path)
        assert done.exit_code == 0, (line, done.output)
        said.append(done.stdout)
    pushed, injected, status, again, listed, graph, unloaded = said
    assert "MyFancyPlugin 1 runs" in pushed and "published 1 message" in injected
    facts = json.loads(status)
    assert "foo hello" in facts["output_tail"]
    assert (facts["takes"], facts["gives"], facts["running"]) == (["foo", "bar"], ["topic"], True)
    assert "MyFancyPlugin 2 replaced 1" in again
    row = next(line for line in listed.splitlines() if line.startswith("name:MyFancyPlugin"))
    assert "Yes" in row and "started" in row and "version:2" in row
    assert "MyFancyPlugin (original)  takes foo, bar" in graph and "--topic--> the bus" in graph
    assert "event service" in graph and "--MakaiEvent--> AnalysisRunner" in graph
    assert "MyFancyPlugin unloaded" in unloaded


def test_install_watch_runs_each_save(mauka, tmp_path, until):
    folder = write_folder(tmp_path / "seen", Seen=plugin_code("Seen", "pass"))
    command = [
        sys.executable,
        "-m",
        "opq_tools.cli",
        "plugin",
        "install",
        str(folder),
        "--watch",
    ]
    process = subprocess.Popen(
        [*command, "--data-dir", str(mauka.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def save(text):
        """Whole at once: half of it would be pushed too."""
        (tmp_path / "new.py").write_text(text)
        (tmp_path / "new.py").replace(folder / "plugins" / "Seen.py")

    try:
        until(lambda: "Seen" in mauka.ask("completions").split(",") and mauka.status("Seen")["running"])
        save("def (")
        assert process.stdout.readline().endswith("Seen 1 runs\n")
        assert "watching" in process.stdout.readline()
        assert "plugins/Seen.py, line 1" in process.stdout.readline()
        save(plugin_code("Seen", "print(message)"))
        assert process.stdout.readline().endswith("Seen 2 replaced 1\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.stdout.close()
    assert succeeded(mauka.ask("unload-plugin Seen"))


def test_commands_for_every_kind_of_plugin(mauka, tmp_path, until):
    assert {"list-plugins", "rms_voltage", "AnalysisRunner"} <= set(mauka.ask("completions").split(","))
    assert "load-config PATH" in mauka.ask("help")
    rows = {row["name"]: row for row in json.loads(mauka.ask("status"))}
    assert rows["rms_voltage"]["origin"] == "built-in" and rows["MakaiEventPlugin"]["origin"] == "bus"
    assert rows["flicker"]["about"] == "Flicker: the voltage swings so that lamps flicker."
    assert rows["MakaiEventPlugin"]["about"].startswith("Waveforms of events on Mauka's bus")
    for name, why in (
        ("rms_voltage", "has no process of its own"),
        ("MakaiEventPlugin", "runs in Mauka's process"),
    ):
        assert mauka.ask(f"stop-plugin {name}") == f"\x1b[1;32mOK\x1b[0;0m. Plugin {name} stopped"
        assert not mauka.status(name)["running"]
        assert succeeded(mauka.ask(f"start-plugin {name}"))
        assert "runs already" in mauka.ask(f"start-plugin {name}")
        assert why in mauka.ask(f"kill-plugin {name}")
        assert succeeded(mauka.ask(f"disable-plugin {name}"))
        assert "is disabled" in mauka.ask(f"start-plugin {name}")
    for wrong, why in [
        ("stop-plugin Unknown", "there is no plug-in Unknown; there are: AnalysisRunner"),
        ("stop-plugin", "want: stop-plugin NAME"),
        ("list-plugin", "did you mean list-plugins?"),
        ("list", "did you mean list-plugins?"),
        ("load-config /nowhere", "/nowhere: no file"),
        ("load-plugin Unknown", "no deployed folder lists a plug-in Unknown"),
        ("unload-plugin rms_voltage", "disable-plugin rms_voltage"),
        ("stop-tcp-server", "ends with Mauka"),
    ]:
        answer = mauka.ask(wrong)
        assert not succeeded(answer) and why in answer, answer
    twin = write_folder(tmp_path / "twin", MakaiEventPlugin=plugin_code("MakaiEventPlugin", "pass"))
    refused = run(["opq-tools", "plugin", "install", str(twin)], mauka, tmp_path)
    assert refused.exit_code == 1 and "Mauka has a plug-in of this name" in refused.output
    assert mauka.ask("completions").split(",").count("MakaiEventPlugin") == 1
    folder = write_folder(
        tmp_path / "mine", Echo=plugin_code("Echo", 'self.produce("x", str(self.config_get("a")))')
    )
    assert run(["opq-tools", "plugin", "install", str(folder)], mauka, tmp_path).exit_code == 0
    pid = mauka.status("Echo")["pid"]
    (tmp_path / "mauka.config.json").write_text(
        '{"a": 5, "zmq.mauka.plugin.pub.interface": "tcp://nowhere:1"}'
    )
    assert "2 settings" in mauka.ask(f"load-config {tmp_path / 'mauka.config.json'}")
    assert succeeded(mauka.ask("restart-plugin Echo"))
    assert mauka.status("Echo")["pid"] != pid
    assert f"process {mauka.status('Echo')['pid']}" in mauka.ask("kill-plugin Echo")
    until(lambda: mauka.status("Echo")["crashes"] == 1 and mauka.status("Echo")["pid"])
    assert succeeded(mauka.ask("disable-plugin Echo"))
    assert mauka.end() == 0
    mauka.start()
    until(lambda: succeeded(mauka.ask("status Echo")))
    rows = {row["name"]: row for row in json.loads(mauka.ask("status"))}
    for name in ("rms_voltage", "MakaiEventPlugin", "Echo"):  # what was disabled stays so
        assert not rows[name]["running"] and not rows[name]["enabled"], name
    drawn = run(["opq-cloud", "mauka", "graph", "--svg", "m.svg"], mauka, tmp_path)
    assert drawn.exit_code == 0, drawn.output
    drawing = (tmp_path / "m.svg").read_text()
    ElementTree.fromstring(drawing)
    assert "Echo (stopped)" in drawing and "rms_voltage (stopped)" in drawing
    nowhere = run(["opq-cloud", "mauka", "graph", "--svg", "none/m.svg"], mauka, tmp_path)
    assert (nowhere.exit_code, nowhere.output.count("\n")) == (1, 1), nowhere.output
    assert "none/m.svg: cannot be written: No such file" in nowhere.output
    assert "Traceback" not in mauka.lines()


def test_the_prompt_completes_and_survives_failures(mauka):
    """It completes names, and a failed command does not end it."""
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "opq_tools.cli", "mauka", "--data-dir", str(mauka.folder)]
    process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, close_fds=True)
    os.close(inside)
    said = ""
    try:
        for text, wanted in [
            ("", "opq-mauka> "),
            ("stop-pl\tUnknown\n", "there is no plug-in Unknown.*opq-mauka> "),
            ("status rms_v\t\n", '"name": "rms_voltage".*opq-mauka> '),
            ("exit\n", "exit"),
        ]:
            os.write(terminal, text.encode())
            while not re.search(wanted, said, re.DOTALL):
                assert select.select([terminal], [], [], 60)[0], said
                said += os.read(terminal, 4096).decode()
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_killed_mauka_analyses_once(mauka, tmp_path, until):
    """After `kill -9` of Mauka within an analysis the event is analysed once."""
    port = mauka.open_port
    body = (
        f"while socket.socket().connect_ex(('127.0.0.1', {port})):\n    time.sleep(0.01)\n"
        'self.produce("done", message)'
    )
    folder = write_folder(tmp_path / "mine", Slow=plugin_code("Slow", body, head="import socket, time"))
    PluginDeployments(Path(mauka.ask("plugin-folder"))).add(folder)
    assert succeeded(mauka.ask("load-plugin mine"))
    for number in range(3):
        assert run(["opq-tools", "inject", "foo", str(number)], mauka, tmp_path).exit_code == 0
    until(lambda: mauka.status("Slow")["waiting"] == 3)
    mauka.end(signal.SIGKILL)
    mauka.start()
    with zmq.Context() as context, context.socket(zmq.SUB) as heard:
        heard.subscribe("done")
        heard.rcvtimeo = 60_000
        heard.connect(f"ipc://{mauka.folder}/sockets/bus-out")
        until(lambda: succeeded(mauka.ask("status Slow")))
        said = []
        while not said:  # until the bus knows our socket
            run(["opq-tools", "inject", "done", "joined"], mauka, tmp_path)
            said = [heard.recv_multipart()] if heard.poll(500) else []
        with socket.create_server(("127.0.0.1", port), backlog=100):
            found = []
            while len(found) < 3:
                body = heard.recv_multipart()[1]
                found += [body] if body != b"joined" else []
            assert found == [b"0", b"1", b"2"]
            until(lambda: mauka.status("Slow")["handled"] == 3 and mauka.status("Slow")["waiting"] == 0)


def test_a_deployment_is_atomic(tmp_path):
    """A deployment is complete or absent, and old ones are removed."""
    deployments = PluginDeployments(tmp_path / "plugins")
    folder = write_folder(tmp_path / "mine", A=plugin_code("A", "pass"))
    for number in range(1, 6):
        assert deployments.add(folder).number == number
    assert sorted(path.name for path in (tmp_path / "plugins" / "mine").iterdir()) == ["3", "4", "5"]
    (folder / "plugins" / "A.py").write_text("def (")
    with pytest.raises(PluginError, match=r"A\.py, line 1"):
        deployments.add(folder)
    assert deployments.current("mine").number == 5
    assert list((tmp_path / "plugins").glob(".new-*")) == []
    with pytest.raises(PluginError, match=r"'\.\./x' is not a name"):
        deployments.add(folder, "../x")


def test_an_absent_mauka_is_reported_soon(monkeypatch):
    """Without a service the command does not wait for an answer."""
    monkeypatch.setattr(manager_client, "CONNECTED_S", 0.2)
    with pytest.raises(NobodyListensError, match=r"waited 0\.2 s"):
        query_manager("help", f"tcp://127.0.0.1:{free_ports.free_port()}", wait_s=3600.0)
