"""FaultWorld: plays a schedule in a world that a layout describes, waits until all is quiet, and finds the
evidence."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from opq_proto.kit import ports
from opq_sim.faults.evidence import Evidence, withdrawn_outages
from opq_sim.faults.parts.cabled_boxes import RATE_HZ
from opq_sim.faults.parts.dips import true_dips
from opq_sim.faults.parts.gateway_disk import (
    ledger_rows,
    newest_sample,
    queued_windows,
    ring_contents,
    unnumbered_rows,
    unsent_rows,
)
from opq_sim.faults.parts.played_commands import Commands
from opq_sim.faults.parts.played_service import ServiceError, ServiceProcess
from opq_sim.faults.parts.store_reader import StoreReader, received_s
from opq_sim.faults.parts.view_reader import ViewReader, newly_shown
from opq_sim.faults.schedule import Fault, FaultSchedule, beginnings_and_ends
from opq_sim.faults.world.layout import Layout
from opq_sim.faults.world.processes import WorldProcesses
from opq_sim.faults.world.surroundings import Surroundings

UP_S: Final = 600.0
"""Limit that ends what hangs, as those below: an idle machine needs some seconds."""
TICK_S: Final = 0.02
"""Faults begin and end in steps of this time."""
QUOTA_PERIOD_S: Final = 0.2
SAMPLE_BYTES: Final = 2

Condition = Callable[[], str | None]
"""None, or what is still missing."""
Act = Callable[["FaultWorld", Fault, bool], object]
"""Begins a fault (True), or ends it."""


class FaultWorld:
    """Everything of one schedule, for the `with` block.

    Attributes:
        starved: gateway -> share of the time in which it may run.
        view: reads what View says; None in a world without one.
        store: reads what the commands say of the store.
        ended_s: when all of it ended, by the monotonic clock.

    Raises:
        ServiceError: it did not come up.
    """

    def __init__(self, schedule: FaultSchedule, layout: Layout, folder: Path, mounted: bool = False) -> None:
        self.schedule: FaultSchedule = schedule
        self.layout = layout
        self.processes: WorldProcesses = WorldProcesses(layout, schedule.seed, folder, mounted)
        self.around: Surroundings = Surroundings(layout, self.processes, schedule.seed)
        view = ports.with_offset("view", self.processes.offsets["cloud"])
        self.view: ViewReader | None = ViewReader(view) if layout.has_view else None
        mongo = self.processes.mongo
        settings = None if mongo is None else mongo.settings
        self._commands = Commands()
        self.store = StoreReader(self._commands, self.processes.data_dir("cloud"), settings)
        self.evidence = Evidence()
        self.starved: dict[int, float] = {}
        self.ended_s = 0.0
        self._opened = ExitStack()

    def __enter__(self) -> "FaultWorld":
        with ExitStack() as opening:
            opening.enter_context(self._commands)
            self.processes.open(opening)
            self.around.open(opening)
            self.wait(self.processes.not_up, UP_S, "gateways and cloud are up")
            self._begin_s = self.around.open_boxes(opening)
            self.wait(self.newly_stored(), UP_S, "Boxes and cloud have met")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def find_evidence(self, acts: Mapping[str, Act], settle: Callable[["FaultWorld"], None]) -> Evidence:
        """Plays the schedule, waits with `settle` until all is quiet, stops in order, reads what is left.

        acts: of each kind of fault.
        """
        evidence = self.evidence
        self._play(acts)
        begin_s = time.monotonic()
        try:
            settle(self)
        except ServiceError as error:
            evidence.problems.append(str(error))
        evidence.figures["settled_s"] = round(time.monotonic() - begin_s, 1)
        if self.view is not None:
            try:
                evidence.read_view(self.view, (*self.layout.on_cables, *self.layout.original))
            except OSError as error:
                evidence.problems.append(f"View cannot be read: {error}")
        self.processes.stop()
        for fleet in self.around.fleets:
            fleet.close()
        for part in (self.processes, self.around):
            evidence.problems += part.problems
            evidence.figures |= part.figures
        self._read()
        return evidence

    def run(self, for_s: float) -> None:
        """Lets time pass, and starts again what ended by itself."""
        until_s = time.monotonic() + for_s
        while True:
            for process in self.processes.kept_running:
                process.tick(time.monotonic())
            for number, quota in self.starved.items():
                runs = time.monotonic() % QUOTA_PERIOD_S < quota * QUOTA_PERIOD_S
                self.processes.gateways[number].send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
            if time.monotonic() >= until_s:
                return
            time.sleep(TICK_S)

    def wait(self, condition: Condition, timeout_s: float, what: str, every_s: float = 0.1) -> None:
        """Waits until `condition` has no objection.

        Raises:
            ServiceError: it still has one after `timeout_s`.
        """
        until_s = time.monotonic() + timeout_s
        while (objection := condition()) is not None:
            if time.monotonic() > until_s:
                words = {f"{each.name}: {each.last_words}" for each in self.processes.all if each.last_words}
                logged = f"; {'; '.join(sorted(words))}" if words else ""
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{logged}")
            self.run(every_s)

    def hold(self, condition: Condition, timeout_s: float, what: str) -> None:
        """Waits for a fact while a schedule is played; the rest of it comes later by this. What is not there
        in time is a problem."""
        begin_s = time.monotonic()
        try:
            self.wait(condition, timeout_s, what)
        except ServiceError as error:
            self.evidence.problems.append(str(error))
        self._begin_s += time.monotonic() - begin_s

    def newly_stored(self) -> Condition:
        """Makes a condition: something new of each Box is stored, of any time; a fleet is acknowledged."""
        if self.view is not None:
            return newly_shown(self.view, (*self.around.boxes.boxes, *self.layout.original))
        port = self.processes.health_port("triggering-service")
        before = received_s(port) or {}
        box_ids = (*self.layout.on_cables, *self.layout.original)

        def objection() -> str | None:
            now = received_s(port) or {}
            late = [box_id for box_id in box_ids if now.get(box_id, 0) <= before.get(box_id, 0)]
            for fleet in self.around.fleets:
                if fleet.failure is not None:
                    raise ServiceError(f"the fleet itself failed: {fleet.failure!r}")
                if fleet.worker.counts()["acknowledging"] < len(fleet.box_ids):
                    late += fleet.box_ids
            return f"nothing new of Boxes {', '.join(late)}" if late else None

        return objection

    def kill(self, process: ServiceProcess, begins: bool) -> None:
        """Kills a process, with a note of what is on its disk then; or starts it again."""
        if not begins:
            process.start()
            return
        self.processes.kills += 1
        gateways = {number for number, each in self.processes.gateways.items() if each is process}
        box_ids = [box_id for number in gateways for box_id in self.layout.gateways[number]]
        data_dir = self.processes.data_dir(process.name)
        process.kill(lambda: {box_id: self._unwritten_s(data_dir, box_id) for box_id in box_ids})
        if gateways and self.layout.every_sample:
            for box_id in box_ids:
                self.evidence.early.setdefault(box_id, ring_contents(data_dir, box_id).blocks)
            self.evidence.queued |= queued_windows(data_dir)

    def _play(self, acts: Mapping[str, Act]) -> None:
        late_s = time.monotonic() - self._begin_s
        if self.around.fleets:  # its dips are at fixed times
            self.evidence.figures["late_s"] = round(max(0.0, late_s), 2)
            self.run(-late_s)
        else:
            self._begin_s = time.monotonic()
        self.evidence.begun_ns = time.time_ns()
        actions = beginnings_and_ends(self.schedule.faults)
        while (now_s := time.monotonic() - self._begin_s) < self.schedule.length_s or actions:
            while actions and actions[0][0] <= now_s:
                _, fault, begins = actions.pop(0)
                acts[fault.kind](self, fault, begins)
            self.run(TICK_S)

    def _unwritten_s(self, data_dir: Path, box_id: str) -> float:
        """Seconds of samples that a killed gateway did not write to disk."""
        box = self.around.boxes.boxes[box_id]
        return (box.samples - newest_sample(data_dir, box_id)) * 1000 / box.source.rate_millihz

    def _read(self) -> None:
        """Reads Boxes, disks, log and store once all has ended."""
        evidence, around, processes = self.evidence, self.around, self.processes
        for fleet in around.fleets:
            evidence.held |= fleet.numbers()
        if around.peers is not None:
            evidence.received, evidence.contradicted = around.peers.received, around.peers.contradicted
        for number, gateway in processes.gateways.items():
            data_dir = processes.data_dir(gateway.name)
            for box_id in self.layout.gateways[number]:
                evidence.recovery_s[box_id] = gateway.recovery_s(box_id)
                evidence.starts[box_id] = gateway.starts
                evidence.ledger[box_id] = ledger_rows(data_dir, box_id)
                evidence.unsent[box_id] = unsent_rows(data_dir, box_id)
                unnumbered = unnumbered_rows(data_dir, box_id).total()
                evidence.numbered[box_id] = len(evidence.ledger[box_id]) - unnumbered
                if self.layout.every_sample:
                    evidence.ring[box_id] = ring_contents(data_dir, box_id)
            evidence.queued |= queued_windows(data_dir)
        for box_id, box in around.boxes.boxes.items():
            evidence.sent[box_id] = box.samples
            evidence.skipped_s[box_id] = sum(end - first for first, end in box.skips) / RATE_HZ
            evidence.unread_s[box_id] = around.boxes.cables[box_id].lost_bytes / (SAMPLE_BYTES * RATE_HZ)
        evidence.dark_ns, evidence.held_s = around.boxes.dark_ns, around.boxes.longest_held_s
        if not self.layout.by_seed:
            evidence.not_sampled, evidence.not_shown = around.not_sampled, around.not_shown
        evidence.truth = true_dips(around.dips, around.fleet_clock)
        evidence.withdrawn = withdrawn_outages(processes.folder / "mauka.log")
        if processes.gateways:
            evidence.read_intervals(self.store)
        if self.view is None:
            other = StoreReader(self._commands, processes.data_dir("other"))
            evidence.read_store(self.store, other, bool(self.schedule.clocks))
