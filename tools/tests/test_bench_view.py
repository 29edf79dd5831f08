"""`bench live` and `bench churn`: without Boxes that send there are no figures."""

import socket

import pytest

from bench.view.asking import free_offset
from bench.view.live_boxes import feeding_boxes
from opq_proto.ports import PORTS


def test_a_feed_whose_port_is_taken_is_said_and_ends() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match="the feed cannot have its port"), feeding_boxes(endpoint, 3):
            pytest.fail("it goes on without Boxes")


def test_ports_that_are_taken_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offset = taken.getsockname()[1] - PORTS["triggering_backend"]
        monkeypatch.setattr("bench.view.asking.PORT_OFFSETS", (offset,))
        with pytest.raises(RuntimeError, match="no free port"):
            free_offset()
