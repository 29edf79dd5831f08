"""Requests of foreign pages: by Host (DNS rebinding), by Origin, by Sec-Fetch-Site."""

import socket

import pytest

from opq_proto.kit.origin_guard import (
    client_network,
    host_name,
    is_loopback,
    is_own_host,
    named_host,
    page_refusal,
)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("127.0.0.1:8888", "127.0.0.1"),
        (" LocalHost ", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("[::1", ""),
        ("[::1]evil", ""),
        ("127.0.0.1:evil.example", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    "written", ["2001:db8::1", "[2001:db8::1]", "[2001:DB8::1]:8888", "Host.example", "host.example:8888"]
)
def test_a_setting_names_a_host_as_headers(written: str) -> None:
    header = "[2001:db8::1]:8888" if "::" in written else "host.example:8888"
    assert named_host(written) == host_name(header)


def test_only_loopback_is_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "localhost:80", "127.0.0.1", "127.1.2.3:9081", "[::1]:80")))
    assert not any(
        map(is_loopback, ("", "localhost.evil.example", "192.168.0.1", "::2", "127.0.0.1:x", "evil"))
    )


def test_the_machines_own_addresses_are_its_host() -> None:
    own = socket.gethostname()
    assert all(
        map(is_own_host, ("10.42.0.1", "[fe80::1%eth0]:80", "localhost:8080", own, f"{own.upper()}:80"))
    )
    assert not any(map(is_own_host, ("", "evil.example", "10.42.0.1.evil.example:80")))


@pytest.mark.parametrize(
    ("headers", "on_loopback", "refused"),
    [
        ({}, True, False),
        ({"host": "127.0.0.1:9081"}, True, False),
        ({"host": "evil.example"}, True, True),
        ({"host": "evil.example"}, False, False),
        ({"host": "127.0.0.1:9081", "origin": "http://localhost:8888"}, True, False),
        ({"host": "127.0.0.1:9081", "origin": "https://evil.example"}, True, True),
        ({"host": "127.0.0.1:9081", "origin": "null"}, True, True),
        ({"host": "10.0.0.9:80", "origin": "http://10.0.0.9:80"}, False, False),
        ({"host": "10.0.0.9:80", "origin": "http://10.0.0.9:81"}, False, True),
        ({"host": "10.0.0.9:80", "origin": "http://["}, False, True),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, True, False),
        ({"host": "localhost", "sec-fetch-site": "none"}, True, False),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, True, True),
        ({"host": "localhost", "sec-fetch-site": "same-site"}, True, True),
    ],
)
def test_a_foreign_page_is_refused(headers: dict[str, str], on_loopback: bool, refused: bool) -> None:
    assert (page_refusal(headers, on_loopback) is not None) is refused


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2ff:3::4", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("::1", "::1/128"),
        ("a proxy", "a proxy"),
    ],
)
def test_ipv6_clients_count_by_56_bits(address: str, network: str) -> None:
    assert client_network(address) == network
