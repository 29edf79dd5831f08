"""A server of uvicorn in a thread: it answers, and ends by a call from another thread, at any time."""

import threading
import urllib.request
from typing import Any

import pytest
import uvicorn

from opq_proto.kit.asgi_server import AsgiServer
from opq_proto.kit.http_server import bound_socket


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_call_ends_it(is_begun: bool) -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        server = AsgiServer(uvicorn.Config(hello, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        if is_begun:
            thread.start()
            with urllib.request.urlopen(f"http://127.0.0.1:{listener.getsockname()[1]}/") as answer:
                assert answer.read() == b"hello" and answer.headers["date"]
            server.end()
        else:
            server.end()
            thread.start()
        thread.join(60)
        assert not thread.is_alive()
        server.end()
