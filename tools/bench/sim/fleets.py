"""A fleet's process beside the listener: CPU over a while, memory per Box, waveforms answered."""

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import zmq

from bench.own_processes import cpu_s
from bench.sim.listener import ListenerCounts, serve
from opq_gateway.uplink.connection import Endpoints
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import generate
from opq_proto.kit import log
from opq_sim.box.source import RunClock
from opq_sim.fleet.__main__ import memory_kb, own_memory_kb
from opq_sim.fleet.gateway_boxes import GatewayBoxes
from opq_sim.fleet.outlets import plain_grid
from opq_sim.fleet.plan import FleetPlan
from opq_sim.fleet.worker import FleetWorker

START_S = 600.0
ANSWER_S, END_S = 20.0, 10.0
FIRST_BOX = 10_001
"""First of ids of one length: none is a prefix of another, so no Box gets another's commands."""


@dataclass(frozen=True, slots=True)
class FleetCost:
    """Cost of one process over a span."""

    elapsed_s: float
    cpu_s_per_s: float
    traffic: ListenerCounts
    """What the listener counted in the span."""
    counts: dict[str, int]
    """Counters of the Boxes at its end."""
    boxes_kb: float
    """The process' own memory, minus that before its Boxes were made."""
    memory_kb: float
    """All memory, with shared pages by their share."""
    start_s: float
    start_cpu_s: float
    """CPU until all Boxes were connected."""


def serve_boxes(
    pipe: Connection,
    endpoints: Endpoints,
    server_key: bytes,
    boxes: int,
    cycles: int,
    folder: str,
    samples: bool,
) -> None:
    """Runs the Boxes of a process; answers each "counts" from the pipe, and ends at "end"."""
    log.configure("boxes", "warning")
    before_kb = own_memory_kb()
    ids = [str(FIRST_BOX + number) for number in range(boxes)]
    pairs = [generate() for _ in ids]
    plan = FleetPlan(endpoints, server_key, Path(folder), cycles)
    made = (GatewayBoxes if samples else FleetWorker)(plain_grid(ids), pairs, plan, RunClock.now())
    stop = threading.Event()

    def answer() -> None:
        while pipe.recv() != "end":
            pipe.send((own_memory_kb() - before_kb, memory_kb(), made.counts()))
        stop.set()

    threading.Thread(target=answer, daemon=True).start()
    made.run(stop)


class BenchFleet:
    """A running fleet; ends with the block of `fleet`."""

    def __init__(self, pipe: Connection, listener: Connection, pid: int, start_within_s: float) -> None:
        self._pipe, self._listener, self._pid = pipe, listener, pid
        self._start_within_s = start_within_s
        self._began_s = time.monotonic()
        self._start_s = self._start_cpu_s = 0.0

    def counts(self, within_s: float = ANSWER_S) -> tuple[float, float, dict[str, int]]:
        """Memory of the Boxes and of the whole process in kB, and the Boxes' counters."""
        self._pipe.send("counts")
        if not self._pipe.poll(within_s):
            raise OpqError(f"the fleet's process does not answer within {within_s:.0f} s")
        found: tuple[float, float, dict[str, int]] = self._pipe.recv()
        return found

    def traffic(self, waveforms_per_s: float = 0.0) -> ListenerCounts:
        """What arrived so far; from now on the listener requests `waveforms_per_s`."""
        self._listener.send(waveforms_per_s)
        found: ListenerCounts = self._listener.recv()
        return found

    def wait(self) -> None:
        """Waits until every Box is connected and was acknowledged.

        Raises:
            OpqError: not within the time to start.
        """
        until_s = self._began_s + self._start_within_s
        while True:
            _, _, counts = self.counts(max(1.0, until_s - time.monotonic()))
            if counts["standing"] == counts["boxes"] and not self._start_s:
                self._start_s, self._start_cpu_s = time.monotonic() - self._began_s, self.cpu_s()
            if self._start_s and counts["acknowledging"] == counts["boxes"]:
                return
            if time.monotonic() > until_s:
                within = f"after {self._start_within_s:.0f} s"
                raise OpqError(f"{within} {counts['standing']} of {counts['boxes']} Boxes stand")
            time.sleep(0.5)

    def cost(self, seconds: float, waveforms_per_s: float = 0.0) -> FleetCost:
        """Measures the process' cost for `seconds`."""
        before, began_s, traffic = self.cpu_s(), time.monotonic(), self.traffic(waveforms_per_s)
        time.sleep(seconds)
        used, elapsed_s, after = self.cpu_s() - before, time.monotonic() - began_s, self.traffic()
        boxes_kb, all_kb, counts = self.counts()
        during = ListenerCounts(
            after.boxes,
            after.measurements - traffic.measurements,
            after.missing - traffic.missing,
            after.requested - traffic.requested,
            after.answers - traffic.answers,
            after.samples - traffic.samples,
        )
        return FleetCost(
            elapsed_s, used / elapsed_s, during, counts, boxes_kb, all_kb, self._start_s, self._start_cpu_s
        )

    def cpu_s(self) -> float:
        """User and system time of the fleet's process."""
        return cpu_s(self._pid)


@contextmanager
def fleet(boxes: int, cycles: int, samples: bool = False, start_s: float = START_S) -> Iterator[BenchFleet]:
    """Runs `boxes` Boxes in one process, all connected, and the listener in another.

    Raises:
        OpqError: they are not connected within `start_s`.
    """
    if start_s <= 0:
        raise OpqError("no time is left")
    spawn = multiprocessing.get_context("spawn")
    public, secret = zmq.curve_keypair()
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        listening, theirs = spawn.Pipe()
        listener = spawn.Process(target=serve, args=(theirs, public, secret), daemon=True)
        listener.start()
        endpoints = listening.recv()
        ours, inner = spawn.Pipe()
        arguments = (inner, endpoints, public, boxes, cycles, f"{folder}/held", samples)
        process = spawn.Process(target=serve_boxes, args=arguments, daemon=True)
        process.start()
        assert process.pid is not None
        try:
            made = BenchFleet(ours, listening, process.pid, start_s)
            made.wait()
            yield made
        finally:
            for pipe, each in ((ours, process), (listening, listener)):
                if each.is_alive():
                    pipe.send("end")
                each.join(END_S)
                if each.is_alive():
                    each.kill()
                    each.join()
