"""One process of a fleet: reads its task as a line of JSON from stdin, writes its counts as JSON lines to
stdout.

`fleet_run` starts it, because a fleet is spread over several processes; it ends with its parent.
"""

import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from opq_gateway.uplink.connection import Endpoints
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit import log
from opq_proto.kit.ending import stopped_by_signals
from opq_proto.messages import TimeSource
from opq_sim.box.source import RunClock
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.fleet_run import FleetSpec
from opq_sim.fleet.gateway_boxes import GatewayBoxes
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import FleetGrid, network_grid, plain_grid
from opq_sim.fleet.worker import FleetWorker
from opq_sim.parent import end_with
from opq_sim.power_system.power_scenario import load_power_scenario

COUNT_S = 1.0


class CountingBoxes(Protocol):
    """The Boxes of a process, of either depth."""

    def run(self, stop: threading.Event) -> None: ...

    def counts(self) -> dict[str, int]: ...


def grid_of_spec(spec: FleetSpec, box_ids: list[str]) -> FleetGrid:
    """The outlets of a process's Boxes.

    Raises:
        ConfigError: the scenario cannot be used.
    """
    if spec.scenario is None:
        return plain_grid(box_ids, spec.nominal_v, spec.nominal_hz, spec.seed)
    return network_grid(load_power_scenario(Path(spec.scenario)), box_ids, spec.seed)


def made_boxes(spec: FleetSpec, process: int, clock: RunClock) -> CountingBoxes:
    """The Boxes of one process, not yet running.

    Raises:
        OpqError: keys, scenario, folder or limits.
    """
    ids = spec.box_ids(process)
    keys = KeyFolder(Path(spec.data_dir) / "curve")
    pairs: list[KeyPair] = [read_secret_file(keys.box_secret(box_id)) for box_id in ids]
    endpoints = Endpoints(
        *(spec.endpoint(name) for name in ("triggering_box", "command_box", "response_box"))
    )
    grid = grid_of_spec(spec, ids)
    cycles = max(1, round(grid.outlets[0].voltage.nominal_hz / spec.rate_per_s))
    plan = FleetPlan(
        endpoints,
        read_key_file(keys.server_public).public,
        spec.folder(process),
        cycles,
        seed=spec.seed,
        queue_bytes=spec.queue_mb * 1_000_000 // spec.processes,
    )
    if spec.samples:
        return GatewayBoxes(grid, pairs, plan, clock)
    outages = None
    if spec.outage_every_s:
        outages = NetworkOutages(ids, spec.outage_every_s, spec.outage_s, spec.seed)
    return FleetWorker(grid, pairs, plan, clock, outages)


def memory_kb() -> int:
    """The process's memory in kB, with its share of shared pages."""
    return _rollup_kb("Pss")


def own_memory_kb() -> int:
    """The process's own memory in kB: heap and stacks, without programs and libraries, which are shared."""
    return _rollup_kb("Anonymous")


def _rollup_kb(name: str) -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def report(boxes: CountingBoxes, stop: threading.Event, began_cpu_s: float) -> None:
    """Prints a line of counts each second, and a last one at the end."""
    while True:
        over = stop.wait(COUNT_S)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        figures = {
            **boxes.counts(),
            "processes": 1,
            "cpu_s": round(cpu_s, 3),
            "start_cpu_s": round(began_cpu_s, 3),
            "memory_kb": memory_kb(),
            "files": len(list(Path("/proc/self/fd").iterdir())),
        }
        print(json.dumps(figures), flush=True)
        if over:
            return


def main() -> None:
    """Serves the Boxes until SIGTERM."""
    order = json.loads(sys.stdin.readline())
    end_with(int(order["parent"]))
    log.configure("boxes", "warning")
    spec = FleetSpec(**order["spec"])
    clock = RunClock(**{**order["clock"], "source": TimeSource(order["clock"]["source"])})
    stop, ended = threading.Event(), threading.Event()
    with stopped_by_signals(stop):
        try:
            boxes = made_boxes(spec, int(order["process"]), clock)
        except OpqError as error:
            sys.exit(str(error))
        reporting = threading.Thread(target=report, args=(boxes, ended, time.process_time()))
        reporting.start()
        try:
            boxes.run(stop)
        finally:
            ended.set()
            reporting.join()


if __name__ == "__main__":
    main()
