"""Processes that receive what bench/rules.py sends: the engine, and bare readers without a rule.

Each prints `ready`, waits for a line, and at the end prints its CPU and wall time a message. In the engine a
message goes the whole way: socket or file, decoding, a filter that lets nothing pass.
"""

import gc
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import uvicorn
from paho.mqtt.enums import CallbackAPIVersion
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from opq_proto.kit import log
from opq_rules.api.rules_config import Config
from opq_rules.api.rules_service import RulesService

PAYLOAD = b'{"box":"1003","rms":119.52,"f":59.98,"thd":0.02,"t":1700000000}'
WAIT_S = 300.0
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03"
SUBSCRIBE = b"\x82\x08\x00\x01\x00\x03b/#\x00"
NONE_PASSES = "SELECT box, rms FROM s WHERE rms > 500"
MEMORY_ROWS = 100
"""Rows of one publication to a topic of memory."""
Begin = Callable[[], None]


def receive(what: str, port: int, count: int) -> None:
    """Says `ready`; after a line of input receives `count` messages, and prints CPU and wall us of one."""
    log.configure("bench", "error")
    done = threading.Event()
    begin = _RECEIVERS[what](port, count, done)
    time.sleep(0.5)
    gc.collect()  # of the imports: 40 ms, 2 us for each of 20,000 messages
    print("ready", flush=True)
    sys.stdin.readline()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    begin()
    done.wait(WAIT_S)
    spent = time.process_time() - began_cpu_s, time.perf_counter() - began_s
    print(json.dumps([each / count * 1e6 for each in spent]), flush=True)
    time.sleep(WAIT_S)


def _nothing() -> None:
    """Where the sender begins."""


def _by_paho(port: int, count: int, done: threading.Event) -> Begin:
    got = [0]

    def take(_: Any, __: Any, message: Any) -> None:
        got[0] += 1
        if got[0] >= count:
            done.set()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe("b/#", 0)
    client.loop_start()
    return _nothing


def _by_socket(port: int, count: int, done: threading.Event) -> Begin:
    line = socket.create_connection(("127.0.0.1", port))
    line.sendall(CONNECT + b"sub")
    line.recv(4)
    line.sendall(SUBSCRIBE)
    line.recv(5)

    def read() -> None:
        got, rest = 0, b""
        while got < count:
            rest += line.recv(1 << 16)
            at = 0
            while at + 2 <= len(rest) and at + 2 + rest[at + 1] <= len(rest):
                at += 2 + rest[at + 1]
                got += 1
            rest = rest[at:]
        done.set()

    threading.Thread(target=read, daemon=True).start()
    return _nothing


def _by_starlette(port: int, count: int, done: threading.Event) -> Begin:
    got = [0]

    async def take(request: Request) -> PlainTextResponse:
        await request.body()
        got[0] += 1
        if got[0] >= count:
            done.set()
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/in", take, methods=["POST"])])
    settings = uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(settings)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.02)
    return _nothing


class _Receiver:
    """An engine in whose folder one rule reads one stream."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.service = RulesService(Config(data_dir=self.folder, endpoint="127.0.0.1:0"))
        self.service.start()
        self.engine = self.service.engine
        self.engine.ready.wait(WAIT_S)

    def run(self, type_name: str, datasource: str, sql: str = NONE_PASSES, **properties: Any) -> None:
        """Creates stream and rule; returns when the source is open."""
        self.engine.configurations.put("sources", type_name, "bench", properties)
        made = f'DATASOURCE="{datasource}", TYPE="{type_name}", CONF_KEY="bench"'
        self.engine.execute(f"CREATE STREAM s () WITH ({made})")
        actions: list[dict[str, Any]] = [{"nop": {}}]
        if sql is not NONE_PASSES:
            actions = [{"mqtt": {"server": properties["server"], "topic": "out", "qos": 0}}]
        options = {"bufferLength": 1_000_000}
        self.engine.create_rule({"id": "r", "sql": sql, "actions": actions, "options": options})
        while self._status("source_s_0_connection_status") != 1:
            time.sleep(0.01)

    def watch(self, count: int, done: threading.Event) -> None:
        """Sets `done` when the rule has seen so many rows."""

        def look() -> None:
            while self._status("op_2_filter_0_records_in_total") < count:
                time.sleep(0.01)
            done.set()

        threading.Thread(target=look, daemon=True).start()

    def _status(self, name: str) -> Any:
        return self.engine.views.rule_status("r")[name]


def _by_mqtt(port: int, count: int, done: threading.Event, sql: str = NONE_PASSES) -> Begin:
    receiver = _Receiver()
    receiver.run("mqtt", "b/#", sql, server=f"tcp://127.0.0.1:{port}", qos=0)
    receiver.watch(count, done)
    return _nothing


def _by_mqtt_to_mqtt(port: int, count: int, done: threading.Event) -> Begin:
    return _by_mqtt(port, count, done, "SELECT born FROM s WHERE rms > 100")


def _by_httppush(port: int, count: int, done: threading.Event) -> Begin:
    receiver = _Receiver()
    receiver.run("httppush", "/in", server=f"127.0.0.1:{port}")
    receiver.watch(count, done)
    return _nothing


def _by_file(port: int, count: int, done: threading.Event) -> Begin:
    receiver = _Receiver()
    path = receiver.folder / "exports" / "rows.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((PAYLOAD + b"\n") * count)

    def begin() -> None:
        receiver.run("file", str(path), fileType="lines")
        receiver.watch(count, done)

    return begin


def _by_simulator(port: int, count: int, done: threading.Event) -> Begin:
    receiver = _Receiver()

    def begin() -> None:
        receiver.run("simulator", "", data=[json.loads(PAYLOAD)], interval=0)
        receiver.watch(count, done)

    return begin


def _by_memory(port: int, count: int, done: threading.Event) -> Begin:
    receiver = _Receiver()
    receiver.engine.execute('CREATE STREAM s () WITH (DATASOURCE="rows", TYPE="memory")')
    options = {"bufferLength": 2 * count}
    rule = {"id": "r", "sql": NONE_PASSES, "actions": [{"nop": {}}], "options": options}
    receiver.engine.create_rule(rule)
    receiver.watch(count, done)
    row = json.loads(PAYLOAD)

    def begin() -> None:
        for _ in range(count // MEMORY_ROWS):
            receiver.engine.topics.publish("rows", [row] * MEMORY_ROWS)

    return begin


_RECEIVERS: dict[str, Callable[[int, int, threading.Event], Begin]] = {
    "paho": _by_paho,
    "socket": _by_socket,
    "starlette": _by_starlette,
    "mqtt": _by_mqtt,
    "mqtt to mqtt": _by_mqtt_to_mqtt,
    "httppush": _by_httppush,
    "httppush rows": _by_httppush,
    "file": _by_file,
    "simulator": _by_simulator,
    "memory": _by_memory,
}
