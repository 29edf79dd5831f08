"""Surroundings: Boxes, networks, hostile peers and a lock on the store, around the processes of a world.

Boxes on cables --> gateways --> [network n] --> brokers --> triggering-service --> store
Boxes of a fleet ------> [slow network] --> [network 0] --^   <-- event-service --> mauka --^
Boxes of the original, hostile peers, a second Makai ---------^        store lock, disk, clocks
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from opq_gateway.uplink.connection import Endpoints
from opq_proto.kit import ports
from opq_proto.messages import TimeSource
from opq_sim.faults.parts.cabled_boxes import CabledBoxes
from opq_sim.faults.parts.database_lock import FILE_NAME, DatabaseLock
from opq_sim.faults.parts.dips import PlacedDip, placed_dips, sag_of
from opq_sim.faults.parts.fleet import FleetThread, fleet_clock, fleet_of
from opq_sim.faults.parts.gateway_disk import newest_in
from opq_sim.faults.parts.hostile_peers import HOSTILE_ID, HostilePeers
from opq_sim.faults.parts.original_box import OriginalBox
from opq_sim.faults.parts.restarted_boxes import RestartedBoxes, TrueDip
from opq_sim.faults.parts.wire import FaultyRelay
from opq_sim.faults.schedule import Fault, RestartedBox
from opq_sim.faults.world.layout import RELAYED, SLOW_NETWORK, Layout
from opq_sim.faults.world.processes import WorldProcesses

READY_S: Final = 4.0
"""Seconds after a fleet's start: on an idle machine every Box is connected and acknowledged by then."""
ORIGINALS_LATE_S: Final = 3.0
"""So long after its begin a dip of an original Box is over, and its waveform is asked for."""
EVENT_SAMPLES: Final = 24_000
"""Samples around a dip that its event asks for, and some more."""
LONGEST_TURN: Final = "longest_turn_s"
"""Name of a figure: the longest standstill of the Boxes of a fleet."""


