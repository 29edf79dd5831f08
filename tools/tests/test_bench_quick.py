"""`opq-tools bench NAME --quick` ends within a minute: its waits and its work are bounded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench import gateway, makai, measure, pipeline
from bench.harness import mauka_runs
from bench.harness.house import GatewayCost
from opq_tools.sim.bench import BENCHMARKS

MOST_WAITED_S = 45.0
"""Of the minute; the rest is for starts and CPU, on a machine of two cores that has little else to do."""
MOST_GATEWAY_S = 24.0
"""Its starts and Boxes at 12 kS/s need some 20 s of CPU beside."""
WAITED_S: dict[str, Callable[[], float]] = {
    "pipeline": lambda: (
        3.0
        + pipeline.QUICK_SAGS * pipeline.APART_S
        + 2 * (pipeline.QUICK_SETTLE_S + pipeline.QUICK_WATCH_S)
        + mauka_runs.IDLE_S
    ),
    "makai": lambda: len(makai.QUICK_BOXES) * (6 * makai.QUICK_LOAD_S + 3 * makai.SETTLE_S),
}
"""Seconds that a quick run waits for by design. Those that are not here wait for nothing but their work."""
WORK: dict[str, tuple[int, int]] = {
    "pipeline: sags": (pipeline.QUICK_SAGS, 3),
    "pipeline: Boxes": (pipeline.QUICK_MANY_BOXES, 4),
    "gateway: Boxes of all houses": (sum(gateway.QUICK_BOXES), 10),
    "gateway: requests": (gateway.QUICK_REQUESTS, 10),
    "gateway: seconds of samples on disk": (gateway.QUICK_DISK_S, 30),
    "gateway: reads": (gateway.QUICK_READS, 20),
    "makai: Boxes": (max(makai.QUICK_BOXES), 100),
    "makai: crossings": (makai.QUICK_CROSSINGS, 10),
    "pipeline: Boxes of an incident": (pipeline.QUICK_JOINED_BOXES, 500),
    "pipeline: events": (pipeline.QUICK_EVENTS, 6),
    "measure: signals": (measure.QUICK_SIGNALS, 4),
    "measure: dips": (measure.QUICK_DIPS, 10),
}
"""Work of a quick run -> how much of it there is, and the most that fits into the minute."""


@pytest.mark.parametrize("name", WAITED_S)
def test_a_quick_run_waits_below_a_minute(name: str) -> None:
    assert name in BENCHMARKS
    assert 0 < WAITED_S[name]() <= MOST_WAITED_S


@pytest.mark.parametrize("name", WORK)
def test_the_work_of_a_quick_run_is_bounded(name: str) -> None:
    found, most = WORK[name]
    assert name.partition(":")[0] in BENCHMARKS and 0 < found <= most


def test_a_quick_gateway_run_waits_below_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its real course, with houses that only count the seconds for which they are asked to stand."""
    waited: list[float] = []
    starts: list[int] = []

    class Counted:
        uplink_bytes = (0, 0)

        def rest(self, seconds: float) -> None:
            waited.append(seconds)

        def cost(self, seconds: float) -> GatewayCost:
            waited.append(seconds)
            return GatewayCost(1.0 + len(waited), 50_000_000 + len(waited))

        def counted(self, name: str) -> float:
            return 0.0

    @contextmanager
    def house(boxes: int, **more: Any) -> Iterator[Counted]:
        starts.append(boxes)
        yield Counted()

    def requests_ms(up: Counted, count: int, span_s: int) -> list[float]:
        assert sum(waited[-2:]) >= span_s + gateway.REQUEST_AGE_S, "the samples are there"
        waited.append(count * gateway.PAUSE_S + 1.0)
        return [1.0] * count

    monkeypatch.setattr(gateway, "house", house)
    monkeypatch.setattr(gateway, "_requests_ms", requests_ms)
    monkeypatch.setattr(gateway, "_disk", lambda quick: [])
    monkeypatch.setattr(gateway, "bare_hop_ms", lambda hops: [0.1])
    result = gateway.run(quick=True)
    assert "idle mode" not in " ".join(row.case for row in result.results)
    assert len(starts) == 3, "each start takes seconds of CPU"
    assert sum(waited) <= MOST_GATEWAY_S
    waited.clear()
    gateway.run(quick=False)
    assert sum(waited) > 300, "the counting houses see what the whole run waits for"
