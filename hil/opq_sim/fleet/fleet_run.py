"""FleetRun: the task of a whole fleet, its Boxes spread over processes, and their counts.

    run_fleet (parent) --JSON on stdin--> python -m opq_sim.fleet (one per process) --JSON lines--> counts

Box k of the fleet is always served by process k modulo their number. So a fleet that starts again, even with
more Boxes, finds the Measurements that it held.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from opq_proto.errors import ConfigError, OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import endpoint
from opq_sim.box.source import RunClock
from opq_sim.fleet.connections import allow_files
from opq_sim.fleet.truth_witness import TruthWitness

REPORT_S = 10.0
END_S = 20.0
PROCESSES_FILE = "processes.json"
Counts = dict[str, float]


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """Everything that a process needs to know."""

    data_dir: str
    boxes: int
    first_box: int = 1
    processes: int = 1
    rate_per_s: float = 1.0
    port_offset: int = 0
    host: str = "127.0.0.1"
    scenario: str | None = None
    """A scenario file with a network; None: an undisturbed grid."""
    nominal_v: float = 120.0
    nominal_hz: float = 60.0
    seed: int = 1
    outage_every_s: float = 0.0
    """Mean time between two network outages of a Box; 0: none."""
    outage_s: float = 60.0
    queue_mb: int = 4000
    """Megabytes for the queues of all processes together."""
    samples: bool = False
    """Measure samples with the gateway's code (GatewayBoxes), not in closed form."""

    def box_ids(self, process: int) -> list[str]:
        """The Box ids of a process."""
        return [str(self.first_box + at) for at in range(process, self.boxes, self.processes)]

    def folder(self, process: int) -> Path:
        """The folder in which a process holds its Measurements."""
        return Path(self.data_dir) / "fleet" / str(process)

    def endpoint(self, name: str) -> str:
        """A broker's address by the name of its port."""
        return endpoint(name, self.port_offset, self.host)


def check_fleet(spec: FleetSpec) -> None:
    """Refuses a fleet that cannot run, before anything starts.

    Raises:
        ConfigError: keys are missing, more Boxes than files, another number of processes than before.
    """
    allow_files(len(spec.box_ids(0)))
    keys = KeyFolder(Path(spec.data_dir) / "curve")
    ids = [box_id for process in range(spec.processes) for box_id in spec.box_ids(process)]
    missing = [box_id for box_id in ids if not keys.box_secret(box_id).exists()]
    if missing or not keys.server_public.exists():
        last = spec.first_box + spec.boxes - 1
        what = f"the keys of {len(missing)} Boxes" if missing else "the server's public key"
        server = "" if keys.server_public.exists() else " --server"
        raise ConfigError(
            f"{keys.root}: {what} are missing; make them: "
            f"opq-tools keygen --out {keys.root}{server} --boxes {spec.first_box}-{last}"
        )
    spread = Path(spec.data_dir) / "fleet" / PROCESSES_FILE
    layout = {"processes": spec.processes, "first_box": spec.first_box}
    if spread.exists() and json.loads(spread.read_text()) != layout:
        before = json.loads(spread.read_text())
        raise ConfigError(
            f"{spread.parent} is of a fleet with --processes {before['processes']} --first-box "
            f"{before['first_box']}; "
            "use these, or delete the folder with what was never acknowledged"
        )
    spread.parent.mkdir(parents=True, exist_ok=True)
    spread.write_text(json.dumps(layout))


def run_fleet(
    spec: FleetSpec, stop: threading.Event, on_report: Callable[[Counts], None], truth: Path | None = None
) -> Counts:
    """Runs a fleet until `stop` and returns the counts of all processes together; `on_report` gets them each
    REPORT_S.

    `truth`: a folder for the truth of the scenario's disturbances.

    Raises:
        ConfigError: see `check_fleet`.
        OpqError: a process ended by itself.
    """
    check_fleet(spec)
    clock = RunClock.now()
    witness = None
    if truth is not None:
        scenario = None if spec.scenario is None else Path(spec.scenario)
        ids = [box_id for process in range(spec.processes) for box_id in spec.box_ids(process)]
        witness = TruthWitness(scenario, ids, spec.seed, truth, clock.start_ns)
    began_s = time.monotonic()
    latest: dict[int, Counts] = {}
    running = [_started(spec, process, clock) for process in range(spec.processes)]
    readers = [
        threading.Thread(target=_read_counts, args=(each.stdout, latest, number), daemon=True)
        for number, each in enumerate(running)
    ]
    for reader in readers:
        reader.start()
    reported_s, failed = began_s, False
    standing_s: float | None = None
    try:
        while not stop.wait(0.2) and not failed:
            failed = any(each.poll() is not None for each in running)
            if standing_s is None and total_of(latest).get("standing") == spec.boxes:
                standing_s = time.monotonic() - began_s
            if witness is not None:
                witness.advance((time.monotonic_ns() - clock.monotonic_ns) / 1e9)
            if time.monotonic() - reported_s >= REPORT_S:
                reported_s += REPORT_S
                on_report(total_of(latest))
    finally:
        _end(running)
        for reader in readers:
            reader.join(5.0)
        if witness is not None:
            witness.close()
    total = total_of(latest)
    total["seconds"] = round(time.monotonic() - began_s, 1)
    total["all_standing_after_s"] = -1.0 if standing_s is None else round(standing_s, 1)
    codes = [each.returncode for each in running]
    ended_well = (0, -signal.SIGTERM)  # SIGTERM: it had to end before it installed its handler
    if (failed and not stop.is_set()) or any(code not in ended_well for code in codes):
        raise OpqError(f"fleet: processes ended with {', '.join(map(str, codes))}; their errors are above")
    return total


def total_of(latest: Mapping[int, Counts]) -> Counts:
    """The counts of all processes together."""
    found: Counts = {}
    for counts in list(latest.values()):
        for name, value in counts.items():
            found[name] = round(found.get(name, 0) + value, 3)
    return found


def _started(spec: FleetSpec, process: int, clock: RunClock) -> "subprocess.Popen[str]":
    order = {"spec": asdict(spec), "process": process, "parent": os.getpid(), "clock": asdict(clock)}
    made = subprocess.Popen(
        [sys.executable, "-m", "opq_sim.fleet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C is for this process alone; it ends the others
    )
    assert made.stdin is not None
    made.stdin.write(json.dumps(order) + "\n")
    made.stdin.close()
    return made


def _read_counts(lines: IO[str] | None, latest: dict[int, Counts], process: int) -> None:
    assert lines is not None
    for line in lines:
        latest[process] = json.loads(line)


def _end(running: "list[subprocess.Popen[str]]") -> None:
    for each in running:
        if each.poll() is None:
            each.send_signal(signal.SIGTERM)
    until_s = time.monotonic() + END_S
    for each in running:
        try:
            each.wait(max(0.1, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
