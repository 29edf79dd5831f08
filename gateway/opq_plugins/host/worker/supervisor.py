"""The supervisor of a worker: starts its process, ends it when it hangs, starts the next one after a pause.

There is one thread per plug-in. A call gets its answer, or fails when the process ends: with ConnectionError
or TimeoutError, so that a sink's emission is sent again.
"""

import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from opq_plugins.host.failure_guard import PAUSES_S, STEADY_S
from opq_plugins.host.worker.worker_process import (
    END_S,
    PendingCall,
    PrintedOutput,
    WorkerLimits,
    WorkerProcess,
)
from opq_plugins.policy import Policy, worker_uid
from opq_plugins.sdk import PermanentError, RowError, Value
from opq_plugins.worker import worker_wire as frames
from opq_plugins.worker_errors import WorkerAbsentError, WorkerEndedError, WorkerTimeoutError
from opq_proto.errors import PluginError
from opq_proto.kit.backoff import Backoff

FAILURES: dict[str, type[Exception]] = {
    "again": ConnectionError,
    "never": PermanentError,
    "value": ValueError,
    "cannot": NotImplementedError,
    "row": RowError,
}
"""`failure` of a worker's answer -> the exception to raise; anything else is a PluginError."""

KILLED = "killed by an operator"
GUARDED_STARTS = 20
"""Ends of a process during guarded calls within STEADY_S, from which the next one starts after a pause."""


class UnconfinedError(PluginError):
    """A plug-in that is not trusted was not started, because this machine cannot confine it."""


class HostHalf(Protocol):
    """The host's side of an instance: accepts unrequested frames of its side in the worker."""

    def accept_frame(self, frame: frames.OfSource | frames.LogLine) -> None: ...
    def accept_end(self, why: str) -> None:
        """Its process has ended."""

    def stored_state(self, key: str) -> Value: ...
    def accept_state(self, state: dict[str, Value]) -> None: ...


