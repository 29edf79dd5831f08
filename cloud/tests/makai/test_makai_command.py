"""`opq-cloud` as a process: starts, answers, ends; fails with one line; survives a kill."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset
from private_files import open_to_others
from waiting import wait_for

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.core.settings.makai_settings import AcquisitionBrokerSection, TriggeringBrokerSection
from opq_cloud.store import open_store
from opq_proto.keys.key_files import KeyFolder, read_secret_file
from opq_proto.kit.system_record import read_record

START_S = 200.0
"""Ends a wait that will never end; on a busy machine it takes a minute to start a process."""


class Process:
    """One `opq-cloud`. Its log is a file: a process stops when it has filled a pipe that is not read."""

    def __init__(self, *arguments: str, umask: int = -1) -> None:
        with tempfile.NamedTemporaryFile("wb", prefix="opq-cloud-", suffix=".log", delete=False) as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "opq_cloud", *arguments],
                stderr=output,
                stdout=subprocess.DEVNULL,
                umask=umask,
            )
        self._log = Path(output.name)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ended(self, seconds: float = START_S) -> tuple[int, str]:
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end within {seconds} s: {self.said[-2000:]}")
        return code, self.said

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        self._log.unlink()

    def answers(self, port: int, path: str = "/") -> bytes:
        """Returns the first answer of an address; fails at once, with what it said, if it has ended."""
        until = time.monotonic() + START_S
        while True:
            try:
                return fetch(port, path)
            except OSError as error:
                if (code := self.child.poll()) is not None:
                    pytest.fail(f"it ended with {code}: {self.said[-4000:]}")
                if time.monotonic() > until:
                    pytest.fail(f"port {port} does not answer ({error}): {self.said[-4000:]}")
                time.sleep(0.05)


@pytest.fixture
def run() -> Iterator[Any]:
    started: list[Process] = []

    def start(*arguments: str, umask: int = -1) -> Process:
        started.append(process := Process(*arguments, umask=umask))
        return process

    yield start
    for process in started:
        process.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    KeyFolder(tmp_path / "curve").create(True, ["1", "4", "10"])
    return tmp_path


def fetch(port: int, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=240) as answer:
        body: bytes = answer.read()
        return body


def end(process: Process, number: int = signal.SIGTERM) -> None:
    process.child.send_signal(number)
    code, text = process.ended()
    assert (code, "Traceback" in text) == (0, False), text[-4000:]


def assert_misses_only_peers(process: Process, port: int, name: str) -> None:
    health = health_without(process, port, lambda part: "no service answers there" not in part["info"])
    assert health["name"] == name


def health_without(process: Process, port: int, ill: Callable[[Any], bool]) -> Any:
    """The health once no part that is not ok is `ill`: what starts late on a busy machine is so at first."""
    end_s = time.monotonic() + START_S
    while True:
        health = json.loads(process.answers(port))
        found = [part for part in health["subcomponents"] if not part["ok"] and ill(part)]
        if not found:
            return health
        assert time.monotonic() < end_s, found
        time.sleep(0.2)


def test_all_answers_for_the_whole_and_ends(run: Any, data_dir: Path) -> None:
    """`opq-cloud all` reports the health of every service, and ends at Ctrl-C."""
    offset = free_offset()
    process = run("all", "--data-dir", str(data_dir), "--port-offset", str(offset))
    health = health_without(process, 8911 + offset, lambda _: True)
    assert (health["name"], health["ok"]) == ("opq", True)
    names = {part["name"] for part in health["subcomponents"]}
    assert {"triggering-broker", "acquisition-broker", "triggering-service", "event-service", "view"} <= names
    assert isinstance(json.loads(fetch(8911 + offset, "/status")), list)
    metrics = fetch(8911 + offset, "/metrics").decode()
    assert 'opq_service_up_now{of="",service="triggering-broker"} 1.0' in metrics
    end(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("command", "port", "name"),
    [
        ("triggering-service", 8080, "makai"),
        pytest.param("event-service", 8916, "event-service", marks=pytest.mark.slow),
    ],
)
def test_each_service_runs_alone_with_its_health(
    run: Any, data_dir: Path, command: str, port: int, name: str
) -> None:
    offset = free_offset()
    process = run(command, "--data-dir", str(data_dir), "--port-offset", str(offset))
    assert_misses_only_peers(process, port + offset, name)
    end(process)


@pytest.mark.parametrize(
    ("command", "port"),
    [("triggering-broker", 8914), pytest.param("acquisition-broker", 8915, marks=pytest.mark.slow)],
)
def test_a_second_broker_in_a_folder_is_refused(run: Any, data_dir: Path, command: str, port: int) -> None:
    """At any port offset. The first one runs alone with its health; a kill frees its place."""
    where, offset = ("--data-dir", str(data_dir), "--port-offset"), free_offset()
    first = run(command, *where, str(offset))
    assert_misses_only_peers(first, port + offset, command)
    noted = read_record(data_dir).services
    assert_refused(run(command, *where, str(free_offset())), command, first)
    assert [(each.name, each.port_offset) for each in noted] == [(command, offset)]
    assert read_record(data_dir).services == noted
    first.child.kill()  # its place is free at once
    first.ended()
    again = run(command, *where, str(offset))
    again.answers(port + offset)
    end(again)


def assert_refused(second: Process, command: str, first: Process) -> None:
    code, text = second.ended()
    wanted = (
        f"{command} runs already in this data folder, on {socket.gethostname()} as process {first.child.pid}"
    )
    assert code == 1 and f"{wanted}; end that one, or give this one a --data-dir of its own" in text


def test_one_mauka_per_data_folder_whatever_its_store(run: Any, data_dir: Path, tmp_path: Path) -> None:
    """The folder's record has one entry for it, which the second one would overwrite. It runs alone."""
    where, offset = ("mauka", "--data-dir", str(data_dir), "--embedded"), free_offset()
    first = run(*where, str(tmp_path / "a"), "--port-offset", str(offset))
    assert_misses_only_peers(first, 8911 + offset, "mauka")
    noted = read_record(data_dir).services
    assert_refused(run(*where, str(tmp_path / "b"), "--port-offset", str(free_offset())), "mauka", first)
    assert [each.name for each in noted] == ["mauka"] and read_record(data_dir).services == noted
    end(first)


