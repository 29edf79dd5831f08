"""Servers in their own processes, and timed requests: first byte, whole answer, CPU from /proc."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.own_processes import cpu_s, end_process, proportional_bytes
from opq_cloud.view.api.answers import REQUESTS_PER_S
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts.free_ports import free_offset

START_LIMIT_S = 120.0
HEADERS = {"Accept-Encoding": "gzip"}
REST_PAUSE_S = 1.1 / REQUESTS_PER_S
BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
async def page(request):
    return HTMLResponse("<!doctype html><title>bare</title>")
uvicorn.run(Starlette(routes=[Route("/", page)]), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@dataclass(frozen=True, slots=True)
class PageFigures:
    """Figures of one page, requested many times: milliseconds, and bytes on the wire."""

    first_ms: list[float]
    whole_ms: list[float]
    cpu_ms: list[float]
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers HTTP."""

    port: int
    pid: int
    started_s: float
    """Seconds from the start to the first answer."""

    @property
    def offset(self) -> int:
        return self.port - PORTS["view"]

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def memory_bytes(self) -> int:
        return proportional_bytes(self.pid)


@contextmanager
def view_server(folder: Path) -> Iterator[Server]:
    """Runs `opq-cloud view` over a store."""
    with _cloud("view", folder) as server:
        yield server


@contextmanager
def cloud_server(folder: Path) -> Iterator[Server]:
    """Runs `opq-cloud all` over a store, as `up` does."""
    KeyFolder(folder / "curve").ensure(())
    with _cloud("all", folder) as server:
        yield server


@contextmanager
def _cloud(command: str, folder: Path) -> Iterator[Server]:
    (offset,) = free_offset(0, 1)
    run = [
        sys.executable,
        "-m",
        "opq_cloud",
        command,
        "--data-dir",
        str(folder),
        "--port-offset",
        str(offset),
    ]
    with _running(run, PORTS["view"] + offset) as server:
        yield server


@contextmanager
def bare_server() -> Iterator[Server]:
    """Runs one page of Starlette without anything else."""
    port = PORTS["view"] + free_offset(0, 1)[0]
    with _running([sys.executable, "-c", BARE, str(port)], port) as server:
        yield server


@contextmanager
def _running(command: list[str], port: int, path: str = "/") -> Iterator[Server]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        began_s = time.monotonic()
        while True:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                    connection.request("GET", path)
                    connection.getresponse().read()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() - began_s > START_LIMIT_S:
                    raise RuntimeError(f"{command[-1]}: no answer on port {port}") from error
                time.sleep(0.1)
        yield Server(port, process.pid, time.monotonic() - began_s)
    finally:
        end_process(process)


def page_figures(server: Server, path: str, runs: int, pause_s: float = 0.0, cookie: str = "") -> PageFigures:
    """Requests the page `runs` times over one connection, after one request that is not counted.

    REST is requested as often as its rate limit permits: REST_PAUSE_S. An account that has used its share
    of View's time waits as `Retry-After` says; such an answer is not counted.

    Raises:
        RuntimeError: an answer other than 200 and 429.
    """
    first, whole, cpu, size = [], [], [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
        headers = HEADERS | ({"Cookie": cookie} if cookie else {})
        _get(connection, path, headers)
        for _ in range(runs):
            time.sleep(max(pause_s, REST_PAUSE_S if path.startswith("/api/") else 0.0))
            cpu_s = server.cpu_s()
            first_ms, whole_ms, size = _get(connection, path, headers)
            first.append(first_ms)
            whole.append(whole_ms)
            cpu.append((server.cpu_s() - cpu_s) * 1e3)
        return PageFigures(first, whole, cpu, size)


def _get(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str]
) -> tuple[float, float, int]:
    while True:
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 429:
            break
        answer.read()
        time.sleep(float(answer.headers["Retry-After"]))
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.read(300)!r}")
    head = answer.read(1)
    first_ms = (time.perf_counter() - began) * 1e3
    size = len(head) + len(answer.read())
    return first_ms, (time.perf_counter() - began) * 1e3, size
