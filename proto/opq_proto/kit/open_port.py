"""Opens a serial port for every part: a path, `socket://` or `rfc2217://`, with one reason where it fails."""

import contextlib
import errno
import os
import termios
from typing import Any

import serial

from opq_proto.errors import OpqError
from opq_proto.kit.port_trouble import address_problem, why_not_opened


class PortNotOpenedError(OpqError):
    """Its text is the reason and what to do, without the port's name."""


def open_port(
    url: str,
    baud: int,
    *,
    timeout_s: float,
    write_timeout_s: float | None = None,
    parity: str = serial.PARITY_NONE,
) -> serial.Serial:
    """Opens a port for this program alone. DTR and RTS are not set, as they may hold a chip in reset.

    Args:
        url: a path or an address that pyserial knows.
        baud: bits per second.
        timeout_s: limit of a read.
        write_timeout_s: limit of a write; `rfc2217://` keeps its own, 5 s.
        parity: as pyserial writes it; a pty has none.

    Raises:
        PortNotOpenedError: whatever pyserial raises.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""

    def opened(parity: str) -> serial.Serial:
        found = serial.serial_for_url(
            url,
            do_not_open=True,
            baudrate=baud,
            parity=parity,
            timeout=timeout_s,
            write_timeout=None if scheme == "rfc2217" else write_timeout_s,  # pyserial 3.5 has none for it
            exclusive=True,
        )
        found.dtr = found.rts = False
        if scheme == "rfc2217":
            _read_quietly(found)
        found.open()
        return found

    try:
        if problem := address_problem(url):
            raise ValueError(problem)
        try:
            return opened(parity)
        except termios.error as error:
            if error.args[0] != errno.EINVAL or parity == serial.PARITY_NONE:
                raise
            return opened(serial.PARITY_NONE)  # a pty; glibc reports it when nothing else changes
    except (OSError, ValueError) as error:
        raise PortNotOpenedError(why_not_opened(error, url)) from error
    except termios.error as error:
        raise PortNotOpenedError(os.strerror(error.args[0])) from error
    except Exception as error:  # the handler of an address may raise anything
        raise PortNotOpenedError(f"{type(error).__name__}: {error}") from error


def _read_quietly(port: Any) -> None:
    """pyserial's thread ends with a traceback where a server speaks something else; the next read fails."""
    read_loop = port._telnet_read_loop

    def quietly() -> None:
        with contextlib.suppress(TypeError):
            read_loop()

    port._telnet_read_loop = quietly
