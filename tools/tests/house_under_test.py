"""A whole house for tests: `opq-tools up` in its own process, on ports of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset
from waiting import pause

from opq_proto.kit.ports import PORTS
from opq_tools.up.stages import LATENCIES

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT.parent / "shared" / "data" / "recordings"
BOX1 = RECORDINGS / "event_9354_box1.i16"
BOX4 = RECORDINGS / "event_9354_box4.i16"
PATIENCE = 8.0
"""Waits end at eight times what an idle machine needs at most."""
NO_RECORDINGS = "the real recordings are not here (they carry no licence, so the project does not ship them)"


def processes_with(text: str) -> list[int]:
    """Ids of living processes whose command line holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if text in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                found.append(int(entry.name))
    return found


SHARED = {
    "triggering_broker.backend_endpoint": "triggering_backend",
    "acquisition_broker.request_endpoint": "command_backend",
    "acquisition_broker.answer_endpoint": "response_backend",
    "event_service.event_endpoint": "events",
    "event_service.event_id_endpoint": "event_ids",
    "mauka.bus_sub_endpoint": "mauka_in",
    "mauka.bus_pub_endpoint": "mauka_out",
    "mauka.plugin_manager_endpoint": "plugin_manager",
    "mauka.incident_id_endpoint": "incident_ids",
}
"""Setting -> port of each address that programs of others use."""


def with_ports(heading: str = "cloud.") -> str:
    """TOML that gives these addresses their ports; without it all but the last are sockets of the folder."""
    return "".join(
        f"{heading}{setting} = 'tcp://127.0.0.1:{PORTS[port]}'\n" for setting, port in SHARED.items()
    )


def until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`; fails with `what` after PATIENCE times the time."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE * timeout_s:
        value = condition()
        if value:
            return value
        pause(began, 0.02)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


class House:
    """A running `opq-tools up`; its told lines are in `lines`."""

    def __init__(self, data_dir: Path, *arguments: str, offset: int | None = None) -> None:
        self.data_dir = data_dir
        self.offset = free_offset() if offset is None else offset
        self.view = f"http://127.0.0.1:{PORTS['view'] + self.offset}"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            up_command(data_dir, self.offset, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, text: str, timeout_s: float = 45.0, after: int = 0) -> str:
        """The first told line from number `after` that holds `text`."""

        def told() -> str | None:
            return next((line for line in self.lines[after:] if text in line), None)

        try:
            return str(until(told, timeout_s, f"a line with {text!r}"))
        except AssertionError as error:
            raise AssertionError(f"{error}; told:\n" + "\n".join(self.lines[-40:])) from None

    def pid_of(self, module: str) -> int:
        """Process id of a child, by its module (`opq_gateway`, `opq_cloud`, `opq_sim.box`)."""
        found = [pid for pid in processes_with(str(self.data_dir)) if pid in processes_with(f"-m {module} ")]
        assert len(found) == 1, found
        return found[0]

    def end(self, timeout_s: float = 60.0) -> int:
        """Ctrl-C, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._reader.join(240)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def up_command(data_dir: Path, offset: int, *arguments: str) -> list[str]:
    where = ["--data-dir", str(data_dir), "--port-offset", str(offset)]
    return [sys.executable, "-m", "opq_tools.cli", "up", *where, *arguments]


def run_up(data_dir: Path, *arguments: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    """`opq-tools up` until it ends by itself."""
    command = up_command(data_dir, free_offset(), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def incident_document(text: str) -> dict[str, Any]:
    """The document of `--until-incident --json`, held against docs/reference/contracts.md."""
    found: dict[str, Any] = json.loads(text)
    assert set(found) >= {"incident", "event_ids", "boxes", "latency_ms", "view_url"}
    assert set(found["incident"]) >= {"id", "class", "box_ids", "start_ms", "end_ms", "residual_percent"}
    assert "show" not in found["incident"]  # words for our page alone
    latency = found["latency_ms"]
    assert all(latency[name] is not None and latency[name] >= 0 for name in LATENCIES), latency
    assert latency["total"] == pytest.approx(sum(latency[name] for name in LATENCIES))
    return found


def get_json(url: str) -> Any:
    """What an API address answers; waits as long as its 429 says, and asks no proxy of the environment."""
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=240) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            time.sleep(float(error.headers["Retry-After"]))


def get_incident(view: str, number: int) -> Any:
    """An incident as the API at `view` shows it, with its `findings`. Raises OSError where there is none."""
    url = f"{view}/api/v1/incidents/{number}"
    return {**get_json(url), "findings": get_json(f"{url}/findings")["items"]}


@contextlib.contextmanager
def house(data_dir: Path, *arguments: str, offset: int | None = None) -> Iterator[House]:
    """A house for the block; it is ended, and nothing of it may be left."""
    running = House(data_dir, *arguments, offset=offset)
    try:
        yield running
    finally:
        running.end()
    assert processes_with(str(data_dir)) == []
