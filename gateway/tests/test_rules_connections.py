"""Connections: where servers are, said once; who uses one, how it changes under rules, how it is tried.

Source: docs/reference/rules.md, A.5 and E.1.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import zmq
from free_ports import free_port
from mosquitto_of_ones_own import MOSQUITTO, Broker
from rules_engine import Idle
from rules_house import House
from waiting import wait_for

from opq_plugins.sdk import Source, SourceContext
from opq_rules.built_in import types_of
from opq_rules.engine import connection_admin
from opq_rules.engine.connections import known_connection
from opq_rules.engine.source_runner import SourceRunner
from opq_rules.secrets import with_secrets, without_secrets

DEMO = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'
needs_broker = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)"
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.ask("POST", "/streams", {"sql": DEMO}, 201)
    yield made
    assert made.stop() == []


class Peer:
    """An HTTP server that answers `code` and keeps the bodies of what is posted."""

    def __init__(self, code: int = 200) -> None:
        self.got: list[Any] = []
        self.code = code
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                peer.got.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer()

            def do_HEAD(self) -> None:
                self._answer()

            def _answer(self) -> None:
                self.send_response(peer.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def posting(**more: Any) -> dict[str, Any]:
    """A rule at qos 1 that posts what is in `demo` to the connection `there`."""
    action = {"rest": {"connectionSelector": "there", "retryInterval": 20, **more}}
    return {"id": "r1", "sql": "SELECT v FROM demo", "actions": [action], "options": {"qos": 1}}


def test_a_connection_lives_from_creation_to_deletion(house: House) -> None:
    broker = {"id": "broker", "typ": "mqtt", "props": {"server": "tcp://127.0.0.1:1", "password": "deep"}}
    assert house.ask("POST", "/connections", broker, 201) == "Connection broker is created."
    assert "already exists" in house.ask("POST", "/connections", broker, 400)["message"]
    shown = {**broker, "props": {**broker["props"], "password": "******"}}  # type: ignore[dict-item]
    told = {**shown, "status": "unused", "err": "", "users": []}
    assert house.ask("GET", "/connections") == [told]
    assert house.ask("GET", "/connections/broker") == told
    assert house.ask("GET", "/metadata/connections/yaml/mqtt") == {"broker": shown["props"]}
    house.ask("PUT", "/connections/broker", {**shown, "props": {**shown["props"], "username": "me"}})
    kept = house.service.engine.configurations.all("connections", "mqtt", secrets=True)["broker"]
    assert kept == {"server": "tcp://127.0.0.1:1", "password": "deep", "username": "me"}
    assert "cannot change" in house.ask("PUT", "/connections/broker", {"typ": "sql"}, 400)["message"]
    house.ask("PUT", "/connections/broker", {"id": "other"}, 400)
    house.ask("DELETE", "/metadata/connections/sql/confKeys/broker", code=404)
    house.ask("DELETE", "/metadata/connections/mqtt/confKeys/broker")
    for method, body in (("GET", None), ("PUT", {"props": {}}), ("DELETE", None)):
        assert house.ask(method, "/connections/broker", body, 404)["error"] == 1002


REFUSED = [
    ({"id": "a b", "typ": "mqtt"}, "want 1 to 128"),
    ({"id": "x", "typ": "redis"}, "there are: httppull, mongo, mqtt, "),
    ({"id": "x", "typ": "mqtt", "props": {"sever": "a"}}, 'did you mean "server"'),
    ({"id": "x", "typ": "mqtt", "props": {"server": "tcp://["}}, "tcp://host:1883"),
    ({"id": "x", "typ": "sql"}, "url  missing"),
    ({"id": "x", "typ": "sql", "props": {"url": "nonsense"}}, "no database's address"),
    ({"id": "x", "typ": "zmq", "props": {"url": "http://x"}}, "tcp://host:port"),
    ({"id": "x", "typ": "mongo", "props": {"url": "http://x"}}, "mongodb://host"),
    ({"id": "x", "typ": "rest", "props": {"url": "ftp://x"}}, "http://"),
]


def test_what_makes_no_connection_is_refused_and_named(house: House) -> None:
    for body, part in REFUSED:
        assert part in house.ask("POST", "/connections", body, 400)["message"]
    assert house.ask("GET", "/connections") == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql+pymysql://me:deep@host/base", "mysql+pymysql://me:******@host/base"),
        ("me:deep@tcp(localhost:3307)/base", "me:******@tcp(localhost:3307)/base"),
        ("mongodb://me:deep@host:1", "mongodb://me:******@host:1"),
        ("tcp://host:1883", "tcp://host:1883"),
        ("http://host:80/a?b=c:d@e", "http://host:80/a?b=c:d@e"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_a_password_in_an_address_is_not_shown_and_comes_back(address: str, shown: str) -> None:
    assert without_secrets({"url": address}) == {"url": shown}
    assert with_secrets({"url": shown}, {"url": address}) == {"url": address}
    assert with_secrets({"url": "x:******@y"}, {"url": address}) == {"url": "x:******@y"}


def test_a_connection_is_the_base_that_own_properties_win_over(house: House) -> None:
    with Peer() as far, Peer() as near:
        house.ask("POST", "/connections", {"id": "there", "typ": "rest", "props": {"url": far.url}}, 201)
        house.ask("POST", "/rules", posting(), 201)
        house.ask("POST", "/rules", {**posting(url=near.url), "id": "r2"}, 201)
        house.service.engine.topics.publish("demo", [{"v": 1}])
        wait_for(lambda: far.got and near.got)
        assert wait_for(lambda: house.ask("GET", "/connections/there")["status"] == "connected")
        told = house.ask("GET", "/connections/there")
        assert (told["users"], told["err"]) == (["rule r1", "rule r2"], "")
        assert "rule r1" in house.ask("DELETE", "/connections/there", code=400)["message"]
        house.ask("DELETE", "/rules/r1")
        house.ask("DELETE", "/rules/r2")
        house.ask("DELETE", "/connections/there")
    wrong = house.ask("POST", "/rules", posting(), 400)
    assert "'there' is not found" in wrong["message"]


def test_only_types_that_fit_take_a_connection(house: House) -> None:
    house.ask("POST", "/connections", {"id": "there", "typ": "zmq", "props": {"url": "tcp://*:1"}}, 201)
    assert "wants httppull or rest" in house.ask("POST", "/rules", posting(), 400)["message"]
    logged = {**posting(), "actions": [{"log": {"connectionSelector": "there"}}]}
    assert "connectionSelector" in house.ask("POST", "/rules", logged, 400)["message"]
    house.ask("POST", "/rules", {**posting(), "actions": [{"rest": {"connectionSelector": 5}}]}, 400)


def test_a_connection_that_changes_reaches_running_rules_and_nothing_is_lost(house: House) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    house.ask("POST", "/connections", {"id": "there", "typ": "rest", "props": {"url": nobody}}, 201)
    house.ask("POST", "/rules", posting(), 201)
    topics = house.service.engine.topics
    topics.publish("demo", [{"v": v} for v in range(3)])
    wait_for(lambda: house.ask("GET", "/connections/there")["status"] == "disconnected")
    assert house.ask("GET", "/connections/there")["err"]
    with Peer() as peer:
        bad = {"props": {"url": "http://{{"}}
        assert "dataTemplate" in house.ask("PUT", "/connections/there", bad, 400)["message"]
        assert house.ask("GET", "/connections/there")["props"] == {"url": nobody}
        house.ask("PUT", "/connections/there", {"props": {"url": peer.url}})
        topics.publish("demo", [{"v": v} for v in range(3, 6)])
        wait_for(lambda: len(peer.got) >= 6)
        assert [row["v"] for row in peer.got] == list(range(6))
        wait_for(lambda: house.ask("GET", "/connections/there")["status"] == "connected")
    assert house.ask("GET", "/rules/r1/status")["sink_rest_0_0_records_in_total"] == 6


@needs_broker
def test_a_source_goes_to_another_broker_and_its_window_goes_on(house: House, tmp_path: Path) -> None:
    def say(broker: Broker, v: int) -> None:
        """Until the rule has it: a message may come before its subscription."""
        mouth = paho.Client(paho.CallbackAPIVersion.VERSION2)
        mouth.connect("127.0.0.1", broker.port)
        mouth.loop_start()
        mouth.publish("boxes", json.dumps({"v": v}), qos=1, retain=True).wait_for_publish(10)
        mouth.disconnect()
        mouth.loop_stop()

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with Broker(tmp_path / "one") as one, Broker(tmp_path / "two") as two:
        say(one, 1)
        say(two, 2)
        first = {"server": f"tcp://127.0.0.1:{one.port}"}
        house.ask("POST", "/connections", {"id": "broker", "typ": "mqtt", "props": first}, 201)
        chosen = json.dumps({"connectionSelector": "broker"}).replace('"', '\\"')
        house.ask(
            "POST",
            "/streams",
            {"sql": f'CREATE STREAM s () WITH (DATASOURCE="boxes", TYPE="mqtt", EXTRA="{chosen}")'},
            201,
        )
        rule = {
            "id": "r1",
            "sql": "SELECT collect(v) AS vs FROM s GROUP BY COUNTWINDOW(2)",
            "actions": [{"memory": {"topic": "out"}}],
            "options": {"qos": 1},
        }
        house.ask("POST", "/rules", rule, 201)
        wait_for(lambda: house.ask("GET", "/rules/r1/status")["source_s_0_records_out_total"] == 1)
        assert house.ask("GET", "/connections/broker")["status"] == "connected"
        assert house.ask("GET", "/connections/broker")["users"] == ["stream s"]
        house.ask("PUT", "/connections/broker", {"props": {"server": f"tcp://127.0.0.1:{two.port}"}})
        wait_for(lambda: house.ask("GET", "/rules/r1/status")["sink_memory_0_0_records_out_total"] == 1)
        house.ask("PUT", "/connections/broker", {"props": {"server": f"tcp://127.0.0.1:{free_port()}"}})
        wait_for(lambda: "out of reach" in house.ask("GET", "/connections/broker")["err"])
        assert house.ask("GET", "/connections/broker")["status"] == "disconnected"


class Counting(Source):
    """Gives 0, 1, 2 ... until it has to end; `opened`: how often."""

    def __init__(self) -> None:
        self.opened, self.next, self.taken = 0, 0, True

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None: ...

    def open(self, context: SourceContext) -> None:
        self.opened += 1
        while not context.stopped:
            self.taken = context.emit({"v": self.next})
            self.next += 1


def test_a_source_that_is_opened_again_while_it_waits_for_room_loses_no_record() -> None:
    source = Counting()
    feed = SourceRunner("s", "", lambda: source, 2, True, Idle())
    feed.start()
    got: list[int] = []

    def take(most: int) -> None:
        got.extend(row["v"] for entry in feed.take_entries(most) for row in entry.rows or ())

    for opened in range(1, 4):
        wait_for(lambda: source.opened == opened and feed.waiting == 2)  # noqa: B023
        feed.reopen()
        take(1)
    wait_for(lambda: source.opened == 4)
    feed.stop()
    assert feed.join()
    take(10)
    assert source.taken is False  # of the one in hand at the very end
    assert got == list(range(source.next - 1))


def tried(house: House, path: str, properties: Any, why: str = "") -> None:
    """It gets through, or is refused with `why`."""
    told = house.ask("POST", f"/metadata/{path}", properties, 400 if why else 200)
    assert why in (told["message"] if why else "")


@needs_broker
def test_a_broker_is_tried_before_it_is_used(house: House, tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        server = {"server": f"tcp://127.0.0.1:{broker.port}"}
        for path in ("sinks/connection/mqtt", "sources/connection/mqtt", "connections/connection/mqtt"):
            tried(house, path, server)
        tried(house, "sinks/connection/mqtt", {**server, "topic": "boxes", "sendSingle": True})
        house.ask("POST", "/connections", {"id": "broker", "typ": "mqtt", "props": server}, 201)
        tried(house, "sources/connection/mqtt", {"connectionSelector": "broker", "datasource": "boxes"})
    tried(house, "sinks/connection/mqtt", server, "refused")
    tried(house, "sinks/connection/mqtt", {"sever": "x"}, "did you mean")


def test_an_http_server_is_tried_before_it_is_used(house: House) -> None:
    with Peer() as peer:
        tried(house, "sinks/connection/rest", {"url": peer.url, "method": "PUT"})
        tried(house, "sources/connection/httppull", {"url": peer.url, "interval": 10})
        for peer.code in (401, 503):
            tried(house, "sinks/connection/rest", {"url": peer.url}, str(peer.code))
    tried(house, "sinks/connection/rest", {"url": peer.url}, "ConnectError")
    tried(house, "sinks/connection/rest", {"url": "http://{{.host}}/"}, "template")
    tried(house, "sinks/connection/log", {}, "no connection to test")
    tried(house, "sinks/connection/nosuch", {}, "no connection to test")


def test_a_database_is_tried_before_it_is_used(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_admin, "TRIAL_S", 60.0)  # the first trial imports SQLAlchemy
    file = tmp_path / "there.db"
    file.touch()
    tried(house, "sinks/connection/sql", {"url": f"sqlite:///{file}", "table": "t"})
    tried(house, "sinks/connection/sql", {"url": f"sqlite:///{tmp_path}/no.db"}, "not there")
    assert not (tmp_path / "no.db").exists()
    nobody = f"me:deep@tcp(127.0.0.1:{free_port()})/base"
    message = house.ask("POST", "/metadata/sinks/connection/sql", {"url": nobody}, 400)["message"]
    assert "deep" not in message
    monkeypatch.setattr(connection_admin, "TRIAL_S", 3.0)  # MongoDB's client tries again as long as it may
    base = f"mongodb://me:deep@127.0.0.1:{free_port()}/base"
    message = house.ask("POST", "/metadata/sinks/connection/mongo", {"url": base, "collection": "rows"}, 400)
    assert "deep" not in message["message"]
    assert "refused" in message["message"] or "no answer" in message["message"]


def test_an_endpoint_is_tried_before_it_is_used(house: House) -> None:
    with zmq.Context() as own, own.socket(zmq.PULL) as peer:
        url = f"tcp://127.0.0.1:{peer.bind_to_random_port('tcp://127.0.0.1')}"
        tried(house, "sinks/connection/zmq", {"url": url, "bind": False, "type": "push"})
        tried(house, "sinks/connection/zmq", {"url": url}, "in use")
    tried(house, "sinks/connection/zmq", {"url": url})
    tried(house, "sinks/connection/zmq", {"url": url, "bind": False, "timeout": 100}, "no peer")


def test_a_peer_that_says_nothing_holds_nobody_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_admin, "TRIAL_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = {"server": f"tcp://127.0.0.1:{silent.getsockname()[1]}"}
        tried(house, "sinks/connection/mqtt", server, "within 0.3 s")
        house.ask("GET", "/ping")


def test_a_check_of_properties_that_make_no_sense_is_refused(house: House) -> None:
    for kind in ("sinks", "sources", "connections"):
        for body in ({"server": 5}, {"connectionSelector": "no"}, {"connectionSelector": {}}):
            house.ask("POST", f"/metadata/{kind}/connection/mqtt", body, 400)


def test_the_page_names_every_type_and_property_of_connections() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text().partition("## Connections")[2]
    for kind in types_of("connection"):
        row = next(line for line in page.splitlines() if line.startswith(f"| {kind} |"))
        names = {field.name for field in fields(known_connection(kind))}
        assert names <= set(re.findall(r"\w+", row)) or row == "| httppull | as rest | as rest |"