class WorkerSupervisor:
    """The worker of one version of a plug-in, across all its processes."""

    def __init__(
        self,
        name: str,
        folder: Path,
        manifest_name: str,
        policy: Policy,
        trusted: bool,
        on_crash: Callable[[str], None],
    ) -> None:
        """
        Args:
            folder: <data>/plugins/<name>/<version>, the only part of <data> that the worker can read.
            policy: its limits are those of this plug-in.
            trusted: start it also where this machine cannot confine it.
        """
        self.name = name
        self.limits = policy.limits
        self.crashes = self.survivors = 0
        self.last_error = ""
        self._on_crash = on_crash
        self._sending = WorkerLimits()
        self._facts = {
            "folder": str(folder.resolve()),
            "readable": [str(each.resolve()) for each in policy.readable],
            "writable": [str(each.resolve()) for each in policy.writable],
            "network": list(policy.network),
            "network_place": policy.network_place,
            "manifest": manifest_name,
            "limits": asdict(policy.limits),
            "uid": policy.worker_uid if policy.worker_uid is not None else worker_uid(name),
            "trusted": trusted,
        }
        self._scratch = {"TMPDIR": str(policy.writable[0].resolve())} if policy.writable else {}
        self._lock = threading.Lock()
        self._up = threading.Condition(self._lock)
        self.process: WorkerProcess | None = None
        """The present process, after its handshake."""
        self.replaying: frozenset[str] = frozenset()
        """Sources that can continue after an offset."""
        self._protections: dict[str, str] = {}
        self._output = PrintedOutput()
        self._halves: dict[int, HostHalf] = {}
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._started = threading.Event()
        self._first_failure = self._unconfined = ""
        self._ended_guarded = False
        self._guarded_s: deque[float] = deque(maxlen=GUARDED_STARTS)
        self._thread = threading.Thread(target=self._run, name=f"plugin-{name}", daemon=True)

    # -- for any thread

    def start(self) -> None:
        """Waits for the handshake. Raises PluginError with the plug-in's output where it does not start."""
        self._thread.start()
        self._started.wait(self.limits.start_s + END_S + 10)
        if self._first_failure or self.process is None:
            why = self._first_failure or f"no handshake within {self.limits.start_s:g} s"
            self.close()
            if self._unconfined:
                raise UnconfinedError(unconfined(self.name, self._unconfined))
            raise PluginError(f"plug-in {self.name} does not start: {why}")

    def running(self) -> WorkerProcess:
        """The present process. Raises WorkerAbsentError while there is none."""
        process = self.process
        if process is None:
            raise WorkerAbsentError(f"plug-in {self.name}: {self.last_error or 'not running'}")
        return process

    def wait_up(self, seconds: float) -> bool:
        with self._up:
            return self._up.wait_for(lambda: self.process is not None or self._closing.is_set(), seconds)

    def add(self, half: HostHalf) -> int:
        number = next(self._numbers)
        self._halves[number] = half
        return number

    def remove(self, number: int) -> None:
        self._halves.pop(number, None)
        self._sending.remove(number)

    def call(
        self,
        process: WorkerProcess,
        instance: int,
        method: str,
        arguments: list[Value],
        wait_s: float,
        caller: frames.Caller | None = None,
        guarded: bool = False,
    ) -> Value:
        """Raises WorkerEndedError, WorkerTimeoutError, ConnectionError (again), ValueError, PluginError."""
        number, pending = next(self._numbers), PendingCall(instance, guarded)
        with self._lock:
            if process is not self.process:
                raise WorkerEndedError(f"plug-in {self.name}: {self.last_error or 'is another process now'}")
            process.calls[number] = pending
        try:
            process.wire.send(frames.Call(number, instance, method, arguments, caller), wait_s)
        except TimeoutError:
            process.end(f"accepts no calls for {wait_s:g} s")
        except OSError:
            process.end("its wire is broken")
        except (TypeError, ValueError, OverflowError) as error:
            process.calls.pop(number, None)
            raise PluginError(f"plug-in {self.name}: {error}") from None
        try:
            return pending.answer.result(wait_s)
        except TimeoutError:
            process.end(f"{method} took longer than {wait_s:g} s")
            wait([pending.answer], END_S)
            process.calls.pop(number, None)
        raise WorkerTimeoutError(f"plug-in {self.name}: {method} took longer than {wait_s:g} s")

    def send(self, process: WorkerProcess, frame: frames.WireFrame) -> None:
        """Sends a frame that has no answer. It is lost where the process has ended."""
        try:
            process.wire.send(frame, self.limits.call_s)
        except OSError:
            process.end("accepts no messages")

    def kill(self) -> int:
        """Kills its process, which is started again; returns its pid, or 0 if none is running."""
        process = self.process
        if process is None:
            return 0
        process.end(KILLED)
        return process.process.pid

    def close(self) -> None:
        """Ends it, within 2 s; its callers get ConnectionError."""
        self._closing.set()
        process = self.process
        if process is not None:
            process.end("closed")
        with self._up:
            self._up.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(END_S + 10)

    def status(self) -> dict[str, Value]:
        process = self.process
        if self._closing.is_set():
            state = "stop"
        elif process is not None:
            state = "running"
        else:
            state = "error" if self._started.is_set() else "initializing"
        return {
            "status": state,
            "errMsg": "" if process is not None else self.last_error,
            "pid": process.process.pid if process is not None else 0,
            "last_error": self.last_error,
            "protections": self._protections,
            "crashes": self.crashes,
            "survivors_killed": self.survivors,
            "heartbeat_age_s": None if process is None else round(time.monotonic() - process.received_s, 3),
            "tells_dropped": self._sending.dropped,
            "output_bytes": self._output.bytes,
            "output_dropped_bytes": self._output.dropped_bytes,
            "output_tail": self._output.tail()[-2000:],
        }

    # -- the thread

    def _run(self) -> None:
        backoff, last_crash_s = Backoff(PAUSES_S, steady_s=STEADY_S), float("-inf")
        while not self._closing.is_set():
            why = self._run_once()
            if self._closing.is_set():
                break
            self.crashes += 1
            self.last_error = why
            if not self._started.is_set():
                self._first_failure = why
                self._started.set()
                return
            now_s = time.monotonic()
            if self._ended_guarded and self._may_start_at_once(now_s):
                pause_s = 0.0
            else:
                pause_s = backoff.record_failure(now_s - last_crash_s)
                last_crash_s = now_s
            self.last_error = f"{why}; started again after {pause_s:g} s"
            self._on_crash(why)
            self._closing.wait(pause_s)

    def _may_start_at_once(self, now_s: float) -> bool:
        """Whether the next process may start without a pause, because the caller that ended this one pauses.

        Other callers have done nothing. GUARDED_STARTS within STEADY_S are too many, whoever they are of.
        """
        self._guarded_s.append(now_s)
        return len(self._guarded_s) < GUARDED_STARTS or now_s - self._guarded_s[0] > STEADY_S

    def _run_once(self) -> str:
        """Runs one process from start to end; returns why it ended."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **self._scratch,
        }
        command = [sys.executable, "-P", "-m", "opq_plugins.worker"]
        try:
            process = WorkerProcess(command, environment, self._facts)
        except OSError as error:
            return f"cannot start a process: {error}"
        try:
            process.read_until_end(self._output, self.limits.start_s, self._closing, self._accept_frame)
        finally:
            with self._lock:
                self.process = None
                calls, process.calls = process.calls, {}
            self._output.read(process.output)
            report = process.close()
            self.survivors += report.survivors
            self._unconfined = report.unconfined
            why = process.cause(report, self._output.tail())
            self._ended_guarded = any(pending.guarded for pending in calls.values())
            for pending in calls.values():
                pending.answer.set_exception(WorkerEndedError(f"plug-in {self.name}: {why}"))
            self.last_error = why
            for half in list(self._halves.values()):
                half.accept_end(why)
        return why

    def _accept_frame(self, process: WorkerProcess, frame: frames.OfWorker) -> None:
        match frame:
            case frames.Answer():
                self._finish(process, frame)
            case frames.LogLine() | frames.Notice(what="error") if not self._sending.may_report():
                pass
            case frames.LogLine() | frames.Rows() | frames.Payloads() | frames.Notice():
                if (half := self._halves.get(frame.instance)) is not None:
                    half.accept_frame(frame)
            case frames.StateQuestion(number, instance, key):
                half = self._halves.get(instance)
                self.send(process, frames.StoredState(number, half.stored_state(key) if half else None))
            case frames.Ready() if process.ready is None:
                self._accept_handshake(process, frame)
            case frames.Heartbeat():
                self._sending.count_unasked()  # unrequested answers; ten a second are accepted
            case _:
                raise ValueError("the plug-in sent a second handshake")

    def _accept_handshake(self, process: WorkerProcess, ready: frames.Ready) -> None:
        if ready.error:
            process.why = ready.error
            return
        process.ready, self.replaying = ready, frozenset(ready.replaying)
        self._protections = process.keeper_report().protections
        with self._up:
            self.process = process
            self._up.notify_all()
        self._started.set()

    def _finish(self, process: WorkerProcess, frame: frames.Answer) -> None:
        pending = process.calls.get(frame.number)
        if pending is None:
            self._sending.count_unasked()
            return
        if frame.state and (half := self._halves.get(pending.instance)) is not None:
            self._sending.check_state(pending.instance, frame.state)  # an error ends the process
            half.accept_state(frame.state)
        process.calls.pop(frame.number, None)
        if frame.failure:
            pending.answer.set_exception(FAILURES.get(frame.failure, PluginError)(frame.text))
        else:
            pending.answer.set_result(frame.value)


def unconfined(name: str, lacking: str) -> str:
    """The text of UnconfinedError: what was refused, why, and what to do."""
    return (
        f"plug-in {name} is not started: no key of `keys` has signed it, and this machine cannot confine it"
        f" ({lacking}); mend that, have it signed by such a key, or name it in `trusted`"
    )
