"""Boxes of a fleet, in closed form, in a thread of this process."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from opq_gateway.uplink.connection import Endpoints
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import TimeSource
from opq_sim.box.source import RunClock
from opq_sim.faults.parts.dips import PlacedDip, dipping_grid
from opq_sim.faults.parts.held_numbers import HeldNumbers
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.worker import FleetWorker
from opq_sim.own_processor import have_own_processor

CYCLES_PER_MEASUREMENT: Final = 12
"""Five Measurements a second."""
CLOCK_UNCERTAINTY_NS: Final = 1_000
IN_FLIGHT_S: Final = 1.0
STORE_FORGOTTEN_S: Final = 15.0
MAX_RECONNECT_MS: Final = 500
"""The fleet's own time-outs on the scaled clock."""


class FleetThread(OwnThread):
    """Some Boxes of a fleet, in a thread of this process; `close` ends their Measurements."""

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
        have_own_processor()
        try:
            self.worker.run(self._stop)
        except BaseException as error:
            self.failure = error
            raise


def fleet_clock() -> RunClock:
    """A clock of a fleet that starts now."""
    return RunClock(time.monotonic_ns(), time.time_ns(), CLOCK_UNCERTAINTY_NS, TimeSource.GPS)


def fleet_of(
    pairs: Mapping[str, KeyPair],
    endpoints: Endpoints,
    server_key: bytes,
    folder: Path,
    dips: Sequence[PlacedDip],
    clock: RunClock,
    seed: int,
) -> FleetThread:
    """Boxes with their keys, by id."""
    plan = FleetPlan(
        endpoints,
        server_key,
        folder,
        CYCLES_PER_MEASUREMENT,
        in_flight_s=IN_FLIGHT_S,
        store_forgotten_s=STORE_FORGOTTEN_S,
        reconnect_most_ms=MAX_RECONNECT_MS,
    )
    box_ids = tuple(pairs)
    worker = FleetWorker(dipping_grid(box_ids, dips, seed), list(pairs.values()), plan, clock)
    return FleetThread(worker, box_ids)
