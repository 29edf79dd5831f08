"""An object's thread from `start` to `close`, and a call that is repeated in one."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self


class OwnThread(ABC):
    """Runs `_run` from `start` to `close`, which are also the ends of a `with` block; may be started again.

    `_run` returns soon after `_stop` is set.
    """

    _join_s: float | None = None
    """How long `close` waits; what does not end is left to the end of the process. None: until it ends."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread_name = name
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._join_s)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _run(self) -> None: ...


class PeriodicCall(OwnThread):
    """Repeats a call, for watching or following something outside a loop; an exception of it ends it."""

    _join_s = 2.0

    def __init__(
        self, name: str, call: Callable[[], object], period_s: float, *, at_once: bool = False
    ) -> None:
        """`at_once`: the first call is made without waiting for a period."""
        super().__init__(name)
        self._call, self._period_s, self._at_once = call, period_s, at_once

    def _run(self) -> None:
        if self._at_once:
            self._call()
        while not self._stop.wait(self._period_s):
            self._call()
