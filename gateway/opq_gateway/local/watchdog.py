"""Watchdog: systemd is told that the gateway lives, while every thread on the samples' way comes round."""

import threading
from collections.abc import Callable

from opq_gateway.local.heartbeats import Heartbeats
from opq_gateway.local.notify import Notifier
from opq_proto import log

TURN_S = 10.0
"""Between two lines of status at most."""
WATCHED = frozenset({"reader", "measuring", "uplink", "commands"})
"""Threads for which the gateway is worth a restart; a slow disk or nmcli is not."""


class Watchdog:
    """Feeds the service manager's watchdog; `run` in a thread of its own."""

    def __init__(self, notifier: Notifier, heartbeats: Heartbeats, status: Callable[[], str]) -> None:
        self._notifier = notifier
        self._heartbeats = heartbeats
        self._status = status
        self._late: tuple[str, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`: three chances to feed within the manager's time."""
        limit_s = self._notifier.watchdog_s
        turn_s = TURN_S if limit_s is None else min(TURN_S, limit_s / 4)
        while not stop.wait(turn_s):
            self.turn()

    def turn(self) -> None:
        """Feed, unless a thread has not come round for half the manager's time."""
        limit_s = self._notifier.watchdog_s
        late = () if limit_s is None else self._heartbeats.late(limit_s / 2, WATCHED)
        if late and late != self._late:
            log.get(service="gateway").error("watchdog.starved", late_threads=list(late))
        self._late = late
        self._notifier.status(f"hangs: {', '.join(late)}" if late else self._status())
        if not late and limit_s is not None:
            self._notifier.alive()
