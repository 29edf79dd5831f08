"""FaultWorld: plays a schedule in a world that a layout describes, waits until all is quiet, and finds the
evidence."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from opq_sim.faults.assembly import WorldParts
from opq_sim.faults.evidence import (
    Evidence,
    backlog,
    newest_rows,
    newest_sample,
    ring_contents,
    withdrawn_outages,
)
from opq_sim.faults.kinds import FAULTS
from opq_sim.faults.layout import BROKERS, Layout
from opq_sim.faults.parts import gauges
from opq_sim.faults.parts.boxes import RATE_HZ
from opq_sim.faults.parts.fleet import true_dips
from opq_sim.faults.parts.service import ServiceError, ServiceProcess
from opq_sim.faults.schedule import Fault, FaultSchedule, beginnings_and_ends
from opq_sim.foreign.leg_box import lowest_mean
from opq_sim.mains import events

UP_S: Final = 180.0
MAX_STOP_S: Final = 10.0
"""Limit for the end of a service; each promises to end within 5 s."""
TICK_S: Final = 0.02
"""Faults begin and end in steps of this time."""
QUOTA_PERIOD_S: Final = 0.2
BESIDE: Final = 24_000
"""Samples around a dip that its event asks for, and some more."""
DIP_WINDOWS: Final = 120
"""A dip of an original Box is over within so many of its next windows."""
DIP_SHARE: Final = 0.9
SHARE_WITHIN: Final = 0.0005
"""What noise and a converter's steps change in a mean."""
LONGEST_TURN: Final = "longest_turn_s"
"""Name of a figure: the longest standstill of the Boxes of a fleet."""

Condition = Callable[[], str | None]
"""None, or what is still missing."""


