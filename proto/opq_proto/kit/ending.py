"""SIGTERM, SIGINT and SIGHUP as a stop event, without a lock taken inside a signal handler.

`Event.set` takes the event's lock; in a handler it would wait for ever if the interrupted main thread holds
the lock. So the handler does nothing; the interpreter writes the signal's number into a socket
(signal.set_wakeup_fd), and a thread that reads it sets the event.
"""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last one comes where the terminal is closed; `nohup` ignores it, and so it stays."""


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
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS if number not in ignored}
    watcher.start()
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()
        watcher.join()
        reader.close()