def test_one_health_per_folder_asks_the_recorded_services(run: Any, data_dir: Path) -> None:
    """Health alone asks the services that its folder means to run, and a second one is refused."""
    offset = free_offset()
    broker = run("triggering-broker", "--data-dir", str(data_dir), "--port-offset", str(offset))
    broker.answers(8914 + offset)
    health_service = run("health", "--data-dir", str(data_dir), "--port-offset", str(offset))

    def neighbours() -> tuple[dict[str, bool], bool]:
        health = json.loads(health_service.answers(8912 + offset))
        found = next(part for part in health["subcomponents"] if part["name"] == "neighbours")
        return {part["name"]: part["ok"] for part in found["subcomponents"]}, health["ok"]

    wait_for(lambda: neighbours() == ({"triggering-broker": True}, True))
    wait_for(
        lambda: [each.name for each in read_record(data_dir).services] == ["health", "triggering-broker"]
    )
    noted = read_record(data_dir).services
    second = run("health", "--data-dir", str(data_dir), "--port-offset", str(free_offset()))
    assert_refused(second, "health", health_service)
    assert read_record(data_dir).services == noted
    broker.child.kill()
    broker.child.wait()
    wait_for(lambda: neighbours() == ({"triggering-broker": False}, False))


def one_line(text: str) -> str:
    """What a person reads; log lines are JSON."""
    plain = [line for line in text.splitlines() if not line.startswith("{")]
    assert "Traceback" not in text
    assert len(plain) == 1, text
    return plain[0]


def test_a_busy_port_ends_with_exit_code_1(run: Any, data_dir: Path) -> None:
    """A busy port is one line and exit code 1."""
    offset = free_offset()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 9880 + offset))
        holder.listen()
        code, text = run("all", "--data-dir", str(data_dir), "--port-offset", str(offset)).ended()
    assert code == 1
    assert f"cannot bind tcp://127.0.0.1:{9880 + offset}" in one_line(text)


def test_a_missing_key_ends_with_exit_code_1(run: Any, tmp_path: Path) -> None:
    """A missing key is one line and exit code 1."""
    code, text = run(
        "triggering-broker", "--data-dir", str(tmp_path), "--port-offset", str(free_offset())
    ).ended()
    assert code == 1
    assert "opqserver_secret is missing" in one_line(text)
    assert "keygen" in text


