"""What a service's loop waits for: its stop, its sockets, other events, and the next thing that is due.

A loop without work sleeps until one of these comes. It does not wake up to look at its stop.
"""

import math
import os
import threading
import time
import weakref
from contextlib import nullcontext
from typing import Any, Protocol

import zmq

from opq_cloud.core.backend.sockets import POLL_MS, Socket
from opq_proto.kit.watchdog import Beat


class Stop(Protocol):
    """An event of threading or of multiprocessing."""

    def is_set(self) -> bool: ...


class PollableEvent(threading.Event):
    """An event that a poll waits for beside sockets: its file descriptor can be read while it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._changing = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        closing = weakref.finalize(self, os.close, self._descriptor)
        closing.atexit = False  # threads that are left at the end may still poll it

    def fileno(self) -> int:
        return self._descriptor

    def set(self) -> None:
        with self._changing:
            if not self.is_set():
                super().set()
                os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        with self._changing:
            if self.is_set():
                super().clear()
                os.eventfd_read(self._descriptor)


def wait_for(stop: Stop, *others: Socket | Stop, due_s: float = math.inf) -> set[object]:
    """Waits for `stop`, messages and other events, at most `due_s` seconds; returns sockets with messages.

    A PollableEvent ends the wait, and so does a Beat of one. Any other event, such as one of multiprocessing,
    is looked at every POLL_MS.
    """
    found: list[tuple[Any, int]] = []
    longest_ms = -1 if due_s == math.inf else max(0, math.ceil(due_s * 1000))
    for each in (stop, *others):
        event = each.stop if isinstance(each, Beat) else each
        if isinstance(event, zmq.Socket | PollableEvent):
            found.append((event, zmq.POLLIN))
        else:
            longest_ms = POLL_MS if longest_ms < 0 else min(longest_ms, POLL_MS)
    with stop.waiting() if isinstance(stop, Beat) else nullcontext():
        if not found:
            time.sleep(longest_ms / 1000)
        return {each for each, _ in zmq.zmq_poll(found, longest_ms)}
