"""The supervisor of a worker: starts its process, ends it when it hangs, starts the next one after a pause.

One thread per plug-in. What a call waits for is answered, or failed when the process
ends: as ConnectionError or TimeoutError, so that a sink's emission is sent again.
"""

import itertools
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from opq_plugins.host.guard import PAUSES_S, STEADY_S
from opq_plugins.host.worker_process import END_S, PendingCall, PrintedOutput, WorkerLimits, WorkerProcess
from opq_plugins.policy import Policy, ProcessLimits, worker_uid
from opq_plugins.sandbox.process_tree import TOKEN
from opq_proto.backoff import Backoff
from opq_proto.errors import PluginError

FAILURES: dict[str, type[Exception]] = {
    "again": ConnectionError,
    "gone": ConnectionError,
    "value": ValueError,
    "cannot": NotImplementedError,
}
"""What a worker says of a call that failed; anything else is a PluginError."""


class HostHalf(Protocol):
    """An instance on the host's side: accepts what its half in the worker sends on its own account."""

    def accept_message(self, message: list[Any]) -> None: ...
    def kept_state(self, key: str) -> Any: ...
    def accept_state(self, state: dict[str, Any]) -> None: ...


class WorkerSupervisor:
    """The worker of one version of a plug-in, over all its processes."""

    def __init__(
        self,
        name: str,
        folder: Path,
        manifest_name: str,
        limits: ProcessLimits,
        policy: Policy,
        on_crash: Callable[[str], None],
    ) -> None:
        """`folder`: <data>/plugins/<name>/<version>; of <data> the worker sees nothing else."""
        self.name = name
        self.limits = limits
        self.crashes = self.survivors = 0
        self.last_error = ""
        self._on_crash = on_crash
        self._sending = WorkerLimits()
        self._facts = {
            "folder": str(folder.resolve()),
            "hidden": str(folder.resolve().parents[2]),
            "writable": [str(each.resolve()) for each in policy.writable],
            "manifest": manifest_name,
            "limits": asdict(limits),
            "uid": policy.worker_uid if policy.worker_uid is not None else worker_uid(name),
            "allow_root": policy.allow_root,
        }
        self._lock = threading.Lock()
        self._up = threading.Condition(self._lock)
        self._running: WorkerProcess | None = None
        self._last_facts: dict[str, Any] = {}
        self._output = PrintedOutput()
        self._halves: dict[int, HostHalf] = {}
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._started = threading.Event()
        self._first_failure = ""
        self._thread = threading.Thread(target=self._run, name=f"plugin-{name}", daemon=True)

    # -- for any thread

    def start(self) -> None:
        """Until the handshake. Raises PluginError: it did not come up, with what it printed."""
        self._thread.start()
        self._started.wait(self.limits.start_s + END_S + 10)
        if self._first_failure or self._running is None:
            why = self._first_failure or f"no handshake within {self.limits.start_s:g} s"
            self.close()
            raise PluginError(f"plug-in {self.name} does not start: {why}")

    def running(self) -> WorkerProcess:
        """Raises ConnectionError while there is none."""
        process = self._running
        if process is None:
            raise ConnectionError(f"plug-in {self.name}: {self.last_error or 'not running'}")
        return process

    def has_ended(self, process: WorkerProcess | None) -> bool:
        return process is not None and (process is not self._running or bool(process.why))

    def wait_up(self, seconds: float) -> bool:
        with self._up:
            return self._up.wait_for(lambda: self._running is not None or self._closing.is_set(), seconds)

    def add(self, half: HostHalf) -> int:
        number = next(self._numbers)
        self._halves[number] = half
        return number

    def remove(self, number: int) -> None:
        self._halves.pop(number, None)
        self._sending.forget(number)

    def call(
        self,
        process: WorkerProcess,
        number: int,
        method: str,
        arguments: list[Any],
        wait_s: float,
        whose: list[Any] | None = None,
    ) -> Any:
        """Raises ConnectionError, TimeoutError (its process is ended then), ValueError, PluginError.

        `whose`: rule, operation and instance that the call is for, and the ids of its rows.
        """
        call, waiting = next(self._numbers), PendingCall(number)
        with self._lock:
            if process is not self._running:
                raise ConnectionError(f"plug-in {self.name}: {self.last_error or 'is another process now'}")
            process.calls[call] = waiting
        try:
            process.wire.send(["call", call, number, method, arguments, whose], wait_s)
        except TimeoutError:
            process.end(f"takes no calls for {wait_s:g} s")
        except OSError:
            process.end("its wire is broken")
        except (TypeError, ValueError, OverflowError) as error:
            with self._lock:
                process.calls.pop(call, None)
            raise PluginError(f"plug-in {self.name}: {error}") from None
        if not waiting.done.wait(wait_s):
            process.end(f"{method} took longer than {wait_s:g} s")
            if not waiting.done.wait(END_S):
                with self._lock:
                    process.calls.pop(call, None)
            raise TimeoutError(f"plug-in {self.name}: {method} took longer than {wait_s:g} s")
        if waiting.failure is not None:
            raise waiting.failure
        return waiting.value

    def send(self, process: WorkerProcess, message: list[Any]) -> None:
        """Without an answer. Lost when the process has ended."""
        try:
            process.wire.send(message, self.limits.call_s)
        except OSError:
            process.end("takes no messages")

    def close(self) -> None:
        """End it, within 2 s; its callers get ConnectionError."""
        self._closing.set()
        process = self._running
        if process is not None:
            process.end("closed")
        with self._up:
            self._up.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(END_S + 10)

    @property
    def facts(self) -> dict[str, Any]:
        """What the worker said of itself at its handshake."""
        process = self._running
        return process.facts if process is not None else self._last_facts

    def status(self) -> dict[str, Any]:
        process = self._running
        facts = self.facts
        state = (
            "running" if process is not None else "initializing" if not self._started.is_set() else "error"
        )
        heard_s = None if process is None else round(time.monotonic() - process.heard_s, 3)
        return {
            "status": "stop" if self._closing.is_set() else state,
            "errMsg": "" if process is not None else self.last_error,
            "pid": process.process.pid if process is not None else 0,
            "last_error": self.last_error,
            "protections": facts.get("protections", {}),
            "crashes": self.crashes,
            "survivors_killed": self.survivors,
            "heartbeat_age_s": heard_s,
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
            pause_s = backoff.record_failure(now_s - last_crash_s)
            last_crash_s = now_s
            self.last_error = f"{why}; started again after {pause_s:g} s"
            self._on_crash(why)
            self._closing.wait(pause_s)

    def _run_once(self) -> str:
        """One process from start to end; gives why it ended."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            TOKEN: secrets.token_hex(16),
        }
        command = [sys.executable, "-P", "-m", "opq_plugins.worker"]
        try:
            process = WorkerProcess(command, environment, self._facts)
        except OSError as error:
            return f"cannot start a process: {error}"
        try:
            process.read_until_end(self._output, self.limits.start_s, self._closing, self._accept_message)
        finally:
            with self._lock:
                self._running = None
                calls, process.calls = process.calls, {}
            self._output.read(process.output)
            report = process.close()
            self.survivors += int(report.get("survivors", 0))
            why = process.cause(report, self._output.tail())
            for waiting in calls.values():
                waiting.failure = ConnectionError(f"plug-in {self.name}: {why}")
                waiting.done.set()
            self.last_error = why
            self._last_facts = process.facts or self._last_facts
            for number, half in list(self._halves.items()):
                half.accept_message(["gone", number, why])
        return why

    def _accept_message(self, process: WorkerProcess, message: list[Any]) -> None:
        match message:
            case ["done", call, value, state]:
                self._finish(process, call, state, value, None)
            case ["failed", call, kind, text, state]:
                self._finish(process, call, state, None, FAILURES.get(kind, PluginError)(str(text)))
            case ["tell", _, "log" | "error", _] if not self._sending.may_report():
                pass
            case ["emit" | "tell", number, *_]:
                if (half := self._halves.get(number)) is not None:
                    half.accept_message(message)
            case ["ask", int() as call, int() as number, str() as key]:
                half = self._halves.get(number)
                self.send(process, ["answer", call, half.kept_state(key) if half else None])
            case ["ready", dict() as facts] if not process.facts:
                if "error" in facts:
                    process.why = str(facts["error"])
                    return
                if not isinstance(facts.get("replay", []), list):
                    raise ValueError("a handshake that is none")
                process.facts = {**facts, "protections": process.keeper_facts().get("protections", {})}
                with self._up:
                    self._running = process
                    self._up.notify_all()
                self._started.set()
            case ["pong", _]:
                self._sending.count_unasked()  # ten a second are nothing
            case _:
                raise ValueError(f"message {str(message)[:80]}")

    def _finish(
        self, process: WorkerProcess, call: int, state: Any, value: Any, failure: Exception | None
    ) -> None:
        with self._lock:
            waiting = process.calls.pop(call, None)
        if waiting is None:
            self._sending.count_unasked()
            return
        if state and (half := self._halves.get(waiting.instance)) is not None:
            try:
                half.accept_state(self._sending.checked_state(waiting.instance, state))
            except Exception:
                with self._lock:
                    process.calls[call] = waiting  # fails with the process, which ends by this
                raise
        waiting.value, waiting.failure = value, failure
        waiting.done.set()
