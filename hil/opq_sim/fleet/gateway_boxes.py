"""GatewayBoxes: samples into the gateway's own measuring code and its uplink; no serial line, no pty.

    SampleSource of each Box -> Measuring -> Uplink, Queue -> CURVE         the gateway's classes, unchanged
                             -> SampleCrossings ----^
                 SourceStore -> CommandHandler -----^

The output is that of a gateway for the same samples; only the line between Box and gateway is missing.
"""

import threading
import time
from collections.abc import Sequence
from functools import partial

from opq_gateway.commands.command_handler import CommandedBox, CommandHandler
from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.measuring.measuring import Measuring
from opq_gateway.measuring.plan import MeasuringPlan
from opq_gateway.status import BoxStatus
from opq_gateway.uplink.connections import FILES_PER_BOX
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import Uplink
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyPair
from opq_proto.link.messages import PROTOCOL, Health, Hello
from opq_sim.box.box import BLOCK_SAMPLES
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.fleet.connections import allow_files
from opq_sim.fleet.outlets import FleetGrid
from opq_sim.fleet.sample_crossings import SampleCrossings
from opq_sim.fleet.source_store import SourceStore
from opq_sim.fleet.worker import LONGEST_REQUEST_S, FleetPlan

PIECE_S = 1.0
SLICES = 10
"""Parts of the Boxes: each part makes its samples once per PIECE_S, one part at a time."""
TOGETHER = 30
"""Smallest part, if there are as many Boxes: in parts of six, each Box costs a fifth more than in parts of
thirty.
"""
QUEUE_MESSAGES = 1000
BACKFILL_PER_S = 2000.0
STOP_S = 10.0


class SampledBox:
    """One Box and the state of its sample stream."""

    def __init__(self, box_id: str, source: SampleSource, clock: RunClock) -> None:
        self.box_id, self.source = box_id, source
        self.clock = BoxStamps(clock, source)
        self.crossings = SampleCrossings(source.nominal_v, source.nominal_hz)
        self.next_sample = 0
        self._began_ns = clock.monotonic_ns

    def health(self, monotonic_ns: int) -> Health | None:
        """The Health message with its supply; None if the Box has no supply model."""
        if self.clock.supply is None:
            return None
        since_ns = monotonic_ns - self._began_ns
        volts = self.clock.supply.volts(since_ns / 1e9)
        return Health(since_ns // 10**6, None, *volts, *[0] * 8)


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
        self._handler = CommandHandler(LONGEST_REQUEST_S)
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
            self.queue = Queue(plan.folder / "queue.sqlite", self._counters, most_bytes=plan.queue_bytes)
        except OSError as error:
            raise OpqError(f"fleet: {plan.folder} cannot be used: {error}") from error
        self._uplink = Uplink(
            plan.endpoints,
            plan.server_key,
            self.queue,
            QUEUE_MESSAGES,
            self._handler.offer,
            backfill_per_s=BACKFILL_PER_S,
        )
        self._measuring = Measuring(
            self._uplink.publish,
            self._uplink.crossing,
            MeasuredFeed(),
            piece_s=PIECE_S,
            edge=self._uplink.publish_at_once,
        )
        self._parts = max(1, min(SLICES, len(self._boxes) // TOGETHER))
        self._statuses: list[BoxStatus] = []
        for box, outlet, pair in zip(self._boxes, grid.outlets, pairs, strict=True):
            source, counters = box.source, self._counters[box.box_id]
            hello = _hello(box)
            status = BoxStatus(box.box_id, plan.cycles, hello=hello)
            self._statuses.append(status)
            numbers = source.nominal_v, source.nominal_hz, plan.cycles
            measuring_plan = MeasuringPlan(box.box_id, *numbers, flicker=False, detectors=True, local=False)
            self._uplink.add(box.box_id, pair, counters, status)
            self._measuring.add(measuring_plan, counters, status, None)
            self._measuring.restart(box.box_id, hello)
            store = SourceStore(box.box_id, outlet.samples, source.rate_millihz, clock)
            desk = CommandedBox(
                status,
                store,
                counters,
                pair.public.decode(),
                partial(self._measuring.set_cycles, box.box_id),
                partial(self._uplink.respond, box.box_id),
                None,
                partial(self._uplink.acknowledge, box.box_id),
            )
            self._handler.add(box.box_id, desk)

    def run(self, stop: threading.Event) -> None:
        """Serves all Boxes until `stop`; finished Measurements are then sent, or wait on disk."""
        ending = threading.Event()
        uplink = threading.Thread(target=self._uplink.run, args=(ending,), name="uplink")
        commands = threading.Thread(target=self._handler.run, args=(stop,), name="commands")
        for thread in (uplink, commands):
            thread.start()
        try:
            part = 0
            while not stop.wait(PIECE_S / SLICES):
                if part < self._parts:
                    self.feed(time.monotonic_ns(), part)
                self._measuring.round()
                part = (part + 1) % SLICES
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
            taken = box.clock.taken(monotonic_ns) // BLOCK_SAMPLES * BLOCK_SAMPLES
            first, end = box.clock.next_run(box.next_sample, taken)
            box.next_sample = end
            if end <= first:
                continue
            block = box.clock.block(box.source, first, end - first)
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


def _hello(box: SampledBox) -> Hello:
    source = box.source
    numbers = source.rate_millihz, source.v_per_lsb, source.nominal_v, source.nominal_hz
    return Hello(
        PROTOCOL, int(box.box_id), 1, *numbers, source.effective_bits, 200, 0, "opq-hil fleet", "opq-hil 1"
    )
