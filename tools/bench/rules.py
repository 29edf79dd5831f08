"""The rule engine on one core: filter, windows, fan-out, thresholds; bytes, creation and latency of rules;
then its transports, each in its own process.

CPU is that of the whole process, from JSON bytes to the sink, all threads; its limit is the target's
inverse (>= 1 M events/s/core: <= 1 us). The baseline is a loop that decodes, compares, encodes.
"""

import gc
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.harness.flow import (
    CountingSink,
    FlowRun,
    PayloadLoad,
    PayloadSource,
    engine,
    flowed,
    payloads,
    rule,
)
from bench.harness.own_processes import end_process
from bench.harness.receivers import CONNECT, PAYLOAD, SUBSCRIBE, WAIT_S
from bench.harness.result import Baseline, BenchCase, BenchResult, case, percentile
from opq_plugins.sdk import Sink, SinkContext, Source, SourceContext
from opq_proto.errors import OpqError
from opq_proto.kit import log

FILTER = [rule("filter", "SELECT box, v FROM s WHERE v > 126")]
AVERAGE = [rule("average", "SELECT box, avg(v) AS v FROM s GROUP BY box, TUMBLINGWINDOW(ss, 1)")]
FAN = [rule(f"fan{k}", f"SELECT box, v * {k} AS w FROM s WHERE v > 126") for k in range(100)]
PACE_HZ = 10_000
"""Events per second for the latency."""
TICK_S = 0.001
"""The sender's pause."""


def thresholds(count: int) -> list[dict[str, Any]]:
    """Rules with thresholds; few match: 0.04 % of the events are above the lowest one."""
    return [
        rule(f"rule{k}", f"SELECT box, v FROM s WHERE v > {130 + 10 * k / count:.5f}") for k in range(count)
    ]


def windowed(count: int) -> list[dict[str, Any]]:
    """Rules with a window and a HAVING each; none of them passes any row."""
    statement = "SELECT box, avg(v) AS a FROM s GROUP BY box, TUMBLINGWINDOW(ss, 1) HAVING avg(v) <"
    return [rule(f"low{k}", f"{statement} {90 + 10 * k / count:.5f}") for k in range(count)]


def plain_loop_us(given: Sequence[bytes]) -> float:
    """Time of one event in a plain loop: msgspec, an if, msgspec."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    sent = []
    began_s = time.process_time()
    for payload in given:
        row = decode(payload)
        if row["v"] > 126:
            sent.append(encode([{"box": row["box"], "v": row["v"]}]))
    return (time.process_time() - began_s) / len(given) * 1e6


def flow_rows(
    name: str,
    rules: Sequence[dict[str, Any]],
    given: Sequence[bytes],
    rounds: int,
    runs: int,
    limit_us: float | None,
) -> list[BenchCase]:
    found: list[FlowRun] = [flowed(rules, PayloadLoad(given, rounds)) for _ in range(runs)]
    assert not any(each.dropped for each in found), "a sink did not keep up"
    cost = case(
        f"{name}: CPU", "us/event", [each.cpu_s / each.events * 1e6 for each in found], limit=limit_us
    )
    speed = case(f"{name}: events, by the wall clock", "1/s", [each.events / each.wall_s for each in found])
    return [cost, speed]


def birth_rows(count: int) -> list[BenchCase]:
    """Bytes of an idle rule, with all its counters; rules created per second, at once and one by one."""
    load = PayloadLoad((), 0)
    warm = thresholds(100)
    with engine(lambda: PayloadSource(load), lambda: CountingSink([0])) as made:
        made.create_rules([{**each, "id": f"warm{k}"} for k, each in enumerate(warm)])
        bodies = thresholds(count)
        began_s = time.perf_counter()
        assert not made.create_rules(bodies)
        at_once = count / (time.perf_counter() - began_s)
    with engine(lambda: PayloadSource(load), lambda: CountingSink([0])) as made:
        single = thresholds(2000)
        began_s = time.perf_counter()
        for body in single:
            made.create_rule(body)
        one_by_one = len(single) / (time.perf_counter() - began_s)
    size = bytes_of(warm, thresholds(count))
    return [
        case(f"{count} idle rules: memory", "bytes/rule", [size], limit=600),
        case("rules created at once: time", "us/rule", [1e6 / at_once], limit=1e6 / 3000),
        case("rules created one by one, each on disk: time", "us/rule", [1e6 / one_by_one]),
    ]


def bytes_of(warm: Sequence[dict[str, Any]], bodies: Sequence[dict[str, Any]]) -> float:
    """Memory of one idle rule of `bodies`, in addition to those of `warm`."""
    with engine(lambda: PayloadSource(PayloadLoad((), 0)), lambda: CountingSink([0])) as made:
        made.create_rules([{**each, "id": f"warm{k}"} for k, each in enumerate(warm)])
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        made.create_rules(bodies)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return (after - before) / len(bodies)


class PacedSource(Source):
    """Emits payloads with their creation time, PACE_HZ per second."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.done = False

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        return

    def open(self, context: SourceContext) -> None:
        context.connected(True)
        began_s = time.perf_counter()
        given = 0
        while given < self._seconds * PACE_HZ and not context.stopped:
            due = int((time.perf_counter() - began_s) * PACE_HZ)
            if due > given:
                born = b"%d" % time.perf_counter_ns()
                context.emit_bytes([b'{"box": 1, "v": 130.5, "born": ' + born + b"}"] * (due - given))
                given = due
            time.sleep(TICK_S)
        self.done = True
        context.wait(3600.0)


