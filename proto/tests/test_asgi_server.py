"""A server of uvicorn in a thread: it answers, and ends by a call from another thread, at any time."""

import select
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from opq_proto.kit import asgi_server
from opq_proto.kit.asgi_server import AsgiServer
from opq_proto.kit.http_server import bound_socket


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers when the body has come."""
    while (await receive()).get("more_body"):
        pass
    await hello(scope, receive, send)


@contextmanager
def serving(http: str) -> Iterator[tuple[str, int]]:
    with bound_socket("127.0.0.1", 0) as listener:
        server = AsgiServer(echo, http=http)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.end()
            thread.join(240)
            assert not thread.is_alive()


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_request_that_does_not_arrive_ends(http: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head and its body have limits of their own; bytes that trickle in do not renew them."""
    monkeypatch.setattr(asgi_server, "HEAD_S", 0.5)
    monkeypatch.setattr(asgi_server, "BODY_S", 0.5)
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n"
    with serving(http) as place:
        for sent in (b"", b"GET / HTTP/1.1\r\nX: ", body):
            with socket.create_connection(place, 60) as peer:
                peer.settimeout(0.1)
                peer.sendall(sent)
                ended = False
                while not ended:
                    try:
                        ended = peer.recv(10) == b""
                    except TimeoutError:
                        peer.sendall(b"x")
                    except ConnectionError:
                        ended = True
        monkeypatch.undo()  # a whole request has the time that a busy machine takes for it
        with socket.create_connection(place, 60) as peer:
            peer.sendall(body.replace(b"9999", b"2") + b"12")
            assert peer.recv(12) == b"HTTP/1.1 200"


def test_waiting_connections_are_limited_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address with most loses some; another one keeps its own."""
    monkeypatch.setattr(asgi_server, "MOST_WAITING", 8)
    with serving("h11") as place, ExitStack() as held:
        honest = held.enter_context(socket.create_connection(place, 60, ("127.0.0.2", 0)))
        others = [held.enter_context(socket.create_connection(place, 60)) for _ in range(30)]
        left = set(others)
        while len(left) > 7:
            left -= set(select.select(list(left), [], [], 60)[0])  # readable: it was closed
        for peer in (honest, next(iter(left))):
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_call_ends_it(is_begun: bool) -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        server = AsgiServer(hello)
        thread = threading.Thread(target=server.run, args=([listener],))
        if is_begun:
            thread.start()
            with urllib.request.urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}/") as answer:
                assert answer.read() == b"hello" and answer.headers["date"]
            server.end()
        else:
            server.end()
            thread.start()
        thread.join(240)
        assert not thread.is_alive()
        server.end()
