"""Built-in sources against real peers: files, HTTP, a broker; and how they go on after a restart."""

import gzip
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
import pytest
from free_ports import free_port
from hypothesis import given, settings
from hypothesis import strategies as st
from mosquitto_of_ones_own import MOSQUITTO, Broker
from waiting import wait_for

from opq_rules.sdk import Source
from opq_rules.sources import file, httppull, httppush, mqtt, simulator


class Stream:
    """What a source emits into; `limit` records, then it says stop."""

    rule_id, op_id, instance_id = "", "source_s", 0

    def __init__(self, limit: int = 1 << 30) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.payloads: list[bytes] = []
        self.metas: list[Mapping[str, Any] | None] = []
        self.errors: list[str] = []
        self.offset: Any = None
        self.up: bool | None = None
        self._limit, self._stop = limit, threading.Event()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def emit(self, message: Mapping[str, Any], meta: Any = None, offset: Any = None) -> bool:
        return self.emit_many([message], [meta], offset)

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Any = None,
        offset: Any = None,
        arrived_ms: Any = None,
    ) -> bool:
        if self.stopped:
            return False
        self.rows += messages
        self.metas += meta or []
        self.offset = offset
        if len(self.rows) >= self._limit:
            self._stop.set()
        return True

    def emit_bytes(self, payloads: Sequence[bytes], meta: Any = None, offset: Any = None) -> bool:
        self.payloads += payloads
        self.metas += meta or []
        return not self.stopped

    def emit_error(self, text: str) -> None:
        self.errors.append(text)

    def connected(self, up: bool, why: str = "") -> None:
        self.up = up

    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


@contextmanager
def running(source: Source, stream: Stream) -> Iterator[None]:
    thread = threading.Thread(target=source.open, args=(stream,))
    thread.start()
    try:
        yield
    finally:
        stream.stop()
        thread.join(10)
        assert not thread.is_alive(), "the source does not end"
        source.close(stream)


def made(source: Source, datasource: str, **properties: Any) -> Source:
    source.configure(datasource, properties)
    return source


# -- file


@pytest.mark.parametrize("kind", ["json", "lines", "csv"])
def test_file_reads_neither_devices_nor_pipes_nor_lines_without_end(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "LONGEST_BYTES", 1_000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long.gz").write_bytes(gzip.compress(b" " * 100_000))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'{"k": 1}' * 10)[:-9])
    for path, packed in (("/dev/zero", ""), ("pipe", ""), ("long.gz", "gzip"), ("cut.gz", "gzip")):
        stream = Stream()
        source = made(file.Source(), str(tmp_path / path), fileType=kind, decompression=packed)
        with running(source, stream):
            wait_for(lambda stream=stream: stream.errors)
        assert (stream.up, stream.rows) == (False, [])


def test_file_reads_json_csv_and_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"k":1},{"k":2},3]')
    (tmp_path / "a.csv").write_text("# made by hand\nk,v\n1,x\n2,y\nend\n")
    (tmp_path / "a.jsonl").write_text('{"k":1}\n\nbroken\n{"k":2}\n')
    cases: list[tuple[str, dict[str, Any], list[dict[str, Any]], int]] = [
        ("a.json", {}, [{"k": 1}, {"k": 2}], 1),
        (
            "a.csv",
            {"fileType": "csv", "hasHeader": True, "ignoreStartLines": 1, "ignoreEndLines": 1},
            [{"k": "1", "v": "x"}, {"k": "2", "v": "y"}],
            0,
        ),
        ("a.jsonl", {"fileType": "lines"}, [{"k": 1}, {"k": 2}], 1),
    ]
    for name, properties, rows, errors in cases:
        stream = Stream()
        with running(made(file.Source(), name, path=str(tmp_path), **properties), stream):
            wait_for(lambda stream=stream, rows=rows: len(stream.rows) >= len(rows))
        assert stream.rows == rows
        assert len(stream.errors) == errors, stream.errors


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), stop_at=st.integers(1, 30), bad=st.sets(st.integers(0, 29)))
def test_a_file_that_is_read_on_from_an_offset_gives_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, stop_at: int, bad: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    for name, numbers in (("a.jsonl", range(count)), ("b.jsonl", range(count, count + 5))):
        (folder / name).write_text(
            "".join("?\n" if k in bad else json.dumps({"k": k}) + "\n" for k in numbers)
        )
    want = [k for k in range(count + 5) if k not in bad]
    first = Stream(limit=min(stop_at, len(want)))
    source = made(file.Source(), "", path=str(folder), fileType="lines", sendInterval=1)
    with running(source, first):
        wait_for(lambda: first.stopped)
    second = Stream(limit=max(1, len(want) - len(first.rows)))
    again = made(file.Source(), "", path=str(folder), fileType="lines")
    again.rewind(json.loads(json.dumps(first.offset)))
    with running(again, second):
        if len(first.rows) < len(want):
            wait_for(lambda: second.stopped)
    assert [row["k"] for row in [*first.rows, *second.rows]] == want


