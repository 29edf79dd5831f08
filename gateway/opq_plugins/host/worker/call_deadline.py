"""A time limit for calls of plug-ins in this process, which cannot be ended.

A thread waits beside each call. When the time is over, it raises an exception in the call, which code in
Python cannot ignore, and does so again until the call ends. A call that waits inside a library ends later.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opq_plugins.worker_errors import WorkerTimeoutError


class _TimeIsOver(BaseException):
    """Raised in the call; not an Exception, because a plug-in may catch every Exception."""


class CallDeadline:
    """Any number of threads may call at a time. `ended`: calls that took too long, since the start."""

    def __init__(self, name: str, call_s: float) -> None:
        self._name, self._call_s = name, call_s
        self._lock = threading.Lock()
        self._late: set[int] = set()
        self.ended = 0

    @property
    def trouble(self) -> str:
        """The reason while a call goes on beyond its time, else ""."""
        if not self._late:
            return ""
        return f"a call takes longer than {self._call_s:g} s; if this stays so, end the server's process"

    @contextmanager
    def limited(self, method: str, limit_s: float | None = None) -> Iterator[None]:
        """Limits the time of the block, by default to `call_s`.

        Raises WorkerTimeoutError: it took too long.
        """
        limit_s = self._call_s if limit_s is None else limit_s
        thread_id, over = threading.get_ident(), threading.Event()
        is_late = False

        def watch() -> None:
            nonlocal is_late
            while not over.wait(limit_s):
                with self._lock:
                    if over.is_set():
                        return
                    is_late = True
                    self._late.add(thread_id)
                    _raise_in(thread_id)

        threading.Thread(target=watch, name="call-deadline", daemon=True).start()
        try:
            try:
                yield
            finally:
                # after this nothing is raised; an exception raised before arrives within the block
                with self._lock:
                    over.set()
        except _TimeIsOver:
            with self._lock:
                over.set()
            why = f"plug-in {self._name}: {method} took longer than {limit_s:g} s"
            raise WorkerTimeoutError(why) from None
        finally:
            if is_late:
                self._late.discard(thread_id)
                self.ended += 1


def _raise_in(thread_id: int) -> None:
    """Raises in that thread, at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(_TimeIsOver))
