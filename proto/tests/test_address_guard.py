"""Which addresses are public, and which connection is made."""

import socket
from contextlib import closing

import pytest

from opq_proto.kit.address_guard import AddressGuard, AddressRefusedError, networks_of, public_address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fec0::1",
        "feff::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "::10.0.0.1",
        "::ffff:0:127.0.0.1",
        "2002:7f00:1::1",
        "2002:c0a8:0101::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:0808:0008:0800::",
        "2001:0:7f00:1::1",
        "2001:0:808:808:0:0:80ff:fffe",
        "2606:2800::5efe:127.0.0.1",
        "2606:2800::200:5efe:10.0.0.1",
    ],
)
def test_machine_and_private_addresses_are_not_public(address: str) -> None:
    assert not public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "8.8.8.8",
        "2606:2800:220:1:248:1893:25c8:1946",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2001:0:808:808:0:0:f7f7:f7f7",
    ],
)
def test_embedded_internet_addresses_are_public(address: str) -> None:
    assert public_address(address)


def test_a_name_is_resolved_and_checked_once() -> None:
    """The connection goes to the address that was checked."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        asked: list[str] = []

        def resolve(host: str, _: int) -> list[str]:
            asked.append(host)
            return ["169.254.169.254", "127.0.0.1"]

        with pytest.raises(AddressRefusedError, match=r"^rebinding\.example is on this machine"):
            AddressGuard(resolve=resolve).connected("rebinding.example", port, 1.0)
        assert asked == ["rebinding.example"]
        guard = AddressGuard(networks=networks_of(["127.0.0.0/8"]), resolve=resolve)
        with closing(guard.connected("rebinding.example", port, 60.0)) as made:
            assert made.getpeername() == ("127.0.0.1", port)
        assert guard.addresses("x", 1) == ["127.0.0.1"]
        named = AddressGuard(hosts=["Rebinding.Example"], resolve=lambda *_: ["127.0.0.1"])
        with closing(named.connected("rebinding.example", port, 60.0)):
            pass


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.1", "::ffff:7f00:1", "localhost", "::127.0.0.1"]
)
def test_other_spellings_of_loopback_are_refused_too(host: str) -> None:
    with pytest.raises(OSError, match=r"is on this machine|not known|no address"):
        AddressGuard().connected(host, 9, 1.0)


def test_a_tunnel_does_not_reach_an_allowed_network() -> None:
    guard = AddressGuard(networks=networks_of(["192.168.1.0/24", "fd00::/8"]))
    for allowed in ("192.168.1.9", "::ffff:192.168.1.9", "fd12::1"):
        guard.check_literal(allowed)
    for refused in ("192.168.2.9", "2002:c0a8:0109::1", "64:ff9b::c0a8:109", "::192.168.1.9", "localhost"):
        with pytest.raises(AddressRefusedError, match="in a private network"):
            guard.check_literal(refused)
    guard.check_literal("hub.example")
    with pytest.raises(ValueError, match=r"want networks such as 192\.168\.1\.0/24"):
        networks_of(["192.168.1.7/24"])