def test_file_follows_lines_that_are_appended_also_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"k":0}\n')
    stream = Stream()
    with (
        running(made(file.Source(), str(path), fileType="lines", follow=True), stream),
        path.open("a") as log,
    ):
        wait_for(lambda: len(stream.rows) == 1)
        for piece in ('{"k"', ":1}", '\n{"k":2}\n'):
            log.write(piece)
            log.flush()
        wait_for(lambda: len(stream.rows) == 3)
    assert [row["k"] for row in stream.rows] == [0, 1, 2]


def lines(*numbers: int) -> str:
    return "".join(f'{{"k":{k}}}\n' for k in numbers)


@pytest.mark.parametrize("way", ["renamed", "cut"])
def test_file_follows_a_log_that_is_rotated(tmp_path: Path, way: str) -> None:
    path, old = tmp_path / "log.jsonl", tmp_path / "log.jsonl.1"
    path.write_text(lines(0, 1, 2))
    stream = Stream()
    with running(made(file.Source(), str(path), fileType="lines", follow=True), stream):
        wait_for(lambda: len(stream.rows) == 3)
        if way == "cut":
            os.truncate(path, 0)
        else:
            path.rename(old)
            with old.open("a") as log:  # as a writer that has not been told yet
                log.write(lines(3) + '{"k":4}')
        with path.open("a") as log:
            log.write(lines(5))
        wait_for(lambda: stream.rows[-1]["k"] == 5)
    want = [0, 1, 2, 5] if way == "cut" else [0, 1, 2, 3, 4, 5]
    assert [row["k"] for row in stream.rows] == want
    assert not stream.errors


def test_file_that_is_begun_anew_has_its_head_skipped_whenever_that_comes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.touch()
    config = file.Config(fileType="lines", follow=True, ignoreStartLines=1)
    context = SimpleNamespace(wait=lambda seconds: False)
    found = file._followed(path, path, config, context)  # type: ignore[arg-type]
    assert next(found) is file._PAUSE
    with path.open("a") as log:
        for piece in ("# he", "ad"):
            log.write(piece)
            log.flush()
            assert next(found) is file._PAUSE
        log.write("\n" + lines(1, 2))
    assert [next(found), next(found), next(found)] == ['{"k":1}', '{"k":2}', file._PAUSE]
    found.close()


@pytest.mark.parametrize("old_is_there", [True, False])
def test_file_that_was_rotated_while_nobody_followed_is_read_to_its_end_and_then_the_new_one(
    tmp_path: Path, old_is_there: bool
) -> None:
    path, old = tmp_path / "log.jsonl", tmp_path / "log.jsonl.1"
    path.write_text(lines(0, 1))
    first, second = Stream(), Stream()
    with running(made(file.Source(), str(path), fileType="lines", follow=True), first):
        wait_for(lambda: len(first.rows) == 2)
    with path.open("a") as log:
        log.write(lines(2))
    path.rename(old)
    path.write_text(lines(3))
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b").mkdir()
    if not old_is_there:
        old.unlink()
    again = made(file.Source(), str(path), fileType="lines", follow=True)
    again.rewind(json.loads(json.dumps(first.offset)))
    want = [2, 3] if old_is_there else [3]
    with running(again, second):
        wait_for(lambda: len(second.rows) == len(want))
    assert [row["k"] for row in second.rows] == want


