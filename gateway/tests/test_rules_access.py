"""What rules may reach: files below the roots, public hosts; and who may ask the engine."""

import json
import socket
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rules_house import House
from waiting import wait_for

from opq_proto.errors import ConfigError
from opq_proto.keys.rest_token import NAME
from opq_proto.kit.address_guard import AddressGuard, networks_of
from opq_rules.connections.http_client import answered, http_client
from opq_rules.sinks import file as file_sink

STREAM = 'CREATE STREAM demo () WITH (DATASOURCE="demo", TYPE="memory")'


def rule(name: str, **sink: Any) -> dict[str, Any]:
    return {"id": name, "sql": "SELECT * FROM demo", "actions": [sink]}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """As it is installed: without file_roots and private_networks."""
    (tmp_path / "data" / "curve" / "public_keys").mkdir(parents=True)
    made = House(tmp_path, file_roots=(), private_networks=())
    made.ask("POST", "/streams", {"sql": STREAM}, 201)
    yield made
    assert made.stop() == []


def published(house: House, row: dict[str, Any]) -> None:
    house.service.engine.topics.publish("demo", [row])


# Files


PATHS = [
    "{D}/curve/public_keys/opqbox7.key",
    "../curve/public_keys/opqbox7.key",
    "{D}/exports/../curve/x",
    "{D}/rules/x",
    "{D}/opq.sqlite3",
    "/etc/cron.d/opq",
    "{D}",
    "{D}/exports/link/opqbox7.key",
]


def test_a_file_sink_stays_in_its_roots(house: House) -> None:
    data = house.config.data_dir
    assert data is not None
    (data / "exports" / "link").symlink_to(data / "curve" / "public_keys")
    for path in (each.replace("{D}", str(data)) for each in PATHS):
        for sink in (
            {"file": {"path": path}},
            {"file": {"path": path, "fileType": "csv"}},
            {"sql": {"url": f"sqlite:///{path}", "table": "t"}},
        ):
            refusal = house.ask("POST", "/rules", rule("thief", **sink), 400)["message"]
            assert "'..'" in refusal or ("is not below" in refusal and "file_roots" in refusal)
    assert not list((data / "curve" / "public_keys").iterdir())


@pytest.mark.parametrize("kind", ["file", "recording"])
def test_a_source_reads_no_key(house: House, kind: str) -> None:
    data = house.config.data_dir
    assert data is not None
    secret = data / "curve" / "opqserver_secret"
    secret.write_text("secret")
    (data / "exports" / "link").symlink_to(secret)
    for path in (secret, data / "exports" / "link", data / "rules" / NAME, Path("/etc/passwd")):
        sql = f'CREATE STREAM thief () WITH (DATASOURCE="{path}", TYPE="{kind}")'
        assert "is not below" in house.ask("POST", "/streams", {"sql": sql}, 400)["message"]
    house.service.engine.configurations.put(
        "sources", "file", "m", {"actionAfterRead": "move", "moveTo": str(data)}
    )
    sql = 'CREATE STREAM thief () WITH (DATASOURCE="x", TYPE="file", CONF_KEY="m")'
    assert "is not below" in house.ask("POST", "/streams", {"sql": sql}, 400)["message"]


