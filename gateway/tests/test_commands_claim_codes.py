"""Claim codes: made on the gateway's own machine, for one Box, for a while, once."""

import errno
import http.client
import ipaddress
import itertools
import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from free_ports import free_port

import opq_gateway.__main__
from opq_gateway.__main__ import main
from opq_gateway.commands.claim_codes import ALPHABET, CODE_S, MAX_TRIES, ClaimCodes, as_digits
from opq_gateway.commands.local_orders import LocalOrders
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import HealthServer
from opq_gateway.local.running_gateway import note_address, status_words
from opq_proto.keys import rest_token
from opq_proto.keys.rest_token import NAME, made_token
from opq_proto.kit import http_server


class HandClock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_code_counts_once_as_typed() -> None:
    codes = ClaimCodes(["1", "2"])
    made = codes.make("1")
    assert len(made.code) == 9 and set(made.code) - {"-"} <= set(ALPHABET)
    assert not codes.spend("2", made.code) and not codes.spend("3", made.code)
    assert codes.spend("1", f" {made.code.lower().replace('-', ' ').replace('0', 'o').replace('1', 'l')} ")
    assert not codes.spend("1", made.code), "a replay"
    assert as_digits("k7qf-3m9x") == "K7QF3M9X" and as_digits("O1iL\u0661") == "0111"
    with pytest.raises(KeyError):
        codes.make("3")


def test_a_code_ends_in_three_ways() -> None:
    """Its time is over, a newer code replaces it, or there were too many wrong tries."""
    clock = HandClock()
    codes = ClaimCodes(["1"], clock)
    first, second = codes.make("1").code, codes.make("1").code
    assert first != second and not codes.spend("1", first)
    clock.now_s += CODE_S - 1
    assert [round(each.left_s) for each in codes.open_codes()] == [1]
    clock.now_s += 1
    assert codes.open_codes() == () and not codes.spend("1", second)
    third = codes.make("1").code
    for _ in range(MAX_TRIES):
        assert not codes.spend("1", "")
    assert not codes.spend("1", third) and codes.open_codes() == ()
    with_one_left = codes.make("1").code
    for _ in range(MAX_TRIES - 1):
        assert not codes.spend("1", "AAAA-AAAA")
    assert codes.spend("1", with_one_left)


def test_strangers_do_not_close_a_code() -> None:
    """What twenty accounts may send in ten minutes leaves the code of the Box's owner open."""
    codes = ClaimCodes(["1"], HandClock())
    code = codes.make("1").code
    assert not any(codes.spend("1", f"{number:08d}") for number in range(20 * 15))
    assert codes.spend("1", code)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The gateway's own, with its token."""
    made = tmp_path / "gateway"
    made.mkdir()
    return made


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[ClaimCodes, str]]:
    claims = ClaimCodes(["1", "2"])
    address = f"127.0.0.1:{free_port()}"
    server = HealthServer(address, {"1": BoxStatus("1", 60)}, {}, LocalOrders(folder, claims))
    yield claims, address
    server.close()


def with_token(folder: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {(folder / NAME).read_text().strip()}"}


def asked(address: str, method: str, path: str, **headers: str) -> tuple[int, object, str | None]:
    parts = urlsplit(f"//{address}")
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=240)) as connection:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.getheader("Cache-Control")


def test_a_code_is_shown_on_this_machine(served: tuple[ClaimCodes, str], folder: Path) -> None:
    """By the command and over HTTP."""
    claims, address = served
    token = with_token(folder)
    assert asked(address, "GET", "/claim-codes", **token) == (200, [], "no-store")
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", address])
    assert done.exit_code == 0 and "for 10 minutes, once" in done.output
    (shown,) = asked(address, "GET", "/claim-codes", **token)[1]  # type: ignore[misc]
    assert shown["box_id"] == "1" and shown["code"] in done.output and 590 <= shown["valid_s"] <= 600
    done = CliRunner().invoke(main, ["claim-code", "2", "--endpoint", address, "--json"])
    assert claims.spend("2", json.loads(done.stdout.splitlines()[-1])["code"])
    done = CliRunner().invoke(main, ["claim-code", "9", "--endpoint", address])
    assert done.exit_code == 1 and "there are 1, 2" in done.stderr
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", f"127.0.0.1:{free_port()}"])
    assert done.exit_code == 1 and "no gateway answers" in done.stderr
    with urllib.request.urlopen(f"http://{address}/", timeout=240) as answer:
        assert shown["code"] not in answer.read().decode()  # health is read by others


@pytest.mark.parametrize("authorization", ["", "Bearer guess", "Bearer ", "Basic b3BxOmd1ZXNz"])
def test_another_user_gets_no_code(served: tuple[ClaimCodes, str], folder: Path, authorization: str) -> None:
    """A program that cannot read the gateway's token: no code, no link, no list of open codes."""
    claims, address = served
    claims.make("2")
    paths = (("POST", "/claim-codes?box=1"), ("GET", "/claim-codes"), ("POST", "/setup-links"))
    for method, path in paths:
        status, answer, _ = asked(address, method, path, Authorization=authorization)
        assert status == 401 and isinstance(answer, dict)
        assert answer["token_file"] == str(folder / NAME) and answer["proofs"] == []
    assert [each.box_id for each in claims.open_codes()] == ["2"]
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600


