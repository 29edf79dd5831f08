"""WorldProcesses: gateways, services of the cloud and second Makais, with keys, ports, clocks and disk."""

import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit import ports
from opq_proto.kit.http_client import fetch
from opq_sim.faults.parts import gauges
from opq_sim.faults.parts.disk import FillableDisk
from opq_sim.faults.parts.emulated_box import EmulatedBox
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.free_ports import free_offset, held_ports
from opq_sim.faults.parts.hostile_peers import HOSTILE_ID
from opq_sim.faults.parts.mongo_server import MongoServer
from opq_sim.faults.parts.played_service import ServiceError, ServiceProcess
from opq_sim.faults.parts.stepped_clock import MACHINE, MACHINES_STATE, NOT_SYNCHRONISED, put_step_ns
from opq_sim.faults.schedule import RestartedBox
from opq_sim.faults.world.layout import (
    BROKERS,
    GUESTS,
    MAKAI,
    Layout,
    Settings,
    cloud_settings,
    gateway_settings,
    guest_settings,
    write_settings,
)

HEALTH_TIMEOUT_S: Final = 20.0
COUNTED: Final = ("samples", "missing_samples", "measurements")
SYNCHRONISED_NS: Final = 2_000_000
MACHINE_UP_NS: Final = 20 * 10**9
"""What a machine's monotonic clock shows when its services start."""
MAX_STOP_S: Final = 240.0
"""Limit for the end of a service: each promises 5 s, and a full machine takes ten times that."""


