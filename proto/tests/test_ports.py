"""Default ports: the original's numbers, no number twice, and the offset."""

import pytest

from opq_proto.kit import ports


def test_the_originals_numbers_are_kept() -> None:
    assert (ports.TRIGGERING_BOX, ports.TRIGGERING_BACKEND) == (9880, 9881)
    assert (ports.COMMAND_BOX, ports.RESPONSE_BOX) == (8194, 8196)
    assert (ports.COMMAND_BACKEND, ports.RESPONSE_BACKEND) == (9884, 9899)
    assert (ports.EVENTS, ports.EVENT_IDS, ports.MAUKA_IN, ports.MAUKA_OUT) == (10000, 10001, 9882, 9883)
    assert (ports.VIEW, ports.MAUKA_HEALTH, ports.RULES, ports.UPDATE) == (8888, 8911, 9081, 8151)


def test_every_port_is_unique_and_listed() -> None:
    assert len(set(ports.PORTS.values())) == len(ports.PORTS)
    constants = {
        name.lower() for name, value in vars(ports).items() if name.isupper() and isinstance(value, int)
    }
    assert constants == set(ports.PORTS)


def test_an_offset_stays_within_the_range() -> None:
    assert ports.with_offset("view", 100) == 8988
    assert ports.endpoint("triggering_box", 1) == "tcp://127.0.0.1:9881"
    with pytest.raises(ValueError, match="mauka_health would be 68911"):
        ports.with_offset("mauka_health", 60_000)
    with pytest.raises(KeyError):
        ports.with_offset("nowhere")


@pytest.mark.parametrize(
    "address",
    [
        "255.255.255.255:8888",
        "tcp://224.0.0.1:9880",
        "tcp://239.255.0.9:9881?curve=/D/backend&name=cloud",
        "tcp://[ff02::1]:9880",
        "[ff05::2%eth0]:8888",
        "ff02::1",
        "tcp://[::ffff:224.0.0.1]:9880",
        "http://user:secret@224.0.0.251:8888/path",
        "mongodb://db.example:27017,u:p@255.255.255.255:27017/opq",
        "socket://224.1:5000",
        "0xe0000001",
    ],
)
def test_an_address_of_many_machines_is_a_problem(address: str) -> None:
    words = ports.host_problem(address)
    assert " is for broadcast; want" in words or " is for multicast; want the name or address" in words


@pytest.mark.parametrize(
    "address",
    [
        "",
        "*:1",
        "0.0.0.0:8888",
        "tcp://[fe80::1%eth0]:1",
        "ipc:///224.0.0.1",
        "/dev/ttyUSB0",
        "192.168.1.255:80",
        "224.example.org:80",
        "http://[::1]/224.0.0.1",
    ],
)
def test_an_address_of_one_machine_is_none(address: str) -> None:
    assert ports.host_problem(address) == ""
