"""WorldParts: everything that a layout names, made and opened: Boxes, gateways, networks, services, peers.

Boxes on cables --> gateways --> [network n] --> brokers --> triggering-service --> store
Boxes of a fleet ------> [slow network] --> [network 0] --^   <-- event-service --> mauka --^
Boxes of the original, hostile peers, a second Makai ---------^        store lock, disk, clocks
"""

import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from opq_gateway.uplink.connection import Endpoints
from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit import ports
from opq_proto.messages import TimeSource
from opq_sim.faults.evidence import FILE_NAME
from opq_sim.faults.layout import (
    GUESTS,
    MAKAI,
    RELAYED,
    SLOW,
    Layout,
    Settings,
    gateway_settings,
    guest_settings,
    write_settings,
)
from opq_sim.faults.parts.boxes import CabledBoxes
from opq_sim.faults.parts.database_lock import DatabaseLock
from opq_sim.faults.parts.disk import FillableDisk
from opq_sim.faults.parts.fleet import FleetThread, PlacedDip, fleet_clock, fleet_of, placed_dips
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.free_ports import free_offset, held_ports
from opq_sim.faults.parts.peers import HOSTILE_ID, HostilePeers
from opq_sim.faults.parts.service import ServiceProcess
from opq_sim.faults.parts.stepped_clock import NOT_SYNCHRONISED, put_step_ns
from opq_sim.faults.parts.wire import FaultyRelay
from opq_sim.foreign.generations import foreign_host
from opq_sim.foreign.host import ForeignHost
from opq_sim.mains.generator import Generator

HEALTH_TIMEOUT_S: Final = 2.0
READY_S: Final = 4.0
"""Seconds after a fleet's start: on an idle machine every Box is connected and acknowledged by then."""


