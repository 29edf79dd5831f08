"""The small HTTP client: an end in time and in size, and no other place than the one that was named."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from opq_proto.kit.http_client import HttpClientError, send_request


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[bytes]]]:
    """A plain TCP server: its address, and what each connection sent."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer = listening.accept()[0]
                except OSError:
                    return
                with peer, suppress(OSError):
                    requests.append(peer.recv(65_536))
                    answer(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(240)
        assert not thread.is_alive()


def drip(head: bytes) -> Callable[[socket.socket], None]:
    """Sends the head, then a byte every 50 ms until the peer has gone."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(head)
        for _ in range(1200):
            peer.sendall(b"0")
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
    ],
)
def test_a_dripping_server_does_not_hold_its_client(head: bytes) -> None:
    with server(drip(head)) as (url, _):
        began_s = time.monotonic()
        with pytest.raises(HttpClientError, match=r"no whole answer within 0.5 s"):
            send_request(url, 0.5)
        assert time.monotonic() - began_s < 50  # it drips for a minute


def test_a_silent_server_does_not_hold_its_client() -> None:
    with server(lambda peer: peer.recv(1)) as (url, _), pytest.raises(HttpClientError):
        send_request(url, 0.5)


def test_a_redirect_is_not_followed() -> None:
    with server(lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as (other, requests_there):
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {other}/report\r\nContent-Length: 0\r\n\r\n".encode()
        with server(lambda peer: peer.sendall(moved)) as (url, requests):
            answer = send_request(
                f"{url}/report?a=b", 60, method="POST", body=b"x", headers={"Opq-Report": "1 y"}
            )
        assert answer.status == 307 and len(requests) == 1 and not requests_there
        assert requests[0].startswith(b"POST /report?a=b HTTP/1.1\r\n")


def test_a_proxy_is_used_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its login, for the Internet alone."""
    with server(lambda peer: peer.sendall(b"HTTP/1.1 204 No\r\n\r\n")) as (url, requests):
        monkeypatch.setenv("http_proxy", url.replace("//", "//me:two%20words@"))
        monkeypatch.delenv("no_proxy", raising=False)
        for wanted in (True, False):
            with suppress(HttpClientError):
                send_request("http://opq.invalid/a?b=c", 60, by_proxy=wanted)
    (request,) = requests
    assert request.startswith(b"GET http://opq.invalid/a?b=c HTTP/1.1\r\nHost: opq.invalid\r\n")
    assert b"Proxy-Authorization: Basic bWU6dHdvIHdvcmRz" in request


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_failing_proxy_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with server(lambda peer: peer.sendall(b"SSH-2.0\r\n")) as (url, _):
        monkeypatch.setenv(f"{scheme}_proxy", url)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(HttpClientError, match=f"^by the proxy {url.partition('//')[2]}: "):
            send_request(f"{scheme}://opq.invalid/a", 60, by_proxy=True)


def test_a_long_answer_is_refused() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n" + b"0123456789"
    with server(lambda peer: peer.sendall(long)) as (url, _):
        with pytest.raises(HttpClientError, match="more than 9 bytes"):
            send_request(url, 60, most_bytes=9)
        answer = send_request(url, 60, most_bytes=10)
        assert (answer.status, answer.kind, answer.content) == (200, "a/b", b"0123456789")


def test_what_is_not_http_is_an_error() -> None:
    with server(lambda peer: peer.sendall(b"SSH-2.0\r\n")) as (url, _), pytest.raises(HttpClientError):
        send_request(url, 60)
    for wrong in ("http://127.0.0.1:1", "http://[::1", "http://127.0.0.1:x"):
        with pytest.raises(HttpClientError):
            send_request(wrong, 60)
