"""Waiting for what comes true by itself, with an end."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `what` gives as soon as it is true; an AssertionError when it does not come in time."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"did not come true within {seconds} s"
        time.sleep(0.005)
    return found
