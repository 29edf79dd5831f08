"""A thread that repeats one call, for watching or following something outside a loop."""

import threading
from collections.abc import Callable

JOIN_S = 2.0
"""A call that does not return is left to the end of the process."""


class PeriodicCall:
    """Runs between `start` and `close`; may be started again after that."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, call: Callable[[], None], period_s: float) -> None:
        """Calls it after each period; an exception of it ends the thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(call, period_s), name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the calls."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _run(self, call: Callable[[], None], period_s: float) -> None:
        while not self._stop.wait(period_s):
            call()
