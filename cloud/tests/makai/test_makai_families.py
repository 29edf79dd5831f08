"""Boxes reach the brokers by IPv4 and IPv6, each address with its key."""

import socket
from dataclasses import replace
from typing import Any

import pytest
import zmq

from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit.zmq_addresses import connect_endpoint, connectable

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")


def port_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[2]


def secured(makai: Any, brokers: Any, kind: int, endpoint: str) -> Any:
    """A socket of Box 1, connected as the uplink does it."""
    opened = makai.peer().context.socket(kind)
    opened.linger = 0
    brokers.pair("1").secure(opened, KeyPair(brokers.server.public).public)
    connect_endpoint(opened, endpoint)
    return opened


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("*", ("127.0.0.1", "[::1]", "localhost")),
        ("[::]", ("127.0.0.1", "[::1]")),
        ("[::1]", ("[::1]",)),
        ("0.0.0.0", ("127.0.0.1",)),
    ],
)
def test_boxes_send_by_each_family(makai: Any, bound: str, reached: tuple[str, ...]) -> None:
    brokers = makai.brokers()
    port = port_of(brokers.triggering_config.box_endpoint)
    config = replace(brokers.triggering_config, box_endpoint=f"tcp://{bound}:{port}")
    plain = makai.box(brokers, "1")
    plain.pub.close()
    broker = TriggeringBroker(config, brokers.keys)
    with makai.running(broker):
        client = makai.client(brokers)
        for host in reached:
            plain.pub = secured(makai, brokers, zmq.PUB, f"tcp://{host}:{port}")
            assert makai.arrives(plain, client)
            plain.pub.close()
        unknown = makai.peer().context.socket(zmq.PUB)
        unknown.linger = 0
        makai.generate().secure(unknown, brokers.server.public)
        connect_endpoint(unknown, f"tcp://{reached[0]}:{port}")
        (note,) = makai.wait_for(broker.health)
        assert f"from {reached[0].strip('[]').replace('localhost', '127.0.0.1')}: " in str(note.note)


def test_commands_and_answers_by_ipv6(makai: Any) -> None:
    brokers = makai.brokers()
    config = brokers.acquisition_config
    ports = port_of(config.command_endpoint), port_of(config.response_endpoint)
    command, response = (f"tcp://[::1]:{port}" for port in ports)
    broker = AcquisitionBroker(
        replace(config, command_endpoint=command, response_endpoint=response), brokers.keys
    )
    box = makai.box(brokers, "1")
    box.sub, box.push = (
        secured(makai, brokers, zmq.SUB, command),
        secured(makai, brokers, zmq.PUSH, response),
    )
    box.sub.subscribe("1")
    brokers.acquisition = broker
    with makai.running(broker):
        client = makai.client(brokers)
        client.answers.subscribe("a_1")

        def asked() -> Any:
            client.ask("1", "a_1")  # again, until the Box's subscription has come
            return box.command(500)

        command_of_client = makai.wait_for(asked)
        box.push.send_multipart(box.answer(command_of_client))
        assert client.answers.poll(240_000)


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("tcp://*:1", "tcp://127.0.0.1:1"),
        ("tcp://0.0.0.0:1?curve=/a:b&name=c", "tcp://127.0.0.1:1?curve=/a:b&name=c"),
        ("tcp://[::]:1", "tcp://[::1]:1"),
        ("tcp://[2001:db8::1]:1", "tcp://[2001:db8::1]:1"),
        ("tcp://makai:1", "tcp://makai:1"),
        ("ipc:///a/*:1", "ipc:///a/*:1"),
    ],
)
def test_an_address_of_all_is_reached_on_loopback(bound: str, reached: str) -> None:
    assert connectable(bound) == reached
