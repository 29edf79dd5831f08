"""Every figure of `bench fleet`: 9,900 Boxes of depth (c) against Makai's services, a process each.

    sim fleet (6 processes) --CURVE--> triggering-broker, acquisition-broker, triggering-service --> store
    one waveform a second ------------------^

Each Box sends one Measurement a second, for ten minutes after all are connected; then all services are
killed and restarted. The bench measures descriptors, memory, CPU, the time until all Boxes are connected, and
the time until each is heard again. It checks every number: each Measurement that a Box made is in the store,
or the Box holds it; each requested waveform is answered. Failures are assigned to the simulator (the disk or
a socket refused data, a process ended) or to the services (acknowledged but not stored; not acknowledged when
all had ended; requested but not answered). Baseline: one Measurement of each Box and second.
"""

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import psutil

from bench.fleet.numbers import account_of, held_of, numbers_of, stored_runs
from bench.makai.makai_processes import SERVICES, MakaiProcesses
from bench.own_processes import cpu_s, resident_bytes
from bench.result import Baseline, BenchCase, BenchResult, case, percentile
from opq_proto.errors import OpqError
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.ports import endpoint
from opq_proto.wire.command_client import CommandClient, UnansweredError
from opq_proto.wire.frames import data_command, waveform_from_frames
from opq_sim.faults.evidence import FILE_NAME
from opq_sim.faults.parts.free_ports import free_offset
from opq_sim.fleet.fleet_run import Counts, FleetSpec, run_fleet

BOXES, QUICK_BOXES = 9900, 60
"""As many Boxes as a broker has descriptors for with a limit of 20,000."""
PROCESSES, QUICK_PROCESSES = 6, 2
FIRST_BOX = 10_001
WATCH_S, QUICK_WATCH_S = 600.0, 12.0
STAND_S = 1200.0
"""Longest wait until all Boxes are connected; then it measures with those that are."""
SETTLED_S, MAX_SETTLE_S = 5.0, 120.0
"""Time without new stored Measurements that ends the wait, and the longest wait."""
MAX_REPORTING_S = 120.0
MAX_END_S = 180.0
"""Longest wait for the fleet's end; a fleet kills its processes earlier."""
POLL_S = 1.0
NAMED = 10
"""Most lines shown of what was lost or not answered."""
OWN_FAULTS = ("expired", "not_held", "answers_dropped", "commands_overflow")


def run(quick: bool) -> BenchResult:
    """Takes some 15 minutes; `quick`, with 60 Boxes for 12 s, less than one."""
    boxes, watch_s = (QUICK_BOXES, QUICK_WATCH_S) if quick else (BOXES, WATCH_S)
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as name:
        folder = Path(name)
        makai = MakaiProcesses(folder, boxes, free_offset(os.getpid(), 1)[0], FIRST_BOX)
        try:
            watched = FleetWatch(makai, folder, boxes, QUICK_PROCESSES if quick else PROCESSES)
            rows = [*watched.play(watch_s)]
        finally:
            makai.close()
        rows += watched.account(folder / FILE_NAME)
    due = boxes * watch_s
    made = next(row.value for row in rows if row.case == MADE)
    return BenchResult(tuple(rows), Baseline("Measurements that are due meanwhile", due, ""), made / due)


MADE = "Measurements made meanwhile"


