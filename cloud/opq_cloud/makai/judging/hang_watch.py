"""Detects within two seconds a trigger that hangs in this process, and ends its call if possible.

A thread checks the position of the service's thread four times a second while Measurements come, so there is
no extra cost per Measurement. Eight checks in a row within the same call of a trigger are a hang. A pause of
the machine counts as one check, because the checks are counted and not timed. The call is ended by an
exception raised in it, which a loop in Python cannot ignore; it counts as the trigger's crash, and the
trigger is paused for the Box of that Measurement, or for all where it judged a batch at once. A call that
waits inside a library cannot be ended. Health reports it, and the operator has to end the process. A call
into a worker's process has a deadline of its own there, and is left to it."""

import ctypes
import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.makai.judging.trigger_plugins import TriggerPlugin
from opq_plugins.worker_errors import WorkerTimeoutError
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.own_thread import OwnThread

POLL_S = 0.25
RESTING_S = 2.0
"""Interval of the checks while no Measurements come."""
HUNG_AFTER_POLLS = 8
"""Checks in one call until it counts as hung."""
CALLS = frozenset(
    each.__code__ for each in (TriggerPlugin.judge, TriggerPlugin.call_for, TriggerPlugin.see_again)
)
"""The code that runs while a trigger is called."""
WORKER_CALLS = "opq_plugins.host.worker.remote"
"""The module whose frames are a call into a worker's process; by name, as not every cloud has the host."""


class HungTriggerError(WorkerTimeoutError):
    """Raised in a trigger's call that does not end."""


class HangWatch(OwnThread):
    """Runs between `start` and `close` in a thread of its own; watches the thread that called `start`."""

    _join_s = 2.0

    def __init__(
        self, counters: ServiceCounters, log: BoundLogger, end_call: Callable[[int], None] | None = None
    ) -> None:
        super().__init__("hang-watch")
        self._counters = counters
        self._log = log
        self._end_call = end_call or raise_in
        self._turned = threading.Event()
        self._watched = 0
        self._last: FrameType | None = None
        self._polls = 0
        """Checks in a row within the last call."""
        self._hung = ""
        """The trigger in whose call the service hangs."""

    def start(self) -> None:
        self._watched, self._last, self._polls = threading.get_ident(), None, 0
        super().start()

    def close(self) -> None:
        self._stop.set()
        self._turned.set()
        super().close()

    def note_turn(self) -> None:
        """Notes that triggers are called from now on."""
        self._turned.set()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            self._turned.clear()
            self._poll()
            while self._last is None and not self._stop.is_set() and not self._turned.wait(RESTING_S):
                self._poll()

    def health(self) -> list[HealthReport]:
        """Returns a report only while a trigger hangs."""
        name = self._hung
        if not name:
            return []
        text = "hangs in a Measurement and blocks all others; end this process if that lasts"
        return [HealthReport(f"trigger {name} hangs", False, info=text)]

    def _poll(self) -> None:
        call = call_of(frame_of(self._watched))
        self._polls = self._polls + 1 if call is not None and call is self._last else 1
        self._last = call
        if call is None or self._polls < HUNG_AFTER_POLLS:
            self._hung = ""
        elif self._polls == HUNG_AFTER_POLLS:
            self._note_hang(call)

    def _note_hang(self, call: FrameType) -> None:
        plugin = call.f_locals.get("self")
        self._hung = name = plugin.name if isinstance(plugin, TriggerPlugin) else "?"
        self._counters.add("triggers_hung", label=name)
        self._log.error("trigger.hangs", plugin=name, after_s=POLL_S * HUNG_AFTER_POLLS)
        if call_of(frame_of(self._watched)) is call:
            self._end_call(self._watched)


_reading_frames = threading.Lock()


def frame_of(thread_id: int) -> FrameType | None:
    """Returns the frame in which a thread is; None: the thread has ended.

    Python 3.11 can stop for ever in `sys._current_frames` if garbage is collected there: a finalizer lets
    another thread run, which waits for a lock that is held meanwhile (CPython issue 106883).
    """
    with _reading_frames:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames().get(thread_id)
        finally:
            if was_enabled:
                gc.enable()


def call_of(frame: FrameType | None) -> FrameType | None:
    """Returns the call of a trigger that this frame is within; the same object for the same call.

    None also for a call into a worker's process.
    """
    while frame is not None:
        if frame.f_globals.get("__name__") == WORKER_CALLS:
            return None
        if frame.f_code in CALLS:
            return frame
        frame = frame.f_back
    return None


def raise_in(thread_id: int) -> None:
    """Raises HungTriggerError in that thread, at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(HungTriggerError))
