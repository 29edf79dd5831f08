"""For atheris: bytes as requests to the rule engine's REST, without a socket. Run by test_rules_fuzzing.py.

Byte 0 chooses the route, byte 1 the form: the rest is the body, or the text of one leaf of the route's
sample, or the path. Every answer is below 500, and a refusal has `error` and `message`. Rules run, but what
they would read or write beyond this process is a dummy behind the real check of its properties.
"""

import asyncio
import atexit
import importlib
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["opq_rules"]):
    from opq_plugins.policy import Policy
    from opq_rules.api.app import create_app
    from opq_rules.api.guard import AllowedTokens, RequestGuard
    from opq_rules.built_in import types_of
    from opq_rules.engine.engine import Engine
    from opq_rules.rule_plugins import RulePlugins

DEMO = 'CREATE STREAM demo (v BIGINT, b STRING) WITH (DATASOURCE="demo", TYPE="memory", TIMESTAMP="v")'
TABLE = 'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="memory", KIND="lookup", KEY="v")'
SQL = (
    "SELECT v + 1 AS w, upper(b) FROM demo WHERE v > 1 GROUP BY b, TUMBLINGWINDOW(ss, 1) HAVING count(*) > 0"
)
SINK = {
    **{"topic": "out", "dataTemplate": "{{.v}} {{range .a}}{{.}}{{end}}", "fields": ["v"], "batchSize": 3},
    **{"url": "http://127.0.0.1:1/x", "path": "/tmp/x", "server": "tcp://127.0.0.1:1", "lingerInterval": 5},
}
OPTIONS = {
    "qos": 1,
    "isEventTime": True,
    "cron": "* * * * *",
    "duration": "10s",
    "restartStrategy": {"attempts": 1},
}
RULE = {"id": "r1", "sql": SQL, "actions": [{"memory": SINK}], "options": OPTIONS, "tags": ["a"]}
WHOLE = {
    **{"streams": {"demo": DEMO}, "tables": {"tab": TABLE}, "rules": {"r1": json.dumps(RULE)}},
    **{"sourceConfig": {"mqtt": {"x": {"server": "tcp://a:1"}}}, "sinkConfig": {"rest": {"y": {"url": "z"}}}},
}
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/streams", {"sql": DEMO}),
    ("PUT", "/streams/demo", {"sql": DEMO}),
    ("POST", "/tables", {"sql": TABLE}),
    *(("POST", "/rules/validate", {**RULE, "actions": [{kind: SINK}]}) for kind in types_of("sink")),
    ("POST", "/rules", {**RULE, "id": "r2"}),
    ("PUT", "/rules/r1", RULE),
    ("PUT", "/rules/r1/tags", {"tags": ["a", "b"]}),
    ("PATCH", "/rules/r1/tags", {"tags": ["a", "b"]}),
    ("DELETE", "/rules/r1/tags", {"keys": ["a"]}),
    ("GET", "/rules/tags/match", {"keys": ["a"]}),
    ("POST", "/rules/bulkstop", {"tags": ["a"]}),
    ("PUT", "/rules/r1/reset_state", {"type": 1, "params": {"streamName": "demo", "input": {"a": 1}}}),
    (
        "POST",
        "/plugins/sinks",
        {"name": "m", "file": "file:///x.zip", "functions": ["f"], "shellParas": ["a"]},
    ),
    ("PUT", "/plugins/sinks/m", {"name": "m", "file": "http://127.0.0.1:1/x.zip"}),
    ("POST", "/plugins/functions/m/register", {"functions": ["f"]}),
    ("POST", "/config/uploads", {"name": "x.json", "content": "{}"}),
    ("POST", "/ruleset/import", {"content": json.dumps(WHOLE)}),
    ("POST", "/ruleset/import", WHOLE),
    ("POST", "/query", {"sql": SQL}),
    ("POST", "/batch/req", [{"method": "POST", "path": "/streams", "body": json.dumps({"sql": DEMO})}]),
    *(("PUT", f"/metadata/sources/{kind}/confKeys/x", SINK) for kind in ("mqtt", "file", "httppull")),
    ("PUT", "/metadata/sinks/sql/confKeys/x", SINK),
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
FRESH_EVERY = 300

FOLDER = Path(tempfile.mkdtemp(prefix="opq-fuzz-rest-"))


