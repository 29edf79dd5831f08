"""Turns: Measurements that go as one message come out as they went in."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq

from opq_proto.measurement_turns import PRESSING, TURN, turn_frames, waiting_measurements

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


@pytest.mark.parametrize("pressing", [False, True])
def test_a_turn_comes_apart_as_it_was_put_together(ends: tuple[Socket, Socket], pressing: bool) -> None:
    sent, came = ends
    sent.send_multipart([b"0009", b"one alone"])
    sent.send_multipart(turn_frames(MESSAGES, pressing))
    assert waiting_measurements(came, 99) == (MESSAGES, [[b"0009", b"one alone"]], pressing)
    for _ in range(3):
        sent.send_multipart(turn_frames(MESSAGES, pressing))
    assert [len(waiting_measurements(came, 4)[0]) for _ in "123"] == [6, 3, 0], (
        "no more than wanted are begun"
    )


def test_what_only_looks_like_a_turn_is_one_message_that_nobody_can_read(ends: tuple[Socket, Socket]) -> None:
    sent, came = ends
    kind, sizes, topics, bodies = turn_frames(MESSAGES, False)
    for frames in (
        [kind], [kind, sizes, topics], [kind, sizes[:-1], topics, bodies], [kind, sizes[:-4], topics, bodies],
        [kind, sizes, topics + b" 0003", bodies], [kind, sizes, topics, bodies[:-1]],
        [PRESSING, sizes, topics, bodies + b"x"], [kind, b"", b"", b""],
    ):  # fmt: skip
        sent.send_multipart(frames)
        turned, single, _ = waiting_measurements(came, 99)
        assert (turned, single) == ([[frames[0]]], []), frames
    assert kind == TURN
