"""Hostile peers at each port of a system as deployed: no abort, bounds, and no loss of an honest Box.

The ports are those of the kernel's tables, so that a new one is among them. The short form always runs; the
long one sends OPQ_HOSTILE_FRAMES (10^6) frames and OPQ_HOSTILE_CONNECTIONS (10^4) connections to each port:
`pytest tools/tests/test_hostile_ports.py -m slow -s` prints its figures. With OPQ_HOSTILE_PLACES=9880,8888 it
sends to one port after the other, each of a system of its own; a place is a default port, the name of a
configured one (phasors, setup, edge_rules, windows, pushed) or the file of a socket.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset, free_port
from house_under_test import until
from listening_ports import Listening, descriptors, listening_of, resident_mb, tree_of

from opq_cloud.store import open_store
from opq_proto.kit.ports import PORTS

SENDERS = 2
FRAMES = int(os.environ.get("OPQ_HOSTILE_FRAMES", "1000000"))
CONNECTIONS = int(os.environ.get("OPQ_HOSTILE_CONNECTIONS", "10000"))
PLACES = os.environ.get("OPQ_HOSTILE_PLACES", "all").split(",")
WAIT_S = 75.0
"""Longest wait for an answer; `until` waits ten minutes, PATIENCE times this."""
MOST_DESCRIPTORS = 12
"""More than before, once all peers have gone: files that the work of these minutes opened."""
MOST_MB = 400
"""More than before in one process, at its worst moment."""
SQL = 'CREATE STREAM pushed () WITH (TYPE="httppush", DATASOURCE="/x", FORMAT="json", CONF_KEY="here")'
PEER_GONE = "h11._util.LocalProtocolError"
BAD = ("Traceback", "Assertion failed", "Segmentation", "Too many open files", "MemoryError")


HOSTILE_BOX = "9"
"""It has a key, and no part in the honest Boxes' measurements."""
BROKERS = {"PUB": "triggering_box", "PUSH": "response_box"}


