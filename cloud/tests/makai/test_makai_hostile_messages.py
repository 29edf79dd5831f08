"""Messages of one Box that would fill the memory: the connection is ended, and the others lose nothing."""

import socket as tcp
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
import zmq
from honest_box import HonestBox
from hostile_clients import BOX_PORTS, LimitedCloud, Relay, curve_socket, limited_cloud, send_message
from waiting import wait_for

from opq_cloud.core.backend.inflow import LARGE_ONES
from opq_cloud.makai.brokers.admission import MEASUREMENTS
from opq_proto.wire.opqbox3_pb2 import Response

MEGABYTE = 2**20 - 100
"""Contents of a frame that is 1 MiB on the wire of CURVE."""
MEMORY_BYTES = 120 * 10**6
"""What all attacks of a test may add to the memory of the process."""
KIND = {"measurements": zmq.XPUB, "answers": zmq.PUSH}
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""The beginning of a client of ZMTP 3.1 (RFC 37)."""
LONG_COMMAND = b"\x06" + (120_000).to_bytes(8, "big")
"""The head of a command in clear, within the limit of a frame."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedCloud]:
    with limited_cloud(tmp_path_factory.mktemp("cloud")) as started:
        started.wait_answer(8911)
        yield started


@pytest.mark.parametrize("port", ["measurements", pytest.param("answers", marks=pytest.mark.slow)])
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
            wait_for(lambda: cloud.counted("message_too_large_total") > counted)
            assert relay.ended.wait(240)
        finally:
            sender.join()
    assert cloud.memory_bytes() < before + MEMORY_BYTES


def test_a_flood_of_subscriptions_ends_its_connection(cloud: LimitedCloud) -> None:
    before, counted = cloud.memory_bytes(), cloud.counted("message_too_large_total")
    with curve_socket(zmq.SUB, cloud.endpoint(8194), cloud.pair("4"), cloud.server) as socket:
        for number in range(60_000):
            socket.subscribe(b"%06d" % number + bytes(900))
        wait_for(lambda: cloud.counted("message_too_large_total") > counted)
    assert cloud.memory_bytes() < before + MEMORY_BYTES


def test_many_large_messages_share_a_limit(makai: Any, cloud: LimitedCloud) -> None:
    """Each connection is below its own limit, all together are beyond theirs: the largest are ended."""
    before, counted = cloud.memory_bytes(), cloud.counted("message_too_large_total")
    frames, most_bytes = [b"4"] + [bytes(900)] * 4_000, MEASUREMENTS.waiting_bytes - 150_000
    boxes = ("1", "4", "10") * 7
    assert len(boxes) * most_bytes > LARGE_ONES * MEASUREMENTS.waiting_bytes
    with HonestBox(makai, cloud), ExitStack() as opened:
        for box_id in boxes:
            relay = opened.enter_context(closing(Relay(cloud.endpoint(9880), most_bytes)))
            attack = curve_socket(zmq.XPUB, relay.endpoint, cloud.pair(box_id), cloud.server)
            socket = opened.enter_context(attack)
            assert socket.poll(240_000)
            socket.send_multipart(frames, copy=False)
        wait_for(lambda: cloud.counted("message_too_large_total") > counted)
    assert cloud.memory_bytes() < before + MEMORY_BYTES


def test_few_bytes_come_before_a_handshake(makai: Any, cloud: LimitedCloud) -> None:
    """150 connections begin a command of 120 kB where the first may have 200 bytes."""
    counted = cloud.counted("message_too_large_total")
    host, port = cloud.endpoint(9880).removeprefix("tcp://").split(":")
    with HonestBox(makai, cloud), ExitStack() as opened:

        def is_ended() -> bool:
            for _ in range(150):
                with suppress(OSError):
                    each = opened.enter_context(tcp.create_connection((host, int(port)), 60))
                    each.settimeout(0.1)
                    each.sendall(GREETING + LONG_COMMAND + bytes(100_000))
            return cloud.counted("message_too_large_total") > counted

        wait_for(is_ended)


def test_large_answers_and_heartbeats_end_nothing(makai: Any, cloud: LimitedCloud) -> None:
    """Two minutes of samples at a time, three of these below the limit together, and heartbeats."""
    ended, counter = cloud.counted("message_too_large_total"), "responses_not_asked_for_total"
    pair, response = cloud.pair("4"), Response(box_id=4, seq=2**31, timestamp_ms=1)
    response.get_data_response.SetInParent()
    frames = [response.SerializeToString(), *[bytes(560)] * 7_200]
    with (
        HonestBox(makai, cloud),
        curve_socket(zmq.PUSH, cloud.endpoint(8196), pair, cloud.server, heartbeat_ms=10) as socket,
    ):
        for _ in range(4):
            before = cloud.counted(counter)
            for _ in range(3):
                socket.send_multipart(frames, copy=False)
            wait_for(lambda before=before: cloud.counted(counter) >= before + 3, 240)
    assert cloud.counted("message_too_large_total") == ended