def test_file_that_has_fewer_lines_than_were_taken_is_another_one(tmp_path: Path) -> None:
    path, stream = tmp_path / "log.jsonl", Stream()
    path.write_text(lines(7))
    source = made(file.Source(), str(path), fileType="lines", follow=True)
    source.rewind(["log.jsonl", 5])
    with running(source, stream):
        wait_for(lambda: stream.rows)
    assert stream.rows == [{"k": 7}]


def test_a_file_that_is_missing_is_told_and_waited_for(tmp_path: Path) -> None:
    stream = Stream()
    with running(made(file.Source(), str(tmp_path / "later.json")), stream):
        wait_for(lambda: stream.up is False)
        (tmp_path / "later.json").write_text('{"k":1}')
        wait_for(lambda: stream.rows)
    assert "later.json" in stream.errors[0]


def test_a_file_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="may not leave"):
        file.Source().configure("../secret", {"path": str(tmp_path)})


# -- simulator


def test_simulator_repeats_its_rows_and_goes_on_where_it_was() -> None:
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


def test_httppush_takes_bodies_at_its_path_and_refuses_the_rest() -> None:
    port = free_port()
    server = f"127.0.0.1:{port}"
    stream, other = Stream(), Stream()

    def ask(method: str, path: str, body: bytes | None) -> int:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
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
    with pytest.raises(OSError, match="refused"):  # nobody listens any more
        ask("POST", "/in", b"{}")


def test_httppush_has_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends nothing holds a thread for 10 s; without a bound a thousand of them hold the service."""
    monkeypatch.setattr(httppush, "MOST_CONNECTIONS", 3)
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream), ExitStack() as slow:
        wait_for(lambda: stream.up)
        for _ in range(3):
            slow.enter_context(socket.create_connection(("127.0.0.1", port)))
        with socket.create_connection(("127.0.0.1", port), 20) as fourth, suppress(ConnectionResetError):
            assert fourth.recv(1) == b""
        assert stream.errors == ["more than 3 connections: one was refused"]
        slow.close()

        def is_taken() -> bool:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
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
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with closing(line):
                line.request("POST", "/in", b"{}", headers)
                assert line.getresponse().status == status
    assert len(stream.errors) == 4
    assert "evil.example" in stream.errors[0]
    assert stream.payloads == [b"{}"]


def test_httppush_does_not_wait_for_half_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httppush, "READ_S", 0.1)
    port, stream = free_port(), Stream()
    with running(made(httppush.Source(), "in", server=f"127.0.0.1:{port}"), stream):
        wait_for(lambda: stream.up)
        with socket.create_connection(("127.0.0.1", port), 20) as slow, suppress(ConnectionResetError):
            slow.sendall(b"POST /in HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
            assert slow.recv(1) == b""
        assert "cut" in stream.errors[0]


def test_httppull_asks_again_and_leaves_out_what_has_not_changed() -> None:
    answers = [(200, b'{"k":1}'), (200, b'{"k":1}'), (500, b""), (200, b'{"k":2}')]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            code, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stream = Stream()
    url = f"http://127.0.0.1:{server.server_port}"
    with running(made(httppull.Source(), "/rms", url=url, interval=5, incremental=True), stream):
        wait_for(lambda: len(asked) > 5)
    server.shutdown()
    server.server_close()
    thread.join()
    assert asked[0] == "/rms"
    assert stream.payloads == [b'{"k":1}', b'{"k":2}']
    assert "500" in stream.errors[0]


# -- mqtt


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_mqtt_hears_a_topic_and_comes_back_when_the_broker_does(tmp_path: Path) -> None:
    def say(port: int, topic: str, payload: str) -> None:
        mouth = paho.Client(paho.CallbackAPIVersion.VERSION2)
        mouth.connect("127.0.0.1", port)
        mouth.loop_start()
        mouth.publish(topic, payload, qos=1).wait_for_publish(10)
        mouth.disconnect()
        mouth.loop_stop()

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
