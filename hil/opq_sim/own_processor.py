"""Hardware that this machine plays has a processor of its own, however busy the machine is."""

import os
import threading
from contextlib import suppress

FIRST = -10
"""Nine times the share of a thread of priority 0. Source: sched(7), the nice value."""


def have_own_processor() -> None:
    """Raises the priority of the calling thread, and of threads that it starts, where this user may.

    For the thread of a Box or a wire, which starts no program: a program would keep the priority.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FIRST)
