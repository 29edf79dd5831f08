"""Transports of the rule engine: MQTT through a real mosquitto, POST to httppush; CPU of the whole process.

Beside it, in the same run and on the same messages: paho's callback alone, and a reader of the bare socket
alone, which do nothing with a message. To compare two versions run it in both trees, one after the other.
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
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.own_processes import end_process
from bench.result import Baseline, BenchResult, case
from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_rules.api.config import Config
from opq_rules.api.service import RulesService

PAYLOAD = b'{"box":"1003","rms":119.52,"f":59.98,"thd":0.02,"t":1700000000}'
AT_ONCE, PAUSE_S = 500, 0.004
WAIT_S = 300.0
QUICK_MESSAGES = 20_000
_TOPIC = b"\x00\x03b/1"
_CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03"
_SUBSCRIBE = b"\x82\x08\x00\x01\x00\x03b/#\x00"
RULE = {"id": "r", "sql": "SELECT box, rms FROM s WHERE rms > 500", "actions": [{"nop": {}}]}


def run(quick: bool) -> BenchResult:
    count = QUICK_MESSAGES if quick else 100_000
    runs = 1 if quick else 3
    with _broker() as port:
        found = {
            what: [_measured(what, port, count, _publish) for _ in range(runs)]
            for what in ("mqtt", "paho", "socket")
        }
    push = [_measured("httppush", _free_port(), count // 20, _post) for _ in range(runs)]
    names = {
        "mqtt": "MQTT, one filter rule",
        "paho": "paho's callback alone",
        "socket": "a reader of the bare socket alone",
    }
    cases = [case(names[what], "us/message", values) for what, values in found.items()]
    why = "uvicorn's parser in Python takes 120 us of it, and each request wakes the engine once"
    name = "httppush, one record a POST, connection kept"
    cases.append(case(name, "us/request", push, limit=200.0, because=why))
    baseline = Baseline(names["paho"], cases[1].value, "us/message")
    return BenchResult(tuple(cases), baseline, cases[0].value / baseline.value)


@contextmanager
def _broker() -> Iterator[int]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise OpqError("bench rules-transports needs mosquitto: apt install mosquitto")
    with tempfile.TemporaryDirectory() as folder:
        port, config = _free_port(), Path(folder) / "mosquitto.conf"
        config.write_text(
            f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
        )
        process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            _until(lambda: _listens(port))
            yield port
        finally:
            end_process(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(holds: Callable[[], bool]) -> None:
    """Waits for a condition; an OSError counts as not yet."""
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise OpqError(f"nothing within {WAIT_S:g} s")


def _measured(what: str, port: int, count: int, send: Callable[[int, int], None]) -> float:
    """CPU us a message of a process that receives `count` of them."""
    command = [
        sys.executable,
        "-c",
        f"from bench.rules.transports import receive; receive({what!r}, {port}, {count})",
    ]
    path = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=path) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise OpqError(f"{what} did not start")
            send(port, count)
            return float(json.loads(process.stdout.readline()))
        finally:
            end_process(process)


def _publish(port: int, count: int) -> None:
    body = _TOPIC + PAYLOAD
    packet = bytes([0x30, len(body)]) + body
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(_CONNECT + b"pub")
        line.recv(4)
        for _ in range(count // AT_ONCE):
            line.sendall(packet * AT_ONCE)
            time.sleep(PAUSE_S)


def _post(port: int, count: int) -> None:
    head = f"POST /in HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n"
    line = socket.create_connection(("127.0.0.1", port))
    for _ in range(count):
        line.sendall(head.encode() + PAYLOAD)
        answer = b""
        while not answer.endswith(b"ok"):
            part = line.recv(4096)
            if not part:
                raise OpqError("httppush closed the connection")
            answer += part
    line.close()


def receive(what: str, port: int, count: int) -> None:
    """In a process of its own: says `ready`, receives, and prints CPU us a message."""
    log.configure("bench", "error")
    got, done = [0], threading.Event()
    if what == "paho":
        _by_paho(port, count, got, done)
    elif what == "socket":
        _by_socket(port, count, got, done)
    else:
        _by_engine(what, port, count, done)
    time.sleep(0.5)
    began_s = time.process_time()
    print("ready", flush=True)
    done.wait(WAIT_S)
    print((time.process_time() - began_s) / count * 1e6, flush=True)
    time.sleep(WAIT_S)


def _by_paho(port: int, count: int, got: list[int], done: threading.Event) -> None:
    def take(_: Any, __: Any, message: Any) -> None:
        got[0] += 1
        if got[0] >= count:
            done.set()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe("b/#", 0)
    client.loop_start()


def _by_socket(port: int, count: int, got: list[int], done: threading.Event) -> None:
    line = socket.create_connection(("127.0.0.1", port))
    line.sendall(_CONNECT + b"sub")
    line.recv(4)
    line.sendall(_SUBSCRIBE)
    line.recv(5)

    def read() -> None:
        rest = b""
        while got[0] < count:
            rest += line.recv(1 << 16)
            at = 0
            while at + 2 <= len(rest) and at + 2 + rest[at + 1] <= len(rest):
                at += 2 + rest[at + 1]
                got[0] += 1
            rest = rest[at:]
        done.set()

    threading.Thread(target=read, daemon=True).start()


def _by_engine(what: str, port: int, count: int, done: threading.Event) -> None:
    service = RulesService(Config(data_dir=Path(tempfile.mkdtemp()), endpoint="127.0.0.1:0"))
    service.start()
    engine = service.engine
    engine.ready.wait(WAIT_S)
    server = f"tcp://127.0.0.1:{port}" if what == "mqtt" else f"127.0.0.1:{port}"
    properties = {"server": server} | ({"qos": 0} if what == "mqtt" else {})
    engine.configurations.put("sources", what, "bench", properties)
    topic = "b/#" if what == "mqtt" else "/in"
    engine.execute(f'CREATE STREAM s () WITH (DATASOURCE="{topic}", TYPE="{what}", CONF_KEY="bench")')
    engine.create_rule({**RULE, "options": {"bufferLength": 1_000_000}})
    connected = "source_s_0_connection_status"
    _until(lambda: engine.views.rule_status("r")[connected] == 1)

    def watch() -> None:
        while engine.views.rule_status("r")["op_2_filter_0_records_in_total"] < count:
            time.sleep(0.05)
        done.set()

    threading.Thread(target=watch, daemon=True).start()
