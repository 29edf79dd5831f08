"""A service in a thread for a `with` block, as the tests of every room run one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opq_cloud.core.backend.waits import PollableEvent

WAIT_S = 240.0


@contextmanager
def in_thread(run: Callable[..., Any], until_ready: bool = False) -> Iterator[threading.Event]:
    """Runs `run(stop)` and stops it at the end; what it raised is then raised here. Yields `stop`.

    Args:
        until_ready: call `run(stop, ready)`, and begin the block when `ready` is set.
    """
    stop, ready = PollableEvent(), threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run(stop, ready) if until_ready else run(stop)
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        if until_ready:
            assert ready.wait(WAIT_S), f"{run} is not ready"
        if not failed:
            yield stop
    finally:
        stop.set()
        thread.join(WAIT_S)
    if failed:
        raise failed[0]
    assert not thread.is_alive(), f"{run} has not ended"