class WorldParts:
    """The parts of one world, in `folder`.

    Attributes:
        gateways, services, guests: processes, by number, command, and name of a second Makai.
        wires: networks that can fail, by the number of their gateway, or of a fleet.
        fleets, hosts: Boxes in closed form, and of the original by id; from `open_boxes` on.
        dips: what the fleet sees, in seconds after its start.
    """

    def __init__(self, layout: Layout, seed: int, folder: Path, mounted: bool) -> None:
        self.layout, self.folder, self._seed = layout, folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        gateways = [f"gateway{number}" for number in layout.gateways]
        networks = [f"network{number}" for number in sorted(layout.networks)]
        guests = GUESTS if layout.has_guests else ()
        names = ["cloud", *gateways, *networks, *guests]
        self.offsets = dict(zip(names, free_offset(seed, len(names)), strict=True))
        self._held_ports = held_ports(self.offsets.values())
        self.disk = FillableDisk(folder / "disk", mounted) if layout.suffers else None
        self.keys = KeyFolder(folder / "curve")
        self.keys.create(
            True, [*layout.on_cables, *layout.in_fleet, *([HOSTILE_ID] if layout.has_peers else ())]
        )
        self.server_key = read_key_file(self.keys.server_public).public
        self._server = ForkServer(layout.modules)
        self.boxes = CabledBoxes(layout.on_cables, folder / "ports", layout.with_gps, layout.in_1970)
        self.wires = {number: self._wire(number) for number in sorted(layout.networks)}
        self.gateways = {number: self._gateway(number) for number in layout.gateways}
        put_step_ns(self.clock("cloud"), 0)
        self.services = {
            name: self._process(name, "cloud", layout.cloud, ["opq_cloud", name]) for name in layout.services
        }
        self.guests = {guest: self._guest(guest) for guest in guests}
        self.lock = DatabaseLock(self.data_dir("cloud") / FILE_NAME)
        self.peers: HostilePeers | None = None
        if layout.has_peers:
            offset = self.offsets["cloud"]
            backend = ports.endpoint("triggering_backend", offset)
            self.peers = HostilePeers(
                backend, _endpoints(offset), self.server_key, self.pair(HOSTILE_ID), HOSTILE_ID, seed
            )
        self.fleets: list[FleetThread] = []
        self.hosts: dict[str, ForeignHost] = {}
        self.dips: list[PlacedDip] = []

    @property
    def kept_running(self) -> tuple[ServiceProcess, ...]:
        """Gateways and services; guests come and go."""
        return (*self.gateways.values(), *self.services.values())

    @property
    def processes(self) -> tuple[ServiceProcess, ...]:
        """All processes."""
        return (*self.kept_running, *(each for guest in self.guests.values() for each in guest))

    @property
    def of_disk(self) -> tuple[ServiceProcess, ...]:
        """Processes whose data are on the disk that becomes full."""
        return self.processes if self.layout.suffers == "cloud" else tuple(self.gateways.values())

    def pair(self, box_id: str) -> KeyPair:
        """The keys of a Box."""
        return read_secret_file(self.keys.box_secret(box_id))

    def clock(self, name: str) -> Path:
        """The file of a clock: of `cloud`, or of a gateway."""
        return self.folder / f"{name}.clock"

    def data_dir(self, name: str) -> Path:
        """Where `cloud`, a gateway or the other Makai has its data."""
        on_disk = self.disk is not None and name in (self.layout.suffers, "other")
        return (self.disk.folder if self.disk is not None and on_disk else self.folder) / name

    def open_processes(self, opening: ExitStack) -> None:
        """Starts everything that has no Boxes yet."""
        opening.enter_context(self._held_ports)
        opening.enter_context(self._server)
        for process in self.processes:
            opening.callback(process.kill)
        for process in self.kept_running:
            process.start()
        for part in (*self.wires.values(), self.lock, self.peers):
            if part is not None:
                opening.enter_context(part)

    def not_up(self) -> str | None:
        """Names the gateways and services that do not answer yet; None if all do."""
        absent = [name for name in self.services if not _answers(_health(name), self.offsets["cloud"])]
        absent += [
            each.name
            for each in self.gateways.values()
            if not _answers("gateway_health", self.offsets[each.name])
        ]
        return f"no health of {', '.join(absent)}" if absent else None

    def health_port(self, gateway: int) -> int:
        """Where a gateway reports about itself."""
        return ports.with_offset("gateway_health", self.offsets[f"gateway{gateway}"])

    def open_boxes(self, opening: ExitStack) -> float:
        """Starts the Boxes; returns the monotonic time at which the schedule may begin."""
        opening.enter_context(self.boxes)
        clock = self.fleet_clock = fleet_clock()
        self.dips = placed_dips(self.layout.dips, READY_S)
        for number, box_ids in self.layout.fleet.items():
            pairs = {box_id: self.pair(box_id) for box_id in box_ids}
            endpoints = _endpoints(self.offsets["network0"])
            if number == SLOW:
                slow = _endpoints(self.offsets[f"network{SLOW}"])
                endpoints = replace(endpoints, response=slow.response)
            place = self.folder / "fleet" / str(number)
            fleet = fleet_of(pairs, endpoints, self.server_key, place, self.dips, clock, self._seed)
            opening.enter_context(fleet)
            self.fleets.append(fleet)
        for box_id, generation in self.layout.original.items():
            host = foreign_host(
                generation, {box_id: Generator(seed=int(box_id))}, self.keys, self.offsets["cloud"]
            )
            self.hosts[box_id] = opening.enter_context(host)
        for box_id, ahead_s in self.layout.box_ahead_s.items():
            if box_id in self.hosts:
                self.hosts[box_id].step_clock(ahead_s)
            else:
                self.boxes.set_clock(box_id, TimeSource.NTP, ahead_s)
        return clock.monotonic_ns / 1e9 + (READY_S if self.fleets else 0.0)

    def _wire(self, number: int) -> FaultyRelay:
        """The network of a number, before the brokers; the slow one is before network 0."""
        before = self.offsets["network0" if number == SLOW else "cloud"]
        relayed = RELAYED[-1:] if number == SLOW else RELAYED
        own = self.offsets[f"network{number}"]
        return FaultyRelay(
            {name: ports.with_offset(name, before) for name in relayed},
            {name: ports.with_offset(name, own) for name in relayed},
            self._seed,
        )

    def _gateway(self, number: int) -> ServiceProcess:
        name = f"gateway{number}"
        ahead_s = self.layout.ahead_s.get(number)
        if ahead_s is None:
            put_step_ns(self.clock(name), 0)
        else:
            put_step_ns(self.clock(name), round(ahead_s * 1e9), NOT_SYNCHRONISED)
        brokers = self.offsets[f"network{number}" if number in self.layout.networks else "cloud"]
        paths = {box_id: self.boxes.paths[box_id] for box_id in self.layout.gateways[number]}
        settings = gateway_settings(self.layout.gateway, paths, brokers)
        return self._process(name, name, settings, ["opq_gateway", "run"])

    def _guest(self, guest: str) -> list[ServiceProcess]:
        settings = guest_settings(self.layout.cloud, self.offsets["cloud"])
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


def _endpoints(offset: int) -> Endpoints:
    """The brokers at a port offset."""
    return Endpoints(*(ports.endpoint(name, offset) for name in RELAYED))


def _health(service: str) -> str:
    """The name of the port at which a service reports; all of them together report at Mauka's."""
    own = f"{service.replace('-', '_')}_health"
    return own if own in ports.PORTS else "mauka_health"


def _answers(port: str, offset: int) -> bool:
    try:
        url = f"http://127.0.0.1:{ports.with_offset(port, offset)}/"
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT_S):
            return True
    except OSError:
        return False