def refused(*_: Any, **__: Any) -> Any:
    raise OSError("no network while fuzzing")


def tame(kind: str, type_name: str) -> type:
    """The type with its own `configure`, and without what it does beyond this process."""
    module = importlib.import_module(f"opq_rules.{kind}s.{type_name}")
    if kind == "sink":
        idle: dict[str, Any] = dict.fromkeys(("open", "close"), lambda self, context: None)
        return type("Sink", (module.Sink,), {**idle, "collect": lambda self, context, data: None})

    def wait(self: Any, context: Any) -> None:
        while not context.wait(240):
            pass

    return type("Source", (module.Source,), {"open": wait, "close": lambda self, context: None})


class Rest:
    """The application on an engine that runs."""

    def __init__(self) -> None:
        socket.getaddrinfo = refused  # type: ignore[assignment]
        own: dict[tuple[str, str], Callable[[], Any]] = {
            (kind, each): tame(kind, each)
            for kind in ("source", "sink")
            for each in types_of(kind)
            if each not in ("memory", "nop")
        }
        self.plugins = RulePlugins(FOLDER, Policy(server_on_loopback=False), own)
        self.engine = Engine(FOLDER, self.plugins)
        self.engine.start()
        self.app = RequestGuard(create_app(self.engine, self.plugins), AllowedTokens("fuzz", FOLDER), 1 << 20)
        self.loop = asyncio.new_event_loop()
        self.asked = 0

    def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return self.loop.run_until_complete(self._ask(method, path, body))

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        way, _, query = path.partition("?")
        scope = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method},
            **{"scheme": "http", "path": way, "raw_path": way.encode(), "query_string": query.encode()},
            **{"root_path": "", "server": ("127.0.0.1", 9081), "client": ("127.0.0.1", 1)},
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"authorization", b"Bearer fuzz"),
                (b"content-type", b"application/json"),
            ],
        }
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        status, answer = 0, b""

        async def receive() -> MutableMapping[str, Any]:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, answer
            status = message.get("status", status)
            answer += message.get("body", b"")

        await self.app(scope, receive, send)
        return status, answer

    def freshen(self) -> None:
        """As at the beginning: a stream, a table, a rule."""
        self.asked += 1
        if self.asked % FRESH_EVERY == 1:
            self.ask("POST", "/ruleset/import", b'{"content": "{}"}')
            for statement in (DEMO, TABLE):
                self.engine.execute(statement, "stream" if statement is DEMO else "table")
            self.ask("PUT", "/rules/r1", json.dumps(RULE).encode())
            shutil.rmtree(self.plugins.uploads, ignore_errors=True)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [place, *(each for key in value for each in leaves(value[key], (*place, key)))]
    if isinstance(value, list):
        return [place, *(each for at, item in enumerate(value) for each in leaves(item, (*place, at)))]
    return [place]


def with_leaf(sample: Any, number: int, text: str) -> bytes:
    """The sample with one of its values exchanged: by the text, or by the JSON that the text is."""
    made = json.loads(json.dumps(sample))
    places = [each for each in leaves(made) if each]
    *way, last = places[number % len(places)]
    at = made
    for each in way:
        at = at[each]
    try:
        at[last] = json.loads(text) if number & 0x80 else text
    except (ValueError, RecursionError):
        at[last] = text
    try:
        return json.dumps(made).encode()
    except (ValueError, RecursionError):
        return text.encode("utf-8", "replace")


def one(raw: bytes) -> None:
    if len(raw) < 3:
        return
    REST.freshen()
    method, path, sample = ROUTES[raw[0] % len(ROUTES)]
    rest = raw[3:]
    match raw[1] % 4:
        case 0:
            body = rest
        case 1 | 2:
            body = with_leaf(sample, raw[2], rest.decode("utf-8", "replace"))
        case _:
            method, path = METHODS[raw[2] % len(METHODS)], "/" + rest.decode("utf-8", "replace")
            body = json.dumps(sample).encode()
    status, answer = REST.ask(method, path, body)
    told = (method, path, body, status, answer[:500])
    assert 200 <= status < 500, told
    if status >= 400 and method != "HEAD":
        assert {"error", "message"} <= json.loads(answer).keys(), told


REST = Rest()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
atheris.Setup(sys.argv, one)
atheris.Fuzz()
