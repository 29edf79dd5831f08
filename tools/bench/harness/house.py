"""BenchHouse: Boxes on ptys, a real gateway, a real cloud over CURVE, and relays that count bytes."""

import queue
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from bench.harness.own_processes import cpu_s, proportional_bytes
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts import gauges
from opq_tools.up.children import Child, ChildLine, end_all
from opq_tools.up.plan import merged
from opq_tools.up.port_claims import free_offset

START_S = 60.0
LINES = 100_000
UPLINK = {
    "triggering_box": "trigger_endpoint",
    "command_box": "command_endpoint",
    "response_box": "response_endpoint",
}
"""Port of the cloud -> the gateway's setting for it."""
PIECE_BYTES = 1 << 16


class MeteredRelay(OwnThread):
    """Relays one port of 127.0.0.1 to another for the `with` block.

    Attributes:
        port: port to connect to instead.
        up_bytes, down_bytes: payload of TCP, from and to the clients.
    """

    def __init__(self, target_port: int) -> None:
        super().__init__("metered")
        self.up_bytes = self.down_bytes = 0
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, tuple[socket.socket, bool]] = {}

    def close(self) -> None:
        super().close()
        for each in list(self._peers):
            each.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        inner, _ = self._listener.accept()
        try:
            outer = socket.create_connection(("127.0.0.1", self._target_port), 5)
        except OSError:
            inner.close()  # like a missing broker
            return
        for each, other, up in ((inner, outer, True), (outer, inner, False)):
            self._peers[each] = (other, up)
            self._selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        target, up = self._peers[source]
        try:
            data = source.recv(PIECE_BYTES)
            self._count(len(data), up)
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                self._selector.unregister(each)
                del self._peers[each]
                each.close()

    def _count(self, size: int, up: bool) -> None:
        if up:
            self.up_bytes += size
        else:
            self.down_bytes += size


@dataclass(frozen=True, slots=True)
class GatewayCost:
    """Cost of the gateway over a span."""

    cpu_ms_per_s: float
    """CPU of the gateway's own process."""
    memory_bytes: float


class BenchHouse:
    """A running system; ends with the block of `house`."""

    def __init__(
        self,
        children: list[Child],
        lines: "queue.Queue[ChildLine]",
        offset: int,
        boxes: int,
        folder: Path,
        relays: Sequence[MeteredRelay],
    ) -> None:
        """`folder`: has everything of gateway and cloud."""
        self._children = children
        self._lines = lines
        self._relays = relays
        self.offset = offset
        self.boxes = boxes
        self.folder = folder

    def pid(self, name: str) -> int:
        """The process id of boxes, gateway or a service of the cloud."""
        return next(child.pid for child in self._children if child.name == name and child.pid is not None)

    def wait(self) -> None:
        """Waits until every Box samples and its uplink is connected.

        Raises:
            OpqError: not within START_S, or a process ended.
        """
        until = time.monotonic() + START_S
        while not self._all_well():
            for child in self._children:
                if child.ended() is not None:
                    raise OpqError(f"{child.name} ended: {child.last_words()}")
            if time.monotonic() > until:
                raise OpqError(f"not all of {self.boxes} Boxes are connected after {START_S:g} s")
            time.sleep(0.2)

    def _all_well(self) -> bool:
        reading = self._reading()
        boxes = [part for part in reading.boxes.values() if "connected" in part] if reading else []
        return len(boxes) == self.boxes and all(part["connected"] and part["sampling"] for part in boxes)

    def counted(self, name: str) -> float:
        """A counter of the gateway, over all Boxes. Raises OpqError where the gateway does not answer."""
        reading = self._reading()
        if reading is None:
            raise OpqError("the gateway does not say what it counts")
        return float(reading.total(name))

    def _reading(self) -> gauges.GatewayReading | None:
        return gauges.read(PORTS["gateway_health"] + self.offset)

    @property
    def uplink_bytes(self) -> tuple[int, int]:
        """Bytes sent to the cloud and received from it, as payload of TCP; needs `metered`."""
        return sum(relay.up_bytes for relay in self._relays), sum(relay.down_bytes for relay in self._relays)

    def line(self, timeout_s: float) -> ChildLine | None:
        """The next log line of any process."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def rest(self, seconds: float) -> None:
        """Lets the system run and discards its lines."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.line(0.2)

    def cost(self, seconds: float) -> GatewayCost:
        """Measures the gateway's cost for `seconds`."""
        pid = self.pid("gateway")
        before_s, began_s = cpu_s(pid), time.monotonic()
        self.rest(seconds)
        used_s, elapsed_s = cpu_s(pid) - before_s, time.monotonic() - began_s
        return GatewayCost(1e3 * used_s / elapsed_s, proportional_bytes(pid))


