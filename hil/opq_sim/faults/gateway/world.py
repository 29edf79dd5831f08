"""World: Boxes on ptys, a real gateway, a real cloud, network and disk between; it plays a schedule.

Boxes -> cables -> gateway (a process, on a disk) -> wire -> brokers, store (a process)
                                                                |
                                                         BrokerListener
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from opq_proto.keys.key_files import KeyFolder, read_key_file, read_secret_file
from opq_proto.kit import ports
from opq_sim.faults.gateway import gauges, places
from opq_sim.faults.gateway.boxes import CabledBoxes
from opq_sim.faults.gateway.broker_listener import BrokerListener
from opq_sim.faults.gateway.child import put_step_ns
from opq_sim.faults.gateway.disk import FillableDisk
from opq_sim.faults.gateway.evidence import (
    Evidence,
    backlog,
    exported,
    newest_ns,
    newest_sample,
    queued_to_ns,
    ring_contents,
)
from opq_sim.faults.gateway.gauges import SampleFlow
from opq_sim.faults.gateway.schedule import QUIET_AFTER_S, Fault, FaultSchedule, beginnings_and_ends
from opq_sim.faults.gateway.service import ServiceError, ServiceProcess
from opq_sim.faults.gateway.wire import FaultyRelay

BOX_IDS = ("1", "10", "12")
"""Some are prefixes of others, as ZeroMQ subscriptions are."""
UP_S = 120.0
SETTLE_S = 240.0
"""Limit that ends what hangs: an idle machine needs a tenth of it."""
STILL_S = 1.2
"""Settled: nothing changed for this long."""
UNMEASURED_NS = 600_000_000
"""At the end of a run, part of a Measurement and the samples that windows need ahead stay unmeasured."""
TICK_S = 0.02
"""Faults begin and end in steps of this time."""


class FaultWorld:
    """Everything of one schedule, for the `with` block.

    Raises:
        ServiceError: gateway or cloud did not come up.
    """

    def __init__(self, schedule: FaultSchedule, folder: Path, mounted: bool) -> None:
        self._schedule = schedule
        self._folder = folder
        self._evidence = Evidence()
        self._opened = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        cloud_offset, gateway_offset = places.free_offset(schedule.seed)
        self._health_port = ports.with_offset("gateway_health", gateway_offset)
        self._disk = FillableDisk(folder / "disk", mounted)
        keys = KeyFolder(folder / "curve")
        keys.create(True, list(BOX_IDS))
        self._keys = keys
        self._clock, steady = folder / "clock", folder / "steady_clock"
        put_step_ns(self._clock, 0)
        put_step_ns(steady, 0)
        listen = {name: ports.with_offset(name, gateway_offset) for name in places.RELAYED}
        targets = {name: ports.with_offset(name, cloud_offset) for name in places.RELAYED}
        self._wire = FaultyRelay(targets, listen, schedule.seed)
        self._boxes = CabledBoxes(BOX_IDS, folder / "ports")
        self._listener = BrokerListener(
            ports.endpoint("triggering_backend", cloud_offset),
            ports.endpoint("triggering_box", cloud_offset),
            ports.endpoint("command_box", cloud_offset),
            read_key_file(keys.server_public).public,
        )
        gateway = places.write_gateway(
            folder / "gateway.toml", self._disk.folder, keys.root, gateway_offset, self._boxes.paths
        )
        cloud = places.write_cloud(folder / "cloud.toml", folder / "cloud", keys.root, cloud_offset)
        self.gateway = ServiceProcess("gateway", gateway, self._clock, folder / "gateway.log")
        self.cloud = ServiceProcess("cloud", cloud, steady, folder / "cloud.log")

    def __enter__(self) -> "FaultWorld":
        with ExitStack() as opening:
            for service in (self.cloud, self.gateway):
                opening.callback(service.kill)
                service.start()
            opening.enter_context(self._wire)
            opening.enter_context(self._listener)
            self._wait(self._up, UP_S, "the gateway is up")
            opening.enter_context(self._boxes)
            self._wait(self._not_ready, UP_S, "Boxes, gateway and brokers have met")
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *what: object) -> None:
        self._opened.close()

    def play(self) -> Evidence:
        """Plays the schedule, waits until all is quiet, stops in order, and reads disk and store."""
        evidence = self._evidence
        self._play()
        serving = SampleFlow(BOX_IDS)
        try:
            self._wait(
                lambda: serving.objection(gauges.read(self._health_port)),
                SETTLE_S,
                "the gateway takes samples again",
            )
            self._run(QUIET_AFTER_S)
        except ServiceError as error:
            evidence.problems.append(str(error))
        self._boxes.end()
        evidence.sent = {box_id: box.samples for box_id, box in self._boxes.boxes.items()}
        begin_s = time.monotonic()
        try:
            self._wait(self._settling(), SETTLE_S, "all samples are in and all Measurements acknowledged")
        except ServiceError as error:
            evidence.problems.append(str(error))
        evidence.figures["settled_s"] = round(time.monotonic() - begin_s, 1)
        self._count()
        for service in (self.gateway, self.cloud):
            try:
                evidence.figures[f"{service.name}_stop_s"] = round(service.stop(), 2)
            except ServiceError as error:
                evidence.problems.append(str(error))
            evidence.problems += service.complaints
        evidence.recovery_s = {box_id: self.gateway.recovery_s(box_id) for box_id in BOX_IDS}
        evidence.figures["longest_deaf_s"] = round(max(evidence.recovery_s.values()), 1)
        evidence.ring = {box_id: ring_contents(self._disk.folder, box_id) for box_id in BOX_IDS}
        evidence.queued |= backlog(self._disk.folder) or set()
        evidence.stored = exported(self._folder / "cloud")
        return evidence

    @property
    def listener(self) -> BrokerListener:
        return self._listener

    @property
    def boxes(self) -> CabledBoxes:
        return self._boxes

    def _play(self) -> None:
        actions = beginnings_and_ends(self._schedule.faults)
        begin_s = time.monotonic()
        while (now_s := time.monotonic() - begin_s) < self._schedule.length_s or actions:
            while actions and actions[0][0] <= now_s:
                _, fault, begins = actions.pop(0)
                self._act(fault, begins)
            self._run(TICK_S)

    def _run(self, for_s: float) -> None:
        """Lets time pass and starts again what ended by itself."""
        until_s = time.monotonic() + for_s
        while True:
            for service in (self.gateway, self.cloud):
                service.tick(time.monotonic())
            if time.monotonic() >= until_s:
                return
            time.sleep(TICK_S)

    def _act(self, fault: Fault, begins: bool) -> None:
        match fault.kind:
            case "broker_down":
                self._wire.cut = begins
            case "broker_silent":
                self._wire.silent = begins
            case "packet_loss":
                self._wire.lossy = begins
            case "cloud_killed":
                self._killed(self.cloud, begins)
            case "gateway_killed" if begins:
                self.gateway.kill(self._unwritten_s)
                self._save_disk_state()
            case "gateway_killed":
                self.gateway.start()
            case "disk_full":
                self._disk.fill(self.gateway, begins)
            case "clock_stepped":
                put_step_ns(self._clock, fault.step_s * 10**9 * begins)
            case "unplugged":
                self._boxes.unplug(fault.box_id or "", out=begins)
            case "corruption":
                self._boxes.disturb(fault.box_id or "", self._schedule.seed if begins else None)
            case "duplicate":
                box_id = fault.box_id or ""
                pair = read_secret_file(self._keys.box_secret(box_id))
                self._listener.duplicate = (box_id, pair) if begins else None

    def _unwritten_s(self) -> dict[str, float]:
        """Seconds of samples, per Box, that a killed gateway did not write to disk."""
        return {
            box_id: (box.samples - newest_sample(self._disk.folder, box_id)) * 1000 / box.source.rate_millihz
            for box_id, box in self._boxes.boxes.items()
        }

    def _save_disk_state(self) -> None:
        """Saves what a killed gateway has on its disk, for the verdict."""
        if not self._evidence.early:
            self._evidence.early = {
                box_id: ring_contents(self._disk.folder, box_id).blocks for box_id in BOX_IDS
            }
        self._evidence.queued |= backlog(self._disk.folder) or set()

    def _killed(self, service: ServiceProcess, begins: bool) -> None:
        if begins:
            service.kill()
        else:
            service.start()

    def _wait(self, condition: Callable[[], str | None], timeout_s: float, what: str) -> None:
        """Waits until `condition` has no objection."""
        until_s = time.monotonic() + timeout_s
        while (objection := condition()) is not None:
            if time.monotonic() > until_s:
                words = f"; gateway: {self.gateway.last_words}" if self.gateway.last_words else ""
                raise ServiceError(f"not within {timeout_s:g} s: {what}: {objection}{words}")
            self._run(0.1)

    def _up(self) -> str | None:
        return "it does not answer" if gauges.read(self._health_port) is None else None

    def _not_ready(self) -> str | None:
        absent = [
            box_id for box_id in BOX_IDS if not any(key[0] == box_id for key in list(self._listener.received))
        ]
        return f"nothing received from Boxes {', '.join(absent)}" if absent else None

    def _settling(self) -> Callable[[], str | None]:
        """Makes a condition that names what still changes, or is not acknowledged."""
        moved_s = time.monotonic()
        before: tuple[int, ...] = ()

        def objection() -> str | None:
            nonlocal moved_s, before
            reading = gauges.read(self._health_port)
            if reading is None:
                return "the gateway does not answer"
            now = tuple(reading.total(name) for name in ("samples", "missing_samples", "measurements"))
            now = (*now, len(self._listener.received), self._listener.copies)
            if now != before:
                moved_s, before = time.monotonic(), now
            waiting = backlog(self._disk.folder)
            if waiting is None or waiting:
                return f"{len(waiting or ())} Measurements wait in the queue"
            if time.monotonic() - moved_s < STILL_S:
                return "something still moves"
            behind = [box_id for box_id in BOX_IDS if self._measured_ns(box_id) < self._ring_ns(box_id)]
            return f"Boxes {', '.join(behind)} are not measured to their end" if behind else None

        return objection

    def _measured_ns(self, box_id: str) -> int:
        """Time until which a Box is measured. Queued is enough: the listener, a subscriber, may miss the last
        one, and the verdict checks that it is stored.
        """
        received = list(self._listener.received.items())
        received_ns = max((each.end_ns or 0 for (name, _), each in received if name == box_id), default=0)
        return max(received_ns, queued_to_ns(self._disk.folder, box_id))

    def _ring_ns(self, box_id: str) -> int:
        return newest_ns(self._disk.folder, box_id) - UNMEASURED_NS

    def _count(self) -> None:
        """Adds the last figures, and problems that no fault excuses."""
        evidence, cables = self._evidence, self._boxes.cables.values()
        evidence.figures |= {
            "gateway_starts": self.gateway.starts,
            "cloud_starts": self.cloud.starts,
            "segments_lost": self._wire.lost,
            "bytes_corrupted": sum(cable.corrupted_bytes for cable in cables),
            "bytes_unplugged": sum(cable.unplugged_bytes for cable in cables),
            "bytes_unread": sum(cable.lost_bytes for cable in cables),
            "received": len(self._listener.received),
            "unnumbered": self._listener.unnumbered,
            "copies": self._listener.copies,
            "repeated_by_duplicate": self._listener.repeated,
        }
        reading = gauges.read(self._health_port)
        if reading is not None and reading.total("failures"):
            evidence.problems.append(
                f"{reading.total('failures')} exceptions in the gateway; see gateway.log"
            )
