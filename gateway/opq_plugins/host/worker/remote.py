"""The host's side of instances in a worker: each method of the sdk's classes becomes a call over the wire.

After a crash the next call makes the instance again, with the properties and the state that it had.
Unacknowledged rows are sent again, and a source continues after its last offset.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.failure_guard import RuleCircuits
from opq_plugins.host.worker.supervisor import WorkerSupervisor
from opq_plugins.host.worker.worker_process import WorkerProcess
from opq_plugins.sdk import Value, nouns
from opq_plugins.worker import worker_wire as frames
from opq_plugins.worker.context import context_at
from opq_plugins.worker_errors import WorkerAbsentError, WorkerBeginTimeoutError, WorkerEndedError
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding

RESTART_S = 1.0
"""How long a call of a function waits, once per crash, for a new process."""
DECIDE_S = 2.0
"""Longest call of a trigger, because Makai's loop stops meanwhile."""
GUARDED = {
    ("function", "exec"),
    ("trigger", "decide"),
    *(("analysis", method) for method in ("analyse", "analyse_items", "wants")),
}
"""Calls whose caller pauses for the Box whose data ended the process; the next process starts at once."""
BEGIN_S = 5.0
"""Limit for a trigger's `Config` and `begin`, at its installation and at Makai's start."""


class Remote:
    """One instance in a process of the worker; it is made again in the next process.

    Other methods are those of the sdk: the context stays here, all other arguments go over the wire.
    """

    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        self._supervisor = supervisor
        self.kind, self._symbol = kind, symbol
        self._number = supervisor.add(self)
        self._process: WorkerProcess | None = None
        self._configuration: list[Value] = []
        self._context: sdk.Context | None = None
        self._import: list[Value] | None = None

    def __getattr__(self, method: str) -> Callable[..., Value]:
        if method.startswith("_"):
            raise AttributeError(method)
        return functools.partial(self.call, method)

    def configure(self, *configuration: Value) -> None:
        """Raises ValueError: properties that it refuses; PluginError."""
        self._configuration = [*configuration[:-1], dict(configuration[-1])]
        self._make_first()

    def call(self, method: str, *arguments: Any) -> Value:
        """Raises OSError (process gone or too slow), ValueError or PluginError (raised by the method)."""
        at = context_at(self.kind, method)
        given = list(arguments)
        if at is not None:
            self._context = given.pop(at)
        return self._send(self._made(), method, given, at is not None)

    def decide(self, *arguments: object) -> object:
        """Returns the checked decision of a trigger."""
        return nouns.decision_from(self.call("decide", *map(nouns.to_plain, arguments)))

    def analyse(self, event: Event, *nominal: float) -> object:
        """Returns the checked findings of an analysis."""
        return nouns.findings_from(self.call("analyse", nouns.to_plain(event), *nominal), event)

    def analyse_items(self, batch: nouns.ItemBatch, *nominal: float) -> object:
        """Returns the checked results of an analysis of single items."""
        method = "analyse_histories" if batch.histories else "analyse_items"
        return nouns.result_from(self.call(method, nouns.to_plain(batch), *nominal), batch)

    def reads(self) -> object:
        """Returns the checked request of an analysis of History."""
        return nouns.history_request_from(self.call("reads"))

    def wants(self, event: Event, findings: Sequence[Finding], *nominal: float) -> object:
        """Returns the further samples that an analysis requests, checked."""
        given = nouns.to_plain(event), nouns.to_plain(list(findings))
        return nouns.requests_from(self.call("wants", *given, *nominal))

    def import_state(self, version: str, state: Value) -> bool:
        """False: it does not use the state, as a trigger or analysis may decide."""
        taken = self.call("import_state", version, state) is not False
        if self.kind not in ("trigger", "analysis"):  # the state of other kinds is newer at the next crash
            self._import = [version, state]
        return taken

    def wait_up(self, seconds: float) -> None:
        """Waits until its process runs, up to this time."""
        self._supervisor.wait_up(seconds)

    @property
    def up(self) -> bool:
        """Whether its process runs; False while it is being started again."""
        return self._supervisor.process is not None

    @property
    def forgot(self) -> bool:
        """Whether its process has changed since the last call; the next call makes the instance again."""
        running = self._supervisor.process
        return running is not None and self._process is not None and running is not self._process

    def release(self) -> None:
        """Closes the worker's side and forgets it."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError, ValueError, PluginError):  # it ends with its process anyway
                self._send(process, "close", [])
        self._supervisor.remove(self._number)

    def discard(self) -> None:
        """Forgets the worker's side, which was made only as a check and never opened."""
        process, self._process = self._process, None
        if process is not None:
            self._supervisor.send(process, frames.InstanceSignal(self._number, "forget"))
        self._supervisor.remove(self._number)

    # -- frames that the worker sends without a call: supervisor.HostHalf

    def accept_frame(self, frame: frames.OfSource | frames.LogLine) -> None:
        if isinstance(frame, frames.LogLine) and self._context is not None:
            self._context.log(frame.event, **frame.facts)

    def accept_end(self, why: str) -> None:
        """Nothing to do: the next call makes the instance again."""

    def stored_state(self, key: str) -> Value:
        return None if self._context is None else self._context.get_state(key)

    def accept_state(self, state: dict[str, Value]) -> None:
        for key, value in state.items():
            if self._context is not None:
                self._context.put_state(key, value)

    # -- how

    def _made(self) -> WorkerProcess:
        """Returns the process with this instance. Raises NOT_CALLED if it does not run or takes too long."""
        process = self._supervisor.running()
        if process is self._process:
            return process
        limit_s = self._limit_s("make")
        try:
            self._make_again(functools.partial(self._supervisor.call, process, self._number, wait_s=limit_s))
        except TimeoutError as error:  # other errors, because the row has not caused them
            raise WorkerBeginTimeoutError(str(error)) from None
        except ConnectionError as error:
            raise WorkerAbsentError(str(error)) from None
        self._process = process
        return process

    def _make_again(self, call: Callable[..., Value]) -> None:
        call("make", [self.kind, self._symbol, self._configuration])
        if self._import is not None:
            call("import_state", list(self._import))
        if self._context is not None and self.kind == "sink":
            call("open", [], caller=self._caller())

    def _make_first(self) -> None:
        """Makes it, after a short wait for a process that is starting. Raises ValueError, PluginError."""
        self._supervisor.wait_up(self._supervisor.limits.call_s)
        try:
            self._made()
        except OSError as error:
            raise PluginError(str(error)) from None

    def _send(
        self, process: WorkerProcess, method: str, arguments: list[Value], owned: bool = False
    ) -> Value:
        caller = self._caller() if owned else None
        limit_s = self._limit_s(method)
        guarded = (self.kind, method) in GUARDED
        return self._supervisor.call(process, self._number, method, arguments, limit_s, caller, guarded)

    def _caller(self) -> frames.Caller | None:
        context = self._context
        if context is None:
            return None
        row_ids = list(getattr(context, "row_ids", ()))
        return frames.Caller(context.rule_id, context.op_id, context.instance_id, row_ids)

    def _limit_s(self, method: str) -> float:
        limits = self._supervisor.limits
        if self.kind == "trigger" and method != "selftest":
            begins = method == "make" and self._process is None
            return min(BEGIN_S, limits.start_s) if begins else min(DECIDE_S, limits.call_s)
        if self.kind == "function" and method == "exec":
            return limits.function_s
        if method == "analyse_histories":
            return max(limits.history_s, limits.call_s)
        return limits.start_s if method in ("make", "open", "selftest") else limits.call_s


