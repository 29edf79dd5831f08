"""Watchdog: reports to systemd that a service runs, while each thread that must not hang is alive.

A thread's loop checks its stop event at every turn; a Beat is that event, and notes the time. So a thread
that hangs in a call, or died, is late, and no loop needs a line for it. The protocol of sd_notify(3) is a
datagram of `KEY=value` lines to the AF_UNIX socket in NOTIFY_SOCKET; without that variable nothing is sent.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from opq_proto.kit import log

MAX_CHARACTERS = 500
"""systemd takes 4,096 bytes at once, and drops what is longer."""


class Notifier:
    """Sends notices to the service manager, if there is one; never raises, never blocks."""

    def __init__(self, environment: Mapping[str, str] = os.environ, service: str = "gateway") -> None:
        """`service`: its name in the log."""
        self.service = service
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        """The manager ends this process after this long without a notice; None: it does not."""
        self._status_sent = ""
        self._lost = False

    @property
    def listening(self) -> bool:
        """Whether there is a service manager that wants notices."""
        return bool(self._address)

    def ready(self) -> None:
        """Reports that everything runs: units that wait for this one may start."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Sends one line for `systemctl status`; an unchanged line is not sent again."""
        if text != self._status_sent:
            self._status_sent = text
            self._send(f"STATUS={text.splitlines()[0][:MAX_CHARACTERS] if text else ''}")

    def alive(self) -> None:
        """Feeds the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Reports that the orderly end begins."""
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
                log.get(service=self.service).warning("notify.lost", reason=str(error))
            self._lost = True


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, when it is meant for this process (WATCHDOG_PID)."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or meant != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


FAILURE_S = 5.0
"""A thread that raised counts as healthy only after it has run this long."""


class Beat(threading.Event):
    """A view of a stop event that notes when it was checked."""

    def __init__(self, name: str, stop: threading.Event, monotonic_s: Callable[[], float]) -> None:
        super().__init__()
        self.name, self.stop = name, stop
        self._monotonic_s = monotonic_s
        self._bad_until_s = 0.0
        self._waits = False
        self._last_s = monotonic_s()

    @property
    def last_s(self) -> float:
        """When the thread was last known to be alive: now, while it waits for its stop or for work."""
        now_s = self._monotonic_s()
        return now_s if self._waits and now_s >= self._bad_until_s else self._last_s

    def set(self) -> None:
        self.stop.set()

    def is_set(self) -> bool:
        self._note()
        return self.stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        with self.waiting():
            return self.stop.wait(timeout)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this the thread waits, and the stop ends its wait: it does not hang."""
        self._note()
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            self._note()

    def note_failure(self) -> None:
        """Records that the thread raised; for FAILURE_S its turns do not count."""
        self._bad_until_s = self._monotonic_s() + FAILURE_S

    def _note(self) -> None:
        now_s = self._monotonic_s()
        if now_s >= self._bad_until_s:
            self._last_s = now_s


class Heartbeats:
    """The beats of all threads."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._beats: list[Beat] = []

    def beat(self, name: str, stop: threading.Event) -> Beat:
        """The stop event for the thread called `name`."""
        beat = Beat(name, stop, self._monotonic_s)
        self._beats.append(beat)
        return beat

    def ages_s(self) -> dict[str, float]:
        """Seconds since each thread's last turn."""
        now_s = self._monotonic_s()
        return {beat.name: now_s - beat.last_s for beat in self._beats}

    def late(self, limit_s: float, names: Collection[str]) -> tuple[str, ...]:
        """Those of these threads whose last turn is longer ago than `limit_s`."""
        return tuple(name for name, age_s in self.ages_s().items() if age_s > limit_s and name in names)


TURN_S = 10.0
"""Longest time between two lines of status."""


class Watchdog:
    """Feeds the service manager's watchdog; `run` in its own thread."""

    def __init__(
        self, notifier: Notifier, heartbeats: Heartbeats, watched: Collection[str], status: Callable[[], str]
    ) -> None:
        """`watched`: threads whose hanging is worth a restart; `status`: the line of `systemctl status`."""
        self._notifier = notifier
        self._watched = watched
        self._heartbeats = heartbeats
        self._status = status
        self._late: tuple[str, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop`, with three chances to feed within the manager's time."""
        limit_s = self._notifier.watchdog_s
        turn_s = TURN_S if limit_s is None else min(TURN_S, limit_s / 4)
        while not stop.wait(turn_s):
            self.feed()

    def feed(self) -> None:
        """Feeds the watchdog, unless a thread's last turn is older than half the manager's time."""
        limit_s = self._notifier.watchdog_s
        late = () if limit_s is None else self._heartbeats.late(limit_s / 2, self._watched)
        if late and late != self._late:
            log.get(service=self._notifier.service).error("watchdog.starved", late_threads=list(late))
        self._late = late
        self._notifier.status(f"hangs: {', '.join(late)}" if late else self._status())
        if not late and limit_s is not None:
            self._notifier.alive()
