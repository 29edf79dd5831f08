"""Built-in sources against real peers: files, HTTP, a broker; and how they go on after a restart."""

import http.client
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
from free_ports import free_port
from mosquitto_of_ones_own import MOSQUITTO, Broker
from rules_engine import EVERYWHERE
from source_streams import Stream, made, running
from waiting import wait_for

from opq_rules.sources import httppull, httppush, mqtt, simulator

# -- simulator


def test_simulator_repeats_and_continues() -> None:
    rows = [{"k": 0}, {"k": 1}, {"k": 2}]
    first = Stream(limit=4)
    made_one = made(simulator.Source(), "", data=rows, interval=0)
    with running(made_one, first):
        wait_for(lambda: first.stopped)
    again, second = made(simulator.Source(), "", data=rows, interval=0), Stream(limit=3)
    again.rewind(first.offset)
    with running(again, second):
        wait_for(lambda: second.stopped)
    assert [row["k"] for row in [*first.rows[:4], *second.rows[:3]]] == [0, 1, 2, 0, 1, 2, 0]


# -- http


def test_httppush_takes_its_path_only() -> None:
    port = free_port()
    server = f"127.0.0.1:{port}"
    stream, other = Stream(), Stream()

    def ask(method: str, path: str, body: bytes | None) -> int:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
        line.request(method, path, body)
        status = line.getresponse().status
        line.close()
        return status

    with (
        running(made(httppush.Source(), "/in", server=server), stream),
        running(made(httppush.Source(), "second", server=server, method="PUT"), other),
    ):
        wait_for(lambda: stream.up and other.up)
        assert ask("POST", "/in", b'{"k":1}') == 200
        assert ask("PUT", "/second?x=1", b'[{"k":2}]') == 200
        assert ask("POST", "/nowhere", b"{}") == 404
        assert ask("PUT", "/in", b"{}") == 404
        clash = Stream()
        with pytest.raises(OSError, match="belongs to another stream"):
            made(httppush.Source(), "in", server=server).open(clash)
        assert clash.up is False
    assert (stream.payloads, other.payloads) == ([b'{"k":1}'], [b'[{"k":2}]'])
    with pytest.raises(OSError, match="refused"):  # the listener has ended
        ask("POST", "/in", b"{}")


def test_httppush_has_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing holds a thread for 10 s; a thousand of them would hold the service."""
    monkeypatch.setattr(httppush, "MAX_CONNECTIONS", 3)
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream), ExitStack() as slow:
        wait_for(lambda: stream.up)
        for _ in range(3):
            slow.enter_context(socket.create_connection(("127.0.0.1", port)))
        with socket.create_connection(("127.0.0.1", port), 60) as fourth, suppress(ConnectionResetError):
            assert fourth.recv(1) == b""
        wait_for(lambda: stream.errors == ["more than 3 connections; a connection was refused"])
        slow.close()

        def is_taken() -> bool:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
            with closing(line), suppress(OSError, http.client.HTTPException):
                line.request("POST", "/in", b"{}")
                return line.getresponse().status == 200
            return False

        wait_for(is_taken)


def test_httppush_takes_nothing_from_a_web_page() -> None:
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream):
        wait_for(lambda: stream.up)
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Host": "evil.example"}, 403),
            ({"Origin": "http://localhost:3000", "Content-Type": "text/plain"}, 200),
        ):
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
            with closing(line):
                line.request("POST", "/in", b"{}", headers)
                assert line.getresponse().status == status
    assert len(stream.errors) == 4
    assert "evil.example" in stream.errors[0]
    assert stream.payloads == [b"{}"]


def test_httppush_on_all_addresses_takes_no_rebound_page() -> None:
    """A page's own name may lead to this machine; a program may use any name."""
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"0.0.0.0:{port}"), stream):
        wait_for(lambda: stream.up)
        for headers, status in (
            (f"Host: page.example:{port}\r\nOrigin: http://page.example:{port}", 403),
            (f"Host: 127.0.0.1:{port}\r\nOrigin: http://page.example\r\nContent-Type: text/plain", 403),
            (f"Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}", 200),
            (f"Host: gateway.example:{port}", 200),
        ):
            with socket.create_connection(("127.0.0.1", port), 60) as browser:
                browser.sendall(f"POST /in HTTP/1.1\r\n{headers}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                answer = http.client.HTTPResponse(browser)
                answer.begin()
                assert answer.status == status
    assert stream.payloads == [b"{}", b"{}"]


def test_httppush_does_not_wait_for_half_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httppush, "READ_S", 0.1)
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream):
        wait_for(lambda: stream.up)
        with socket.create_connection(("127.0.0.1", port), 60) as slow, suppress(ConnectionResetError):
            slow.sendall(b"POST /in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{")
            assert slow.recv(1) == b""
        wait_for(lambda: stream.errors)
        assert "was not complete" in stream.errors[0]


