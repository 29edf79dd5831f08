"""What a page of a stranger reaches: Chromium and raw connections against all ports of `opq-tools up`."""

import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from browser_program import browser_program
from free_ports import free_offset, free_port
from house_under_test import SHARED, House, house, processes_with, until, with_ports
from posted_frames import PostingPages, message

from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import PORTS
from opq_proto.wire.opqbox3_pb2 import Command

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
CHROMIUM = browser_program()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PHASORS = free_port()
SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
HTTP = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"
OLDER = b"\x01\x00\x06\x00hello", SIGNATURE + b"\x00\x08\x00\x00", SIGNATURE + b"\x01\x08\x00\x00"
"""ZMTP 1 without a version, ZMTP 1 and 2."""
BOXES = "triggering_box", "command_box", "response_box"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("up")
    config = folder / "cloud.toml"
    config.write_text(f"{with_ports()}gateway.phasors.endpoint = '127.0.0.1:{PHASORS}'\n")
    with house(folder / "D", "--sim", "1", "--config", str(config)) as running:
        running.wait_for("the page is up")
        yield running


def tool(up: House, *words: str) -> str:
    command = [sys.executable, "-m", "opq_tools.cli", *words, "--data-dir", str(up.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout


def handshakes_failed(up: House) -> dict[str, int]:
    """By setting, as the cloud counts them."""
    url = f"http://127.0.0.1:{PORTS['mauka_health'] + up.offset}/metrics"
    with urllib.request.urlopen(url, timeout=240) as answer:
        text = answer.read().decode()
    found = re.findall(
        r'^opq_backend_handshakes_failed_total\{.*?="([a-z_.]+)".*\} (\d+)', text, re.MULTILINE
    )
    return {setting: int(count) for setting, count in found}


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium")
def test_a_foreign_page_commands_no_service(up: House) -> None:
    def rate() -> int:
        return int(json.loads(tool(up, "box", "info", "1", "--json"))["measurement_rate"])

    until(lambda: "measurement_rate" in tool(up, "box", "info", "1", "--json"), 30, "the Box answers")
    rate_before, plugins_before = rate(), tool(up, "mauka", "list-plugins")
    stopped = re.findall(r"\w+", plugins_before)[0]
    slower = Command(box_id=1, identity="stranger")
    slower.sampling_rate_command.measurement_window_cycles = 120
    before = handshakes_failed(up)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        pages = PostingPages(browser)
        for name in SHARED.values():
            frames = {
                "command_backend": [message(slower.SerializeToString())],
                "plugin_manager": [message(b"", b"stop-plugin %s  " % stopped.encode())],
            }
            pages.post(PORTS[name] + up.offset, *frames.get(name, [message(b"laha_gc", b"x")]))
        until(
            lambda: (
                all(handshakes_failed(up).get(each, 0) > before.get(each, 0) for each in SHARED)
                or rate() != rate_before
                or tool(up, "mauka", "list-plugins") != plugins_before
            ),
            30,
            "each address has ended the page's connection, or a command was carried out",
        )
        browser.close()
    assert (rate(), tool(up, "mauka", "list-plugins")) == (rate_before, plugins_before)


def listening(data_dir: Path) -> dict[int, str]:
    """Port -> command line, of all processes with this data folder."""
    found = {}
    for pid in processes_with(str(data_dir)):
        process = psutil.Process(pid)
        for each in process.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                found[each.laddr.port] = " ".join(process.cmdline())
    return found


def answer(port: int, sent: bytes) -> bytes:
    """What comes until the connection is ended, or HTTP begins; raises TimeoutError."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=240) as raw, suppress(ConnectionError):
        raw.sendall(sent)
        while not received.startswith(b"HTTP/1.") and (data := raw.recv(65536)):
            received += data
    return received


def zeromq(offset: int) -> set[int]:
    return {PORTS[name] + offset for name in (*SHARED.values(), *BOXES)}


def ends_what_is_not_zeromq(ports: dict[int, str]) -> set[int]:
    """The ports that do not speak HTTP; each ends older greetings."""
    others = {port for port in ports if not answer(port, HTTP).startswith(b"HTTP/1.")}
    for port in others:
        for greeting in OLDER:
            assert answer(port, greeting) in (b"", SIGNATURE), ports[port]
    return others


APART = (
    "triggering-broker",
    "acquisition-broker",
    "event-service",
    "triggering-service",
    "mauka",
    "view",
    "notifications",
    "health",
)


@pytest.mark.parametrize("commands", [("all",), APART], ids=["all", "apart"])
def test_services_end_what_they_do_not_speak(tmp_path: Path, commands: tuple[str, ...]) -> None:
    """All in one process, and each in its own; with ports in the configuration, and without.

    Always run: `gateway/tests/test_edge_rules.py::test_a_gateways_windows_refuse_zmtp_1`, by the same bind.
    """
    folder, offset = tmp_path / "D", free_offset()
    KeyFolder(folder / "curve").create(True, ["1"])
    config = tmp_path / "cloud.toml"
    config.write_text(with_ports(""))
    for arguments, expected in (
        (["--config", str(config)], zeromq(offset)),
        ([], {PORTS[name] + offset for name in (*BOXES, "incident_ids")}),
    ):
        where = ["--data-dir", str(folder), "--port-offset", str(offset), *arguments]
        with ExitStack() as ended, (tmp_path / "log").open("ab") as log:
            for name in commands:
                words = [sys.executable, "-m", "opq_cloud", name, *where]
                process = ended.enter_context(subprocess.Popen(words, stdout=log, stderr=log))
                ended.callback(process.terminate)
            wanted = {PORTS["view"] + offset, *expected}
            until(lambda wanted=wanted: listening(folder).keys() >= wanted, 60, "all ports")  # type: ignore[misc]
            assert ends_what_is_not_zeromq(listening(folder)) == expected


def test_ports_end_what_they_do_not_speak(up: House) -> None:
    """All ports that listen speak HTTP, or end a connection that does not begin as ZMTP 3 or C37.118."""
    assert ends_what_is_not_zeromq(listening(up.data_dir)) == {PHASORS, *zeromq(up.offset)}

    def counted() -> bool:
        failed = handshakes_failed(up)
        return all(failed.get(each, 0) > len(OLDER) for each in SHARED)

    until(counted, 20, "each address has counted what it ended")