def test_a_relative_path_is_private_below_exports(house: House) -> None:
    house.ask("POST", "/rules", rule("out", file={"path": "a/out.jsonl"}), 201)
    published(house, {"v": 1})
    assert house.config.data_dir is not None
    out = house.config.data_dir / "exports" / "a" / "out.jsonl"
    wait_for(lambda: out.exists() and '"v":1' in out.read_text())
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (out, out.parent, out.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_a_swapped_link_leads_nowhere(house: House, swapped: str) -> None:
    """The rule is allowed, then its folder or file becomes a link to the keys, then the sink opens."""
    data = house.config.data_dir
    assert data is not None
    keys, out = data / "curve" / "public_keys", data / "exports" / "a"
    out.mkdir()
    sink = file_sink.Sink(house.service.plugins.access)
    sink.configure({"path": "a/opqbox7.key"})
    if swapped == "folder":
        out.rmdir()
        out.symlink_to(keys)
    else:
        (out / "opqbox7.key").symlink_to(keys / "opqbox7.key")
    with pytest.raises(OSError, match=r"is not below|symbolic links"):
        sink.open(None)  # type: ignore[arg-type]
    assert not list(keys.iterdir())


def test_an_open_file_survives_a_linked_folder(tmp_path: Path) -> None:
    made = House(tmp_path, file_roots=(tmp_path / "out",))
    try:
        (tmp_path / "out").mkdir()
        keys = tmp_path / "keys"
        keys.mkdir()
        made.ask("POST", "/streams", {"sql": STREAM}, 201)
        made.ask("POST", "/rules", rule("out", file={"path": "a/x", "rollingSize": 1}), 201)
        published(made, {"v": 1})
        wait_for((tmp_path / "out/a/x").exists)
        (tmp_path / "out/a").rename(tmp_path / "out/b")
        (tmp_path / "out/a").symlink_to(keys)
        published(made, {"v": 2})  # rolls, and opens the next file
        wait_for(lambda: len(list((tmp_path / "out/b").iterdir())) == 2)
        assert not list(keys.iterdir())
    finally:
        assert made.stop() == []


def test_a_file_or_key_link_is_no_root(house: House, tmp_path: Path) -> None:
    exports = tmp_path / "data" / "exports"
    refusal = house.ask("POST", "/rules", rule("r", file={"path": str(exports)}), 400)["message"]
    assert "is not below" in refusal
    with pytest.raises(IsADirectoryError):
        house.service.plugins.access.files.open(exports, 0)
    linked = tmp_path / "other" / "data"
    (linked / "curve").mkdir(parents=True)
    (linked / "exports").symlink_to(linked / "curve")
    with pytest.raises(ConfigError, match="beside keys, rules and store"):
        House(tmp_path / "other", file_roots=())


@pytest.mark.parametrize("root", ["data", "data/curve", "data/rules"])
def test_a_root_in_the_data_folder_is_refused(tmp_path: Path, root: str) -> None:
    with pytest.raises(ConfigError, match="beside keys, rules and store"):
        House(tmp_path, file_roots=(tmp_path / root,))


def test_a_root_around_the_data_folder_opens_nothing(tmp_path: Path) -> None:
    made = House(tmp_path, file_roots=(tmp_path,))
    try:
        made.ask("POST", "/streams", {"sql": STREAM}, 201)
        made.ask("POST", "/rules", rule("in", file={"path": str(tmp_path / "data/x")}), 400)
        made.ask("POST", "/rules", rule("out", file={"path": str(tmp_path / "x")}), 201)
    finally:
        assert made.stop() == []


def test_a_databases_address_reads_no_file_here(house: House) -> None:
    for url in (
        "mysql+pymysql://u:w@db.example/base?local_infile=1",
        "mysql+pymysql://u:w@db.example/base?read_default_file=/etc/passwd",
        "sqlite:///file:/etc/x?mode=rwc&uri=true",
        "duckdb:////etc/x",
    ):
        house.ask("POST", "/rules", rule("thief", sql={"url": url, "table": "t"}), 400)


# Hosts


class Server(ThreadingHTTPServer):
    """Counts requests; answers with a redirect to itself where the path says so."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made
        made.shutdown()


HOSTS = [
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    "169.254.169.254",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[fec0::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::1]",
]


def test_private_addresses_are_refused_in_definitions(house: House) -> None:
    for number, host in enumerate(HOSTS):
        url = f"http://{host}:9/x"
        for sink in ({"rest": {"url": url}}, {"notify": {"url": url, "token": "opq_1"}}):
            assert "private_networks" in house.ask("POST", "/rules", rule("r", **sink), 400)["message"]
        key = f"c{number}"
        house.ask("PUT", f"/metadata/sources/httppull/confKeys/{key}", {"url": f"http://{host}:9"})
        sql = f'CREATE STREAM pulled () WITH (DATASOURCE="/x", TYPE="httppull", CONF_KEY="{key}")'
        assert "private_networks" in house.ask("POST", "/streams", {"sql": sql}, 400)["message"]


def test_another_spelling_of_loopback_is_not_connected_to(house: House, server: Server) -> None:
    port = server.server_port
    house.ask("POST", "/rules", rule("r", rest={"url": f"http://127.1:{port}/x", "retryInterval": 10}), 201)
    published(house, {"v": 1})
    wait_for(lambda: "private network" in str(house.ask("GET", "/rules/r/status")))
    assert server.asked == []


def test_the_connections_address_decides(server: Server) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    guard = AddressGuard(resolve=lambda *_: next(answers))
    assert guard.addresses("rebinding.example", 80) == ["93.184.216.34"]
    url = f"http://rebinding.example:{server.server_port}/x"
    with http_client(60.0, {}, guard) as client, pytest.raises(ConnectionError, match="private network"):
        answered(client, "POST", url)
    allowed = AddressGuard(networks=networks_of(["127.0.0.0/8"]), resolve=lambda *_: next(answers))
    with http_client(60.0, {}, allowed) as client:
        assert answered(client, "POST", url).status_code == 200
    assert server.asked == ["/x"]


def test_allowed_networks_and_notify_are_reached(tmp_path: Path, server: Server) -> None:
    made = House(tmp_path, private_networks=("127.0.0.1/32",))
    made.ask("POST", "/streams", {"sql": STREAM}, 201)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        made.ask("POST", "/rules", rule("r", rest={"url": f"{url}/x"}), 201)
        published(made, {"v": 1})
        wait_for(lambda: server.asked == ["/x"])
    finally:
        assert made.stop() == []
    other = House(tmp_path / "other", private_networks=())
    try:
        other.ask("POST", "/streams", {"sql": STREAM}, 201)
        other.ask("POST", "/rules", rule("n", notify={"url": f"{url}/notify", "token": "opq_1"}), 201)
        published(other, {"v": 1})
        wait_for(lambda: server.asked == ["/x", "/notify"])
    finally:
        assert other.stop() == []


def test_a_wrong_network_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="private_networks"):
        House(tmp_path, private_networks=("192.168.1.7/24",))


# The token


def test_every_request_needs_the_token(house: House, tmp_path: Path) -> None:
    file = tmp_path / "data" / "rules" / NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_text().strip()) >= 40
    with httpx.Client(base_url=house.url, trust_env=False, verify=False) as nobody:
        for method, path in (
            ("GET", "/"),
            ("GET", "/rules"),
            ("POST", "/rules"),
            ("GET", "/openapi.json"),
            ("GET", "/stop"),
        ):
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": ""},
                {"Authorization": "Bearer"},
            ):
                answer = nobody.request(method, path, headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                want = f"want the header Authorization: Bearer TOKEN; the token is in {file}"
                assert answer.json()["message"] == want
        assert nobody.get("/ping").status_code == nobody.get("/metrics").status_code == 200
        elsewhere = nobody.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"})
        assert elsewhere.status_code == 401 and str(file) not in elsewhere.text
    assert house.http.get("/rules").status_code == 200
    before = file.read_text()
    file.chmod(0o644)
    assert house.stop() == []
    again = House(tmp_path, file_roots=(), private_networks=())
    house.service, house.http = again.service, again.http
    assert file.read_text() == before and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_request_with_two_lengths_ends_its_connection(house: House) -> None:
    smuggled = b"0\r\n\r\nGET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = b"POST /rules HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection(("127.0.0.1", house.service.port), 60) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("header", [b"", b"\x93NUMPY\x01\x00\x76\x00{'descr': '<i2', 'shape': (3,("])
def test_a_recording_with_a_broken_header_is_refused(tmp_path: Path, header: bytes) -> None:
    made = House(tmp_path)
    try:
        (tmp_path / "x.npy").write_bytes(header.ljust(200))
        (tmp_path / "x.json").write_text(json.dumps({"rate_hz": 12000, "volts_per_lsb": 1}))
        sql = f'CREATE STREAM r () WITH (DATASOURCE="{tmp_path}/x.npy", TYPE="recording")'
        assert "source 'recording'" in made.ask("POST", "/streams", {"sql": sql}, 400)["message"]
    finally:
        assert made.stop() == []