class FaultWorld:
    """Everything of one schedule, for the `with` block.

    Attributes:
        starved: gateway -> share of the time in which it may run.

    Raises:
        ServiceError: it did not come up.
    """

    def __init__(self, schedule: FaultSchedule, layout: Layout, folder: Path, mounted: bool = False) -> None:
        self.schedule: FaultSchedule = schedule
        self.layout = layout
        self.parts: WorldParts = WorldParts(layout, schedule.seed, folder, mounted)
        self.evidence = Evidence()
        self.starved: dict[int, float] = {}
        self._opened = ExitStack()
        self._dipped: list[tuple[str, float, int]] = []  # (Box, the dip's `at_s`, its first sample)
        self._kills = 0
        self._leaving: list[threading.Thread] = []
        self._stops_s: list[float] = []

    def __enter__(self) -> "FaultWorld":
        with ExitStack() as opening:
            self.parts.open_processes(opening)
            self.wait(self.parts.not_up, UP_S, "gateways and cloud are up")
            self._begin_s = self.parts.open_boxes(opening)
            self.wait(self.newly_stored(), UP_S, "Boxes and cloud have met")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def find_evidence(self, settle: Callable[["FaultWorld"], None]) -> Evidence:
        """Plays the schedule, waits with `settle` until all is quiet, stops in order, reads what is left."""
        self._play()
        begin_s = time.monotonic()
        try:
            settle(self)
        except ServiceError as error:
            self.evidence.problems.append(str(error))
        self.evidence.figures["settled_s"] = round(time.monotonic() - begin_s, 1)
        self._ask_gateways()
        self._stop()
        self._count()
        self._read()
        return self.evidence

    def run(self, for_s: float) -> None:
        """Lets time pass, and starts again what ended by itself."""
        until_s = time.monotonic() + for_s
        while True:
            for process in self.parts.kept_running:
                process.tick(time.monotonic())
            for number, quota in self.starved.items():
                runs = time.monotonic() % QUOTA_PERIOD_S < quota * QUOTA_PERIOD_S
                self.parts.gateways[number].send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
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
                words = {
                    f"{each.name}: {each.last_words}" for each in self.parts.processes if each.last_words
                }
                logged = f"; {'; '.join(sorted(words))}" if words else ""
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{logged}")
            self.run(every_s)

    def newly_stored(self) -> Condition:
        """Makes a condition: something new of each Box is stored, of any time; a fleet is acknowledged."""
        data_dir = self.parts.data_dir("cloud")
        before = newest_rows(data_dir)
        box_ids = (*self.layout.on_cables, *self.layout.original)

        def objection() -> str | None:
            now = newest_rows(data_dir)
            late = [box_id for box_id in box_ids if now.get(box_id, 0) <= before.get(box_id, 0)]
            for fleet in self.parts.fleets:
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
        self._kills += 1
        gateways = {number for number, each in self.parts.gateways.items() if each is process}
        box_ids = [box_id for number in gateways for box_id in self.layout.gateways[number]]
        data_dir = self.parts.data_dir(process.name)
        process.kill(lambda: {box_id: self._unwritten_s(data_dir, box_id) for box_id in box_ids})
        if gateways and self.layout.every_sample:
            for box_id in box_ids:
                self.evidence.early.setdefault(box_id, ring_contents(data_dir, box_id).blocks)
            self.evidence.queued |= backlog(data_dir) or set()

    def join(self, guest: str) -> None:
        """Starts a second Makai."""
        for process in self.parts.guests[guest]:
            process.start()

    def leave(self, guest: str) -> None:
        """Ends it in order, in the background."""
        for process in self.parts.guests[guest]:
            thread = threading.Thread(
                target=self._end, args=(process, MAX_STOP_S), name=f"stop-{process.name}"
            )
            thread.start()
            self._leaving.append(thread)

    def dip(self, fault: Fault) -> None:
        """Makes a dip at Boxes on a cable, or of the original."""
        assert fault.dip is not None
        residual_percent, cycles = fault.dip.residual_percent, fault.dip.cycles
        for box_id in fault.boxes:
            host = self.parts.hosts.get(box_id)
            if host is None:
                first = self.parts.boxes.dip(box_id, residual_percent, cycles)
                self._dipped.append((box_id, fault.at_s, first))
                continue
            host.add_event(box_id, events.disturbance("sag", 1.0 - residual_percent / 100.0, cycles))
            shares = host.coming_shares(box_id, DIP_WINDOWS)
            of_means = self.layout.original[box_id] == "leg"
            if of_means and lowest_mean(*shares) > DIP_SHARE - SHARE_WITHIN:
                self.evidence.not_shown.add((box_id, fault.at_s))

    def _play(self) -> None:
        late_s = time.monotonic() - self._begin_s
        if self.parts.fleets:  # its dips are at fixed times
            self.evidence.figures["late_s"] = round(max(0.0, late_s), 2)
            self.run(-late_s)
        else:
            self._begin_s = time.monotonic()
        self.evidence.begun_ns = time.time_ns()
        actions = beginnings_and_ends(self.schedule.faults)
        while (now_s := time.monotonic() - self._begin_s) < self.schedule.length_s or actions:
            while actions and actions[0][0] <= now_s:
                _, fault, begins = actions.pop(0)
                FAULTS[fault.kind](self, fault, begins)
            self.run(TICK_S)

    def _unwritten_s(self, data_dir: Path, box_id: str) -> float:
        """Seconds of samples that a killed gateway did not write to disk."""
        box = self.parts.boxes.boxes[box_id]
        return (box.samples - newest_sample(data_dir, box_id)) * 1000 / box.source.rate_millihz

    def _stop(self) -> None:
        """Sends SIGTERM to gateways, then to services, then to brokers; the Boxes of a fleet end last."""
        for thread in self._leaving:
            thread.join()
        services = self.parts.services.items()
        for processes, limit_s in (
            (list(self.parts.gateways.values()), None),
            ([each for name, each in services if name not in BROKERS], MAX_STOP_S),
            ([each for name, each in services if name in BROKERS], MAX_STOP_S),
        ):
            if processes:
                with ThreadPoolExecutor(len(processes)) as pool:
                    list(pool.map(lambda each, most_s=limit_s: self._end(each, most_s), processes))
        for fleet in self.parts.fleets:
            fleet.close()

    def _end(self, process: ServiceProcess, limit_s: float | None) -> None:
        try:
            took_s = process.stop()
        except ServiceError as error:
            self.evidence.problems.append(str(error))
            return
        self._stops_s.append(took_s)
        if limit_s is not None and took_s > limit_s:
            self.evidence.problems.append(f"{process.name} took {took_s:.1f} s to end, {limit_s:g} s at most")

    def _ask_gateways(self) -> None:
        for number, gateway in self.parts.gateways.items():
            reading = gauges.read(self.parts.health_port(number))
            if reading is not None and reading.total("failures"):
                self.evidence.problems.append(
                    f"{reading.total('failures')} exceptions in {gateway.name}; see its log"
                )

    def _count(self) -> None:
        """Adds figures, and problems that no fault excuses."""
        parts, figures, problems = self.parts, self.evidence.figures, self.evidence.problems
        starts = sum(each.starts for each in parts.kept_running)
        figures |= {
            "starts": starts,
            "ended_by_themselves": starts - len(parts.kept_running) - self._kills,
            "segments_lost": sum(wire.lost for wire in parts.wires.values()),
            "database_held_s": round(parts.lock.held_s, 1),
        }
        if cables := parts.boxes.cables.values():
            figures |= {
                "bytes_corrupted": sum(cable.corrupted_bytes for cable in cables),
                "bytes_unplugged": sum(cable.unplugged_bytes for cable in cables),
                "bytes_unread": sum(cable.lost_bytes for cable in cables),
            }
        if (peers := parts.peers) is not None:
            figures |= {
                "received": len(peers.received),
                "unnumbered": peers.unnumbered,
                "copies": peers.copies,
                "repeated_by_duplicate": peers.sent["repeated"],
                "hostile_frames": sum(peers.sent.values()),
            }
            if peers.overheard:
                problems.append(f"a peer read {peers.overheard} commands for other Boxes")
        if parts.fleets:
            counts = [fleet.worker.counts() for fleet in parts.fleets]
            totals = {name: sum(each[name] for each in counts) for name in counts[0]}
            figures |= {name: totals[name] for name in ("made", "backfilled", "answers_sent")}
            figures[LONGEST_TURN] = round(max(fleet.worker.longest_turn_s for fleet in parts.fleets), 1)
            problems += [
                f"the fleet counted {totals[name]} {name}"
                for name in ("expired", "not_held", "acknowledgements_ahead")
                if totals[name]
            ]

    def _read(self) -> None:
        """Reads fleets, disks, log and store once all has ended."""
        evidence, parts = self.evidence, self.parts
        evidence.problems += [complaint for each in parts.processes for complaint in each.complaints]
        evidence.figures["longest_stop_s"] = round(max(self._stops_s, default=0.0), 2)
        for fleet in parts.fleets:
            evidence.held |= fleet.numbers()
            if fleet.failure is not None:
                evidence.problems.append(f"the fleet itself failed: {fleet.failure!r}")
        if parts.peers is not None:
            evidence.received, evidence.contradicted = parts.peers.received, parts.peers.contradicted
        for number, gateway in parts.gateways.items():
            data_dir = parts.data_dir(gateway.name)
            for box_id in self.layout.gateways[number]:
                evidence.recovery_s[box_id] = gateway.recovery_s(box_id)
                evidence.starts[box_id] = gateway.starts
                if self.layout.every_sample:
                    evidence.ring[box_id] = ring_contents(data_dir, box_id)
            if self.layout.every_sample:
                evidence.queued |= backlog(data_dir) or set()
        for box_id, box in parts.boxes.boxes.items():
            evidence.sent[box_id] = box.samples
            evidence.skipped_s[box_id] = sum(end - first for first, end in box.skips) / RATE_HZ
        evidence.dark_ns = parts.boxes.dark_ns
        evidence.not_sampled = {
            (box_id, at_s)
            for box_id, at_s, first in self._dipped
            if parts.boxes.not_sampled(box_id, first - BESIDE, first + BESIDE)
        }
        evidence.truth = true_dips(parts.dips, parts.fleet_clock)
        evidence.withdrawn = withdrawn_outages(parts.folder / "mauka.log")
        evidence.read_store(parts.data_dir("cloud"), parts.data_dir("other"))
