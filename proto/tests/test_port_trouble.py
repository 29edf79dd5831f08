"""A port that cannot be opened: one reason, said once."""

import errno
import os
import pty
import subprocess
from pathlib import Path

import pytest
import serial

from opq_proto.kit.port_trouble import also_open, why_not_opened


def why(port: str) -> str:
    with pytest.raises((OSError, ValueError)) as found:
        serial.serial_for_url(port, exclusive=True).close()
    return why_not_opened(found.value)


def test_an_absent_port_is_reported_once(tmp_path: Path) -> None:
    assert why(str(tmp_path / "ttyUSB9")) == "no such port; see /dev/serial/by-id for those there are"


def test_a_file_is_no_serial_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert why(str(tmp_path / "file")) == why("/dev/null") == "this is not a serial port"
    assert why(str(tmp_path)) == "this is not a serial port"


def test_a_port_that_somebody_holds_says_so() -> None:
    ours, theirs = pty.openpty()
    try:
        with serial.Serial(os.ttyname(theirs), exclusive=True):
            assert why(os.ttyname(theirs)) == "another program has it; stop the gateway, or whoever uses it"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_program_without_a_lock_is_named() -> None:
    """zephyrproject-rtos/zephyr 9509, pyserial/pyserial 86: a terminal program takes bytes of the port."""
    ours, theirs = pty.openpty()
    port = os.ttyname(theirs)
    try:
        assert also_open(port) == ""
        with subprocess.Popen(["sleep", "600"], stdin=theirs) as other:
            said = also_open(port)
            other.kill()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said == f"another program has this port open, too: sleep (process {other.pid}); end that first"
    assert also_open("socket://127.0.0.1:9") == ""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        # Klipper3d/klipper 3591, klirichek/zj-58 37: a ttyS without hardware
        (serial.SerialException("Could not configure port: (5, 'Input/output error')"), "nothing is at this"),
        # pyserial/pyserial 313
        (OSError(errno.EIO, "Input/output error"), "nothing is at this port, or its adapter does not answer"),
        # mavlink/mavros 1506, hassio-addons/app-nut 105: a container without --device
        (serial.SerialException(errno.EPERM, "could not open port /dev/ttyACM0: ..."), "a container or a"),
        # an adapter that was pulled while its name is still there
        (
            serial.SerialException(errno.ENODEV, "could not open port /dev/ttyUSB0: ..."),
            "its adapter does not",
        ),
        (
            serial.SerialException(errno.ENXIO, "could not open port /dev/ttyUSB0: ..."),
            "its adapter does not",
        ),
        (
            serial.SerialException("Could not configure port: (25, 'Inappropriate ioctl for device')"),
            "this is not",
        ),
        # labgrid and ser2net: a raw TCP port, an echo, and a server that has another client
        (
            serial.SerialException(
                "Remote does not seem to support RFC2217 or BINARY mode [we-BINARY:False]"
            ),
            "no server answers there by RFC 2217; socket://HOST:PORT takes",
        ),
        (
            serial.SerialException("Remote does not accept parameter change (RFC2217): dict_values([x])"),
            "no server answers there by RFC 2217; socket://HOST:PORT takes",
        ),
        # labgrid-project/labgrid 1779: ser2net of before 4.3.10
        (
            serial.SerialException("timeout while waiting for option 'purge'"),
            "the server there does not answer RFC 2217's purge: update it, or let it serve raw TCP and take",
        ),
        # microsoft/WSL 3705
        (
            ValueError("Failed to set custom baud rate (74880): [Errno 25] Inappropriate ioctl for device"),
            "this port's driver does not take 74880 bits per second",
        ),
        (
            ValueError("invalid URL, protocol 'tcp' not known"),
            "protocol 'tcp' not known; want a path, socket",
        ),
    ],
)
def test_reported_errors_become_advice(error: Exception, says: str) -> None:
    assert why_not_opened(error).startswith(says)


def test_an_address_says_where_to_look() -> None:
    look = "look at the host's name, its port and the server there"
    assert why("socket://127.0.0.1:9") == f"Connection refused; {look}"
    unknown = "Could not open port rfc2217://x:1: [Errno -2] Name or service not known"
    assert why_not_opened(serial.SerialException(unknown)) == f"Name or service not known; {look}"
    assert "protocol 'ftp' not known" in why("ftp://x")
    ended = why_not_opened(BrokenPipeError(errno.EPIPE, "Broken pipe"), "rfc2217://x:1")
    assert ended == f"Broken pipe: the connection was ended; {look}"
    assert why_not_opened(PermissionError(13, "could not open port /dev/x: ...")).startswith("this user may")
