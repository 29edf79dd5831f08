"""World: a fleet on CURVE, network, brokers, Makai and Mauka, each a process; it plays a schedule.

Boxes 1, 10, 12, 4 (closed form) --> wire -------+--> brokers --> triggering-service --> store
Box 20 (the slow one) --> its own wire, wire ----+       ^    <-- event-service --> mauka --^
hostile peers, a second Makai -----------------------------+         store lock, disk, clock
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opq_gateway.uplink.connection import Endpoints
from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit import ports
from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.source import RunClock
from opq_sim.faults.cloud.accounts import HeldNumbers
from opq_sim.faults.cloud.cloud_services import GUESTS, CloudServices
from opq_sim.faults.cloud.database_lock import DatabaseLock
from opq_sim.faults.cloud.dips import dipping_grid, placed_dips, true_dips
from opq_sim.faults.cloud.hostile_peers import HostilePeers
from opq_sim.faults.cloud.schedule import BOX_IDS, KILL, QUIET_AFTER_S, SLOW_BOX_ID, CloudFaultSchedule
from opq_sim.faults.cloud.stored_rows import (
    FILE_NAME,
    StoredEvent,
    store_progress,
    stored_events,
    stored_incidents,
)
from opq_sim.faults.gateway.child import put_step_ns
from opq_sim.faults.gateway.disk import FillableDisk
from opq_sim.faults.gateway.evidence import exported
from opq_sim.faults.gateway.fork_server import ForkServer
from opq_sim.faults.gateway.places import RELAYED, free_offset, held_ports
from opq_sim.faults.gateway.schedule import Fault, beginnings_and_ends
from opq_sim.faults.gateway.service import ServiceError
from opq_sim.faults.gateway.wire import FaultyRelay
from opq_sim.fleet.worker import FleetPlan, FleetWorker
from opq_sim.score.records import FoundIncident, TrueDisturbance

HOSTILE_ID: Final = "90"
"""An admitted Box that sends only bad messages."""
UP_S: Final = 120.0
READY_S: Final = 4.0
"""Seconds after the run's start: on an idle machine every Box is connected and acknowledged by then."""
SETTLE_S: Final = 40.0
"""Below 60 s: a Box without acknowledgements for that long takes the cloud for an original one."""
STILL_S: Final = 1.0
TICK_S: Final = 0.02
CYCLES: Final = 12
"""Five Measurements a second."""
CLOCK_UNCERTAINTY_NS: Final = 1_000
IN_FLIGHT_S: Final = 1.0
STORE_FORGOTTEN_S: Final = 15.0
MAX_RECONNECT_MS: Final = 500
"""The fleet's own time-outs on the scaled clock."""
LONGEST_TURN: Final = "longest_turn_s"
"""Name of a figure: the longest standstill of the simulated Boxes."""


@dataclass(slots=True)
class CloudEvidence:
    """Everything that a schedule left."""

    held: dict[str, HeldNumbers] = field(default_factory=dict)
    stored: list[Measurement] = field(default_factory=list)
    elsewhere: list[Measurement] = field(default_factory=list)
    """Measurements in the store of the other Makai."""
    truth: list[TrueDisturbance] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    incidents: list[FoundIncident] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)


class FleetThread(OwnThread):
    """Some Boxes of the fleet, in a thread of this process; `close` ends their Measurements."""

    _join_s = 10.0

    def __init__(self, worker: FleetWorker, box_ids: tuple[str, ...]) -> None:
        super().__init__("fleet")
        self.worker, self.box_ids = worker, box_ids
        self.first = [int(number) for number in worker.held.next]
        self.failure: BaseException | None = None

    def numbers(self) -> dict[str, HeldNumbers]:
        """The numbers that each Box holds; exact once it was stopped."""
        held = self.worker.held
        return {
            box_id: HeldNumbers(self.first[at], int(held.floor[at]), int(held.next[at]))
            for at, box_id in enumerate(self.box_ids)
        }

    def _run(self) -> None:
        try:
            self.worker.run(self._stop)
        except BaseException as error:
            self.failure = error
            raise


