"""Notify: tells systemd that the gateway is ready, how it does, that it lives, and that it ends.

The protocol is a datagram of `KEY=value` lines to the AF_UNIX socket in NOTIFY_SOCKET
(sd_notify(3)); without that variable nobody listens and nothing is sent.
"""

import os
import socket
from collections.abc import Mapping

from opq_proto import log

MOST_LETTERS = 500
"""systemd takes 4,096 bytes at once, and drops what is longer."""


class Notifier:
    """Speaks to the service manager, if there is one; never raises, never blocks."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        """The manager ends this process when it hears nothing for so long; None: it does not."""
        self._told = ""
        self._lost = False

    @property
    def listening(self) -> bool:
        """Whether a service manager asked to be told."""
        return bool(self._address)

    def ready(self) -> None:
        """Everything stands: units that wait for this one may start."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same line is sent once."""
        if text != self._told:
            self._told = text
            self._send(f"STATUS={text.splitlines()[0][:MOST_LETTERS] if text else ''}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The orderly end begins."""
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(line.encode(), address)
        except OSError as error:
            if not self._lost:
                log.get(service="gateway").warning("notify.lost", reason=str(error))
            self._lost = True


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, when it is meant for this process (WATCHDOG_PID)."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or meant != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
