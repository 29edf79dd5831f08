"""Messages of one Box that would fill the memory: the connection is ended, and the others lose nothing."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import zmq
from honest_box import HonestBox
from hostile_clients import BOX_PORTS, LimitedCloud, Relay, curve_socket, limited_cloud, send_message
from waiting import wait_for

MEGABYTE = 2**20 - 100
"""Contents of a frame that is 1 MiB on the wire of CURVE."""
MEMORY_BYTES = 120 * 10**6
"""What all attacks of a test may add to the memory of the process."""
KIND = {"measurements": zmq.XPUB, "answers": zmq.PUSH}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedCloud]:
    with limited_cloud(tmp_path_factory.mktemp("cloud")) as started:
        started.wait_answer(8911)
        yield started


@pytest.mark.parametrize("port", ["measurements", "answers"])
def test_messages_of_400_frames_cost_no_memory(makai: Any, cloud: LimitedCloud, port: str) -> None:
    """Twenty of 400 MiB, then one of 900 MiB as at each start of that Box."""
    frames = [b"0004", *[bytes(MEGABYTE)] * 399]
    with HonestBox(makai, cloud):
        before = cloud.memory_bytes()
        for message in [*[frames] * 20, frames * 2 + frames[:100]]:
            send_message(cloud.endpoint(BOX_PORTS[port]), KIND[port], cloud.pair("4"), cloud.server, message)
        assert cloud.memory_bytes() < before + MEMORY_BYTES
        assert cloud.answer(8888)
    assert cloud.child.poll() is None


@pytest.mark.parametrize("port", ["measurements", "answers"])
def test_a_message_that_never_ends_ends_its_connection(cloud: LimitedCloud, port: str) -> None:
    """Small frames, each below the limit of one; the last never comes."""
    before, counted = cloud.memory_bytes(), cloud.counted("message_too_large_total")
    frames = [b"4"] + [bytes(900)] * 60_000
    with closing(Relay(cloud.endpoint(BOX_PORTS[port]), most_bytes=40 * 10**6)) as relay:
        attack = relay.endpoint, KIND[port], cloud.pair("4"), cloud.server, frames
        sender = threading.Thread(target=send_message, args=attack)
        sender.start()
        try:
            wait_for(lambda: cloud.counted("message_too_large_total") > counted, 60)
            assert relay.ended.wait(60)
        finally:
            sender.join()
    assert cloud.memory_bytes() < before + MEMORY_BYTES


def test_a_flood_of_subscriptions_ends_its_connection(cloud: LimitedCloud) -> None:
    before, counted = cloud.memory_bytes(), cloud.counted("message_too_large_total")
    with curve_socket(zmq.SUB, cloud.endpoint(8194), cloud.pair("4"), cloud.server) as socket:
        for number in range(60_000):
            socket.subscribe(b"%06d" % number + bytes(900))
        wait_for(lambda: cloud.counted("message_too_large_total") > counted, 60)
    assert cloud.memory_bytes() < before + MEMORY_BYTES
