"""A server for the MongoDB side of the store's tests: the first that can be had.

OPQ_TEST_MONGO_URI; `mongod` on PATH; docker with mongo:7; FerretDB (ferretdb_build.py). A foreign peer
each: none is a dependency of users. nx-27017 answers too much wrongly to be the one (27 tests): it is asked
only what FerretDB gets wrong and it does not.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ferretdb_build
from free_ports import free_port
from pymongo import MongoClient
from pymongo.errors import PyMongoError

BUILD_LIMIT_S = 240.0
"""Within a test, whose own limit is 900 s."""
PULL_LIMIT_S = 60.0
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server: its kind, how it was found, and its address without a database."""

    kind: str
    how: str
    uri: str


@contextmanager
def a_server(
    folder: Path, told: Callable[[str], None], kinds: tuple[str, ...] | None = None
) -> Iterator[Server | None]:
    """The first server of the module's list (or of `kinds`), ended afterwards; None when there is none."""
    given = os.environ.get("OPQ_TEST_MONGO_URI")
    if given and kinds is None:
        yield Server("mongodb", "OPQ_TEST_MONGO_URI", given.rstrip("/"))
        return
    known = {"mongod": _mongod, "docker": _docker, "ferretdb": _ferretdb, "nx_27017": _nx_27017}
    for name in kinds or ("mongod", "docker", "ferretdb"):
        start = known[name](folder, told)
        if start is None:
            continue
        server, stop = start
        try:
            if _answers(server.uri):
                yield server
                return
            told(f"{server.kind}: started, but did not answer within {START_LIMIT_S:g} s")
        finally:
            stop()
    yield None


Started = tuple[Server, Callable[[], None]] | None


def _mongod(folder: Path, told: Callable[[str], None]) -> Started:
    program = shutil.which("mongod")
    if program is None:
        return None
    port, data = free_port(), folder / "mongod"
    data.mkdir()
    command = [program, "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"]
    return _run("mongodb", f"{program}", port, command, folder)


def _docker(folder: Path, told: Callable[[str], None]) -> Started:
    program = shutil.which("docker")
    if (
        program is None
        or subprocess.run([program, "info"], capture_output=True, timeout=240, check=False).returncode
    ):
        return None
    port = free_port()
    command = [program, "run", "--rm", "--detach", "--publish", f"127.0.0.1:{port}:27017", "mongo:7"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PULL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        told(f"docker: mongo:7 was not here within {PULL_LIMIT_S:g} s")
        return None
    if done.returncode:
        told(f"docker: {done.stderr.strip().splitlines()[-1:]}")
        return None
    container = done.stdout.strip()
    server = Server("mongodb", "docker mongo:7", f"mongodb://127.0.0.1:{port}")
    return server, lambda: _quiet([program, "stop", "--time", "2", container])


def _ferretdb(folder: Path, told: Callable[[str], None]) -> Started:
    if not ferretdb_build.build(BUILD_LIMIT_S, told):
        return None
    data = folder / "ferretdb"
    data.mkdir()
    port = free_port()
    command = [str(ferretdb_build.program()), f"127.0.0.1:{port}", str(data)]
    return _run("ferretdb", f"FerretDB {ferretdb_build.VERSION} on SQLite", port, command, folder)


def _nx_27017(folder: Path, told: Callable[[str], None]) -> Started:
    program = Path(sys.executable).parent / "nx-27017"
    if not program.exists():
        told("nx-27017: not installed (it comes with the extra `dev`)")
        return None
    data = folder / "nx"
    data.mkdir()
    port = free_port()
    command = [str(program), "--data-dir", str(data), "-p", str(port)]
    # its own are in /tmp, for all of a machine: a second server there ends at once, "already running"
    command += ["--pid-file", str(folder / "nx.pid"), "--log-file", str(folder / "nx.log")]
    return _run("nx-27017", "nx-27017", port, command, folder)


def _run(kind: str, how: str, port: int, command: list[str], folder: Path) -> Started:
    log = (folder / f"{kind}.log").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()

    return Server(kind, how, f"mongodb://127.0.0.1:{port}"), stop


def _answers(uri: str) -> bool:
    with MongoClient(uri, serverSelectionTimeoutMS=int(START_LIMIT_S * 1000)) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
    return True


def _quiet(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, timeout=240, check=False)