class LatencySink(Sink):
    """Collects the age of each emission on arrival."""

    def __init__(self, ages_ms: list[float]) -> None:
        self._ages_ms = ages_ms

    def configure(self, properties: Mapping[str, Any]) -> None:
        return

    def collect(self, context: SinkContext, data: Any) -> None:
        self._ages_ms.append((time.perf_counter_ns() - data[0]["born"]) / 1e6)


def latency_rows(seconds: float, qos: int, limit_ms: float | None) -> list[BenchCase]:
    """Latency from the source's call to the sink's, at 10,000 events a second, all of which pass."""
    ages_ms: list[float] = []
    source = PacedSource(seconds)
    with engine(lambda: source, lambda: LatencySink(ages_ms)) as made:
        made.create_rules([rule("timed", "SELECT v, born FROM s WHERE v > 126", qos=qos)])
        while not source.done or not made.settled():
            time.sleep(0.01)
    ages_ms.sort()
    name = f"added latency at {PACE_HZ} events/s, qos {qos}"
    p50, p99 = (ages_ms[int(len(ages_ms) * share)] for share in (0.5, 0.99))
    return [case(f"{name}: p50", "ms", [p50]), case(f"{name}: p99", "ms", [p99], limit=limit_ms)]


def run(quick: bool) -> BenchResult:
    log.configure("bench", "error")
    given = payloads(20_000)
    rounds, runs = (5, 1) if quick else (50, 3)
    baseline = [plain_loop_us(given * rounds) for _ in range(runs)]
    rows = flow_rows("a filter rule", FILTER, given, rounds, runs, 1.0)
    rows += flow_rows("1 s tumbling average by Box", AVERAGE, given, rounds, runs, None)
    rows += flow_rows("fan-out to 100 rules", FAN, given, max(1, rounds // 10), runs, None)
    for count in (1_000, 10_000):
        rows += flow_rows(f"{count} threshold rules", thresholds(count), given, rounds, runs, 10.0)
    rows += flow_rows("20 rules, a window each", windowed(20), given, max(1, rounds // 5), runs, None)
    size = bytes_of(windowed(100), windowed(1_000))
    rows.append(case("a rule with a window, idle: memory", "bytes/rule", [size]))
    rows += birth_rows(10_000)
    rows += latency_rows(2.0 if quick else 10.0, 0, 5.0)
    rows += latency_rows(2.0 if quick else 10.0, 1, None)
    rows += transport_rows(quick)
    base_us = sorted(baseline)[len(baseline) // 2]
    loop = Baseline(
        "a plain Python loop: decode, compare, encode; ratio: filter rule to it", base_us, "us/event"
    )
    return BenchResult(tuple(rows), loop, rows[0].value / base_us)


MESSAGES_AT_ONCE = 500
"""Messages that the sender sends without a pause."""
PAUSE_S = 0.004
"""The pause after them."""
ROWS_A_POST = 500
MQTT_PACE_HZ = 1_000
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
        number = round(seconds * MQTT_PACE_HZ)
        measured("mqtt to mqtt", port, number, lambda port, count: ages_ms.extend(_paced(port, count)))
    name = f"MQTT to MQTT at {MQTT_PACE_HZ} messages/s"
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
    code = f"from bench.harness.receivers import receive; receive({what!r}, {port}, {count})"
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
    """Publishes one by one, MQTT_PACE_HZ a second; returns the age in ms of each message at its return."""
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
            time.sleep(max(0.0, began_s + k / MQTT_PACE_HZ - time.perf_counter()))
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
