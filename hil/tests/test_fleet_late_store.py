"""A store that is too slow for a fleet: nothing is lost, what waits in the cloud is not sent twice, and what
it dropped is sent again slowly until it has time.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fleet_cloud import FleetCloud, wait_for
from in_thread import in_thread

from opq_cloud.core.service import CloudContext
from opq_cloud.store import open_store
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement
from opq_sim.box.source import RunClock
from opq_sim.fleet import delivery
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.outlets import plain_grid
from opq_sim.fleet.worker import FleetWorker

IDS = [str(number) for number in range(1, 21)]
ROWS_PER_S = 60
"""The Boxes make 400."""
QUEUE_ROWS = 120
"""Two seconds of the store; what is sent less than IN_FLIGHT_S ago is not sent again in any case. On a busy
machine single rows are longer on their way to the cloud, and those are sent twice."""
IN_FLIGHT_S = 1.0


class SlowStore:
    """A real store that takes so many Measurements a second, until `quick` is set."""

    def __init__(self, folder: Path, rows_per_s: float = ROWS_PER_S) -> None:
        self.quick = threading.Event()
        self._rows_per_s = rows_per_s
        self._store = open_store(None, folder)

    def append_measurements(self, rows: Sequence[Measurement], columns: Sequence[Measurements] = ()) -> int:
        self.quick.wait((len(rows) + sum(map(len, columns))) / self._rows_per_s)
        return self._store.append_measurements(rows, columns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def slow_boxes(worker: FleetWorker) -> int:
    return sum(pace.per_s is not None and pace.per_s < 1.0 for pace in worker.delivery.paces)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FleetCloud]:
    made = FleetCloud(tmp_path, IDS)
    made.queue_rows = QUEUE_ROWS
    yield made
    made.close()


def test_a_late_clouds_losses_are_resent(cloud: FleetCloud, tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "slow")
    cloud.shared = CloudContext(lambda: store)  # type: ignore[arg-type,return-value]
    plan = FleetPlan(
        cloud.endpoints,
        cloud.server.public,
        tmp_path / "fleet",
        cycles=3,
        in_flight_s=IN_FLIGHT_S,
    )
    worker = FleetWorker(plain_grid(IDS), cloud.pairs(), plan, RunClock.now())
    with in_thread(worker.run), cloud.running():
        service = cloud.service
        assert service is not None
        counted = service.counters.total
        wait_for(worker.delivery.acknowledging.all, "every Box acknowledged")
        wait_for(lambda: worker.delivery.counts.backfilled > 0, "what the cloud dropped is sent again")
        wait_for(
            lambda: slow_boxes(worker) > len(IDS) / 2, "Boxes yield: they send less than one a second again"
        )
        store.quick.set()
        made = worker.held.next.copy()
        wait_for(lambda: bool((worker.held.floor >= made).all()), "everything made so far is acknowledged")
        counts = worker.counts()
        for box_id, following in zip(IDS, made.tolist(), strict=True):
            sequences = [number for number in cloud.stored(box_id) if number < following]
            assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert counts["expired"] == counts["not_held"] == 0
    doubled = counted("measurements_doubled")
    assert counts["backfilled"] <= counted("measurements_dropped") + counts["unheard"] + doubled
    if worker.longest_turn_s < IN_FLIGHT_S / 2:  # else rows were on their way for longer
        assert doubled < QUEUE_ROWS / 10, "what waits would be sent again by the hundred"


def test_unacknowledged_measurements_are_held_and_stored(
    cloud: FleetCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "UNACKNOWLEDGED_S", 0.3)
    store = SlowStore(tmp_path / "slow", rows_per_s=1e-6)
    cloud.shared = CloudContext(lambda: store)  # type: ignore[arg-type,return-value]
    plan = FleetPlan(
        cloud.endpoints, cloud.server.public, tmp_path / "fleet", cycles=3, in_flight_s=IN_FLIGHT_S
    )
    worker = FleetWorker(plain_grid(IDS), cloud.pairs(), plan, RunClock.now())
    begun = worker.held.next.copy()
    with in_thread(worker.run), cloud.running():
        wait_for(lambda: bool((worker.held.next >= begun + 60).all()), "3 s of Measurements of each Box")
        assert not worker.delivery.acknowledging.any() and (worker.held.floor == begun).all()
        store.quick.set()
        made = worker.held.next.copy()
        wait_for(lambda: bool((worker.held.floor >= made).all()), "everything made so far is acknowledged")
        for box_id, first, following in zip(IDS, begun.tolist(), made.tolist(), strict=True):
            stored = [number for number in cloud.stored(box_id) if number < following]
            assert stored == list(range(first, following))