class Surroundings:
    """What surrounds the processes.

    Attributes:
        wires: networks that can fail, by the number of their gateway, or of a fleet.
        fleets, originals: Boxes in closed form, and of the original by id; from `open_boxes` on.
        dips: what the fleet sees, in seconds after its start.
        not_shown: (Box, `at_s`) of dips of which an original Box sends no figure below the limit.
    """

    def __init__(self, layout: Layout, processes: WorldProcesses, seed: int) -> None:
        self._layout, self._processes, self._seed = layout, processes, seed
        self._emulated = processes.emulated
        emulated = {each.box_id for each in layout.by_seed if each.kind == "emulated"}
        paths = {box_id: processes.port_path(box_id) for box_id in layout.on_cables if box_id not in emulated}
        self.restarted = RestartedBoxes(
            paths,
            layout.by_seed,
            seed,
            self._processes.now_ns,
            lambda number: processes.ahead_ns(f"gateway{number}"),
        )
        self.boxes: CabledBoxes = self.restarted
        if not layout.by_seed:
            self.boxes = CabledBoxes(paths, layout.with_gps, layout.in_1970)
        self.boxes.first = layout.boxes_first
        self.wires = {number: self._wire(number) for number in sorted(layout.networks)}
        self.lock = DatabaseLock(processes.data_dir("cloud") / FILE_NAME)
        self.peers: HostilePeers | None = None
        if layout.has_peers:
            offset, pair = processes.offsets["cloud"], processes.pair(HOSTILE_ID)
            backend = ports.endpoint("triggering_backend", offset)
            self.peers = HostilePeers(backend, _endpoints(offset), processes.server_key, pair, seed)
        self.fleets: list[FleetThread] = []
        self.fleet_clock = fleet_clock()
        self.originals: dict[str, OriginalBox] = {}
        self.dips: list[PlacedDip] = []
        self.not_shown: set[tuple[str, float]] = set()
        self._dipped: list[tuple[str, float, int]] = []  # (Box, the dip's `at_s`, its first sample)

    def open(self, opening: ExitStack) -> None:
        """Opens everything but the Boxes."""
        for part in (*self.wires.values(), self.lock, self.peers):
            if part is not None:
                opening.enter_context(part)

    def open_boxes(self, opening: ExitStack) -> float:
        """Starts the Boxes; returns the monotonic time at which the schedule may begin."""
        opening.enter_context(self.boxes)
        for emulated in self._emulated:
            emulated.start()
        processes = self._processes
        self.fleet_clock = fleet_clock()
        self.dips = placed_dips(self._layout.dips, READY_S)
        for number, box_ids in self._layout.fleet.items():
            endpoints = _endpoints(processes.offsets["network0"])
            if number == SLOW_NETWORK:
                slow = _endpoints(processes.offsets[f"network{SLOW_NETWORK}"])
                endpoints = replace(endpoints, response=slow.response)
            fleet = fleet_of(
                {box_id: processes.pair(box_id) for box_id in box_ids},
                endpoints,
                processes.server_key,
                processes.folder / "fleet" / str(number),
                self.dips,
                self.fleet_clock,
                self._seed,
            )
            self.fleets.append(opening.enter_context(fleet))
        opening.callback(self._end_originals)
        self.start_originals()
        for box_id, ahead_s in self._layout.box_ahead_s.items():
            if box_id in self.originals:
                self.originals[box_id].step_clock(ahead_s)
            else:
                self.boxes.set_clock(box_id, TimeSource.NTP, ahead_s)
        return self.fleet_clock.monotonic_ns / 1e9 + (READY_S if self.fleets else 0.0)

    def start_originals(self) -> None:
        """Starts new Boxes of the original, on the true time; those of before end."""
        self._end_originals()
        noise = {"noise_v": 0.0} if self._layout.by_seed else {}
        for box_id, generation in self._layout.original.items():
            box = OriginalBox(
                box_id, generation, self._processes.keys, self._processes.offsets["cloud"], **noise
            )
            self.originals[box_id] = box.__enter__()
            if self._processes.skipped_ns:
                box.step_clock(self._processes.skipped_ns / 1e9)

    def dip_of_original(self, drawn: RestartedBox) -> None:
        """Makes the dips of a Box of the original that starts again and again, and notes them."""
        sag = sag_of(drawn.residual_percent, drawn.cycles)
        for dip_s in drawn.dips_s:
            at_ns = self.originals[drawn.box_id].dip_in(dip_s, sag)
            number = sum(each.box_id == drawn.box_id for each in self.restarted.dips) // len(drawn.dips_s)
            self.restarted.dips.append(
                TrueDip(drawn.box_id, drawn.kind, number, at_ns, drawn.residual_percent)
            )

    def unsampled(self) -> str | None:
        """Names the Boxes of `by_seed` that have not sampled their dips yet."""
        due_ns = self._processes.now_ns() - round(ORIGINALS_LATE_S * 1e9)
        late = {each.box_id for each in self.restarted.dips if each.at_ns > due_ns} & self.originals.keys()
        if late:
            return f"the dips of the original Boxes {', '.join(sorted(late))} are not sampled"
        data_dir = self._processes.data_dir
        newest = newest_in({each.box_id: data_dir(f"gateway{each.gateway}") for each in self._layout.by_seed})
        emulated = [each.unsampled(newest(each.box_id)) for each in self._emulated]
        return next(filter(None, emulated), self.restarted.unsampled(newest))

    def _end_originals(self) -> None:
        while self.originals:
            _, box = self.originals.popitem()
            box.__exit__()

    def dip(self, fault: Fault) -> None:
        """Makes a dip at Boxes on a cable, or of the original."""
        assert fault.dip is not None
        sag = sag_of(fault.dip.residual_percent, fault.dip.cycles)
        for box_id in fault.boxes:
            if box_id not in self.originals:
                self._dipped.append((box_id, fault.at_s, self.boxes.add_event(box_id, sag)))
            elif not self.originals[box_id].add_dip(sag):
                self.not_shown.add((box_id, fault.at_s))

    @property
    def not_sampled(self) -> set[tuple[str, float]]:
        """(Box, `at_s`) of dips that their Box did not sample as they should be."""
        return {
            (box_id, at_s)
            for box_id, at_s, first in self._dipped
            if self.boxes.not_sampled(box_id, first - EVENT_SAMPLES, first + EVENT_SAMPLES)
        }

    @property
    def problems(self) -> list[str]:
        """What no fault excuses."""
        found = [f"the fleet itself failed: {each.failure!r}" for each in self.fleets if each.failure]
        found += [
            f"the fleet counted {total} {name}"
            for name in ("expired", "not_held", "acknowledgements_ahead")
            if (total := self._fleet_count(name))
        ]
        if self.peers is not None and self.peers.overheard:
            found.append(f"a peer read {self.peers.overheard} commands for other Boxes")
        return found

    @property
    def figures(self) -> dict[str, float | int]:
        """What they counted."""
        cables, peers = self.boxes.cables.values(), self.peers
        figures: dict[str, float | int] = {
            "segments_lost": sum(wire.lost for wire in self.wires.values()),
            "database_held_s": round(self.lock.held_s, 1),
        }
        if cables:
            figures |= {
                "bytes_corrupted": sum(cable.corrupted_bytes for cable in cables),
                "bytes_unplugged": sum(cable.unplugged_bytes for cable in cables),
                "bytes_unread": sum(cable.lost_bytes for cable in cables),
            }
        if peers is not None:
            figures |= {
                "received": len(peers.received),
                "unnumbered": peers.unnumbered,
                "copies": peers.copies,
                "repeated_by_duplicate": peers.sent["repeated"],
                "hostile_frames": sum(peers.sent.values()),
            }
        if self.fleets:
            figures |= {name: self._fleet_count(name) for name in ("made", "backfilled", "answers_sent")}
            figures[LONGEST_TURN] = round(max(each.worker.longest_turn_s for each in self.fleets), 1)
        return figures

    def _fleet_count(self, name: str) -> int:
        return sum(fleet.worker.counts()[name] for fleet in self.fleets)

    def _wire(self, number: int) -> FaultyRelay:
        """The network of a number, before the brokers; the slow one is before network 0."""
        offsets, relayed = self._processes.offsets, RELAYED[-1:] if number == SLOW_NETWORK else RELAYED
        before, own = offsets["network0" if number == SLOW_NETWORK else "cloud"], offsets[f"network{number}"]
        return FaultyRelay(
            {name: ports.with_offset(name, before) for name in relayed},
            {name: ports.with_offset(name, own) for name in relayed},
            self._seed,
        )


def _endpoints(offset: int) -> Endpoints:
    """The brokers at a port offset."""
    return Endpoints(*(ports.endpoint(name, offset) for name in RELAYED))
