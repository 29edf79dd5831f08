"""More connections to the Boxes' addresses than a process has descriptors: pages and Boxes go on."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from honest_box import HonestBox
from hostile_clients import BOX_PORTS, LimitedCloud, curve_socket, limited_cloud, silent_connections
from waiting import wait_for

SILENT = 700
"""As many as the process may have descriptors."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedCloud]:
    """Brokers and the rest in three processes, as `service install cloud` and compose.yaml have them."""
    folder = tmp_path_factory.mktemp("cloud")
    with limited_cloud(folder, "all-but-brokers") as rest, ExitStack() as brokers:
        for name in ("triggering-broker", "acquisition-broker"):
            brokers.enter_context(closing(LimitedCloud(folder, name, offset=rest.offset)))
        for port in (8914, 8915, 8911, 8888):
            rest.wait_answer(port)
        yield rest


def test_silent_connections_leave_pages_and_boxes_alone(makai: Any, cloud: LimitedCloud) -> None:
    """To each address of Boxes; they come again at once when they are ended."""
    with HonestBox(makai, cloud), ExitStack() as silent:
        for port in BOX_PORTS.values():
            silent.enter_context(silent_connections(cloud.endpoint(port), SILENT, 0.02))
        for port in (8914, 8915):
            wait_for(lambda port=port: cloud.counted("connections_ended_total", port) > SILENT)
        for _ in range(20):
            assert cloud.answer(8888, timeout_s=60)
    assert cloud.descriptors() < 450


def test_a_key_has_few_connections_of_each_address(makai: Any, cloud: LimitedCloud) -> None:
    """The oldest of a Box's connections ends at the ninth."""
    ended = 'connections_ended_total{of="acquisition_broker.response_endpoint of one key'
    with HonestBox(makai, cloud), ExitStack() as opened:
        for _ in range(30):
            one = curve_socket(zmq.PUSH, cloud.endpoint(8196), cloud.pair("4"), cloud.server)
            opened.enter_context(one).send(b"answer")
        wait_for(lambda: cloud.counted(ended, 8915) >= 22)


@pytest.mark.slow  # the other test has each service in its process
def test_silent_connections_leave_one_process_running(makai: Any, tmp_path: Path) -> None:
    """All services in it: pages answer between the tries of 700 connections, and its descriptors return."""
    with limited_cloud(tmp_path) as cloud:
        cloud.wait_answer(8888)
        with HonestBox(makai, cloud), silent_connections(cloud.endpoint(9880), SILENT, 2.0):
            wait_for(lambda: cloud.counted("connections_ended_total") > SILENT)
            assert cloud.wait_answer(8888)
        wait_for(lambda: cloud.descriptors() < 450)


def test_a_start_with_few_descriptors_says_so(tmp_path: Path) -> None:
    with limited_cloud(tmp_path, descriptors=300) as cloud:
        assert cloud.child.wait(240) == 1
        line = cloud.said.strip().splitlines()[-1]
    assert line == (
        "opq-cloud all: this process may open 300 files and sockets; want 560 or more: raise `ulimit -n`, or "
        "LimitNOFILE= of its unit"
    )
