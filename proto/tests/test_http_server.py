"""The small HTTP server: answers, few at once, cut off when late, errors in one line."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit.http_server import HttpServer, ReplyHandler, address_of, target_of


class Well(ReplyHandler):
    def do_GET(self) -> None:
        self.send_reply((200, "text/plain", b"well"), {"X-More": "1"})


@contextmanager
def serving(handler: type[ReplyHandler] = Well, **options: object) -> Iterator[HttpServer]:
    server = HttpServer("test", "127.0.0.1:0", handler, **options)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.end()


def test_a_request_gets_type_length_and_headers() -> None:
    with (
        serving() as server,
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=60) as answer,
    ):
        assert (answer.status, answer.read()) == (200, b"well")
        assert answer.headers["Content-Length"] == "4"
        assert (answer.headers["X-More"], answer.headers["Server"]) == ("1", "opq ")


def test_an_excess_connection_is_closed_and_reported() -> None:
    refused: list[str] = []
    told = threading.Event()

    def report(reason: str) -> None:
        refused.append(reason)
        told.set()

    with serving(most_at_once=2, on_refused=report) as server, ExitStack() as open_ones:
        for _ in range(3):
            last = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
        assert last.recv(10) == b""
        assert told.wait(60)
    assert refused == ["more than 2 connections; a connection was refused"]


def test_a_slow_peer_is_cut_off() -> None:
    refused: list[str] = []
    with (
        serving(longest_s=0.2, on_late=refused.append) as server,
        socket.create_connection(("127.0.0.1", server.port), 60) as peer,
    ):
        peer.sendall(b"GET / HT")
        assert peer.recv(10) == b""
    assert refused == ["a request took longer than 0.2 s; its connection was closed"]


def test_an_answer_to_a_whole_request_may_wait() -> None:
    go_on = threading.Event()

    class Slow(ReplyHandler):
        server: HttpServer

        def do_GET(self) -> None:
            self.server.end_time_limit(self.request)
            go_on.wait(120)
            self.send_reply((200, "text/plain", b"late"))

    with serving(Slow, longest_s=2.0) as server:  # long enough to read a request on a busy machine
        timer = threading.Timer(3.0, go_on.set)
        timer.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=60) as answer:
            assert answer.read() == b"late"
        timer.join()


def test_a_busy_address_says_whose_and_which() -> None:
    with (
        serving() as server,
        pytest.raises(PortBusyError, match=rf"^test: address 127.0.0.1:{server.port} cannot"),
    ):
        HttpServer("test", f"127.0.0.1:{server.port}", Well)
    with pytest.raises(PortBusyError, match="cannot be used"):
        HttpServer("test", "203.0.113.7:80", Well)


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("tcp://*:8911", ("0.0.0.0", 8911)),
        (":80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_endpoints_are_read(endpoint: str, address: tuple[str, int]) -> None:
    assert address_of(endpoint) == address


@pytest.mark.parametrize(
    "endpoint", ["", "localhost", "localhost:", "localhost:70000", "localhost:-1", "::1:x"]
)
def test_a_wrong_endpoint_names_its_key(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"health_endpoint is .*want host:port"):
        address_of(endpoint, "health_endpoint")


def test_strange_targets_are_no_target() -> None:
    assert target_of("/a?b=1&b=2") == ("/a", {"b": ["1", "2"]})
    assert target_of("http://[") is None
    assert target_of("/?" + "&".join(f"k{n}=1" for n in range(11))) is None


def test_ipv6_is_served_where_there_is_any() -> None:
    try:
        server = HttpServer("six", "[::1]:0", Well)
    except PortBusyError:
        pytest.skip("this machine has no IPv6")
    server.start()
    try:
        with urllib.request.urlopen(f"http://[::1]:{server.port}/", timeout=60) as answer:
            assert answer.read() == b"well"
    finally:
        server.end()
