"""What the sandbox refuses says so, with the right that is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from plugin_zips import plugin_zip, stored
from rules_house import House
from waiting import wait_for

from opq_plugins.sandbox import landlock

PROGRAM = """
import socket, sys
from opq_plugins.worker.refusals import name_refusals

name_refusals(sys.argv[2:], "[rules.plugins] network of gateway.toml")
a, b = socket.socketpair()
try:
    exec(sys.argv[1])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
else:
    print("allowed")
"""
MYSQL = "import pymysql; pymysql.connect(host='127.0.0.1', port=3307, user='a', password='b')"
AFTER_MYSQL = f"""
try:
    {MYSQL}
except Exception:
    {{}}
"""
BIND = "socket.socket(socket.AF_INET6).bind(('::1', 8080))"
OPEN = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:81/')"
CONNECT = "socket.create_connection(('127.0.0.1', 9), 1)"
NOT_ALLOWED = "not allowed: {} is not in [rules.plugins] network of gateway.toml"


@pytest.mark.parametrize(
    ("code", "network", "said"),
    [
        (MYSQL, [], NOT_ALLOWED.format("tcp:3307")),
        ("socket.socket()", [], NOT_ALLOWED.format("tcp:PORT or listen:PORT")),
        (AFTER_MYSQL.format("socket.socket()"), [], NOT_ALLOWED.format("tcp:PORT or listen:PORT")),
        ("socket.create_connection((None, 9), 1)", [], NOT_ALLOWED.format("tcp:9")),
        ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", ["udp"], "not allowed: raw sockets; [rules."),
        ("socket.socket(type=socket.SOCK_RAW)", ["udp"], "not allowed: raw sockets; [rules."),
        (MYSQL, ["tcp:3306"], NOT_ALLOWED.format("tcp:3307")),
        (CONNECT, ["tcp:9"], "ConnectionRefusedError"),
        (CONNECT, ["listen:9"], NOT_ALLOWED.format("tcp:9")),
        (BIND, ["tcp:8080"], NOT_ALLOWED.format("listen:8080")),
        ("socket.socket(type=socket.SOCK_DGRAM)", ["tcp:9"], NOT_ALLOWED.format("udp")),
        ("socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)", ["udp"], "allowed"),
        ("socket.socket(socket.AF_UNIX).connect('/nowhere')", ["tcp:9"], NOT_ALLOWED.format("unix")),
        ("socket.socket(socket.AF_UNIX).connect('/nowhere')", ["unix"], "FileNotFoundError"),
        ("socket.socket(socket.AF_CAN, socket.SOCK_RAW, 1)", ["udp"], NOT_ALLOWED.format("can")),
        ("socket.getaddrinfo('no-such.invalid', 80)", ["tcp:80"], "names need udp, which is not in"),
        ("socket.getaddrinfo('127.0.0.1', 80)", ["tcp:80"], "allowed"),
        (OPEN, ["tcp:80"], NOT_ALLOWED.format("tcp:81")),
    ],
)  # fmt: skip
def test_a_refusal_names_the_missing_right(code: str, network: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, code, *network],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert said in done.stdout, done.stdout + done.stderr


CONNECTS = """
import socket
from opq_plugins import sdk

class Sink(sdk.Sink):
    def configure(self, properties):
        pass

    def collect(self, context, data):
        socket.create_connection(("127.0.0.1", 3307), 1)
"""
STREAM = 'CREATE STREAM s () WITH (TYPE="simulator", DATASOURCE="s", CONF_KEY="own")'


@pytest.mark.skipif(bool(landlock.why_not()), reason=landlock.why_not() or "it is here")
def test_a_rule_without_its_right_is_not_well(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        url = stored(tmp_path / "data" / "rules" / "uploads", plugin_zip("dials", code=CONNECTS))
        house.ask("POST", "/plugins/sinks", {"name": "dials", "file": url}, 201)
        house.ask("PUT", "/metadata/sources/simulator/confKeys/own", {"data": [{"n": 1}], "interval": 100})
        house.ask("POST", "/streams", {"sql": STREAM}, 201)
        actions = [{"dials": {}}]
        house.ask("POST", "/rules", {"id": "r", "sql": "SELECT * FROM s", "actions": actions}, 201)
        assert wait_for(lambda: not house.ask("GET", "/health")["ok"])
        found = house.ask("GET", "/health")["subcomponents"]
        assert [each["name"] for each in found] == ["rule r"]
        assert "not allowed: tcp:3307 is not in [plugins] network of the configuration" in found[0]["info"]
    finally:
        house.stop()
    assert list(house.service.engine.views.not_allowed()) == ["r"], "by memory, for its store is closed"
