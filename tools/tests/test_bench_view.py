"""`bench view`: its servers and those of another run do not take the same ports."""

import pytest

from bench.harness.timed_requests import CLAIM_PORT, free_offset, held_offset
from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts.free_ports import OFFSETS


def test_parallel_benches_take_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [*free_offset(0), *free_offset(99)]
    monkeypatch.setattr("bench.harness.timed_requests.free_offset", lambda number, _: [free[number]])
    with held_offset() as first, held_offset() as second:
        assert first == free[0] and second == free[1]
    assert CLAIM_PORT % OFFSETS.step not in {port % OFFSETS.step for port in PORTS.values()}, (
        "a service's elsewhere"
    )
    with held_offset() as again:
        assert again == first
