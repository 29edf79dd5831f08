"""Waking: what the uplink's thread waits on: sockets of all Boxes, and other threads that have something.

An epoll over descriptors, so that a wake-up costs what happened, not how many Boxes there are: a
zmq.Poller asks each of its 2,000 sockets at 400 Boxes each time, 1 ms.
"""

import os
import select
import threading


class Waking:
    """`wake` from any thread, the rest from the one that waits."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._read, select.EPOLLIN)
        self._names: dict[int, str] = {}
        self._awake = False
        self._lock = threading.Lock()

    def wake(self) -> None:
        """End the wait, now or the next one; cheap when that is told already."""
        with self._lock:
            if self._awake:
                return
            self._awake = True
            os.write(self._write, b"\0")

    def watch(self, name: str, files: list[int]) -> None:
        """Tell `name` when one of these is readable."""
        for file in files:
            self._names[file] = name
            self._poll.register(file, select.EPOLLIN)

    def unwatch(self, files: list[int]) -> None:
        """Before they are closed."""
        for file in files:
            del self._names[file]
            self._poll.unregister(file)

    def wait(self, timeout_s: float) -> set[str]:
        """Names of which something may be had; empty when woken, or when the time is over.

        Who was woken looks at everything that other threads hand in before it waits again.
        """
        found = {file for file, _ in self._poll.poll(timeout_s)}
        if self._read in found:
            with self._lock:
                self._awake = False
                os.read(self._read, 64)
        return {self._names[file] for file in found if file in self._names}

    def close(self) -> None:
        """When nobody calls `wake` any more."""
        self._poll.close()
        os.close(self._read)
        os.close(self._write)
