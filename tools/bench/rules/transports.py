"""Transports of the rule engine, each in its own process: CPU and time of one message.

In the same run, on the same messages: paho's callback, a reader of the bare socket and a bare Starlette
handler under uvicorn, which do nothing with a message. MQTT goes through a real mosquitto; without one its
rows are left out. Two versions are compared by a run in each tree, one after the other.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.own_processes import end_process
from bench.result import BenchCase, case, percentile
from bench.rules.receivers import CONNECT, PAYLOAD, SUBSCRIBE, WAIT_S
from opq_proto.errors import OpqError

MESSAGES_AT_ONCE = 500
"""Messages that the sender sends without a pause."""
PAUSE_S = 0.004
"""The pause after them."""
ROWS_A_POST = 500
PACE_HZ = 1_000
_TOPIC = b"\x00\x03b/1"
Send = Callable[[int, int], None]
"""(port, count): sends so many messages."""


def transport_rows(quick: bool) -> list[BenchCase]:
    count, runs = (20_000, 1) if quick else (100_000, 3)
    found = _mqtt_rows(count, runs, 2.0 if quick else 10.0)
    for what, name, number, send, limit in (
        ("httppush", "httppush, one record a POST, connection kept", count // 20, post, 200.0),
        ("starlette", "a bare Starlette handler under uvicorn", count // 20, post, None),
        ("httppush rows", f"httppush, {ROWS_A_POST} records a POST", count, post_rows, 8.0),
        ("file", "file of JSON lines", count, send_nothing, None),
        ("simulator", "simulator", count, send_nothing, None),
        ("memory", "memory", count, send_nothing, None),
    ):
        spent = [measured(what, free_port(), number, send)[0] for _ in range(runs)]
        found.append(case(f"{name}: CPU", "us/record", spent, limit=limit))
    return found


def _mqtt_rows(count: int, runs: int, seconds: float) -> list[BenchCase]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        print("no rows of MQTT: mosquitto is not installed (apt install mosquitto)", file=sys.stderr)
        return []
    with _broker(program) as port:
        rule, bare, line = (
            [measured(what, port, count, _publish) for _ in range(runs)]
            for what in ("mqtt", "paho", "socket")
        )
        ages_ms: list[float] = []
        number = round(seconds * PACE_HZ)
        measured("mqtt to mqtt", port, number, lambda port, count: ages_ms.extend(_paced(port, count)))
    name = f"MQTT to MQTT at {PACE_HZ} messages/s"
    return [
        case("MQTT, one filter rule: CPU", "us/message", [each[0] for each in rule], limit=35.0),
        case("MQTT, one filter rule: time", "us/message", [each[1] for each in rule], limit=25.0),
        case("paho's callback alone: CPU", "us/message", [each[0] for each in bare]),
        case("a reader of the bare socket: CPU", "us/message", [each[0] for each in line]),
        case(f"{name}: p50", "ms", [percentile(ages_ms, 0.5)]),
        case(f"{name}: p99", "ms", [percentile(ages_ms, 0.99)], limit=3.0),
    ]


@contextmanager
def _broker(program: str) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as folder:
        port, config = free_port(), Path(folder) / "mosquitto.conf"
        config.write_text(
            f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
        )
        process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            end_s = time.monotonic() + WAIT_S
            while not _listens(port):
                if time.monotonic() > end_s:
                    raise OpqError("mosquitto does not listen")
                time.sleep(0.02)
            yield port
        finally:
            end_process(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(what: str, port: int, count: int, send: Send) -> tuple[float, float]:
    """CPU and wall us a message of a process that receives `count` of them."""
    code = f"from bench.rules.receivers import receive; receive({what!r}, {port}, {count})"
    with (
        tempfile.TemporaryDirectory(prefix="opq-bench-rules-") as folder,
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": folder},
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise OpqError(f"the receiver {what} did not start")
            process.stdin.write("\n")
            process.stdin.flush()
            send(port, count)
            cpu_us, wall_us = json.loads(process.stdout.readline())
            return float(cpu_us), float(wall_us)
        finally:
            end_process(process)


def send_nothing(port: int, count: int) -> None:
    """The receiver has its rows itself."""


def _packet(payload: bytes) -> bytes:
    body = _TOPIC + payload
    assert len(body) < 128
    return bytes([0x30, len(body)]) + body


def _connected(port: int, name: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), WAIT_S)
    line.sendall(CONNECT + name)
    line.recv(4)
    return line


def _publish(port: int, count: int) -> None:
    many = _packet(PAYLOAD) * MESSAGES_AT_ONCE
    with _connected(port, b"pub") as line:
        for _ in range(count // MESSAGES_AT_ONCE):
            line.sendall(many)
            time.sleep(PAUSE_S)


def _paced(port: int, count: int) -> list[float]:
    """Publishes one by one, PACE_HZ a second; returns the age in ms of each message at its return."""
    ages_ms: list[float] = []
    with _connected(port, b"res") as back, _connected(port, b"pub") as line:
        back.sendall(SUBSCRIBE.replace(b"b/#", b"out"))
        back.recv(5)

        def read() -> None:
            rest = b""
            while len(ages_ms) < count:
                rest += back.recv(1 << 16)
                now_ns, at = time.perf_counter_ns(), 0
                while at + 2 <= len(rest) and at + 2 + rest[at + 1] <= len(rest):
                    body = rest[at + 2 : at + 2 + rest[at + 1]]
                    at += 2 + len(body)
                    ages_ms.extend((now_ns - row["born"]) / 1e6 for row in json.loads(body[5:]))
                rest = rest[at:]

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        began_s = time.perf_counter()
        for k in range(count):
            time.sleep(max(0.0, began_s + k / PACE_HZ - time.perf_counter()))
            line.sendall(_packet(b'{"rms":119.5,"born":%d}' % time.perf_counter_ns()))
        reader.join(WAIT_S)
    if len(ages_ms) < count:
        raise OpqError(f"{count - len(ages_ms)} of {count} messages did not come back")
    return ages_ms


def post(port: int, count: int, body: bytes = PAYLOAD) -> None:
    head = f"POST /in HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        for _ in range(count):
            line.sendall(request)
            answer = b""
            while not answer.endswith(b"ok"):
                part = line.recv(4096)
                if not part:
                    raise OpqError("the connection was closed")
                answer += part


def post_rows(port: int, count: int) -> None:
    body = b"[" + b",".join([PAYLOAD] * ROWS_A_POST) + b"]"
    post(port, count // ROWS_A_POST, body)
