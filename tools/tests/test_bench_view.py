"""`bench live` and `bench churn`: without Boxes that send there are no figures."""

import socket

import pytest

from bench.view.live_boxes import feeding_boxes
from bench.view.timed_requests import CLAIM, free_offset, held_offset
from opq_proto.kit.ports import PORTS
from opq_sim.faults.parts.free_ports import OFFSETS


def test_a_feed_whose_port_is_taken_is_said_and_ends() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match="the feed cannot have its port"), feeding_boxes(endpoint, 3):
            pytest.fail("it goes on without Boxes")


def test_benches_that_see_the_same_free_ports_do_not_take_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [*free_offset(0), *free_offset(99)]
    monkeypatch.setattr("bench.view.timed_requests.free_offset", lambda number, _: [free[number]])
    with held_offset() as first, held_offset() as second:
        assert first == free[0] and second == free[1]
    assert CLAIM % OFFSETS.step not in {port % OFFSETS.step for port in PORTS.values()}, (
        "a service's elsewhere"
    )
    with held_offset() as again:
        assert again == first
