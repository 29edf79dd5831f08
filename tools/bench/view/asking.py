"""Servers of their own process, and how their pages are asked: first byte, whole answer, CPU from /proc."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from opq_cloud.view.rest.answers import PER_S
from opq_proto.ports import PORTS

PORT_OFFSETS = range(23_000, 33_000, 100)
START_LIMIT_S = 120.0
HEADERS = {"Accept-Encoding": "gzip"}
REST_PAUSE_S = 1.1 / PER_S
BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
async def page(request):
    return HTMLResponse("<!doctype html><title>bare</title>")
uvicorn.run(Starlette(routes=[Route("/", page)]), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


STREAMING = """
import asyncio, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
text = b"x" * int(sys.argv[2])
async def seconds():
    while True:
        yield text
        await asyncio.sleep(1)
async def page(request):
    return StreamingResponse(seconds(), media_type="text/event-stream")
async def ready(request):
    return StreamingResponse(iter((b"ready",)))
app = Starlette(routes=[Route("/", page), Route("/ready", ready)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One page, asked many times; milliseconds, and bytes on the wire."""

    first_ms: list[float]
    whole_ms: list[float]
    cpu_ms: float
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers HTTP."""

    port: int
    pid: int
    started_s: float
    """From its start to its first answer."""

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def view_server(folder: Path) -> Iterator[Server]:
    """`opq-cloud view` over a store."""
    offset = free_offset()
    options = ["--data-dir", str(folder), "--port-offset", str(offset)]
    with _running([sys.executable, "-m", "opq_cloud", "view", *options], PORTS["view"] + offset) as server:
        yield server


@contextmanager
def bare_server() -> Iterator[Server]:
    """One page of Starlette without anything else."""
    port = PORTS["view"] + free_offset()
    with _running([sys.executable, "-c", BARE, str(port)], port) as server:
        yield server


@contextmanager
def streaming_server(size: int) -> Iterator[Server]:
    """A bare Starlette whose `/` is a stream of so many bytes each second."""
    port = PORTS["view"] + free_offset()
    with _running([sys.executable, "-c", STREAMING, str(port), str(size)], port, "/ready") as server:
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
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(server: Server, path: str, runs: int, pause_s: float = 0.0) -> Asked:
    """The page `runs` times over one connection, after one look that is not counted.

    REST is asked as often as it may be: REST_PAUSE_S.

    Raises:
        RuntimeError: an answer other than 200.
    """
    first, whole, size = [], [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
        _get(connection, path)
        cpu_s = server.cpu_s()
        for _ in range(runs):
            time.sleep(max(pause_s, REST_PAUSE_S if path.startswith("/api/") else 0.0))
            first_ms, whole_ms, size = _get(connection, path)
            first.append(first_ms)
            whole.append(whole_ms)
        return Asked(first, whole, (server.cpu_s() - cpu_s) / runs * 1e3, size)


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[float, float, int]:
    began = time.perf_counter()
    connection.request("GET", path, headers=HEADERS)
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.read(300)!r}")
    head = answer.read(1)
    first_ms = (time.perf_counter() - began) * 1e3
    size = len(head) + len(answer.read())
    return first_ms, (time.perf_counter() - began) * 1e3, size


def free_offset() -> int:
    """At which the ports of View and of its feed are free."""
    for offset in PORT_OFFSETS:
        if all(_is_free(PORTS[name] + offset) for name in ("view", "triggering_backend")):
            return offset
    raise RuntimeError("no free port for the server")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