class RemoteFunction(Remote):
    """A function. A rule does not call it for a while for a Box whose rows made its process fail: during a
    call all rules stop, and the others need the process."""

    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        super().__init__(supervisor, kind, symbol)
        self._waited_for = -1
        self._circuits = RuleCircuits()

    def validate(self, args: Sequence[Value]) -> str:
        try:
            self._make_first()
            found = self.call("validate", list(args))
        except (OSError, PluginError) as error:
            return str(error)
        wrong = f"TypeError: validate gave {type(found).__name__}; want text"
        return found if isinstance(found, str) else wrong

    def exec(self, args: Sequence[Value], context: sdk.Context) -> Value:
        """Raises RowError, also while the circuit is open."""
        whose = context.rule_id, str(getattr(context, "box", ""))
        if wait_s := self._circuits.wait_s(*whose):
            why = self._supervisor.last_error or "it failed twice in a row"
            raise sdk.RowError(f"{self._symbol}: not called for another {wait_s:.1f} s: {why}")
        try:
            answer = self._call_worker(list(args), context, self._circuits.tripped(*whose))
        except OSError as error:
            if isinstance(
                error, WorkerEndedError | TimeoutError
            ):  # else there was no process before the call
                self._circuits.record_failure(*whose)
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        except (sdk.RowError, PluginError) as error:
            if isinstance(error, sdk.RowError):  # the process has not failed
                self._circuits.record_success(*whose)
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        self._circuits.record_success(*whose)
        return answer

    def is_aggregate(self) -> bool:
        self._make_first()
        return bool(self.call("is_aggregate"))

    def _call_worker(self, args: list[Value], context: sdk.Context, tripped: bool) -> Value:
        """Calls the function; once per crash it waits for the next process."""
        try:
            return self.call("exec", args, context)
        except ConnectionError as error:
            crashes = self._supervisor.crashes
            if self._waited_for == crashes or tripped:
                raise
            self._waited_for, first = crashes, error
        self._supervisor.wait_up(RESTART_S)
        try:
            return self.call("exec", args, context)
        except WorkerEndedError:
            raise
        except ConnectionError:  # there is no process yet
            raise first from None