class FleetWatch:
    """Runs a fleet in processes of its own, from its start to its end."""

    def __init__(self, makai: MakaiProcesses, folder: Path, boxes: int, processes: int) -> None:
        self._makai, self._boxes = makai, boxes
        self._spec = FleetSpec(str(folder), boxes, FIRST_BOX, processes, port_offset=makai.offset)
        self._folders = [self._spec.folder(process) for process in range(processes)]
        self._stop = threading.Event()
        self._latest: Counts = {}
        self._total: Counts = {}
        self._failure = ""
        self._start_cpu_s = 0.0
        self._begun: dict[str, tuple[int, int]] = {}
        self._requests: WaveformLoad | None = None

    def play(self, watch_s: float) -> Iterator[BenchCase]:
        """Runs the fleet and yields figures of its cost."""
        thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        began_s = time.monotonic()
        thread.start()
        try:
            self._wait_for_numbers()
            self._wait_for_boxes(began_s)
            standing = self._latest.get("standing", 0.0)
            yield case("Boxes that do not stand", "", [self._boxes - standing], limit=0.0)
            click.echo(f"{standing:.0f} of {self._boxes} Boxes stand; for {watch_s:.0f} s ...", err=True)
            yield from self._watch(watch_s)
            yield self._restarted()
        finally:
            self._stop.set()
            thread.join(MAX_END_S)
            if thread.is_alive():
                self._failure = f"it did not end within {MAX_END_S:g} s, so what it counted is not known"
        yield case("time until all stand", "s", [self._total.get("all_standing_after_s", -1.0)])
        yield case("until then, CPU of a Box", "ms", [self._start_cpu_s / self._boxes * 1e3])
        self._settle()

    def account(self, database: Path) -> Iterator[BenchCase]:
        """Accounts for all Measurements and waveforms, and assigns failures; the services must have ended."""
        found = account_of(held_of(self._begun, numbers_of(self._folders)), stored_runs(database))
        problems = found.problems
        yield case("Measurements made from the start to the end", "", [float(found.made)])
        yield case("... of these in the store", "", [float(found.stored)])
        yield case(
            "services: not stored when all ended, held by Boxes", "", [float(found.waiting)], limit=0.0
        )
        yield case("services: Boxes that lost some", "", [float(len(problems))], limit=0.0,
                   because="; ".join(problems[:NAMED]))  # fmt: skip
        requests = self._requests
        if requests is not None:
            latencies_ms = [1e3 * each for each in requests.latencies_s] or [0.0]
            yield case("requested waveforms", "", [float(requests.requested)])
            yield case("... answered, p99", "ms", latencies_ms, percentile(latencies_ms, 0.99))
            yield case("... not answered", "", [float(len(requests.unanswered))], limit=0.0,
                       because="; ".join(requests.unanswered[:NAMED]))  # fmt: skip
        own_faults = {name: self._total.get(name, 0.0) for name in OWN_FAULTS if self._total.get(name)}
        faults = [f"{name} {count:g}" for name, count in own_faults.items()]
        faults += [self._failure] if self._failure else []
        count = sum(own_faults.values()) + bool(self._failure)
        yield case("simulator: its own faults", "", [float(count)], limit=0.0, because="; ".join(faults))
        yield case("connections lost before the end", "", [self._latest.get("lost", 0.0)])

    def _run(self) -> None:
        def note(counts: Counts) -> None:
            self._latest = counts

        try:
            self._total = run_fleet(self._spec, self._stop, note)
        except OpqError as error:
            self._failure = str(error)
            self._total = self._latest

    def _wait_for_numbers(self) -> None:
        """Reads each process's first numbers, before any acknowledgement."""
        while len(self._begun) < self._boxes and not self._failure:
            self._begun = numbers_of(self._folders) | self._begun  # keeps the first ones of each process
            time.sleep(0.05)

    def _wait_for_boxes(self, began_s: float) -> None:
        while time.monotonic() - began_s < STAND_S and not self._failure:
            if self._latest.get("standing") == self._boxes:
                break
            time.sleep(POLL_S)
        self._start_cpu_s = self._latest.get("cpu_s", 0.0)

    def _watch(self, watch_s: float) -> Iterator[BenchCase]:
        pids = {name: self._makai.pids[name] for name in SERVICES}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        began, began_s = self._latest, time.monotonic()
        commands, answers = (
            endpoint(name, self._makai.offset) for name in ("command_backend", "response_backend")
        )
        box_ids = [str(FIRST_BOX + at * 7919 % self._boxes) for at in range(self._boxes)]
        with WaveformLoad(commands, answers, box_ids) as self._requests:
            while time.monotonic() - began_s < watch_s and not self._failure:
                time.sleep(POLL_S)
        elapsed_s = time.monotonic() - began_s
        for name, pid in pids.items():
            yield case(f"{name}: CPU", "s/s", [(cpu_s(pid) - before[name]) / elapsed_s])
            yield case(f"{name}: descriptors", "", [float(psutil.Process(pid).num_fds())])
            yield case(f"{name}: memory", "MB", [resident_bytes(pid) / 1e6])
        now = self._latest
        yield case(MADE, "", [now.get("made", 0.0) - began.get("made", 0.0)])
        yield case(
            "fleet: CPU of all processes",
            "s/s",
            [(now.get("cpu_s", 0.0) - began.get("cpu_s", 0.0)) / elapsed_s],
        )
        yield case("fleet: descriptors of a process", "", [now.get("files", 0.0) / self._spec.processes])
        yield case("fleet: memory per Box, all", "kB", [now.get("memory_kb", 0.0) / self._boxes])

    def _restarted(self) -> BenchCase:
        """Kills and restarts the services; the time until each Box is heard again."""
        began_s = time.monotonic()
        self._makai.restart(*SERVICES)
        while (
            reporting := self._makai.boxes_reporting()
        ) < self._boxes and time.monotonic() - began_s < MAX_REPORTING_S:
            time.sleep(0.1)
        why = f"{self._boxes - reporting} are not" if reporting < self._boxes else ""
        name = "each Box is heard again after all services were killed"
        return case(name, "s", [time.monotonic() - began_s], limit=10.0, because=why)

    def _settle(self) -> None:
        """Waits until all Measurements under way are stored."""
        until_s, before, since_s = time.monotonic() + MAX_SETTLE_S, -1.0, time.monotonic()
        while time.monotonic() < until_s and time.monotonic() - since_s < SETTLED_S:
            time.sleep(POLL_S)
            try:
                counters = self._makai.figures("triggering-service").counters
            except OSError:  # too busy to answer, so not yet done
                since_s = time.monotonic()
                continue
            stored = counters.get("opq_measurements_stored_total", 0.0)
            if stored != before:
                before, since_s = stored, time.monotonic()


