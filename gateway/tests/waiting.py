"""Waiting for what comes true by itself, with an end."""

import time
from collections.abc import Callable
from typing import Any

LONGEST_PAUSE_S = 0.1


def pause(since_s: float, least_s: float = 0.005) -> None:
    """Sleeps for a tenth of the time waited so far: a question costs CPU that others need."""
    time.sleep(min(LONGEST_PAUSE_S, max(least_s, (time.monotonic() - since_s) / 10)))


def wait_for(what: Callable[[], Any], seconds: float = 240.0) -> Any:
    """What `what` gives as soon as it is true; an AssertionError when it does not come in time.

    The time ends what hangs: a gateway takes 60 s to start where twenty programs share a core.
    """
    began = time.monotonic()
    while not (found := what()):
        assert time.monotonic() < began + seconds, f"did not come true within {seconds} s"
        pause(began)
    return found
