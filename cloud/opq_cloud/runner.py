"""Runs services, each in its thread; contains what they throw, and starts them again.

The one `except Exception` of the process: it logs the traceback, counts, waits and restarts. What
a user can do something about (a busy port, a missing key) ends the process when it happens at the
start, with one line.
"""

import resource
import threading
import time
from collections.abc import Sequence

from opq_cloud.board import Board, Entry
from opq_cloud.service import Service
from opq_proto import log
from opq_proto.errors import OpqError

RESTART_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before the first, second, ... restart in a row; the last one stays."""
STEADY_S = 60.0
"""After so long without a fault the waits start anew."""
READY_S = 15.0
JOIN_S = 5.0


class Runner:
    """The services of this process."""

    def __init__(self, board: Board) -> None:
        self.stop = threading.Event()
        self.failure: OpqError | None = None
        """Why the process ends, when it is not by a signal."""
        self._board = board
        self._log = log.get()
        self._threads: list[threading.Thread] = []

    def start(self, services: Sequence[Service]) -> bool:
        """Start them in order, each when the one before is ready; False when one could not."""
        for service in services:
            entry = self._board.add(service)
            ready = threading.Event()
            thread = threading.Thread(
                target=self._supervise, args=(entry, ready), name=service.name, daemon=True
            )
            self._threads.append(thread)
            thread.start()
            until = time.monotonic() + READY_S
            while not (ready.wait(0.02) or self.stop.is_set()) and time.monotonic() < until:
                continue
            if self.stop.is_set():
                return False
            self._log.info("service.ready" if ready.is_set() else "service.not_ready", service=service.name)
        return True

    def wait(self) -> bool:
        """Until a signal, or a service's failure at the start; then end all. False: some did not."""
        self.stop.wait()
        until = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        left = [thread.name for thread in self._threads if thread.is_alive()]
        if left:
            self._log.error("services.not_ended", services=left, waited_s=JOIN_S)
        return not left

    def _supervise(self, entry: Entry, ready: threading.Event) -> None:
        service = entry.service
        faults = 0
        while not self.stop.is_set():
            began = time.monotonic()
            entry.up = True
            error: Exception | None = None
            try:
                service.run(self.stop, ready)
            except OpqError as caught:
                error = caught
                if not ready.is_set() and entry.restarts == 0:
                    self.failure = self.failure or caught
                    self.stop.set()
                else:
                    self._log.error("service.failed", service=service.name, error=str(caught))
            except Exception as caught:
                error = caught
                self._log.exception("service.crashed", service=service.name)
            entry.up = False
            if self.stop.is_set():
                return
            entry.last_error = "ended by itself" if error is None else f"{type(error).__name__}: {error}"
            entry.restarts += 1
            faults = 0 if time.monotonic() - began > STEADY_S else faults
            pause_s = RESTART_S[min(faults, len(RESTART_S) - 1)]
            faults += 1
            self._log.warning("service.restarting", service=service.name, pause_s=pause_s)
            self.stop.wait(pause_s)


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as we may: one per Box and socket (limits.md, 1)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
