"""Sinks and functions whose other half is in a worker: `sdk`'s shapes over the wire.

After a crash each is made anew by its next call, with the properties and the state that it had; what was
not acknowledged is sent again, and what has crashed the process three times is refused.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.circuit import Circuit
from opq_plugins.host.life import Life
from opq_plugins.host.process import PluginProcess
from opq_proto.errors import PluginError

CRASHES_PER_ROW = 3
RESTART_S = 1.0
"""So long a call of a function waits, once per crash, for the process to be there again."""
ROW_S = 0.01
"""More time of a call for each further row."""


class Remote:
    """What all kinds have in common: made in a life, and made again in the next."""

    kind = ""

    def __init__(self, process: PluginProcess, symbol: str) -> None:
        self._process = process
        self._symbol = symbol
        self._number = process.add(self)
        self._life: Life | None = None
        self._datasource = ""
        self._properties: dict[str, Any] = {}
        self._context: Any = None
        self._import: tuple[str, Any] | None = None

    def _make(self) -> Life:
        """The life in which this instance is made. ConnectionError while there is none."""
        life = self._process.life()
        if life is self._life:
            return life
        limit_s = self._begin_s if self._life is None else self._remake_s
        body = [self.kind, self._symbol, self._datasource, self._properties]
        self._process.call(life, self._number, "make", body, limit_s)
        if self._import is not None:
            self._process.call(life, self._number, "import_state", list(self._import), limit_s)
        if self._context is not None and self.kind == "sink":
            self._process.call(life, self._number, "open", [*self._whose(), None], limit_s)
        self._life = life
        return life

    @property
    def _begin_s(self) -> float:
        """So long making it may take; making it again: `_remake_s`."""
        return self._process.limits.start_s

    @property
    def _remake_s(self) -> float:
        return self._begin_s

    def _make_first(self) -> None:
        """Waits a little for a process that is just being started again. Raises ValueError, PluginError."""
        self._process.wait_up(self._process.limits.call_s)
        try:
            self._make()
        except OSError as error:
            raise PluginError(str(error)) from None

    def _whose(self) -> list[Any]:
        context = self._context
        return [context.rule_id, context.op_id, context.instance_id]

    def _call(self, method: str, body: Any, timeout_s: float | None = None) -> Any:
        return self._process.call(self._make(), self._number, method, body, timeout_s)

    def export_state(self) -> Any:
        return self._call("export_state", None)

    def import_state(self, version: str, state: Any) -> None:
        self._call("import_state", [version, state])
        self._import = (version, state)

    def selftest(self) -> str:
        return str(self._call("selftest", None, self._process.limits.start_s))

    def release(self) -> None:
        """The other half is closed and forgotten."""
        life, self._life = self._life, None
        if life is not None:
            with contextlib.suppress(OSError, ValueError, PluginError):  # then it ends with its process
                self._process.call(life, self._number, "close", None)
        self._process.remove(self._number)

    def discard(self) -> None:
        """Made to see whether it can be, the other half is forgotten: `close` is for what was open."""
        life, self._life = self._life, None
        if life is not None:
            self._process.tell(life, ["forget", self._number])
        self._process.remove(self._number)

    # -- Listener

    def heard(self, message: list[Any]) -> None:
        if message[0] == "tell" and message[2] == "log" and self._context is not None:
            self._context.log(str(message[3]["event"]), **dict(message[3]["facts"]))

    def asked(self, key: str) -> Any:
        return None if self._context is None else self._context.get_state(key)

    def changed(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            if self._context is not None:
                self._context.put_state(key, value)


class RemoteSink(Remote, sdk.Sink):
    kind = "sink"

    def __init__(self, process: PluginProcess, symbol: str) -> None:
        super().__init__(process, symbol)
        self._suspect: Any = None
        self._deaths = 0
        self.refused = 0
        """Emissions that crashed the process each time, and were given up."""

    def configure(self, properties: Mapping[str, Any]) -> None:
        self._properties = dict(properties)
        self._make_first()

    def open(self, context: sdk.Context) -> None:
        self._context = context
        self._call("open", [*self._whose(), None], self._process.limits.start_s)

    def collect(self, context: sdk.SinkContext, data: Any) -> None:
        self._context = context
        row_ids = list(context.row_ids)
        life = self._make()
        try:
            self._process.call(life, self._number, "collect", [row_ids, data])
        except OSError as error:
            if not self._process.life_ended(life):
                raise
            key = row_ids or repr(data)[:500]
            self._deaths = self._deaths + 1 if key == self._suspect else 1
            self._suspect = key
            if self._deaths < CRASHES_PER_ROW:
                raise
            self.refused += 1
            self._suspect, self._deaths = None, 0
            raise PluginError(
                f"refused: it ended the plug-in's process {CRASHES_PER_ROW} times: {error}"
            ) from None
        self._suspect, self._deaths = None, 0

    def close(self, context: sdk.Context) -> None:
        self.release()


class RemoteFunction(Remote, sdk.Function):
    kind = "function"

    def __init__(self, process: PluginProcess, symbol: str) -> None:
        super().__init__(process, symbol)
        self._aggregate: bool | None = None
        self._waited = -1
        self.circuit = Circuit()

    def validate(self, args: Sequence[Any]) -> str:
        try:
            self._make_first()
            return str(self._call("validate", list(args)))
        except (OSError, PluginError) as error:
            return str(error)

    def exec(self, args: Sequence[Any], context: sdk.Context) -> Any:
        return self.exec_many([args], context)[0]

    def exec_many(self, many: Sequence[Sequence[Any]], context: sdk.Context) -> list[Any]:
        """One call over the wire. RowError of the first that fails; of all while the circuit is open."""
        if wait_s := self.circuit.wait_s():
            why = self._process.last_error or "it failed twice in a row"
            raise sdk.RowError(f"{self._symbol}: not asked for another {wait_s:.1f} s: {why}")
        self._context = context
        body = [[list(args), context.rule_id] for args in many]
        limit_s = self._process.limits.function_s + ROW_S * (len(many) - 1)
        try:
            try:
                answers = self._call("exec", body, limit_s)
            except ConnectionError:
                if self._waited == self._process.crashes or self.circuit.tripped:
                    raise
                # once per crash: the rule's thread stands still meanwhile
                self._waited = self._process.crashes
                self._process.wait_up(RESTART_S)
                answers = self._call("exec", body, limit_s)
        except OSError as error:
            self.circuit.failed()
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        except PluginError as error:
            raise sdk.RowError(f"{self._symbol}: {error}") from None
        self.circuit.worked()
        if not _are_answers(answers, len(many)):
            raise sdk.RowError(f"{self._symbol}: the plug-in's process answers nonsense")
        for _, text in answers:
            if text is not None:
                raise sdk.RowError(f"{self._symbol}: {text}")
        return [value for value, _ in answers]

    def is_aggregate(self) -> bool:
        if self._aggregate is None:
            self._make_first()
            self._aggregate = bool(self._call("is_aggregate", None))
        return self._aggregate


def _are_answers(told: Any, count: int) -> bool:
    """A pair for each: a value, and None or what went wrong."""
    return (
        isinstance(told, list)
        and len(told) == count
        and all(isinstance(each, list) and len(each) == 2 for each in told)
    )
