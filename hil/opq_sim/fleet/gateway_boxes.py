"""GatewayBoxes: samples into the gateway's own measuring code and its uplink; no serial line, no pty.

    SampleSource of each Box -> Measuring -> Uplink, Queue -> CURVE         the gateway's classes, unchanged
                             -> SampleCrossings ----^
                 FleetCommands -----^

The output is that of a gateway for the same samples; only the line between Box and gateway is missing.
"""

import threading
import time
from collections.abc import Sequence
from functools import partial

from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.measuring_plan import MeasuringPlan
from opq_gateway.uplink.connections import FILES_PER_BOX
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import Uplink
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyPair
from opq_sim.box.source import RunClock
from opq_sim.fleet.connections import allow_files
from opq_sim.fleet.fleet_commands import FleetCommands
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.outlets import FleetGrid
from opq_sim.fleet.sampled_box import SampledBox

PIECE_S = 1.0
BOX_SLICES = 10
"""Parts of the Boxes: each part makes its samples once per PIECE_S, one part at a time."""
BOXES_TOGETHER = 30
"""Smallest part, if there are as many Boxes: in parts of six, each Box costs a fifth more than in parts of
thirty.
"""
QUEUE_MESSAGES = 1000
BACKFILL_PER_S = 2000.0
STOP_S = 10.0


class GatewayBoxes:
    """The Boxes of one process; `run` in one thread, `counts` from any."""

    def __init__(
        self,
        grid: FleetGrid,
        pairs: Sequence[KeyPair],
        plan: FleetPlan,
        clock: RunClock,
    ) -> None:
        """
        Raises:
            ConfigError: more Boxes than a process may have files.
            OpqError: the folder cannot be used.
        """
        allow_files(len(grid.outlets), FILES_PER_BOX)
        self._boxes = [SampledBox(outlet.box_id, outlet.samples(), clock) for outlet in grid.outlets]
        self._counters = {box.box_id: BoxCounters() for box in self._boxes}
        self._commands = FleetCommands()
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
            self.queue = Queue(plan.folder / "queue.sqlite", self._counters, most_bytes=plan.queue_bytes)
        except OSError as error:
            raise OpqError(f"fleet: {plan.folder} cannot be used: {error}") from error
        self._uplink = Uplink(
            plan.places,
            self.queue,
            QUEUE_MESSAGES,
            self._commands.offer,
            backfill_per_s=BACKFILL_PER_S,
        )
        self._measuring = Measuring(
            self._uplink.publish,
            self._uplink.crossing,
            MeasuredFeed(),
            piece_s=PIECE_S,
            edge=self._uplink.publish_at_once,
        )
        self._parts = max(1, min(BOX_SLICES, len(self._boxes) // BOXES_TOGETHER))
        statuses = []
        for box, outlet, pair in zip(self._boxes, grid.outlets, pairs, strict=True):
            source, counters = box.source, self._counters[box.box_id]
            status = self._commands.add(
                outlet,
                source,
                clock,
                pair,
                counters,
                plan.cycles,
                partial(self._measuring.set_cycles, box.box_id),
                partial(self._uplink.respond, box.box_id),
                partial(self._uplink.acknowledge, box.box_id),
                at_once=False,
            )
            statuses.append(status)
            numbers = source.nominal_v, source.nominal_hz, plan.cycles
            measuring_plan = MeasuringPlan(box.box_id, *numbers, flicker=False, detectors=True, local=False)
            self._uplink.add(box.box_id, pair, counters, status)
            self._measuring.add(measuring_plan, counters, status, None)
            self._measuring.restart(box.box_id, self._commands.hello(source))
        self._statuses = statuses

    def run(self, stop: threading.Event) -> None:
        """Serves all Boxes until `stop`; finished Measurements are then sent, or wait on disk."""
        ending = threading.Event()
        uplink = threading.Thread(target=self._uplink.run, args=(ending,), name="uplink")
        commands = threading.Thread(target=self._commands.run, args=(stop,), name="commands")
        for thread in (uplink, commands):
            thread.start()
        try:
            part = 0
            while not stop.wait(PIECE_S / BOX_SLICES):
                if part < self._parts:
                    self.feed(time.monotonic_ns(), part)
                self._measuring.round()
                part = (part + 1) % BOX_SLICES
            self._measuring.round(everything=True)
        finally:
            commands.join(STOP_S)
            ending.set()
            uplink.join(STOP_S)
            self._uplink.close()
            self.queue.close()

    def feed(self, monotonic_ns: int, part: int) -> None:
        """Feeds the samples taken by now, for one part of the Boxes."""
        parts = slice(part, None, self._parts)
        for box, status in zip(self._boxes[parts], self._statuses[parts], strict=True):
            status.health = box.health(monotonic_ns)
            block = box.next_block(monotonic_ns)
            if block is None:
                continue
            self._measuring.accept_block(box.box_id, block)
            for crossing in box.crossings.crossings_of(block):
                self._measuring.crossing(box.box_id, crossing)

    def counts(self) -> dict[str, int]:
        """All counts, under the names that a FleetWorker uses."""
        counted = [counters.snapshot() for counters in self._counters.values()]

        def total(*names: str) -> int:
            return sum(each[name] for each in counted for name in names)

        held = [status.held_sequences for status in self._statuses]
        return {
            "boxes": len(self._boxes),
            "standing": sum(status.connected for status in self._statuses),
            "acknowledging": sum(status.acknowledging for status in self._statuses),
            "made": total("measurements", "crossings_sent"),
            "sent": total("measurements_sent"),
            "unheard": total("measurements_unheard", "measurements_delayed"),
            "backfilled": total("measurements_backfilled"),
            "acknowledgements": total("acknowledgements"),
            "acknowledgements_ahead": total("acknowledgements_ahead"),
            "held": sum(span[1] - span[0] for span in held if span is not None),
            "expired": total("measurements_expired", "measurements_overflow"),
            "not_held": total("sequences_failed"),
            "connected": total("uplink_connected"),
            "lost": total("uplink_lost"),
            "measured_from_samples": len(self._boxes),
            "samples": sum(box.next_sample for box in self._boxes),
            "unmeasured_samples": total("unmeasured_samples"),
            "failures": total("failures"),
            "commands": total("commands"),
            "commands_malformed": total("commands_malformed"),
            "commands_foreign": total("commands_foreign"),
            "commands_overflow": total("commands_overflow"),
            "answers_sent": total("responses_sent"),
            "answers_dropped": total("responses_dropped"),
        }
