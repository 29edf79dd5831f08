"""The host's half of what is in a worker: each method of the sdk's classes becomes a call over the wire.

After a crash it is made again by its next call, with the properties and the state that it had; what was not
acknowledged is sent again, and what has crashed the process three times is refused.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opq_plugins import sdk
from opq_plugins.host.guard import Circuit
from opq_plugins.host.supervisor import WorkerSupervisor
from opq_plugins.host.worker_process import WorkerProcess
from opq_plugins.worker.instance import context_at
from opq_proto.errors import PluginError

if TYPE_CHECKING:  # NumPy comes with them; a host of sinks and functions needs none
    from opq_proto.decision import Decision, Nominal
    from opq_proto.messages import Event, Finding, Measurement

CRASHES_PER_ROW = 3
RESTART_S = 1.0
"""So long a call of a function waits, once per crash, for the process to be there again."""
DECIDE_S = 2.0
"""Longest call of a trigger: Makai's loop stands still meanwhile."""
BEGIN_S = 5.0
"""For a trigger's `Config` and `begin`, at its installation and at Makai's start."""


class Remote:
    """One instance, made in a process of the worker, and made again in the next one.

    Methods that are not here are the sdk's own, and those of `sdk.modules`: the context stays here, all other
    arguments go over the wire.
    """

    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        self._supervisor = supervisor
        self.kind, self._symbol = kind, symbol
        self._number = supervisor.add(self)
        self._process: WorkerProcess | None = None
        self._configuration: list[Any] = []
        self._context: Any = None
        self._import: list[Any] | None = None

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return functools.partial(self.call, method)

    def configure(self, *configuration: Any) -> None:
        """Raises ValueError: properties that it does not take; PluginError."""
        self._configuration = [*configuration[:-1], dict(configuration[-1])]
        self._make_first()

    def call(self, method: str, *arguments: Any) -> Any:
        """Raises OSError: its process is gone, or took too long; ValueError, PluginError: what it raised."""
        at = context_at(self.kind, method)
        given = list(arguments)
        if at is not None:
            self._context = given.pop(at)
        return self._send(self._made(), method, given, at is not None)

    def import_state(self, version: str, state: Any) -> None:
        self.call("import_state", version, state)
        self._import = [version, state]

    def selftest(self) -> str:
        return str(self.call("selftest") or "")

    def release(self) -> None:
        """The other half is closed and forgotten."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError, ValueError, PluginError):  # then it ends with its process
                self._send(process, "close", [])
        self._supervisor.remove(self._number)

    def discard(self) -> None:
        """Made to see whether it can be, the other half is forgotten: `close` is for what was open."""
        process, self._process = self._process, None
        if process is not None:
            self._supervisor.send(process, ["forget", self._number])
        self._supervisor.remove(self._number)

    # -- what the worker sends on its own account: supervisor.HostHalf

    def accept_message(self, message: list[Any]) -> None:
        if message[0] == "tell" and message[2] == "log" and self._context is not None:
            self._context.log(str(message[3]["event"]), **dict(message[3]["facts"]))

    def kept_state(self, key: str) -> Any:
        return None if self._context is None else self._context.get_state(key)

    def accept_state(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            if self._context is not None:
                self._context.put_state(key, value)

    # -- how

    def _made(self) -> WorkerProcess:
        """The process in which this instance is made. ConnectionError while there is none."""
        process = self._supervisor.running()
        if process is self._process:
            return process
        limit_s = self._first_s if self._process is None else self._again_s
        make = [self.kind, self._symbol, self._configuration]
        self._supervisor.call(process, self._number, "make", make, limit_s)
        if self._import is not None:
            self._supervisor.call(process, self._number, "import_state", list(self._import), limit_s)
        if self._context is not None and self.kind == "sink":
            self._supervisor.call(process, self._number, "open", [], limit_s, self._whose())
        self._process = process
        return process

    def _make_first(self) -> None:
        """Waits a little for a process that is just being started again. Raises ValueError, PluginError."""
        self._supervisor.wait_up(self._supervisor.limits.call_s)
        try:
            self._made()
        except OSError as error:
            raise PluginError(str(error)) from None

    def _send(self, process: WorkerProcess, method: str, arguments: list[Any], owned: bool = False) -> Any:
        whose = self._whose() if owned else None
        limit_s = self._limit_s(method)
        return self._supervisor.call(process, self._number, method, arguments, limit_s, whose)

    def _whose(self) -> list[Any]:
        context = self._context
        row_ids = list(getattr(context, "row_ids", ()))
        return [context.rule_id, context.op_id, context.instance_id, row_ids]

    @property
    def _first_s(self) -> float:
        """So long making it may take; making it in the next process: `_again_s`."""
        return self._supervisor.limits.start_s

    @property
    def _again_s(self) -> float:
        return self._first_s

    def _limit_s(self, method: str) -> float:
        limits = self._supervisor.limits
        return limits.start_s if method in ("open", "selftest") else limits.call_s


class RemoteSink(Remote):
    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        super().__init__(supervisor, kind, symbol)
        self._suspect: Any = None
        self._deaths = 0
        self.refused = 0
        """Emissions that crashed the process each time, and were given up."""

    def collect(self, context: sdk.SinkContext, data: Any) -> None:
        self._context = context
        process = self._made()
        try:
            self._send(process, "collect", [data], True)
        except OSError as error:
            if not self._supervisor.has_ended(process):
                raise
            key = list(context.row_ids) or repr(data)[:500]
            self._deaths = self._deaths + 1 if key == self._suspect else 1
            self._suspect = key
            if self._deaths < CRASHES_PER_ROW:
                raise
            self.refused += 1
            self._suspect, self._deaths = None, 0
            times = f"refused: it ended the plug-in's process {CRASHES_PER_ROW} times"
            raise PluginError(f"{times}: {error}") from None
        self._suspect, self._deaths = None, 0


class RemoteFunction(Remote):
    def __init__(self, supervisor: WorkerSupervisor, kind: str, symbol: str) -> None:
        super().__init__(supervisor, kind, symbol)
        self._aggregate: bool | None = None
        self._waited_for = -1
        self.circuit = Circuit()

    def validate(self, args: Sequence[Any]) -> str:
        try:
            self._make_first()
            found = self.call("validate", list(args))
        except (OSError, PluginError) as error:
            return str(error)
        if not isinstance(found, str):
            return f"TypeError: validate gave {type(found).__name__}; want text"
        return found

    def exec(self, args: Sequence[Any], context: sdk.Context) -> Any:
        """Raises RowError, also while the circuit is open."""
        supervisor = self._supervisor
        if wait_s := self.circuit.wait_s():
            why = supervisor.last_error or "it failed twice in a row"
            raise sdk.RowError(f"{self._symbol}: not asked for another {wait_s:.1f} s: {why}")
        try:
            try:
                answer = self.call("exec", list(args), context)
            except ConnectionError:
                if self._waited_for == supervisor.crashes or self.circuit.tripped:
                    raise
                # once per crash: the rule's thread stands still meanwhile
                self._waited_for = supervisor.crashes
                supervisor.wait_up(RESTART_S)
                answer = self.call("exec", list(args), context)
        except OSError as error:
            self.circuit.record_failure()
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        except PluginError as error:
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        self.circuit.record_success()
        match answer:
            case [value, None]:
                return value
            case [_, str() as text]:
                raise sdk.RowError(f"{self._symbol}: {text}")
        raise sdk.RowError(f"{self._symbol}: the plug-in's process answers nonsense")

    def is_aggregate(self) -> bool:
        if self._aggregate is None:
            self._make_first()
            self._aggregate = bool(self.call("is_aggregate"))
        return self._aggregate

    def _limit_s(self, method: str) -> float:
        return self._supervisor.limits.function_s if method == "exec" else super()._limit_s(method)


class RemoteTrigger(Remote):
    def decide(self, measurement: "Measurement", nominal: "Nominal") -> "Decision | None":
        """Raises OSError: its process is gone, or was ended since it took longer than `DECIDE_S`."""
        from opq_plugins.sdk import nouns

        answer = self.call("decide", nouns.to_plain(measurement), nouns.to_plain(nominal))
        try:
            return nouns.decision_from(answer)
        except (TypeError, ValueError):
            self.call("forget")  # as a module that raises: it begins again with the next Measurement
            raise

    def take_state(self, version: str, state: Any) -> bool:
        return self.call("take_state", version, state) is True

    @property
    def up(self) -> bool:
        """Whether its process is there, or is just being started again."""
        try:
            self._supervisor.running()
        except ConnectionError:
            return False
        return True

    @property
    def forgot(self) -> bool:
        """Its process is another one than when it was asked last; the next call makes it again."""
        try:
            return self._supervisor.running() is not self._process is not None
        except ConnectionError:
            return False

    @property
    def _first_s(self) -> float:
        return min(BEGIN_S, self._supervisor.limits.start_s)

    @property
    def _again_s(self) -> float:
        return min(DECIDE_S, self._supervisor.limits.call_s)

    def _limit_s(self, method: str) -> float:
        return self._supervisor.limits.start_s if method == "selftest" else self._again_s


class RemoteAnalysis(Remote):
    def analyse(self, event: "Event", nominal_v: float, nominal_hz: float) -> "tuple[Finding, ...]":
        """Raises OSError: its process is gone, or was ended since it took longer than `call_s`."""
        from opq_plugins.sdk import nouns

        return nouns.findings_from(self.call("analyse", nouns.to_plain(event), nominal_v, nominal_hz), event)

    def alone(self) -> bool:
        return self.call("alone") is True

    def take_state(self, version: str, state: Any) -> bool:
        return self.call("take_state", version, state) is True
