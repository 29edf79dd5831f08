"""The set-up page over HTTP: the original's routes, its users, its secrets."""

import base64
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stand_in_nmcli import World
from waiting import wait_for

from opq_gateway import config as gateway_config
from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.commands.setup_links import KEY_S, LINK_S, MOST_LINKS, SetupLinks
from opq_gateway.config import Config
from opq_gateway.counters import MEANING, BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.setup import saved
from opq_gateway.setup.networks import Secret
from opq_gateway.setup.nmcli import Nmcli
from opq_gateway.setup.server import SetupServer
from opq_gateway.setup.setup_guard import CHANGE_BURST, GUESS_S, PASSWORD_BURST, SetupGuard, SetupRequest
from opq_gateway.setup.setup_page import SetupPage
from opq_gateway.setup.state import ORDINARY_GAPS, SetupState, version_number
from opq_gateway.setup.wifi import Wifi
from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit.http_server import MAX_AT_ONCE
from opq_proto.link.box_losses import LOSS_WORDS
from opq_proto.link.messages import Losses
from opq_proto.messages import TimeSource

SECRET = "a set-up password"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Rig:
    """A set-up page on a free port."""

    server: SetupServer
    world: World
    config: Config
    feed: MeasuredFeed
    counters: dict[str, BoxCounters]
    statuses: dict[str, BoxStatus]
    links: SetupLinks
    restarts: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What a link gives."""
        return self.links.use(str(self.links.make()).partition("#link=")[2]) or ""

    def ask(self, path: str, document: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body (parsed where it is JSON), headers; POST when there is a document. With a key."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=240)
        head = {name.replace("_", "-"): value for name, value in ({"Opq_Setup": self.key} | headers).items()}
        try:
            if document is None:
                connection.request("GET", path, headers=head)
            else:
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                connection.request("POST", path, body, {"Content-Type": "application/json", **head})
            reply = connection.getresponse()
            data = reply.read()
            found = dict(reply.getheaders())
        finally:
            connection.close()
        return reply.status, json.loads(data) if "json" in found["Content-Type"] else data, found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[[box]]\nid = "1"\nport = "/dev/x"\n[[box]]\nid = "7"\nport = "/dev/y"'
    )
    (tmp_path / "gateway").mkdir()
    config = gateway_config.load(file)
    statuses = {box.id: BoxStatus(box.id, 60) for box in config.box}
    counters = {box.id: BoxCounters() for box in config.box}
    keys = {"": "server key in Z85", "1": "key of 1", "7": "key of 7"}
    feed = MeasuredFeed()
    world = World(tmp_path / "nm")
    wifi = Wifi(Nmcli(threading.Event(), world.program), "OPQ", Secret(SECRET), True, BoxCounters())
    restarts: list[str] = []

    def save(settings: Any) -> bool:
        saved.save(config, settings)
        restarts.append("again")
        return True

    claims, links = ClaimCodes(statuses), SetupLinks("token")
    shown = SetupState(config, statuses, counters, keys, feed, wifi)
    page = SetupPage(shown, wifi, save, links, claims=claims)
    server = SetupServer("127.0.0.1:0", page, SetupGuard(Secret(SECRET), links), wifi, counters["1"])
    links.serve_at("127.0.0.1:0", server.port)
    yield Rig(server, world, config, feed, counters, statuses, links, restarts)
    server.close()


def test_the_originals_get_routes(rig: Rig) -> None:
    rig.world.hears(b"caf\xc3\xa9", 80)
    rig.world.hears(b"\xffx", 20, "")
    status, page, head = rig.ask("/")
    assert status == 200 and b"<title>OPQ gateway" in page
    assert "script-src 'sha256-" in head["Content-Security-Policy"]
    assert rig.ask("/opq.ico")[1][:4] == b"\0\0\1\0"
    assert isinstance(rig.ask("/version")[1]["version"], int)
    assert rig.ask("/ssids")[1]["ssids"] == [["café", 80, "WPA2", False], ["\udcffx", 20, "", False]]
    told = rig.ask("/box_config")[1]["box_config"]
    assert told["box_id"] == 1 and told["trg_push_ep"] == "tcp://127.0.0.1:9880"
    assert told["windows_per_measurements"] == 60 and told["windows_in_storage_buffer"] == 24 * 3600 * 60
    assert rig.ask("/box_config?box=7")[1]["box_config"]["box_id"] == 7
    assert rig.ask("/box_config?box=8")[0] == 404
    status, said, _ = rig.ask("/elsewhere")
    assert status == 404 and said == {"error": "not found"}


def test_a_claim_code_needs_the_gateways_box(rig: Rig) -> None:
    status, made, _ = rig.ask("/claim_code", {"box": "7"})
    assert status == 200 and made["box_id"] == "7" and re.fullmatch("[0-9A-Z]{4}-[0-9A-Z]{4}", made["code"])
    for wrong in ({"box": "8"}, {"box": 7}, {}):
        status, said, _ = rig.ask("/claim_code", wrong)
        assert status == 404 and said == {"error": "want box, one of 1, 7"}
    assert rig.ask("/claim_code")[0] == 404, "a look makes none"


def test_each_boxs_state_is_reported(rig: Rig) -> None:
    assert MEANING.keys() >= ORDINARY_GAPS
    rig.counters["1"].add("gaps", 3)
    rig.counters["1"].add("samples", 3)
    for f_hz in (60.0, 60.01):
        values = {"rms_v": 120.5, "f_hz": f_hz}
        rig.feed.offer(Values("1", "3s", 1, 2, 3, TimeSource.GPS, False, values))
    rig.statuses["1"].losses = Losses((0, 7))
    state = rig.ask("/state")[1]
    one, seven = state["boxes"]
    assert one["values"]["f_hz"]["value"] == 60.01
    assert one["counters"] == {"gaps": 3, "box_lost_link_noise": 7}
    assert "port not open" in one["problem"] and seven["values"] == {}
    assert state["wifi"] == {"state": "starting", "problem": None}
    meaning = rig.ask("/meaning")[1]
    assert meaning.items() >= MEANING.items() and meaning["box_lost_pps_dropped"] == LOSS_WORDS["pps_dropped"]


def test_no_route_tells_a_secret(rig: Rig) -> None:
    for path in ("/", "/state", "/box_config", "/version", "/meaning", "/ssids"):
        text = json.dumps(str(rig.ask(path)[1])).lower()
        assert SECRET not in text and "secret_key" not in text and "secret-key" not in text


def test_connecting_is_requested_and_errors_reported(rig: Rig) -> None:
    rig.world.hears(b"home", secret="x")
    rig.ask("/ssids")
    assert rig.ask("/connect", {"ssid": "home", "password": "long enough"})[:2] == (200, {"state": "joining"})
    assert rig.ask("/connect", {"ssid": "home", "password": ""})[0] == 500
    assert "8 to 63" in rig.ask("/connect", {"ssid": "home", "password": "x"})[1]["error"]
    assert "1 to 32" in rig.ask("/connect", {"ssid": "x" * 33, "password": "long enough"})[1]["error"]
    for wrong in ({}, {"ssid": 3}, {"ssid": "a", "password": 7}, {"ssid": "\ud800"}, []):
        assert rig.ask("/connect", wrong)[0] == 500


def test_settings_last_beside_the_file(rig: Rig, tmp_path: Path) -> None:
    known = rig.ask("/box_config")[1]["box_config"]
    assert rig.ask("/box_config", {"box_config": json.dumps(known)})[1] == {"saved": True, "restarts": False}
    known["trg_push_ep"] = "tcp://makai.example:9880"
    known["windows_per_measurements"] = 12
    assert rig.ask("/box_config", {"box_config": json.dumps(known)})[1] == {"saved": True, "restarts": True}
    assert rig.restarts == ["again"]
    loaded = saved.load_saved(tmp_path / "gateway.toml")
    assert loaded.uplink.trigger_endpoint == "tcp://makai.example:9880" and loaded.measurement_cycles == 12
    assert loaded.uplink.command_endpoint == rig.config.uplink.command_endpoint
    assert (tmp_path / "gateway" / "setup.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"trg_push_ep": "http://makai"}, "trigger_endpoint"),
        ({"trg_push_ep": "tcp://makai"}, "trigger_endpoint"),
        ({"cmd_push_ep": "tcp://makai:9880\n"}, "response_endpoint"),
        ({"cmd_sub_ep": "tcp://a b:9880"}, "command_endpoint"),
        ({"windows_per_measurements": 601}, "1 to 600"),
        ({"windows_per_measurements": True}, "1 to 600"),
        ({"device_path": "/dev/z"}, "cannot be set here"),
        ({"box_secret_key": "x"}, "cannot be set here"),
        ({"box_id": 9}, "no Box 9"),
        ([1], "JSON text of an object"),
        ("no json", "JSON text of an object"),
    ],
)
def test_wrong_settings_change_nothing(rig: Rig, tmp_path: Path, settings: Any, why: str) -> None:
    text = settings if isinstance(settings, str) else json.dumps(settings)
    status, said, _ = rig.ask("/box_config", {"box_config": text})
    assert status == 500 and why in said["error"]
    assert not (tmp_path / "gateway" / "setup.json").exists() and rig.restarts == []


def test_a_broken_saved_file_is_left_aside(rig: Rig, tmp_path: Path) -> None:
    for text in ("{", '{"trg_push_ep": 3}', '"x"', ""):
        (tmp_path / "gateway" / "setup.json").write_text(text)
        assert saved.load_saved(tmp_path / "gateway.toml") == rig.config


def test_an_update_says_how_it_is_done_here(rig: Rig) -> None:
    status, said, _ = rig.ask("/box_update", {})
    assert status == 500 and "opq-tools flash" in said["error"]


def test_broken_bodies_are_reported(rig: Rig) -> None:
    assert rig.ask("/connect", b"{")[0] == 500
    assert rig.ask("/connect", b"[" * 60_000)[0] == 500
    assert rig.ask("/connect", b"\xff")[0] == 500
    assert rig.ask("/connect", b"[]")[1] == {"error": "want a JSON object"}
    assert rig.ask("/connect", b" " * 65_537)[0] == 413


def raw(rig: Rig, request: bytes) -> bytes:
    """What a peer that keeps to no form gets; with a key."""
    line, end, rest = request.partition(b"\r\n")
    request = line + end + b"Opq-Setup: " + rig.key.encode() + b"\r\n" + rest if end else request
    with socket.create_connection(("127.0.0.1", rig.server.port), timeout=240) as peer:
        peer.sendall(request)
        return peer.recv(4096)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://[x HTTP/1.1\r\nHost: localhost", b" 400 "),
        (b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\nHost: localhost", b" 400 "),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost", b" 414 "),
        (b"GET / HTTP/1.1", b" 400 "),
        (b"GET //elsewhere/ HTTP/1.1\r\nHost: localhost", b" 404 "),
        (b"PUT / HTTP/1.1\r\nHost: localhost", b" 501 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, b" 431 "),
        (b"POST /connect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json", b" 411 "),
        (b"\x00\xff", b"400"),
    ],
)
def test_a_request_of_any_form_is_answered(rig: Rig, head: bytes, status: bytes) -> None:
    assert status in raw(rig, head + b"\r\n\r\n")
    assert rig.ask("/version")[0] == 200


def test_other_pages_may_not_use_this_one(rig: Rig) -> None:
    wish = {"ssid": "home", "password": "long enough"}
    own = f"127.0.0.1:{rig.server.port}"
    assert rig.ask("/connect", wish, Origin="http://evil.example")[0] == 403
    assert rig.ask("/connect", wish, Origin="null")[0] == 403
    assert rig.ask("/connect", wish, Sec_Fetch_Site="cross-site")[0] == 403
    assert rig.ask("/connect", wish, Content_Type="text/plain")[0] == 415
    assert rig.ask("/state", Host="evil.example")[0] == 400
    assert rig.counters["1"]["setup_refused"] == 5
    assert rig.ask("/connect", wish, Origin=f"http://{own}")[0] == 200


def asked(
    method: str = "GET",
    peer: str = "192.168.1.9",
    here: str = "192.168.1.2",
    path: str = "/state",
    **headers: str,
) -> SetupRequest:
    return SetupRequest(
        method,
        path,
        {"host": "192.168.1.2:8888", **{k.replace("_", "-"): v for k, v in headers.items()}},
        peer,
        here,
    )


def basic(password: str, user: str = "opq") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


LINKS = SetupLinks("token")


def status_of(guard: SetupGuard, one: SetupRequest, access_point: bool = False) -> int:
    refusal = guard.refusal(one, access_point)
    return 200 if refusal is None else refusal.status


def new_key(monotonic_s: float) -> str:
    links = SetupLinks("token", lambda: monotonic_s)
    links.serve_at("127.0.0.1:8888", 8888)
    return links.use(str(links.make()).partition("#link=")[2]) or ""


def test_beyond_loopback_a_password_is_required() -> None:
    guard = SetupGuard(Secret(SECRET), LINKS, Clock())
    assert status_of(guard, asked()) == 401 and status_of(guard, asked(path="/")) == 401
    assert status_of(guard, asked(authorization=basic(SECRET))) == 200
    assert status_of(guard, asked(authorization=basic(SECRET, "root"))) == 401
    assert status_of(guard, asked(authorization="Basic ?")) == 401
    assert status_of(guard, asked(authorization="Bearer x")) == 401
    over = asked(peer="10.42.0.17", here="10.42.0.1")
    assert status_of(guard, over, access_point=True) == 200 and status_of(guard, over) == 401
    assert status_of(guard, asked(peer="192.168.1.9", here="10.42.0.1"), access_point=True) == 401
    assert status_of(SetupGuard(None, LINKS, Clock()), asked()) == 403


def test_on_this_machine_a_link_is_required(rig: Rig) -> None:
    """Every user and plug-in of the machine reaches the port; the page alone shows nothing."""
    for path in ("/state", "/box_config", "/ssids", "/version", "/meaning"):
        assert rig.ask(path, Opq_Setup="")[0] == 401
    before = rig.ask("/box_config")[1]["box_config"]
    theirs = {"box_config": json.dumps(before | {"trg_push_ep": "tcp://theirs:9880"})}
    for document in ({"box": "1"}, theirs, {"ssid": "home", "password": "long enough"}):
        for path in ("/claim_code", "/box_config", "/connect"):
            assert rig.ask(path, document, Opq_Setup="guess")[0] == 401
    assert rig.restarts == [] and rig.ask("/box_config")[1]["box_config"] == before
    link = str(rig.links.make())
    assert link.startswith(f"http://127.0.0.1:{rig.server.port}/#link=")
    assert rig.ask("/", Opq_Setup="")[0] == 200
    status, made, _ = rig.ask("/session", {"link": link.partition("#link=")[2]}, Opq_Setup="")
    assert status == 200 and rig.ask("/state", Opq_Setup=made["key"])[0] == 200
    for used in (link.partition("#link=")[2], "guess", 7):
        assert rig.ask("/session", {"link": used}, Opq_Setup="")[0] == 403, "it holds once"


def test_a_link_of_this_machine_has_limits() -> None:
    """It is for programs of this machine, which do not pass for a device of the access point."""
    guard, key = SetupGuard(None, LINKS, Clock()), new_key(time.monotonic())
    here = {"peer": "127.0.0.1", "here": "127.0.0.1"}
    refusal = guard.refusal(asked(**here), False)
    assert refusal is not None and refusal.status == 403 and "opq-gateway setup-link" in refusal.text
    for peer in ("127.0.0.1", "::ffff:127.0.0.1", "192.168.1.2"):
        assert status_of(guard, asked(peer=peer, opq_setup=key)) == 200
    assert status_of(guard, asked(opq_setup=key)) == 403, "another machine"
    assert status_of(guard, asked(peer="127.0.0.1", opq_setup=key, x_forwarded_for="8.8.8.8")) == 403
    for own in ({"peer": "10.42.0.1"}, {"peer": "127.0.0.1"}):
        assert status_of(guard, asked(here="10.42.0.1", **own), access_point=True) == 403
    late = new_key(time.monotonic() - KEY_S - 1)
    for wrong in (
        late,
        key + "0",
        key.replace(".", ".0"),
        "9" * 20,
        "x.y",
        f"{2**33}.{key.partition('.')[2]}",
    ):
        assert status_of(guard, asked(**here, opq_setup=wrong)) == 403
    assert status_of(SetupGuard(None, SetupLinks("other"), Clock()), asked(**here, opq_setup=key)) == 403


def test_an_open_link_ends() -> None:
    """After its time, and for a newer one where too many are open."""
    clock = Clock()
    links = SetupLinks("token", clock)
    assert links.make() is None
    links.serve_at("[::]:8888", 8888)
    made = [str(links.make()).partition("#link=") for _ in range(MOST_LINKS + 1)]
    assert made[0][0] == "http://127.0.0.1:8888/"
    assert links.use(made[0][2]) is None and links.use(made[1][2])
    clock.now_s += LINK_S
    assert links.use(made[2][2]) is None


def test_wrong_passwords_and_changes_have_a_pace() -> None:
    clock = Clock()
    guard = SetupGuard(Secret(SECRET), LINKS, clock)

    def status(one: SetupRequest) -> int:
        return status_of(guard, one)

    wrong = asked(authorization=basic("guess"))
    assert [status(wrong) for _ in range(PASSWORD_BURST + 1)] == [401] * PASSWORD_BURST + [429]
    assert status(asked(authorization=basic(SECRET))) == 429  # a guess among them is not told
    assert status(asked(peer="192.168.1.10", authorization=basic(SECRET))) == 200
    clock.now_s += GUESS_S
    assert status(asked(authorization=basic(SECRET))) == 200
    key = new_key(time.monotonic())
    change = asked("POST", "127.0.0.1", content_type="application/json; charset=utf-8", content_length="2")
    change.headers["opq-setup"] = key  # type: ignore[index]
    assert [status(change) for _ in range(CHANGE_BURST + 1)] == [200] * CHANGE_BURST + [429]
    assert status(asked("POST", "127.0.0.1", content_type="application/json", opq_setup=key)) in (411, 429)


def test_other_users_spend_nothing_of_a_key() -> None:
    """They have the same address, 127.0.0.1, and neither key nor password."""
    guard = SetupGuard(Secret(SECRET), LINKS, Clock())
    body = {"content_type": "application/json", "content_length": "2"}
    for _ in range(2 * CHANGE_BURST):
        assert status_of(guard, asked("POST", "127.0.0.1", path="/session", **body)) == 200
        for path in ("/", "/connect"):
            wrong = asked("POST", "127.0.0.1", path=path, authorization=basic("guess"), **body)
            assert status_of(guard, wrong) in (401, 429)
    right = asked("POST", "127.0.0.1", path="/connect", **body, opq_setup=new_key(time.monotonic()))
    assert status_of(guard, asked("POST", "127.0.0.1", path="/session", **body)) == 200
    assert status_of(guard, right) == 200


def test_a_key_holds_until_the_machine_restarts() -> None:
    """At most a day, by a clock that no network sets; a new start of the gateway does not end it."""
    clock = Clock()
    links = SetupLinks("token", clock)
    links.serve_at("127.0.0.1:8888", 8888)
    key = links.use(str(links.make()).partition("#link=")[2]) or ""
    assert SetupLinks("token", clock).knows(key)
    assert not SetupLinks("token", clock, "another start").knows(key)
    clock.now_s += KEY_S - 1
    assert links.knows(key)
    clock.now_s += 1
    assert not links.knows(key)


def test_excess_requests_are_closed(rig: Rig) -> None:
    held = [
        socket.create_connection(("127.0.0.1", rig.server.port), timeout=240) for _ in range(MAX_AT_ONCE + 3)
    ]
    closed = [one for one in held[MAX_AT_ONCE:] if one.recv(1) == b""]
    assert len(closed) == rig.counters["1"]["setup_overflow"] == 3
    for one in held:
        one.close()

    def answers() -> bool:
        try:
            return bool(rig.ask("/version")[0] == 200)
        except (OSError, http.client.HTTPException):
            return False

    wait_for(answers)


def test_an_address_that_is_taken_is_reported(rig: Rig) -> None:
    with pytest.raises(PortBusyError, match="set-up: address"):
        SetupServer(
            f"127.0.0.1:{rig.server.port}",
            type("P", (), {"policy": ""})(),
            SetupGuard(None, LINKS),
            None,
            BoxCounters(),
        )


def test_the_version_is_the_originals_whole_number() -> None:
    assert version_number("1.2.3") == 10203 and version_number("0.1.0") == 100 and version_number("x") == 0


def test_saved_settings_refuse_what_is_no_object(rig: Rig) -> None:
    with pytest.raises(ConfigError):
        saved.with_settings(rig.config, [])  # type: ignore[arg-type]


def test_an_interrupted_peer_leaves_one_line(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", rig.server.port), timeout=240) as peer:
        head = b"POST /connect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += b"Opq-Setup: " + rig.key.encode() + b"\r\n"
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no FIN
        peer.sendall(head + b"Content-Length: 100\r\n\r\n{")
    said: list[str] = []
    wait_for(lambda: said.extend(capsys.readouterr()) or "page.broken_off" in "".join(said))
    assert "Traceback" not in "".join(said)


def test_only_changed_settings_override_the_file(rig: Rig, tmp_path: Path) -> None:
    saved.save(rig.config, {"windows_per_measurements": 12})
    file = tmp_path / "gateway.toml"
    file.write_text(file.read_text() + '\n[uplink]\ntrigger_endpoint = "tcp://later:9880"\n')
    loaded = saved.load_saved(file)
    assert (loaded.uplink.trigger_endpoint, loaded.measurement_cycles) == ("tcp://later:9880", 12)
    saved.save(rig.config, {"cmd_sub_ep": "tcp://other:8194"})  # no start in between
    loaded = saved.load_saved(file)
    assert (loaded.uplink.command_endpoint, loaded.measurement_cycles) == ("tcp://other:8194", 12)
    assert loaded.uplink.trigger_endpoint == "tcp://later:9880"


def test_two_lengths_of_a_body_count_as_one(rig: Rig) -> None:
    head = b"POST /box_config HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += b"Opq-Setup: " + rig.key.encode() + b"\r\n"
    for first in (b"900000000", b"abc"):
        with socket.create_connection(("127.0.0.1", rig.server.port), timeout=240) as peer:
            peer.sendall(head + b"Content-Length: " + first + b"\r\nContent-Length: 2\r\n\r\n{}")
            assert peer.recv(100).startswith(b"HTTP/1.0 500")