def test_a_wrong_configuration_names_every_problem(run: Any, tmp_path: Path) -> None:
    """It ends with exit code 2."""
    path = tmp_path / "cloud.toml"
    path.write_text("[triggering_broker]\nbox_endpont = 'x'\n[view]\npoll_s = 'often'\n")
    code, text = run("all", "--config", str(path)).ended()
    assert (code, "Traceback" in text) == (2, False)
    assert "2 problems" in text
    assert 'did you mean "box_endpoint"?' in text


def test_a_wrong_plug_in_is_exit_code_2(run: Any, data_dir: Path) -> None:
    path = data_dir / "cloud.toml"
    path.write_text("[[triggering_service.plugins]]\nname = 'treshold'\n")
    code, text = run("triggering-service", "--config", str(path), "--data-dir", str(data_dir)).ended()
    assert (code, "Traceback" in text) == (2, False)
    assert 'did you mean "threshold"?' in text


def test_an_unknown_command_is_exit_code_2(run: Any) -> None:
    code, text = run("everything").ended()
    assert (code, "Traceback" in text) == (2, False)


class Addresses:
    """What the plain peers need, of a cloud in another process."""

    def __init__(self, data_dir: Path, offset: int) -> None:
        moved = with_port_offset(CloudConfig(), offset)
        self.triggering_config: TriggeringBrokerSection = moved.triggering_broker
        self.acquisition_config: AcquisitionBrokerSection = moved.acquisition_broker
        self.keys = KeyFolder(data_dir / "curve")
        self.server = read_secret_file(self.keys.server_secret)
        self.pair = lambda box_id: read_secret_file(self.keys.box_secret(box_id))


def test_an_event_survives_a_kill_before_its_answer(run: Any, data_dir: Path, makai: Any) -> None:
    """The kill falls between trigger and answer, and one event is left."""
    offset = free_offset()
    arguments = ("all", "--data-dir", str(data_dir), "--port-offset", str(offset))
    first = run(*arguments)
    first.answers(8911 + offset)
    box = makai.box(Addresses(data_dir, offset), "1")
    at_ms = time.time_ns() // 1_000_000

    def dip() -> None:
        box.pub.send_multipart(
            box.measurement(
                80.0,
                at_ms,
                sequence=1,
                oldest_sequence=1,
                start_ns=(at_ms - 900) * 10**6,
                end_ns=at_ms * 10**6,
            )
        )

    def asked() -> Any:
        command = box.command(timeout_ms=200)
        return command if command is not None and command.WhichOneof("command") == "data_command" else None

    makai.wait_for(lambda: (dip(), asked())[1], START_S)
    first.child.kill()
    first.child.wait()
    run(*arguments).answers(8911 + offset)
    again = makai.wait_for(lambda: (dip(), asked())[1], START_S)  # sent again: it was not acknowledged
    box.push.send_multipart(box.answer(again))
    store = open_store(None, data_dir)
    try:
        makai.wait_for(lambda: any(record.finished for record in store.events()), START_S)
        # it is asked again out of the opening on disk, perhaps before anybody subscribes to Measurements
        makai.wait_for(lambda: (dip(), store.measurements("1", 0, at_ms + 1))[1], START_S)
        assert len(store.events()) == 1
        assert [wave.box_id for wave in store.event(1).waveforms] == ["1"]
        assert len(store.measurements("1", 0, at_ms + 1)) == 1
    finally:
        store.close()


def test_files_are_private_to_their_user(run: Any, tmp_path: Path) -> None:
    """By the program, not by the umask of its process."""
    offset, data_dir = free_offset(), tmp_path / "D"
    KeyFolder(data_dir / "curve").create(True, ["1"])
    data_dir.chmod(0o700)
    config = tmp_path / "cloud.toml"
    config.write_text("[triggering_service.rules]\nenabled = true\n")
    arguments = ["--config", str(config), "--data-dir", str(data_dir), "--port-offset", str(offset)]
    cloud = run("all", *arguments, umask=0)
    cloud.answers(9081 + offset, "/health")
    cloud.answers(8911 + offset)
    end(cloud)
    assert open_to_others(data_dir) == []
    assert {"rules.sqlite3", "rest_token"} <= {each.name for each in data_dir.rglob("*")}
