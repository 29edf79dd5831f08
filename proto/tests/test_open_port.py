"""One function opens every port: paths, `socket://` and `rfc2217://`; a failure is one sentence."""

import os
import pty
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator

import pytest
import serial
from rfc2217_server import served

from opq_proto.kit.open_port import PortNotOpenedError, open_port

HOLDS = "import sys, serial; port = serial.Serial(sys.argv[1], exclusive=True); print(flush=True); input()"


@pytest.fixture
def ends() -> Iterator[tuple[int, str]]:
    """The far end of a pty, and the path of the near one."""
    far, near = pty.openpty()
    tty.setraw(near)
    yield far, os.ttyname(near)
    os.close(near)
    os.close(far)


def why(port: str) -> str:
    with pytest.raises(PortNotOpenedError) as found:
        open_port(port, 921_600, timeout_s=0.0)
    return str(found.value)


def received(port: serial.Serial, count: int) -> bytes:
    got, limit = b"", time.monotonic() + 240
    while len(got) < count and time.monotonic() < limit:
        got += port.read(count - len(got))
    return got


def test_a_serial_server_is_opened_lines_unset(ends: tuple[int, str]) -> None:
    far, near = ends
    with served(near) as (url, theirs):
        port = open_port(url, 921_600, timeout_s=0.2, write_timeout_s=60)
        os.write(far, b"\xff\x00from")
        assert received(port, 6) == b"\xff\x00from"
        port.write(b"to\xff")
        assert os.read(far, 3) == b"to\xff"
        assert theirs.baudrate == 921_600
        assert sorted(theirs.lines) == [("dtr", False), ("rts", False)]
        port.close()


def test_a_raw_server_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}", 921_600, timeout_s=0.2)
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"hello")
            assert received(port, 5) == b"hello"
        port.close()


def test_no_telnet_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends an option that it has not begun, which pyserial 3.5 does not expect."""
    tracebacks: list[object] = []
    monkeypatch.setattr(threading, "excepthook", tracebacks.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peers: list[socket.socket] = []

        def answer() -> None:
            peers.append(server.accept()[0])
            peers[0].sendall(b"\xff\xf0")

        answers = threading.Thread(target=answer)
        answers.start()
        assert "no server answers there by RFC 2217" in why(f"rfc2217://127.0.0.1:{server.getsockname()[1]}")
        answers.join()
        peers[0].close()
    assert not tracebacks


def test_a_paths_lines_are_unset_when_it_opens(
    ends: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[bool] = []
    monkeypatch.setattr(serial.Serial, "_update_dtr_state", lambda port: lines.append(port.dtr))
    monkeypatch.setattr(serial.Serial, "_update_rts_state", lambda port: lines.append(port.rts))
    open_port(ends[1], 115_200, timeout_s=0.0, parity=serial.PARITY_EVEN).close()
    assert lines and not any(lines)


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("rfc2217://127.0.0.1", "want rfc2217://HOST:PORT"),
        ("socket://127.0.0.1", "want socket://HOST:PORT"),
        ("rfc2217://127.0.0.1:many", "with a port of 1 to 65535"),
        ("socket://127.0.0.1:65536", "with a port of 1 to 65535"),
        ("socket://::1:4000", "an IPv6 host in [ ]"),
        ("socket://127.0.0.1:9", "Connection refused"),
        ("rfc2217://127.0.0.1:9", "Connection refused"),
        ("ftp://x", "protocol 'ftp' not known"),
        ("/dev/serial/by-id/usb-none", "no such port"),
    ],
)
def test_an_address_that_does_not_open_says_why(port: str, says: str) -> None:
    assert says in why(port)


def test_the_program_that_holds_a_port_is_named(ends: tuple[int, str]) -> None:
    command = [sys.executable, "-c", HOLDS, ends[1]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"\n"
        found = why(ends[1])
        holder.communicate(b"\n")
    assert found.startswith("another program has it: ") and f"(process {holder.pid})" in found