class HostileSystem:
    """`opq-tools up` with all that listens switched on."""

    def __init__(self, root: Path) -> None:
        self.folder, self.offset = root / "D", free_offset()
        names = "phasors", "setup", "edge_rules", "windows", "pushed"
        self._ports = {name: free_port() for name in names}
        config = root / "system.toml"
        config.write_text(
            f"""
            [gateway.phasors]
            endpoint = "127.0.0.1:{self._ports["phasors"]}"
            [gateway.setup]
            endpoint = "127.0.0.1:{self._ports["setup"]}"
            [gateway.rules]
            enabled = true
            endpoint = "127.0.0.1:{self._ports["edge_rules"]}"
            windows_endpoint = "tcp://127.0.0.1:{self._ports["windows"]}"
            """
        )
        (self.folder / "updates/metadata").mkdir(parents=True)
        self.log = root / "up.log"
        where = ["--data-dir", str(self.folder), "--port-offset", str(self.offset), "--sim", "2"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "opq_tools.cli", "up", "--config", str(config), *where],
                stdout=log,
                stderr=log,
            )

    def wait_until_it_runs(self) -> None:
        until(
            lambda: "everything runs" in self.log.read_text() or self.process.poll() is not None,
            WAIT_S,
            "a start",
        )
        assert self.process.poll() is None, self.log.read_text()
        pushed = self._ports["pushed"]
        self._post(
            "rules", "PUT", "/metadata/sources/httppush/confKeys/here", {"server": f"127.0.0.1:{pushed}"}
        )
        self._post("rules", "POST", "/streams", {"sql": SQL})
        self._tool("keys", "add", HOSTILE_BOX)
        rule = {"id": "pushed", "sql": "SELECT * FROM pushed", "actions": [{"nop": {}}]}
        self._post("rules", "POST", "/rules", rule)
        until(lambda: str(pushed) in {each.address for each in self.listening()}, WAIT_S, "httppush")

    def _post(self, port: str, method: str, path: str, body: dict[str, Any]) -> None:
        token = (self.folder / "rules/rest_token").read_text().strip()
        request = urllib.request.Request(
            self.url(port, path),
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method=method,
        )
        urllib.request.urlopen(request, timeout=WAIT_S).close()

    def url(self, port: str, path: str = "/") -> str:
        return f"http://127.0.0.1:{PORTS[port] + self.offset}{path}"

    def pids(self) -> list[int]:
        return tree_of(self.process.pid)

    def listening(self) -> list[Listening]:
        return listening_of(self.pids())

    def place(self, each: Listening) -> str:
        """A default port, the name of a configured one, or the file of a socket: see PLACES."""
        if each.kind == "unix":
            return Path(each.address).name
        named = {str(port): name for name, port in self._ports.items()}
        return named.get(each.address, str(int(each.address) - self.offset))

    def answers(self, port: str) -> bool:
        try:
            with urllib.request.urlopen(self.url(port), timeout=WAIT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def numbers(self, box_id: str) -> list[int]:
        """The numbers of what is stored of a Box, in order: Measurements and intervals have one counter."""
        with closing(open_store(None, self.folder)) as store:
            rows = store.measurements(box_id, 0, 2**62)
            found = [each.sequence for each in rows if each.sequence is not None]
            return sorted([*found, *store.intervals.sequences(box_id, 0, 2**62)])

    def _tool(self, *words: str) -> None:
        command = [sys.executable, "-m", "opq_tools.cli", *words, "--data-dir", str(self.folder)]
        subprocess.run(command, capture_output=True, check=True, timeout=300)

    def logged(self) -> list[str]:
        """Lines of trouble, without those of uvicorn about a peer that has broken its request off."""
        lines = [line for path in self.folder.glob("log/*.log") for line in path.read_text().splitlines()]
        found = [*lines, *self.log.read_text().splitlines()]
        return [line for line in found if any(bad in line for bad in BAD) and PEER_GONE not in line]

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(240)
        finally:
            self.process.kill()
            self.process.wait()


class Watch:
    """The worst of memory and descriptors of each process, twice a second."""

    def __init__(self, pids: list[int]) -> None:
        self.before = {pid: (resident_mb(pid), descriptors(pid)) for pid in pids}
        self.worst = dict(self.before)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            for pid, (memory, files) in self.worst.items():
                try:
                    self.worst[pid] = max(memory, resident_mb(pid)), max(files, descriptors(pid))
                except (OSError, IndexError):  # it has ended, which the test notices
                    return


@contextmanager
def running(root: Path) -> Iterator[HostileSystem]:
    system = HostileSystem(root)
    try:
        system.wait_until_it_runs()
        yield system
    finally:
        system.end()


def attack(
    system: HostileSystem, place: str, frames: int, connections: int, held: int
) -> dict[str, list[float]]:
    """Each address gets these from one of the processes. Address -> frames, connections, refused, seconds.

    The brokers get as many frames of an admitted Box, too.
    """
    listening = sorted(system.listening(), key=lambda each: each.address)
    listening = [each for each in listening if place in ("all", system.place(each))]
    assert listening, f"no {place}: {sorted(map(system.place, system.listening()))}"
    addresses = [[each.kind, each.address] for each in listening]
    sockets = [
        [kind, PORTS[name] + system.offset]
        for kind, name in BROKERS.items()
        if place in ("all", str(PORTS[name]))
    ]
    by_key = [str(system.folder / "curve"), HOSTILE_BOX, sockets]
    orders = [
        {
            "addresses": addresses[at::SENDERS],
            "frames": frames,
            "connections": connections,
            "seed": at,
            "held": held,
            "curve": by_key if at == 0 and sockets else None,
        }
        for at in range(SENDERS)
    ]
    program = Path(__file__).with_name("hostile_senders.py")
    senders = [
        subprocess.Popen([sys.executable, str(program), json.dumps(order)], stdout=subprocess.PIPE, text=True)
        for order in orders
    ]
    found: dict[str, list[float]] = {}
    try:
        for sender in senders:
            found |= json.loads(sender.communicate()[0])
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
    return found


def judged(system: HostileSystem, place: str, frames: int, connections: int, held: int) -> None:
    listening = system.listening()
    pids = sorted(
        {system.process.pid, *(each.pid for each in listening)}
    )  # others end when their work is done
    found = {each.address for each in listening}
    named = {str(PORTS[name] + system.offset) for name in ("triggering_box", "response_box", "view", "rules")}
    assert named <= found and any(each.kind == "unix" for each in listening)
    until(lambda: len(system.numbers("1")) > 2, WAIT_S, "stored Measurements")
    with Watch(pids) as watch:
        sent = attack(system, place, frames, connections, held)
    print(json.dumps({"sent": sent, "before": watch.before, "worst": watch.worst}, indent=1))
    assert system.process.poll() is None and set(pids) <= set(system.pids())
    assert {each.address for each in system.listening()} >= found
    for port in ("view", "mauka_health", "gateway_health"):
        until(lambda port=port: system.answers(port), WAIT_S, f"an answer of {port}")
    before = {pid: files for pid, (_, files) in watch.before.items()}
    until(
        lambda: all(descriptors(pid) <= files + MOST_DESCRIPTORS for pid, files in before.items()),
        WAIT_S,
        "the descriptors from before",
    )
    grown = {pid: worst[0] - watch.before[pid][0] for pid, worst in watch.worst.items()}
    assert max(grown.values()) < MOST_MB, grown
    assert system.logged() == []
    already = len(system.numbers("1"))
    until(lambda: len(system.numbers("1")) >= already + 3, WAIT_S, "further Measurements")
    for box_id in ("1", "2"):  # a gateway sends again what was lost
        until(lambda box_id=box_id: without_holes(system.numbers(box_id)), WAIT_S, "every Measurement")
    print("after", {pid: (resident_mb(pid), descriptors(pid)) for pid in pids}, "stored", already)


def without_holes(numbers: list[int]) -> bool:
    return {after - before for before, after in itertools.pairwise(numbers)} == {1}


@pytest.mark.timeout(1800)
def test_hostile_peers_cost_no_measurement(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        judged(system, "all", frames=300, connections=30, held=10)


@pytest.mark.slow
@pytest.mark.timeout(12 * 3600)
@pytest.mark.parametrize("place", PLACES)
def test_a_million_hostile_frames_cost_no_measurement(tmp_path: Path, place: str) -> None:
    with running(tmp_path) as system:
        judged(system, place, FRAMES, CONNECTIONS, held=100)
