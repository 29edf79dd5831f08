"""SIGTERM, SIGINT and SIGHUP as a stop event, without a lock taken inside a signal handler.

A service that still loads its modules has nothing to finish: `end_at_signals` ends it with 0 at once.

`Event.set` takes the event's lock; in a handler it would wait for ever if the interrupted main thread holds
the lock. So the handler does nothing; the interpreter writes the signal's number into a socket
(signal.set_wakeup_fd), and a thread that reads it sets the event.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last one comes where the terminal is closed; `nohup` ignores it, and so it stays."""


def end_at_signals() -> None:
    """Has these signals end the process with 0, but for an ignored SIGHUP, until `stopped_by_signals`.

    After that block they act by default, because an end that a second signal cuts short has not succeeded.
    """
    for number in _handled():
        signal.signal(number, _end)


def _end(*_: object) -> None:
    os._exit(0)


def signals_by_default() -> None:
    """Undoes `end_at_signals`: a command that a signal ends before its answer has not succeeded."""
    for number in _handled():
        signal.signal(number, _by_default(number))


def _by_default(number: signal.Signals) -> Callable[[int, FrameType | None], Any] | signal.Handlers:
    return signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL


def _handled() -> list[signal.Signals]:
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if not (is_ignored and number is signal.SIGHUP)]


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[list[int]]:
    """While the block runs, these signals set `stop`, but for an ignored SIGHUP; only in the main thread.

    Yields the signals that came, in their order.

    Raises:
        ValueError: not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("signals reach the main thread only")
    came: list[int] = []
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while number := reader.recv(1):
            if number[0] in SIGNALS:
                came.append(number[0])
                stop.set()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _handled()}
    watcher.start()
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, _by_default(number) if handler is _end else handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()
        watcher.join()
        reader.close()