def test_httppush_ends_a_connection_with_an_endless_head() -> None:
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream):
        wait_for(lambda: stream.up)
        with socket.create_connection(("127.0.0.1", port), 60) as endless, suppress(OSError):
            endless.sendall(b"POST /in HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            for _ in range(10_000):
                endless.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
            pytest.fail("10 MB of headers were taken")
        answer = httpx.post(
            f"http://127.0.0.1:{port}/in", content=b"{}", headers={"X": "x" * 30_000}, timeout=240
        )
        assert answer.status_code == 200


@contextmanager
def answering(answers: Sequence[tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Yields the address of a server that gives these answers, then the last again; and the paths of its
    requests."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            code, body = answers[min(len(paths), len(answers)) - 1]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_httppull_skips_unchanged_answers() -> None:
    answers = [(200, b'{"k":1}'), (200, b'{"k":1}'), (500, b""), (200, b'{"k":2}')]
    stream = Stream()
    with (
        answering(answers) as (url, paths),
        running(made(httppull.Source(EVERYWHERE), "/rms", url=url, interval=5, incremental=True), stream),
    ):
        wait_for(lambda: len(paths) > 5)
    assert paths[0] == "/rms"
    assert stream.payloads == [b'{"k":1}', b'{"k":2}']
    assert stream.errors == [f"{url}/rms: answered 500 Internal Server Error"]


def test_httppull_body_mode_needs_success() -> None:
    """`responseType: body` needs a code of success in the answer."""
    good = [b'{"code":200,"k":1}', b'[{"code":201},{"code":299}]']
    bad = [b'{"code":503}', b'{"ok":true}', b'[{"code":200},{"code":"200"}]', b"busy"]
    last = b'{"code":200,"k":2}'
    stream = Stream()
    with (
        answering([(200, answer) for answer in [*good, *bad, last]]) as (url, _),
        running(made(httppull.Source(EVERYWHERE), "", url=url, interval=5, responseType="body"), stream),
    ):
        wait_for(lambda: last in stream.payloads)
    assert stream.payloads[:3] == [*good, last]
    assert [re.sub(r"(not JSON): .*", r"\1", error.removeprefix(f"{url}: ")) for error in stream.errors] == [
        "answered with code 503 in its body; want a number from 200 to 299",
        "answered with code None in its body; want a number from 200 to 299",
        "answered with code '200' in its body; want a number from 200 to 299",
        "not JSON",
    ]


# -- mqtt


def say(port: int, topic: str, payload: str) -> None:
    mouth = paho.Client(paho.CallbackAPIVersion.VERSION2)
    mouth.connect("127.0.0.1", port)
    mouth.loop_start()
    mouth.publish(topic, payload, qos=1).wait_for_publish(60)
    mouth.disconnect()
    mouth.loop_stop()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_a_connected_mqtt_source_misses_nothing(tmp_path: Path) -> None:
    """What is published at the moment when it says that it is connected."""
    with Broker(tmp_path) as broker:

        class Prompt(Stream):
            def connected(self, up: bool, why: str = "") -> None:
                if up:
                    say(broker.port, "t", "first")
                super().connected(up, why)

        stream = Prompt()
        with running(made(mqtt.Source(), "t", server=f"tcp://127.0.0.1:{broker.port}"), stream):
            wait_for(lambda: stream.up)
            say(broker.port, "t", "last")
            wait_for(lambda: b"last" in stream.payloads)
    assert stream.payloads == [b"first", b"last"]


def test_a_refused_mqtt_subscription_is_reported() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
                subscribe = peer.recv(1000)
                peer.sendall(b"\x90\x03" + subscribe[2:4] + b"\x80")  # SUBACK: failure
                over.wait(240)

        broker = threading.Thread(target=refuse)
        broker.start()
        stream, server = Stream(), f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with running(made(mqtt.Source(), "t", server=server), stream):
            wait_for(lambda: stream.errors)
            assert stream.up is False
            over.set()
        broker.join(240)
    assert stream.errors[0] == f"{server} refuses the subscription: Unspecified error"


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_mqtt_source_returns_with_its_broker(tmp_path: Path) -> None:
    stream = Stream()
    with Broker(tmp_path) as broker:
        source = made(mqtt.Source(), "boxes/+/rms", server=f"tcp://127.0.0.1:{broker.port}")
        with running(source, stream):
            wait_for(lambda: stream.up)

            def heard_after(payload: str) -> None:
                def tried() -> bool:
                    say(broker.port, "boxes/4/rms", payload)
                    return payload.encode() in stream.payloads

                wait_for(tried)

            heard_after('{"v":1}')
            say(broker.port, "boxes/4/other", "{}")
            broker.stop()
            wait_for(lambda: stream.up is False)
            broker.start()
            wait_for(lambda: stream.up)
            heard_after('{"v":2}')
    assert b"{}" not in stream.payloads
    meta = stream.metas[0]
    assert meta is not None and meta["topic"] == "boxes/4/rms"