@contextmanager
def house(
    boxes: int,
    *,
    sag_every_s: float = 0.0,
    at_once: int = 1,
    services: Sequence[str] = ("all",),
    debug: bool = False,
    metered: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Iterator[BenchHouse]:
    """Runs the given number of Boxes, all connected, in a folder that is removed after the block.

    Args:
        sag_every_s: time between sags; 0: none.
        at_once: each is at so many Boxes, the next one at those that follow.
        services: the cloud's services, each as a process.
        debug: the gateway logs commands and answers.
        metered: the uplink's bytes are counted.
        config: laid over the gateway's.
    """
    offset = free_offset(PORTS)
    if offset is None:
        raise OpqError("no port offset is free for a house of the benchmark's own")
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder, ExitStack() as opened:
        relays = [opened.enter_context(MeteredRelay(PORTS[name] + offset)) for name in UPLINK if metered]
        uplink = {
            key: f"tcp://127.0.0.1:{relay.port}" for key, relay in zip(UPLINK.values(), relays, strict=False)
        }
        laid_over = merged({"uplink": uplink}, config or {})
        lines: queue.Queue[ChildLine] = queue.Queue(LINES)
        commands = _commands(Path(folder), boxes, (sag_every_s, at_once), services, offset, debug, laid_over)
        children = [
            Child(name, command, Path(folder) / "log" / f"{name}.log", lines)
            for name, command in commands.items()
        ]
        for child in children:
            child.start()
        try:
            running = BenchHouse(children, lines, offset, boxes, Path(folder), relays)
            running.wait()
            yield running
        finally:
            end_all(children)


def _commands(
    folder: Path,
    boxes: int,
    sags: tuple[float, int],
    services: Sequence[str],
    offset: int,
    debug: bool,
    config: Mapping[str, Any],
) -> dict[str, list[str]]:
    ids = [str(number) for number in range(1, boxes + 1)]
    KeyFolder(folder / "curve").ensure(ids)
    ports = folder / "ports"
    box = [{"id": box_id, "port": str(ports / f"box{box_id}")} for box_id in ids]
    gateway = merged({"data_dir": str(folder), "ring_hours": 0.25, "box": box}, config)
    (folder / "gateway.toml").write_text(tomli_w.dumps(gateway), encoding="utf-8")
    (folder / "cloud.toml").write_text(tomli_w.dumps({"data_dir": str(folder)}), encoding="utf-8")
    python = [sys.executable, "-m"]
    level = ["/usr/bin/env", f"OPQ_LOG={'debug' if debug else 'info'}"]
    run = [*level, *python, "opq_gateway", "run", "--config", str(folder / "gateway.toml")]
    places = ["--config", str(folder / "cloud.toml"), "--port-offset", str(offset)]
    return {
        "boxes": [*python, "bench.harness.boxes", str(boxes), str(ports), *map(str, sags)],
        **{name: [*python, "opq_cloud", name, *places] for name in services},
        "gateway": [*run, "--port-offset", str(offset)],
    }