def test_commands_say_whose_token_is_needed(
    served: tuple[ClaimCodes, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, address = served
    monkeypatch.setattr(rest_token, "_read", lambda path: None)  # as another user's process
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", address])
    assert done.exit_code == 1 and f"want the token of {folder / NAME}" in done.stderr
    done = CliRunner().invoke(main, ["status", "--endpoint", address])
    assert done.exit_code == 0 and "claim codes are not shown: want the token of" in done.output
    assert claims.open_codes() == ()


def test_an_impostor_gets_no_token(folder: Path) -> None:
    """Another user's program at the gateway's port, which names the victim's file."""
    token, received = made_token(folder), []

    class Impostor(http_server.ReplyHandler):
        def do_POST(self) -> None:
            received.append(f"{self.path} {self.headers}")
            named = {"token_file": str(folder / NAME), "proofs": ["0" * 64]}
            self.send_reply((401, "application/json", json.dumps(named).encode()))

    server = http_server.HttpServer("impostor", "127.0.0.1:0", Impostor)
    server.start()
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", f"127.0.0.1:{server.port}"])
    server.end()
    assert done.exit_code == 1 and "does not prove that it has the token" in done.stderr
    assert len(received) == 1 and token not in received[0]


OWN_ADDRESS = """
import urllib.request
from pathlib import Path
from click.testing import CliRunner
from opq_gateway.__main__ import main
from opq_gateway.commands.claim_codes import ClaimCodes
from opq_gateway.local.health import HealthServer
from opq_gateway.commands.local_orders import LocalOrders
from opq_gateway.local.running_gateway import note_address
from opq_gateway.gateway_status import BoxStatus

(Path("D") / "gateway").mkdir(parents=True)
orders = LocalOrders(Path("D/gateway"), ClaimCodes(["1"]))
server = HealthServer("10.99.0.1:8913", {"1": BoxStatus("1", 60)}, {}, orders)
note_address(Path("D/gateway"), 8913, "10.99.0.1:8913")
for words in (["claim-code", "1", "--data-dir", "D"], ["claim-code", "1", "--endpoint", "10.99.0.1:8913"]):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "for 10 minutes" in done.output, done.output
strangers = ({"Host": "page.example"}, {"Origin": "http://page.example"}, {"X-Forwarded-For": "10.99.0.2"})
for headers in strangers:
    request = urllib.request.Request("http://10.99.0.1:8913/claim-codes?box=1", b"", headers)
    try:
        urllib.request.urlopen(request)
        raise SystemExit(f"{headers} was answered")
    except urllib.error.HTTPError as error:
        assert error.code == 403
server.close()
"""


@pytest.mark.parametrize("command", ["claim-code", "setup-link", "status"])
def test_an_impostor_without_proof_is_not_believed(command: str) -> None:
    """Another user's program at the gateway's port, which carries out each order at once."""
    code = {"box_id": "1", "code": "THEIRS", "valid_s": 600}

    class Impostor(http_server.ReplyHandler):
        def do_POST(self) -> None:
            document = {**code, "url": "http://127.0.0.1:1/#link=THEIRS"}
            self.send_reply((201, "application/json", json.dumps(document).encode()))

        def do_GET(self) -> None:
            document = {"name": "gateway", "subcomponents": []} if self.path == "/" else [code]
            self.send_reply((200, "application/json", json.dumps(document).encode()))

    server = http_server.HttpServer("impostor", "127.0.0.1:0", Impostor)
    server.start()
    box = ["1"] if command == "claim-code" else []
    done = CliRunner().invoke(main, [command, *box, "--endpoint", f"127.0.0.1:{server.port}"])
    server.end()
    assert done.exit_code == (0 if command == "status" else 1)
    assert "does not ask for the gateway's token" in done.output and "THEIRS" not in done.output


def test_a_relative_data_folder_takes_orders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    orders = LocalOrders(Path("gateway"), ClaimCodes(["1"]))
    server = HealthServer("127.0.0.1:0", {"1": BoxStatus("1", 60)}, {}, orders)
    monkeypatch.chdir("/")
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", f"127.0.0.1:{server.port}"])
    server.close()
    assert done.exit_code == 0 and "for 10 minutes, once" in done.output, done.output


def test_a_token_that_was_not_written_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rest_token, "write_whole_file", full)
    orders = LocalOrders(folder, ClaimCodes(["1"]))
    server = HealthServer("127.0.0.1:0", {"1": BoxStatus("1", 60)}, {}, orders)
    address = f"127.0.0.1:{server.port}"
    done = CliRunner().invoke(main, ["claim-code", "1", "--endpoint", address])
    shown = CliRunner().invoke(main, ["status", "--endpoint", address])
    server.close()
    why = f"this gateway could not write {folder / NAME} at its start (No space left on device)"
    assert done.exit_code == 1 and why in done.stderr
    assert shown.exit_code == 0 and why in shown.output


def test_a_program_without_proof_hides_codes_alone(
    served: tuple[ClaimCodes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes and clocks are shown without the token."""
    monkeypatch.setattr(rest_token, "_read", lambda path: "another-token-of-thirty-two-letters")
    done = CliRunner().invoke(main, ["status", "--endpoint", served[1]])
    assert done.exit_code == 0 and "Box 1: port not open" in done.output
    assert "claim codes are not shown: the program at port" in done.output


def test_only_services_end_with_0_by_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []
    for name in main.commands:
        monkeypatch.setattr(opq_gateway.__main__, "signals_by_default", partial(undone.append, name))
        CliRunner().invoke(main, [name, "--help"])
    assert set(undone) == set(main.commands) - {"run", "rules"}


def test_own_addresses_are_this_machine(tmp_path: Path) -> None:
    """In a network of its own, where the gateway listens beyond loopback."""
    setup = "ip link set lo up && ip addr add 10.99.0.1/24 dev lo"
    space = ["unshare", "-rn", "bash", "-c"]
    if subprocess.run([*space, setup], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network of its own (unshare -rn, ip)")
    run = f"{setup} && exec {shlex.quote(sys.executable)} -c {shlex.quote(OWN_ADDRESS)}"
    done = subprocess.run(
        [*space, run], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_shows_open_codes_clocks_and_gps(served: tuple[ClaimCodes, str]) -> None:
    claims, address = served
    done = CliRunner().invoke(main, ["status", "--endpoint", address])
    assert done.exit_code == 0, done.output
    assert "Box 1: port not open: opening; time not known" in done.output
    assert "no Box here gives this machine the time" in done.output and "no claim code is open" in done.output
    code = claims.make("2").code
    assert (
        f"claim code of Box 2: {code}, for 10 minutes, once"
        in CliRunner().invoke(main, ["status", "--endpoint", address]).output
    )
    done = CliRunner().invoke(main, ["status", "--endpoint", address, "--json"])
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["claim_codes"][0]["code"] == code and found["boxes"][0]["name"] == "1"
    done = CliRunner().invoke(main, ["status", "--endpoint", f"127.0.0.1:{free_port()}"])
    assert done.exit_code == 1 and "no gateway answers" in done.stderr


def test_status_uses_the_data_folder_option_anywhere(
    served: tuple[ClaimCodes, str], folder: Path, tmp_path: Path
) -> None:
    claims, address = served
    host, _, port = address.rpartition(":")
    remove = note_address(folder, int(port), f"{host}:0")
    for words in (("status", "--data-dir", str(tmp_path)), ("--data-dir", str(tmp_path), "status")):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0 and "Box 1: port not open" in done.output, done.output
    done = CliRunner().invoke(main, ["--data-dir", str(tmp_path), "claim-code", "1", "--json"])
    assert claims.spend("1", json.loads(done.stdout.splitlines()[-1])["code"])
    offset = ("--port-offset", str(int(port) - 8913))
    if int(port) >= 8913:
        for words in (("status", *offset), (*offset, "status")):
            assert CliRunner().invoke(main, words).exit_code == 0
    remove()
    for words in (("status", "--data-dir", str(tmp_path)), ("--data-dir", str(tmp_path), "status")):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 1 and f"no gateway runs with --data-dir {tmp_path}" in done.stderr


def test_status_names_the_followed_gps_and_contradictions() -> None:
    gps = {
        "box_id": "3",
        "held": True,
        "uncertainty_ns": 1_234_000,
        "system_clock_off_ns": -250_000_000,
        "drift_ppm": 50.0,
        "apart_ns": {"4": 2_000_000},
    }
    box = {"name": "3", "info": None, "time_source": "ntp", "uncertainty_ns": 800}
    assert status_words({"boxes": [box], "gps_comparison": gps, "claim_codes": []})[:3] == [
        "Box 3: well; time by another clock \u00b1 800 ns",
        "GPS: of Box 3, lost and held over \u00b1 1.2 ms; this machine's clock is off by -250.000 ms",
        "GPS: Box 4 contradicts it by +2.000 ms",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "pq.example:8913"},  # a name that was rebound to this machine
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"X_Forwarded_For": "192.0.2.7"},  # somebody else, through a proxy here
        {"Forwarded": "for=192.0.2.7"},
    ],
)
def test_a_foreign_page_or_machine_sees_no_code(
    served: tuple[ClaimCodes, str], headers: dict[str, str]
) -> None:
    claims, address = served
    for method, path in (("POST", "/claim-codes?box=1"), ("GET", "/claim-codes")):
        assert asked(address, method, path, **headers)[0] == 403
    assert claims.open_codes() == ()


def test_another_address_of_a_gateway_sees_no_code(
    monkeypatch: pytest.MonkeyPatch, served: tuple[ClaimCodes, str]
) -> None:
    claims, address = served
    ends = itertools.cycle(map(ipaddress.ip_address, ("192.0.2.7", "192.0.2.8")))  # of peer and server
    monkeypatch.setattr(http_server, "ip_address", lambda _: next(ends))
    assert asked(address, "POST", "/claim-codes?box=1")[0] == 403 and claims.open_codes() == ()