class CloudWorld:
    """Everything of one schedule, for the `with` block.

    Raises:
        ServiceError: the cloud did not start.
    """

    def __init__(
        self, schedule: CloudFaultSchedule, folder: Path, mounted: bool, server: ForkServer | None = None
    ) -> None:
        """`server`: forks the services; None: each is started without one."""
        self._schedule, self._folder = schedule, folder
        self._evidence = CloudEvidence()
        self._opened = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        offsets = free_offset(schedule.seed, 3 + len(GUESTS))
        self._ports = held_ports(offsets)
        self._offset, wire_offset, slow_offset, *guests = offsets
        self._disk = FillableDisk(folder / "disk", mounted)
        self._keys = KeyFolder(folder / "curve")
        self._keys.create(True, [*BOX_IDS, HOSTILE_ID])
        self._clock = folder / "clock"
        put_step_ns(self._clock, 0)
        self._data_dir = self._disk.folder / "cloud"
        self.services = CloudServices(
            folder,
            self._data_dir,
            self._keys.root,
            self._clock,
            self._offset,
            dict(zip(GUESTS, guests, strict=True)),
            server,
        )
        brokers, wire, slow = (
            {name: ports.with_offset(name, offset) for name in RELAYED}
            for offset in (self._offset, wire_offset, slow_offset)
        )
        self._wire = FaultyRelay(brokers, wire, schedule.seed)
        self._slow_wire = FaultyRelay(
            {"response_box": wire["response_box"]}, {"response_box": slow["response_box"]}, schedule.seed
        )
        self._endpoints = self._of(wire_offset)
        self._slow_endpoints = Endpoints(
            self._endpoints.trigger, self._endpoints.command, self._of(slow_offset).response
        )
        self._lock = DatabaseLock(self._data_dir / FILE_NAME)
        self._hostile = HostilePeers(
            ports.endpoint("triggering_backend", self._offset),
            self._of(self._offset),
            self._server_key(),
            self._pair(HOSTILE_ID),
            HOSTILE_ID,
            schedule.seed,
        )
        self._fleet: list[FleetThread] = []

    def __enter__(self) -> "CloudWorld":
        with ExitStack() as opening:
            opening.enter_context(self._ports)
            opening.callback(self.services.kill)
            self.services.start()
            self._wait(self.services.up, UP_S, "the cloud is up")
            for each in (self._wire, self._slow_wire, self._lock, self._hostile):
                opening.enter_context(each)
            self._begin_fleet(opening)
            self._wait(self._not_ready, UP_S, "Boxes and cloud have met")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *what: object) -> None:
        self._opened.close()

    def play(self) -> CloudEvidence:
        """Plays the schedule, waits until all is quiet, stops in order, and reads fleet and store."""
        evidence = self._evidence
        self._play()
        self._run(QUIET_AFTER_S)
        begin_s = time.monotonic()
        try:
            self._wait(self._settling(), SETTLE_S, "all is acknowledged and analysed")
        except ServiceError as error:
            evidence.problems.append(str(error))
        evidence.figures["settled_s"] = round(time.monotonic() - begin_s, 1)
        self.services.stop()
        for fleet in self._fleet:
            fleet.close()
            evidence.held |= fleet.numbers()
            if fleet.failure is not None:
                evidence.problems.append(f"the fleet itself failed: {fleet.failure!r}")
        self._count()
        try:
            evidence.stored = exported(self._data_dir)
            if (self.services.other_data_dir / FILE_NAME).exists():
                evidence.elsewhere = exported(self.services.other_data_dir)
            evidence.events = stored_events(self._data_dir)
            evidence.incidents = stored_incidents(self._data_dir)
        except (ServiceError, sqlite3.Error) as error:
            evidence.problems.append(f"the store cannot be read: {error}")
        return evidence

    def _begin_fleet(self, opening: ExitStack) -> None:
        clock = RunClock(time.monotonic_ns(), time.time_ns(), CLOCK_UNCERTAINTY_NS, TimeSource.GPS)
        self._begin_s = clock.monotonic_ns / 1e9 + READY_S
        dips = placed_dips(self._schedule.dips, READY_S)
        self._evidence.truth = true_dips(dips, clock)
        common = tuple(box_id for box_id in BOX_IDS if box_id != SLOW_BOX_ID)
        for name, box_ids, endpoints in (
            ("common", common, self._endpoints),
            ("slow", (SLOW_BOX_ID,), self._slow_endpoints),
        ):
            plan = FleetPlan(
                endpoints,
                self._server_key(),
                self._folder / "fleet" / name,
                CYCLES,
                in_flight_s=IN_FLIGHT_S,
                store_forgotten_s=STORE_FORGOTTEN_S,
                reconnect_most_ms=MAX_RECONNECT_MS,
            )
            grid = dipping_grid(box_ids, dips, self._schedule.seed)
            pairs = [self._pair(box_id) for box_id in box_ids]
            fleet = FleetThread(FleetWorker(grid, pairs, plan, clock), box_ids)
            opening.callback(fleet.close)
            fleet.start()
            self._fleet.append(fleet)

    def _play(self) -> None:
        actions = beginnings_and_ends(self._schedule.faults)
        late_s = time.monotonic() - self._begin_s
        self._evidence.figures["late_s"] = round(max(0.0, late_s), 2)
        while (now_s := time.monotonic() - self._begin_s) < self._schedule.length_s or actions:
            while actions and actions[0][0] <= now_s:
                _, fault, begins = actions.pop(0)
                self._act(fault, begins)
            self._run(TICK_S)

    def _act(self, fault: Fault, begins: bool) -> None:
        traffic = self._hostile.traffic
        match fault.kind:
            case "database_locked":
                self._lock.locked = begins
            case "database_slow":
                self._lock.slow = begins
            case "disk_full":
                for service in self.services.processes[: None if not self._disk.mounted else 1]:
                    self._disk.fill(service, begins)
            case "clock_stepped":
                put_step_ns(self._clock, fault.step_s * 10**9 * begins)
            case "broker_cut":
                self._wire.cut = begins
            case "broker_silent":
                self._wire.silent = begins
            case "slow_box":
                self._slow_wire.silent = begins
            case "garbage_box":
                traffic.garbage = begins
            case "unknown_key":
                traffic.unknown_key = begins
            case "borrowed_id":
                traffic.borrowed_id = fault.box_id if begins else None
            case "frames_repeated":
                box_id = fault.box_id or ""
                traffic.repeated = (box_id, self._pair(box_id)) if begins else None
            case "second_makai" | "other_makai":
                guest = fault.kind.removesuffix("_makai")
                (self.services.join if begins else self.services.leave)(guest)
            case kind:
                service = self.services.all[kind.removesuffix(KILL).replace("_", "-")]
                (service.kill if begins else service.start)()

    def _run(self, for_s: float) -> None:
        """Lets time pass and starts again what ended by itself."""
        until_s = time.monotonic() + for_s
        while True:
            self.services.tick(time.monotonic())
            if time.monotonic() >= until_s:
                return
            time.sleep(TICK_S)

    def _wait(self, condition: Callable[[], str | None], timeout_s: float, what: str) -> None:
        """Waits until `condition` has no objection."""
        until_s = time.monotonic() + timeout_s
        while (objection := condition()) is not None:
            if time.monotonic() > until_s:
                words = [f"; {each.name}: {each.last_words}" for each in self.services.processes]
                logged = "".join(each for each in words if not each.endswith(": "))
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{logged}")
            self._run(0.1)

    def _not_ready(self) -> str | None:
        for fleet in self._fleet:
            counts = fleet.worker.counts()
            if fleet.failure is not None:
                raise ServiceError(f"the fleet itself failed: {fleet.failure!r}")
            if counts["acknowledging"] < len(fleet.box_ids):
                return f"{counts['acknowledging']} of Boxes {', '.join(fleet.box_ids)} are acknowledged"
        return None if time.monotonic() >= self._begin_s else "it is not yet time"

    def _settling(self) -> Callable[[], str | None]:
        """Makes a condition that names what is not measured, acknowledged or analysed, or still changes."""
        begin_s = time.monotonic()
        goals: dict[str, int] = {}
        moved_s, before = begin_s, (0, 0)

        def objection() -> str | None:
            nonlocal moved_s, before
            if late := [fleet for fleet in self._fleet if fleet.worker.reached_s < begin_s]:
                return f"Boxes {', '.join(late[0].box_ids)} have not measured what was due"
            if not goals:
                goals.update(
                    {box_id: each.next for fleet in self._fleet for box_id, each in fleet.numbers().items()}
                )
            now = {box_id: each for fleet in self._fleet for box_id, each in fleet.numbers().items()}
            behind = [box_id for box_id, goal in goals.items() if now[box_id].floor < goal]
            if behind:
                count = sum(goals[box_id] - now[box_id].floor for box_id in behind)
                return f"{count} Measurements of Boxes {', '.join(behind)} are not acknowledged"
            progress = store_progress(self._data_dir)
            if progress is None:
                return "the store cannot be read"
            if (progress.events, progress.findings) != before:
                before, moved_s = (progress.events, progress.findings), time.monotonic()
            if progress.unfinished or progress.unanalysed:
                return f"{progress.unfinished} events are open, {progress.unanalysed} are not analysed"
            return "something still moves" if time.monotonic() - moved_s < STILL_S else None

        return objection

    def _count(self) -> None:
        """Adds the last figures, and problems that no fault excuses."""
        evidence, services = self._evidence, self.services
        evidence.problems += services.problems
        evidence.problems += [complaint for each in services.processes for complaint in each.complaints]
        if self._hostile.overheard:
            evidence.problems.append(f"a peer read {self._hostile.overheard} commands for other Boxes")
        counts = [fleet.worker.counts() for fleet in self._fleet]
        for name in ("expired", "not_held", "acknowledgements_ahead"):
            if total := sum(each[name] for each in counts):
                evidence.problems.append(f"the fleet counted {total} {name}")
        kills = sum(fault.kind.endswith(KILL) for fault in self._schedule.faults)
        evidence.figures |= {
            "starts": sum(each.starts for each in services.all.values()),
            "ended_by_themselves": sum(each.starts for each in services.all.values())
            - len(services.all)
            - kills,
            "longest_stop_s": round(max(services.stops_s.values(), default=0.0), 2),
            "hostile_frames": sum(self._hostile.sent.values()),
            "database_held_s": round(self._lock.held_s, 1),
            LONGEST_TURN: round(max(fleet.worker.longest_turn_s for fleet in self._fleet), 1),
            **{name: sum(each[name] for each in counts) for name in ("made", "backfilled", "answers_sent")},
        }

    def _of(self, offset: int) -> Endpoints:
        return Endpoints(*(ports.endpoint(name, offset) for name in RELAYED))

    def _server_key(self) -> bytes:
        return read_key_file(self._keys.server_public).public

    def _pair(self, box_id: str) -> KeyPair:
        return read_secret_file(self._keys.box_secret(box_id))