EVERY_S = 1.0
WAVEFORM_S, ENDED_S = 3.0, 1.0
"""Length of a requested waveform, and its end before now."""
ANSWER_S = 20.0


class WaveformLoad(OwnThread):
    """Requests waveforms during the `with` block, in a thread of its own.

    Attributes:
        requested, answered: number of waveforms.
        samples: number of samples in the answers.
        latencies_s: latency of each answer.
        unanswered: a line for each that was not answered, or not in time.
    """

    _join_s = ANSWER_S + 5.0

    def __init__(self, command_endpoint: str, answer_endpoint: str, box_ids: Sequence[str]) -> None:
        super().__init__("waveform-requests")
        self.requested = self.answered = self.samples = 0
        self.latencies_s: list[float] = []
        self.unanswered: list[str] = []
        self._endpoints, self._box_ids = (command_endpoint, answer_endpoint), box_ids

    def _run(self) -> None:
        began_s = time.monotonic()
        with CommandClient(*self._endpoints) as client:
            for box_id in itertools.cycle(self._box_ids):
                requested_s = time.monotonic()
                try:
                    self._request(client, box_id)
                except OpqError as error:
                    self.unanswered.append(
                        f"Box {box_id}, requested after {requested_s - began_s:.0f} s: {error}"
                    )
                if self._stop.wait(max(0.0, requested_s + EVERY_S - time.monotonic())):
                    return

    def _request(self, client: CommandClient, box_id: str) -> None:
        """Requests a waveform and waits for it; raises UnansweredError, FrameError."""
        requested_s = time.monotonic()
        end_ns = time.time_ns() - round(ENDED_S * 1e9)
        command = data_command(box_id, end_ns - round(WAVEFORM_S * 1e9), end_ns, client.identity, wait=False)
        self.requested += 1
        frames = client.send_for_frames(command, ANSWER_S)
        response, wave = waveform_from_frames(frames[0], frames[1:])
        if wave is None or response.box_id != int(box_id):
            raise UnansweredError("an answer without samples, or of another Box")
        self.answered += 1
        self.samples += len(wave.counts)
        self.latencies_s.append(time.monotonic() - requested_s)
