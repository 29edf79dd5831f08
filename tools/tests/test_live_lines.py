"""The live feed's reader of `opq-tools up` waits before it connects again, as View asks."""

import socket

import pytest
from waiting import wait_for

from opq_tools.up.live_lines import LiveFeed

FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n"
DISPLACED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    b'retry: 1000\n\nretry: 600000\nevent: full\ndata: {"reason": "taken"}\n\n'
)


@pytest.mark.parametrize("answer", [FULL, DISPLACED], ids=["full", "displaced"])
def test_a_refused_feed_waits_as_asked(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(240)
        feed = LiveFeed(f"http://127.0.0.1:{server.getsockname()[1]}", lambda *_: None)
        with feed:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)
            wait_for(lambda: feed.retry_s == 600)
