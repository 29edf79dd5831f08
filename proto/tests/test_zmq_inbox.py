"""Reading what waits in a socket, and sending without waiting."""

from collections.abc import Iterator

import pytest
import zmq

from opq_proto.kit.zmq_inbox import try_send, waiting_messages

Pair = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with zmq.Context() as context, context.socket(zmq.PUSH) as sender, context.socket(zmq.PULL) as receiver:
        receiver.bind("inproc://inbox")
        sender.connect("inproc://inbox")
        yield sender, receiver


def test_waiting_messages_are_read_in_order(pair: Pair) -> None:
    sender, receiver = pair
    for n in range(5):
        sender.send_multipart([b"box", b"%d" % n])
    assert list(waiting_messages(receiver)) == [[b"box", b"%d" % n] for n in range(5)]
    assert list(waiting_messages(receiver)) == []


def test_a_limit_leaves_the_rest_for_later(pair: Pair) -> None:
    sender, receiver = pair
    for n in range(5):
        sender.send(b"%d" % n)
    assert list(waiting_messages(receiver, 2)) == [[b"0"], [b"1"]]
    assert len(list(waiting_messages(receiver))) == 3


def test_who_stops_reading_leaves_what_was_not_read(pair: Pair) -> None:
    sender, receiver = pair
    for n in range(3):
        sender.send(b"%d" % n)
    assert next(waiting_messages(receiver)) == [b"0"]
    assert list(waiting_messages(receiver)) == [[b"1"], [b"2"]]


def test_sending_without_peer_is_false() -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as lonely:
        assert not try_send(lonely, [b"x"])


def test_sending_to_who_listens_arrives(pair: Pair) -> None:
    sender, receiver = pair
    assert try_send(sender, [b"a", b"b"])
    assert receiver.recv_multipart() == [b"a", b"b"]
