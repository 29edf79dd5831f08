"""The host's side of a worker: starts it, hears its heart, ends it when it hangs, starts it again.

One thread per plug-in process, over all its lives. What a call waits for is answered, or failed when the
life ends: as ConnectionError or TimeoutError, so that a sink's emission is sent again.
"""

import itertools
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from opq_plugins.host.conduct import Conduct
from opq_plugins.host.guard import PAUSES_S, STEADY_S
from opq_plugins.host.hearing import hear
from opq_plugins.host.life import END_S, Call, Life
from opq_plugins.host.output import Output
from opq_plugins.policy import Limits, worker_uid
from opq_plugins.sandbox.offspring import TOKEN
from opq_proto.errors import PluginError


class Listener(Protocol):
    """An instance on the host's side: hears what its other half sends on its own account."""

    def heard(self, message: list[Any]) -> None: ...
    def asked(self, key: str) -> Any: ...
    def changed(self, state: dict[str, Any]) -> None: ...


class PluginProcess:
    """The supervised process of one version of a plug-in."""

    def __init__(
        self,
        name: str,
        folder: Path,
        manifest_name: str,
        limits: Limits,
        uid: int | None = None,
        allow_root: bool = False,
        on_crash: Callable[[str], None] = lambda why: None,
        writable: Sequence[Path] = (),
    ) -> None:
        """`folder`: <data>/plugins/<name>/<version>; of <data> the worker sees nothing else."""
        self.name = name
        self.limits = limits
        self.crashes = self.survivors = 0
        self.last_error = ""
        self._on_crash = on_crash
        self._conduct = Conduct()
        self._facts = {
            "folder": str(folder.resolve()),
            "hidden": str(folder.resolve().parents[2]),
            "writable": [str(each.resolve()) for each in writable],
            "manifest": manifest_name,
            "limits": asdict(limits),
            "uid": uid if uid is not None else worker_uid(name),
            "allow_root": allow_root,
        }
        self._lock = threading.Lock()
        self._up = threading.Condition(self._lock)
        self._life: Life | None = None
        self._last_facts: dict[str, Any] = {}
        self._output = Output()
        self._listeners: dict[int, Listener] = {}
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
        if self._first_failure or self._life is None:
            why = self._first_failure or f"no handshake within {self.limits.start_s:g} s"
            self.close()
            raise PluginError(f"plug-in {self.name} does not start: {why}")

    def life(self) -> Life:
        """Raises ConnectionError while there is none."""
        life = self._life
        if life is None:
            raise ConnectionError(f"plug-in {self.name}: {self.last_error or 'not running'}")
        return life

    def life_ended(self, life: Life | None) -> bool:
        return life is not None and (life is not self._life or bool(life.why))

    def wait_up(self, seconds: float) -> bool:
        with self._up:
            return self._up.wait_for(lambda: self._life is not None or self._closing.is_set(), seconds)

    def add(self, listener: Listener) -> int:
        number = next(self._numbers)
        self._listeners[number] = listener
        return number

    def remove(self, number: int) -> None:
        self._listeners.pop(number, None)
        self._conduct.forget(number)

    def call(self, life: Life, number: int, method: str, body: Any, timeout_s: float | None = None) -> Any:
        """Raises ConnectionError, TimeoutError (its process is ended then), ValueError, PluginError."""
        wait_s = self.limits.call_s if timeout_s is None else timeout_s
        call, waiting = next(self._numbers), Call(number)
        with self._lock:
            if life is not self._life:
                raise ConnectionError(f"plug-in {self.name}: {self.last_error or 'is another process now'}")
            life.calls[call] = waiting
        try:
            life.wire.send(["call", call, number, method, body], wait_s)
        except TimeoutError:
            life.end(f"takes no calls for {wait_s:g} s")
        except OSError:
            life.end("its wire is broken")
        except (TypeError, ValueError, OverflowError) as error:
            with self._lock:
                life.calls.pop(call, None)
            raise PluginError(f"plug-in {self.name}: {error}") from None
        if not waiting.done.wait(wait_s):
            life.end(f"{method} took longer than {wait_s:g} s")
            if not waiting.done.wait(END_S):
                with self._lock:
                    life.calls.pop(call, None)
            raise TimeoutError(f"plug-in {self.name}: {method} took longer than {wait_s:g} s")
        if waiting.failure is not None:
            raise waiting.failure
        return waiting.value

    def tell(self, life: Life, message: list[Any]) -> None:
        """Without an answer. Lost when the life has ended."""
        try:
            life.wire.send(message, self.limits.call_s)
        except OSError:
            life.end("takes no messages")

    def close(self) -> None:
        """End it, within 2 s; its callers get ConnectionError."""
        self._closing.set()
        life = self._life
        if life is not None:
            life.end("closed")
        with self._up:
            self._up.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(END_S + 10)

    @property
    def facts(self) -> dict[str, Any]:
        """What the worker said of itself at its handshake."""
        life = self._life
        return life.facts if life is not None else self._last_facts

    def status(self) -> dict[str, Any]:
        life = self._life
        facts = self.facts
        state = "running" if life is not None else "initializing" if not self._started.is_set() else "error"
        heard_s = None if life is None else round(time.monotonic() - life.heard_s, 3)
        return {
            "status": "stop" if self._closing.is_set() else state,
            "errMsg": "" if life is not None else self.last_error,
            "pid": life.process.pid if life is not None else 0,
            "last_error": self.last_error,
            "protections": facts.get("protections", {}),
            "crashes": self.crashes,
            "survivors_killed": self.survivors,
            "heartbeat_age_s": heard_s,
            "tells_dropped": self._conduct.dropped,
            "output_bytes": self._output.bytes,
            "output_dropped_bytes": self._output.dropped_bytes,
            "output_tail": self._output.tail()[-2000:],
        }

    # -- the thread

    def _run(self) -> None:
        in_row, last_crash_s = 0, 0.0
        while not self._closing.is_set():
            why = self._live()
            if self._closing.is_set():
                break
            self.crashes += 1
            self.last_error = why
            if not self._started.is_set():
                self._first_failure = why
                self._started.set()
                return
            now = time.monotonic()
            in_row = 0 if now - last_crash_s > STEADY_S else in_row
            last_crash_s = now
            pause_s = PAUSES_S[min(in_row, len(PAUSES_S) - 1)]
            in_row += 1
            self.last_error = f"{why}; started again after {pause_s:g} s"
            self._on_crash(why)
            self._closing.wait(pause_s)

    def _live(self) -> str:
        """One life; gives why it ended."""
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
            life = Life(command, environment, self._facts)
        except OSError as error:
            return f"cannot start a process: {error}"
        try:
            hear(life, self._output, self.limits.start_s, self._closing, self._take)
        finally:
            with self._lock:
                self._life = None
                calls, life.calls = life.calls, {}
            self._output.read(life.output)
            report = life.close()
            self.survivors += int(report.get("survivors", 0))
            why = life.cause(report, self._output.tail())
            for waiting in calls.values():
                waiting.failure = ConnectionError(f"plug-in {self.name}: {why}")
                waiting.done.set()
            self.last_error = why
            self._last_facts = life.facts or self._last_facts
            for number, listener in list(self._listeners.items()):
                listener.heard(["gone", number, why])
        return why

    def _take(self, life: Life, message: list[Any]) -> None:
        match message:
            case ["done", call, value, state]:
                self._finish(life, call, state, value, None)
            case ["failed", call, kind, text, state]:
                failures: dict[str, type[Exception]] = {
                    "again": ConnectionError,
                    "value": ValueError,
                    "cannot": NotImplementedError,
                }
                failure = failures.get(kind, ConnectionError if kind == "gone" else PluginError)
                self._finish(life, call, state, None, failure(str(text)))
            case ["tell", _, "log" | "error", _] if not self._conduct.may_tell():
                pass
            case ["emit" | "tell", number, *_]:
                if (listener := self._listeners.get(number)) is not None:
                    listener.heard(message)
            case ["ask", int() as call, int() as number, str() as key]:
                listener = self._listeners.get(number)
                self.tell(life, ["answer", call, listener.asked(key) if listener else None])
            case ["ready", dict() as facts] if not life.facts:
                if "error" in facts:
                    life.why = str(facts["error"])
                    return
                if not isinstance(facts.get("replay", []), list):
                    raise ValueError("a handshake that is none")
                life.facts = {**facts, "protections": life.reports().get("protections", {})}
                with self._up:
                    self._life = life
                    self._up.notify_all()
                self._started.set()
            case ["pong", _]:
                self._conduct.unasked()  # ten a second are nothing
            case _:
                raise ValueError(f"message {str(message)[:80]}")

    def _finish(self, life: Life, call: int, state: Any, value: Any, failure: Exception | None) -> None:
        with self._lock:
            waiting = life.calls.pop(call, None)
        if waiting is None:
            self._conduct.unasked()
            return
        if state and (listener := self._listeners.get(waiting.instance)) is not None:
            try:
                listener.changed(self._conduct.state(waiting.instance, state))
            except Exception:
                with self._lock:
                    life.calls[call] = waiting  # fails with the process, which ends by this
                raise
        waiting.value, waiting.failure = value, failure
        waiting.done.set()
