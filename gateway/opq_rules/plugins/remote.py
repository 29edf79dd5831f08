"""Sources, sinks and functions whose other half is in a worker: `sdk`'s shapes over the wire.

After a crash each is made anew by its next call, with the properties and the state that it had; what was
not acknowledged is sent again, and what has crashed the process three times is refused.
"""

import contextlib
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from opq_proto.errors import PluginError
from opq_rules import sdk
from opq_rules.errors import RowError
from opq_rules.plugins.circuit import Circuit
from opq_rules.plugins.gate import Gate
from opq_rules.plugins.instances import BATCHES_AHEAD
from opq_rules.plugins.life import Life
from opq_rules.plugins.process import PluginProcess

CRASHES_PER_ROW = 3
POLL_S = 0.1
RESTART_S = 1.0
"""So long a call of a function waits, once per crash, for the process to be there again."""
ROW_S = 0.01
"""More time of a call for each further row."""


class Remote:
    """What the three have in common: made in a life, and made again in the next."""

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
        self.remade = 0

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
        self.remade += self._life is not None
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
            raise RowError(f"{self._symbol}: not asked for another {wait_s:.1f} s: {why}")
        self._context = context
        body = [[list(args), context.rule_id] for args in many]
        limit_s = self._process.limits.function_s + ROW_S * (len(many) - 1)
        try:
            try:
                answers = self._call("exec", body, limit_s)
            except ConnectionError:
                if self._waited == self._process.crashes or self.circuit.tripped:
                    raise
                self._waited = (
                    self._process.crashes
                )  # once per crash: the rule's thread stands still meanwhile
                self._process.wait_up(RESTART_S)
                answers = self._call("exec", body, limit_s)
        except OSError as error:
            self.circuit.failed()
            raise RowError(f"{self._symbol}: {error}") from None
        except PluginError as error:
            raise RowError(f"{self._symbol}: {error}") from None
        self.circuit.worked()
        if not _are_answers(answers, len(many)):
            raise RowError(f"{self._symbol}: the plug-in's process answers nonsense")
        for _, text in answers:
            if text is not None:
                raise RowError(f"{self._symbol}: {text}")
        return [value for value, _ in answers]

    def is_aggregate(self) -> bool:
        if self._aggregate is None:
            self._make_first()
            self._aggregate = bool(self._call("is_aggregate", None))
        return self._aggregate


class RemoteSource(Remote, sdk.Source):
    """`open` runs in the engine's thread and hands on what the worker emits, at most 8 batches ahead."""

    kind = "source"

    def __init__(self, process: PluginProcess, symbol: str) -> None:
        super().__init__(process, symbol)
        self._heard: queue.Queue[list[Any]] = queue.Queue()  # bounded by credits: BATCHES_AHEAD batches
        self._offset: Any = None
        self._opened = False
        self._rewound: Life | None = None
        self.untold = 0
        """Texts of errors beyond what the queue holds."""

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        self._datasource, self._properties = datasource, dict(properties)
        self._make_first()

    def rewind(self, offset: Any) -> None:
        """At once, so that a version which cannot says so before it takes over."""
        self._offset = offset
        if self._opened:
            self._opened, self._life = False, None
        life = self._make()
        self._process.call(life, self._number, "rewind", offset)
        self._rewound = life

    def open(self, context: sdk.SourceContext) -> None:
        self._context = context
        if self._opened:
            self._life = None  # a source is opened once: the worker makes another
        while not context.stopped:
            try:
                life = self._make()
                self._opened = True
                self._drain()
                offset = None if self._rewound is life else self._offset
                self._rewound = None
                body = [*self._whose(), offset]
                self._process.call(life, self._number, "open", body, self._process.limits.start_s)
            except OSError as error:
                context.connected(False, str(error))
                if context.wait(POLL_S):
                    return
                self._process.wait_up(1.0)
                continue
            if self._hand_on(life, context):
                return

    def close(self, context: sdk.Context) -> None:
        self.release()

    def heard(self, message: list[Any]) -> None:
        if message[0] == "tell" and message[2] == "log":
            super().heard(message)
        elif message[0] == "emit" and not _is_batch(message):
            raise ValueError("a batch that is none")
        elif self._heard.qsize() < 4 * BATCHES_AHEAD or message[0] == "gone":
            self._heard.put(message)
        elif message[0] == "emit":
            raise ValueError("a source emits without credit")
        else:
            self.untold += 1

    def _hand_on(self, life: Life, context: sdk.SourceContext) -> bool:
        """True: it has ended, or was stopped; False: its process has gone."""
        stopping = False
        while True:
            if context.stopped and not stopping:
                stopping = True
                self._process.tell(life, ["stop", self._number])
                threading.Thread(target=self._stop, args=(life,), daemon=True).start()
            try:
                message = self._heard.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match message:
                case ["emit", _, form, rows, meta, offset, arrived_ms]:
                    late = {"late": True} if isinstance(context, Gate) else {}
                    if form == "bytes":
                        context.emit_bytes(rows, meta, offset, **late)
                    else:
                        context.emit_many(rows, meta, offset, arrived_ms, **late)
                    if offset is not None:
                        self._offset = offset
                    self._process.tell(life, ["credit", self._number, 1])
                case ["tell", _, "error", facts]:
                    context.emit_error(str(facts["text"]))
                case ["tell", _, "connected", facts]:
                    context.connected(bool(facts["up"]), str(facts["why"]))
                case ["tell", _, "ended", facts]:
                    if facts["text"] and not stopping:
                        raise PluginError(str(facts["text"]))
                    return True
                case ["gone", _, why]:
                    context.connected(False, str(why))
                    return stopping

    def _stop(self, life: Life) -> None:
        """A source that does not end within a call's time is ended with its process."""
        try:
            limit_s = self._process.limits.call_s
            if not self._process.call(life, self._number, "stop", limit_s, limit_s + 1.0):
                life.end(f"source {self._symbol} does not end within {limit_s:g} s")
        except (OSError, ValueError, PluginError):
            return

    def _drain(self) -> None:
        while not self._heard.empty():
            self._heard.get_nowait()


def _are_answers(told: Any, count: int) -> bool:
    """A pair for each: a value, and None or what went wrong."""
    return (
        isinstance(told, list)
        and len(told) == count
        and all(isinstance(each, list) and len(each) == 2 for each in told)
    )


def _is_batch(message: list[Any]) -> bool:
    """Rows with names, or bytes; what belongs to each is a list."""
    match message:
        case ["emit", _, "rows", list() as rows, None | list(), _, None | int() | list()]:
            return all(type(row) is dict and all(type(name) is str for name in row) for row in rows)
        case ["emit", _, "bytes", list() as rows, None | list(), _, None | int() | list()]:
            return all(type(row) is bytes for row in rows)
    return False