class WorldProcesses:
    """The processes of one world, in `folder`.

    Attributes:
        offsets: of the ports of `cloud`, and of each gateway, network and second Makai.
        gateways, services, guests: by number, command, and name of a second Makai.
        kills: how often one was killed.
        problems: what no fault excuses.
    """

    def __init__(self, layout: Layout, seed: int, folder: Path, mounted: bool) -> None:
        self._layout, self.folder = layout, folder
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"gateway{number}" for number in layout.gateways]
        names += [f"network{number}" for number in sorted(layout.networks)]
        names += ["cloud", *(GUESTS if layout.has_guests else ())]
        self.offsets = dict(zip(names, free_offset(seed, len(names)), strict=True))
        self._held_ports = held_ports(self.offsets.values())
        self.keys = KeyFolder(folder / "curve")
        peers = (HOSTILE_ID,) if layout.has_peers else ()
        self.keys.create(True, [*layout.on_cables, *layout.in_fleet, *peers])
        self.disk = FillableDisk(folder / "disk", mounted) if layout.suffers else None
        self.skipped_ns = 0
        """What pauses were longer by the clocks than they took."""
        self._ahead: dict[str, tuple[int, int]] = {}
        self._monotonic_ns = 0
        self._server = ForkServer(layout.modules)
        self.gateways = {number: self._gateway(number) for number in layout.gateways}
        put_step_ns(self.clock("cloud"), 0)
        self.mongo = MongoServer(folder / "mongo") if layout.has_mongo else None
        cloud = cloud_settings(layout.cloud)
        if self.mongo is not None:
            cloud = {**cloud, "store": self.mongo.settings}
        self.services = {
            name: self._process(name, "cloud", cloud, ["opq_cloud", name]) for name in layout.services
        }
        self.emulated = [self._emulated(each) for each in layout.by_seed if each.kind == "emulated"]
        self.guests = {guest: self._guest(guest) for guest in (GUESTS if layout.has_guests else ())}
        self.kills = 0
        self.problems: list[str] = []
        self._leaving: list[threading.Thread] = []
        self._stops_s: list[float] = [0.0]

    @property
    def kept_running(self) -> tuple[ServiceProcess, ...]:
        """Gateways and services; guests come and go."""
        return (*self.gateways.values(), *self.services.values())

    @property
    def all(self) -> tuple[ServiceProcess, ...]:
        """All processes."""
        guests = (each for guest in self.guests.values() for each in guest)
        return (*self.kept_running, *guests, *(each.process for each in self.emulated))

    @property
    def figures(self) -> dict[str, float | int]:
        """Starts and ends."""
        starts = sum(each.starts for each in self.kept_running)
        return {
            "starts": starts,
            "ended_by_themselves": starts - len(self.kept_running) - self.kills,
            "longest_stop_s": round(max(self._stops_s), 2),
        }

    def health_port(self, service: str) -> int:
        """The port at which the health of a service of the cloud answers."""
        return ports.with_offset(
            _health(service if service in self.services else "all"), self.offsets["cloud"]
        )

    @property
    def server_key(self) -> bytes:
        """The public key of the brokers."""
        return read_key_file(self.keys.server_public).public

    def pair(self, box_id: str) -> KeyPair:
        """The keys of a Box."""
        return read_secret_file(self.keys.box_secret(box_id))

    def clock(self, name: str) -> Path:
        """The file of a clock: of `cloud`, or of a gateway."""
        return self.folder / f"{name}.clock"

    def port_path(self, box_id: str) -> Path:
        """Where a gateway finds a Box on a cable."""
        return self.folder / "ports" / f"box{box_id}"

    def data_dir(self, name: str) -> Path:
        """Where `cloud`, a gateway or the `other` Makai has its data."""
        on_disk = self.disk is not None and name in (self._layout.suffers, "other")
        return (self.disk.folder if self.disk is not None and on_disk else self.folder) / name

    def open(self, opening: ExitStack) -> None:
        """Starts gateways and services."""
        opening.enter_context(self._held_ports)
        opening.enter_context(self._server)
        if self.mongo is not None:
            opening.enter_context(self.mongo)
        for process in self.all:
            opening.callback(process.kill)
        for process in self.kept_running:
            process.start()

    def not_up(self) -> str | None:
        """Names the gateways and services that do not answer yet; None if all do."""
        asked = {name: (_health(name), self.offsets["cloud"]) for name in self.services}
        asked |= {each.name: ("gateway_health", self.offsets[each.name]) for each in self.gateways.values()}
        absent = [name for name, place in asked.items() if not _answers(ports.with_offset(*place))]
        return f"no health of {', '.join(absent)}" if absent else None

    def counters(self) -> tuple[int, ...]:
        """What the gateways that answer have counted of samples and Measurements."""
        offsets = [self.offsets[each.name] for each in self.gateways.values()]
        readings = [gauges.read(ports.with_offset("gateway_health", offset)) for offset in offsets]
        return tuple(reading.total(name) for reading in readings if reading is not None for name in COUNTED)

    def set_clock(self, name: str, ahead_ns: int, bound_ns: int) -> None:
        """Sets the clock of `cloud` or of a gateway, with the state that a time daemon reports for it."""
        self._ahead[name] = ahead_ns, bound_ns
        put_step_ns(self.clock(name), self.skipped_ns + ahead_ns, bound_ns, self._monotonic_ns)

    def now_ns(self) -> int:
        """The true time, which pauses make longer."""
        return time.time_ns() + self.skipped_ns

    def ahead_ns(self, name: str) -> int:
        """How far the clock of `cloud` or of a gateway is ahead of the true time."""
        return self._ahead.get(name, (0, 0))[0]

    def skip(self, by_ns: int, machine_was_off: bool) -> None:
        """Makes the pause in which no process runs longer by all clocks.

        `machine_was_off`: its monotonic clock begins again, and its start has another number.
        """
        self.skipped_ns += by_ns
        self._monotonic_ns = (
            MACHINE_UP_NS - time.monotonic_ns() if machine_was_off else self._monotonic_ns + by_ns
        )
        for name in ("cloud", *(f"gateway{number}" for number in self.gateways)):
            if machine_was_off:
                self.clock(name).with_suffix(MACHINE).write_text(f"{self.skipped_ns}-{time.monotonic_ns()}")
            self.set_clock(name, *self._ahead.get(name, (0, MACHINES_STATE)))

    def end_together(self, number: signal.Signals) -> None:
        """Ends gateways and services, all at once, by a signal."""
        self.kills += len(self.kept_running)
        self._end(self.kept_running, None, number)

    def start_together(self) -> None:
        """Starts gateways and services that do not run."""
        for process in self.kept_running:
            if not process.is_up:
                process.start()

    def fill_disk(self, full: bool) -> None:
        """Makes the disk full for those who have their data on it, or as large as before."""
        assert self.disk is not None
        self.disk.fill(self.all if self._layout.suffers == "cloud" else self.gateways.values(), full)

    def join(self, guest: str) -> None:
        """Starts a second Makai."""
        for process in self.guests[guest]:
            process.start()

    def leave(self, guest: str) -> None:
        """Ends it in order, in the background."""
        self._leaving.append(threading.Thread(target=self._end, args=(self.guests[guest], MAX_STOP_S)))
        self._leaving[-1].start()

    def stop(self) -> None:
        """Sends SIGTERM to gateways, then to services, then to brokers, and waits for their ends."""
        for thread in self._leaving:
            thread.join()
        services = self.services.items()
        self._end(list(self.gateways.values()), None)
        self._end([each for name, each in services if name not in BROKERS], MAX_STOP_S)
        self._end([each for name, each in services if name in BROKERS], MAX_STOP_S)
        self.problems += [complaint for each in self.all for complaint in each.complaints]

    def _end(
        self,
        processes: Sequence[ServiceProcess],
        limit_s: float | None,
        number: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Ends processes side by side."""

        def end(process: ServiceProcess) -> None:
            try:
                took_s = process.stop(number)
            except ServiceError as error:
                self.problems.append(str(error))
                return
            self._stops_s.append(took_s)
            if limit_s is not None and took_s > limit_s:
                self.problems.append(f"{process.name} took {took_s:.1f} s to end, {limit_s:g} s at most")

        with ThreadPoolExecutor(max(1, len(processes))) as pool:
            list(pool.map(end, processes))

    def _gateway(self, number: int) -> ServiceProcess:
        name, ahead_s = f"gateway{number}", self._layout.ahead_s.get(number)
        put_step_ns(self.clock(name), 0)
        if number in self._layout.synchronised:
            self.set_clock(name, 0, SYNCHRONISED_NS)
        elif ahead_s is not None:
            self.set_clock(name, round(ahead_s * 1e9), NOT_SYNCHRONISED)
        brokers = self.offsets[f"network{number}" if number in self._layout.networks else "cloud"]
        paths = {box_id: self.port_path(box_id) for box_id in self._layout.gateways[number]}
        settings = gateway_settings(self._layout.gateway, paths, brokers)
        return self._process(name, name, settings, ["opq_gateway", "run"])

    def _emulated(self, drawn: RestartedBox) -> EmulatedBox:
        folder, port = self.folder / "emulated", self.port_path(drawn.box_id)
        return EmulatedBox(drawn, port, folder, self.clock("cloud"), self._server, self.now_ns)

    def _guest(self, guest: str) -> list[ServiceProcess]:
        settings = guest_settings(self._layout.cloud, self.offsets["cloud"])
        place = "other" if guest == "other" else "cloud"
        return [
            self._process(f"{guest}-{name}", place, settings, ["opq_cloud", name], guest) for name in MAKAI
        ]

    def _process(
        self, name: str, place: str, settings: Settings, command: list[str], offset_of: str = ""
    ) -> ServiceProcess:
        """A process with its data at `place`, which names its clock and its ports, too."""
        named = write_settings(self.folder / f"{name}.toml", settings, self.data_dir(place), self.keys.root)
        moved = ["--port-offset", str(self.offsets[offset_of or place])]
        clock = self.clock(place if place.startswith("gateway") else "cloud")
        return ServiceProcess(
            name, [*command, *named, *moved], clock, self.folder / f"{name}.log", self._server
        )


def _health(service: str) -> str:
    """The name of the port at which a service reports; all of them together report at Mauka's."""
    own = f"{service.replace('-', '_')}_health"
    return own if own in ports.PORTS else "mauka_health"


def _answers(port: int) -> bool:
    try:
        fetch(f"http://127.0.0.1:{port}/", HEALTH_TIMEOUT_S)
    except OSError:
        return False
    return True
