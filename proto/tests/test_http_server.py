"""The small HTTP server: answers, few at once, cut off when late, errors in one line."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from waiting import wait_for

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit.http_server import (
    HttpServer,
    ReplyHandler,
    address_of,
    bound_socket,
    every_address,
    target_of,
)


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
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=240) as answer,
    ):
        assert (answer.status, answer.read()) == (200, b"well")
        assert answer.headers["Content-Length"] == "4"
        assert (answer.headers["X-More"], answer.headers["Server"]) == ("1", "opq ")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("*", ("127.0.0.1", "[::1]")),
        ("[::]", ("127.0.0.1", "[::1]")),
        ("[::1]", ("[::1]",)),
        ("0.0.0.0", ("127.0.0.1",)),
    ],
)
def test_both_families_are_answered(bound: str, reached: tuple[str, ...]) -> None:
    """By the small server and by the sockets of the others."""
    server = HttpServer("test", f"{bound}:0", Well)
    server.start()
    listener = bound_socket(*address_of(f"{bound}:0"))
    try:
        for host in reached:
            with urllib.request.urlopen(f"http://{host}:{server.port}/", timeout=240) as answer:
                assert answer.read() == b"well"
            socket.create_connection((host.strip("[]"), listener.getsockname()[1]), 60).close()
    finally:
        listener.close()
        server.end()


def test_head_is_get_without_the_body() -> None:
    with serving() as server, connected(server, sent=b"HEAD / HTTP/1.1\r\n\r\n") as peer:
        answer = b""
        while piece := peer.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.0 200 OK") and b"Content-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


class Held(ReplyHandler):
    """Answers when `go_on` is set."""

    go_on = threading.Event()

    def do_GET(self) -> None:
        self.go_on.wait(240)
        self.send_reply((200, "text/plain", b"held"))


def connected(server: HttpServer, own: str = "127.0.0.1", sent: bytes = b"") -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", server.port), 60, (own, 0))
    peer.sendall(sent)
    return peer


def test_an_excess_connection_is_closed_and_reported() -> None:
    """Where all requests have arrived, the new connection goes; its address has as many as the others."""
    refused: list[str] = []
    Held.go_on = threading.Event()
    with serving(Held, most_at_once=2, on_refused=refused.append) as server, ExitStack() as open_ones:
        for _ in range(2):
            open_ones.enter_context(connected(server, sent=b"GET / HTTP/1.0\r\n\r\n"))
        wait_for(lambda: [each.arrived for each in server._open.values()] == [True, True])
        assert open_ones.enter_context(connected(server)).recv(10) == b""
        wait_for(lambda: refused == ["more than 2 connections; a connection was refused"])
        Held.go_on.set()


def test_slow_connections_keep_no_honest_client_out() -> None:
    """Each slow one that holds a place goes for a new connection, the oldest first."""
    with serving(most_at_once=8) as server, ExitStack() as open_ones:
        slow = [open_ones.enter_context(connected(server, sent=b"GET / HT")) for _ in range(40)]
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=240) as answer:
                assert answer.read() == b"well"
        assert all(peer.recv(10) == b"" for peer in slow[:32]) and len(server._open) <= 8


def test_one_address_holds_no_more_than_others() -> None:
    """Slow readers of one address give way to another address; an equal one does not."""
    Held.go_on = threading.Event()
    whole = b"GET / HTTP/1.0\r\n\r\n"
    with serving(Held, most_at_once=4) as server, ExitStack() as open_ones:
        held = [open_ones.enter_context(connected(server, "127.0.0.2", whole)) for _ in range(4)]
        wait_for(lambda: [each.arrived for each in server._open.values()] == [True] * 4)
        others = [open_ones.enter_context(connected(server, "127.0.0.3", whole)) for _ in range(2)]
        assert [peer.recv(10) for peer in held[:2]] == [b"", b""]
        wait_for(lambda: [each.arrived for each in server._open.values()] == [True] * 4)
        with connected(server, "127.0.0.3", whole) as third:
            assert third.recv(10) == b""
        Held.go_on.set()
        assert all(b"held" in peer.makefile("rb").read() for peer in (*held[2:], *others))


def test_a_request_that_does_not_arrive_ends() -> None:
    """Its head and its body have one limit; the answer has another."""
    late: list[str] = []

    class Echo(ReplyHandler):
        def do_POST(self) -> None:
            body = self.read_body(int(self.headers["Content-Length"]))
            self.send_reply((200, "text/plain", body))

    head = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n"
    with serving(Echo, head_s=0.3, longest_s=3600.0, on_late=late.append) as server:
        for sent in (b"GET / HT", head, head + b"1"):
            with connected(server, sent=sent) as peer:
                assert peer.recv(10) == b""
        wait_for(lambda: late == ["a request took longer than 0.3 s; its connection was closed"] * 3)
    with serving(Echo, head_s=60.0, longest_s=3600.0) as server, connected(server, sent=head + b"12") as peer:
        assert peer.makefile("rb").read().endswith(b"12")


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
            go_on.wait(240)
            self.send_reply((200, "text/plain", b"late"))

    with serving(Slow, longest_s=6.0) as server:  # long enough to read a request on a busy machine
        timer = threading.Timer(7.0, go_on.set)
        timer.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=240) as answer:
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
        ("tcp://*:8911", (every_address(), 8911)),
        (":80", (every_address(), 80)),
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
        with urllib.request.urlopen(f"http://[::1]:{server.port}/", timeout=240) as answer:
            assert answer.read() == b"well"
    finally:
        server.end()
