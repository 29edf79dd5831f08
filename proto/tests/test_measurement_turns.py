"""Turns: Measurements that go as one message come out as they went in."""

import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq

from opq_proto.wire.frames import topic
from opq_proto.wire.measurement_turns import (
    PADDED_PREFIXES,
    TURN_PREFIX,
    is_unpadded,
    turn_message,
    unpadded,
    waiting_measurements,
)

Socket = zmq.Socket[bytes]
MESSAGES = [[b"%04d" % number, bytes(range(number))] for number in (0, 7, 180)]


@pytest.fixture
def ends() -> Iterator[tuple[Socket, Socket]]:
    """What is sent into the first comes out of the second."""
    with (
        zmq.Context() as context,
        closing(context.socket(zmq.PUSH)) as sent,
        closing(context.socket(zmq.PULL)) as came,
    ):
        came.bind("inproc://turns")
        sent.connect("inproc://turns")
        yield sent, came


def test_a_turn_round_trips(ends: tuple[Socket, Socket]) -> None:
    sent, came = ends
    sent.send_multipart([b"0009", b"one alone"])
    sent.send(turn_message(MESSAGES))
    assert waiting_measurements(came, 99) == [[b"0009", b"one alone"], *MESSAGES]
    for _ in range(3):
        sent.send(turn_message(MESSAGES))
    assert [len(waiting_measurements(came, 4)) for _ in "123"] == [6, 3, 0], "no more than wanted are begun"


def test_a_false_turn_is_one_unreadable_message(ends: tuple[Socket, Socket]) -> None:
    sent, came = ends
    whole = turn_message(MESSAGES)
    count, length, sizes = struct.pack("<I", 3), struct.pack("<I", 14), struct.pack("<III", 0, 7, 180)
    rest = b"0000 0007 0180" + b"".join(body for _, body in MESSAGES)
    assert whole == TURN_PREFIX + count + length + sizes + rest
    many, few = struct.pack("<I", 2**32 - 1), struct.pack("<I", 2)
    for wrong in (
        TURN_PREFIX,
        whole[:8],
        whole[:20],
        whole[:-1],
        TURN_PREFIX + many + length + sizes + rest,
        TURN_PREFIX + count + many + sizes + rest,
        TURN_PREFIX + few + length + sizes[4:] + rest,
        whole + b"x",
        TURN_PREFIX + bytes(8),
    ):
        sent.send(wrong)
        assert waiting_measurements(came, 99) == [[wrong[:5]]], wrong


def test_an_unpadded_number_reaches_no_subscriber() -> None:
    for number in (1, 9, 10, 99, 100, 999):
        short = unpadded(topic(str(number)))
        assert short == b"%d" % number and is_unpadded(short)
        assert not short.startswith(PADDED_PREFIXES)
    for number in (1, 42, 999, 1000, 1001, 9999, 10_000, 2_147_483_647):
        assert topic(str(number)).startswith(PADDED_PREFIXES)
    for other in (b"1000", b"12345", b"turn.", b"0000", b"00a1", b"", b"01"):
        assert unpadded(other) == b""
    assert not any(map(is_unpadded, (b"", b"0", b"01", b"1000", b"turn", b"x")))
