"""FleetWorker: the Boxes of one process, in closed form, on CURVE; one thread, and one for answers.

    FleetMeter -> Measurements -> Delivery -> log, connections
    commands -> FleetCommands -> SourceStore -> answers

All Boxes of a fleet share the run's clock, whatever process they are in.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from opq_gateway.counters import BoxCounters
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyPair
from opq_proto.measurement.wire import bodies_of, measurement_to_wire
from opq_sim.box.source import RunClock
from opq_sim.fleet.connections import FleetConnections
from opq_sim.fleet.delivery import Delivery
from opq_sim.fleet.disturbed_boxes import ordered
from opq_sim.fleet.fleet_commands import FleetCommands
from opq_sim.fleet.fleet_meter import FleetMeter
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.held_log import HeldLog
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import FleetGrid

TURN_S = 0.1
"""Length of a turn; each turn costs 3 ms, even if little is due."""
GATHER_S = 0.01
"""Arriving messages wake the thread at most this often: a wake-up costs as much as an acknowledgement."""
MAX_CATCH_UP = 10
"""Limit of Measurements of one Box in one turn, after a standstill of the process."""
SAMPLES_S = 0.2
"""Interval at which samples of disturbed Boxes are made and measured."""
TICK_S = 0.5
ANSWER_BYTES = 64_000_000
"""Limit of answers that wait for their sockets, in bytes, for all Boxes of the process."""


class FleetWorker:
    """Runs the Boxes; call `run` and `counts` in one thread.

    Attributes:
        reached_s: monotonic time up to which all quiet Boxes have measured.
        longest_turn_s: longest time from one turn's begin to the next one's; TURN_S on a machine that keeps
            up.
    """

    def __init__(
        self,
        grid: FleetGrid,
        pairs: Sequence[KeyPair],
        plan: FleetPlan,
        clock: RunClock,
        outages: NetworkOutages | None = None,
    ) -> None:
        """
        Raises:
            ConfigError, OpqError: more Boxes than a process may have files, a folder that cannot be used.
        """
        outlets = grid.outlets
        self._ids = [outlet.box_id for outlet in outlets]
        self._plan, self._clock, self._outlets, self._outages = plan, clock, outlets, outages
        self._nominal_hz = outlets[0].voltage.nominal_hz
        self.lines = FleetConnections(
            self._ids, pairs, plan.server_key, plan.endpoints, self._command, plan.reconnect_most_ms
        )
        self.held = HeldLog(plan.folder, self._ids, time.time_ns() // 1_000_000, plan.queue_bytes)
        self.delivery = Delivery(self._ids, self.held, self.lines, plan.in_flight_s, plan.store_forgotten_s)
        self.meter = FleetMeter(grid, clock, plan.cycles, plan.seed)
        self._nominals = tuple(Nominal(each.voltage.nominal_v, each.voltage.nominal_hz) for each in outlets)
        self.counters = BoxCounters()  # of all Boxes together
        self._commands = FleetCommands()
        self._answers: deque[tuple[int, list[bytes]]] = deque()
        self._offered = self._taken = 0  # bytes of answers: the handler's thread adds, this one removes
        self.reached_s = self.longest_turn_s = 0.0
        self._sampled_s = self._ticked_s = 0.0
        self._begin(pairs)

    def run(self, stop: threading.Event) -> None:
        """Serves all Boxes until `stop`; finished Measurements are then sent, or wait on disk."""
        answering = threading.Thread(target=self._commands.run, args=(stop,), name="commands", daemon=True)
        answering.start()
        turn_s = time.monotonic()
        try:
            while not stop.is_set():
                if self.lines.wait(max(0.0, turn_s + TURN_S - time.monotonic())):
                    time.sleep(GATHER_S)
                now_s = time.monotonic()
                if now_s - turn_s >= TURN_S:
                    self.longest_turn_s = max(self.longest_turn_s, now_s - turn_s)
                    turn_s = now_s
                    self.run_once(now_s)
                self._respond()
            answering.join(2.0)
            self._respond()
        finally:
            self.held.close()
            self.lines.close()

    def run_once(self, now_s: float) -> None:
        """Does everything that is due at a monotonic time."""
        t_s = now_s - self._clock.monotonic_ns / 1e9
        all_measured = self._measure(t_s)
        if self.meter.disturbed and now_s - self._sampled_s >= SAMPLES_S:
            self._sampled_s = now_s
            self._measure_samples(t_s)
        if all_measured:
            self.reached_s = now_s
        self.delivery.send_again(now_s)
        self.lines.open_more(now_s)
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            self.lines.tick(now_s)
            self.delivery.tick(now_s)
            self.held.tick(now_s)
            self.meter.discard_old()
            if self._outages is not None:
                for box, down in self._outages.changes(t_s):
                    (self.lines.cut if down else self.lines.join)(box)

    def counts(self) -> dict[str, int]:
        """All counts, by name."""
        counters = self.counters
        return {
            "boxes": len(self._ids),
            "standing": int(self.lines.stands.sum()),
            "acknowledging": int(self.delivery.acknowledging.sum()),
            **asdict(self.delivery.counts),
            "held": self.held.held,
            "due": self.delivery.due,
            "expired": self.held.expired,
            "not_held": self.held.failed,
            "connected": self.lines.connected,
            "lost": self.lines.lost,
            "remade": self.lines.remade,
            "measured_from_samples": self.meter.disturbed,
            "samples": self.meter.sampled,
            "commands": counters["commands"],
            "commands_malformed": counters["commands_malformed"] + self.lines.malformed,
            "commands_foreign": counters["commands_foreign"] + self.lines.foreign,
            "commands_overflow": counters["commands_overflow"],
            "answers_sent": counters["responses_sent"],
            "answers_dropped": counters["responses_dropped"],
        }

    def _begin(self, pairs: Sequence[KeyPair]) -> None:
        """Registers every Box with the meter and the command handler."""
        window_s = self._plan.cycles / self._nominal_hz
        chance = np.random.Generator(np.random.PCG64([self._plan.seed, 0xF1EE7]))
        now_s = max(0.0, (time.monotonic_ns() - self._clock.monotonic_ns) / 1e9)
        begins_s = now_s + (
            window_s * chance.random(len(self._ids)) if self._plan.spread else np.zeros(len(self._ids))
        )
        for box, outlet in enumerate(self._outlets):
            self._commands.add(
                outlet,
                outlet.samples(),
                self._clock,
                pairs[box],
                self.counters,
                self._plan.cycles,
                partial(self.meter.set_cycles, box),
                partial(self._offer_answer, box),
                partial(self._acknowledged, box),
                at_once=True,
            )
            self.meter.begin(box, float(begins_s[box]))

    def _measure(self, t_s: float) -> bool:
        """Measures what is complete by then; True if nothing is left."""
        for _ in range(MAX_CATCH_UP):
            found = self.meter.measure_quiet(t_s)
            if found is None:
                return True
            batch = found.batch(tuple(self._ids), self._nominals, self._clock)
            batch = replace(batch, start_id=np.full(len(batch), self._clock.start_id))
            self.delivery.deliver(found.which, bodies_of(batch))
        return False

    def _measure_samples(self, t_s: float) -> None:
        for part in ordered(self.meter.measure_disturbed(t_s)):
            self.delivery.deliver(
                np.array([box for box, _ in part]), [measurement_to_wire(each) for _, each in part]
            )

    def _command(self, box: int, data: bytes) -> None:
        """Handles a command from a Box's connection; the handler's thread answers data commands."""
        self.counters.add("commands")
        self._commands.handle(self._ids[box], data)

    def _acknowledged(self, box: int, acknowledgement: CloudAcknowledgement) -> None:
        self.delivery.acknowledge(box, acknowledgement, time.monotonic())

    def _offer_answer(self, box: int, frames: list[bytes]) -> None:
        size = sum(map(len, frames))
        waiting = self._offered - self._taken
        if waiting and waiting + size > ANSWER_BYTES:
            self.counters.add("responses_dropped")
            return
        self._offered += size
        self._answers.append((box, frames))

    def _respond(self) -> None:
        for _ in range(len(self._answers)):
            box, frames = self._answers.popleft()
            self._taken += sum(map(len, frames))
            sent = self.lines.respond(box, frames)
            self.counters.add("responses_sent" if sent else "responses_dropped")
