"""In the worker: one source, sink, function, trigger or analysis, and the calls that come for it."""

import collections
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import cache
from typing import Any, get_type_hints

from opq_plugins import sdk
from opq_plugins.sdk import portable
from opq_plugins.worker.wire import WorkerWire

BATCHES_AHEAD = 8
"""Batches a source may emit before the host has accepted the first."""
MODULES = ("trigger", "analysis")
"""Kinds whose arguments and answers are nouns of `opq_proto.messages`."""
_CLASSES: dict[str, type] = {"source": sdk.Source, "sink": sdk.Sink, "function": sdk.Function}


@cache
def context_at(kind: str, method: str) -> int | None:
    """Which argument of this method of the sdk is the context: it stays on its side of the wire."""
    function = getattr(_CLASSES.get(kind), method, None)
    names = list(inspect.signature(function).parameters)[1:] if function is not None else []
    return names.index("context") if "context" in names else None


class WorkerContext(sdk.BatchEmitter):
    """sdk.Context, SourceContext and SinkContext over the wire. `ask(key)`: what the engine has kept."""

    def __init__(self, wire: WorkerWire, number: int, ask: Callable[[str], Any]) -> None:
        self._wire, self._number, self._ask = wire, number, ask
        self.rule_id, self.op_id, self.instance_id = "", "", 0
        self.row_ids: list[str] = []
        self.credits = threading.Semaphore(BATCHES_AHEAD)
        self._changed: dict[str, Any] = {}
        self._state: dict[str, Any] = {}
        self._stopped = threading.Event()

    @property
    def row_id(self) -> str:
        return self.row_ids[0] if self.row_ids else ""

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()
        self.credits.release()

    def wait(self, seconds: float) -> bool:
        return self._stopped.wait(seconds)

    def log(self, event: str, **facts: Any) -> None:
        self.report("log", event=event, facts=facts)

    def get_state(self, key: str) -> Any:
        if key not in self._state:
            self._state[key] = self._ask(key)
        return self._state[key]

    def put_state(self, key: str, value: Any) -> None:
        self._state[key] = self._changed[key] = value

    def changed_state(self) -> dict[str, Any]:
        """What was put since it was asked last."""
        changed, self._changed = self._changed, {}
        return changed

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        arrived_ms: Any = None,
    ) -> bool:
        for row in messages:
            if not isinstance(row, Mapping):
                raise TypeError(f"emitted a {type(row).__name__}; want a mapping")
        return self._emit("rows", [dict(row) for row in messages], meta, offset, arrived_ms)

    def emit_bytes(
        self,
        payloads: Sequence[bytes],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
    ) -> bool:
        return self._emit("bytes", list(payloads), meta, offset, None)

    def emit_error(self, text: str) -> None:
        self.report("error", text=str(text)[:2000])

    def connected(self, up: bool, why: str = "") -> None:
        self.report("connected", up=bool(up), why=str(why)[:2000])

    def report(self, what: str, **facts: Any) -> None:
        self._wire.send(["tell", self._number, what, facts])

    def _emit(self, form: str, rows: list[Any], meta: Any, offset: Any, arrived_ms: Any) -> bool:
        if self._stopped.is_set():
            return False  # nothing of it went: after a rewind it comes again
        sdk.check_emission(len(rows), meta, arrived_ms)
        self.credits.acquire()
        if self._stopped.is_set():
            return False
        given_meta = None if meta is None else list(meta)
        arrived = list(arrived_ms) if isinstance(arrived_ms, Sequence) else arrived_ms
        self._wire.send(["emit", self._number, form, rows, given_meta, offset, arrived])
        return True


class WorkerInstance:
    """Made by the call "make". `context`: what it sees of the engine; `on_end(number)`: it was closed."""

    def __init__(
        self,
        wire: WorkerWire,
        threads: Executor,
        make: Callable[[], Any],
        context: WorkerContext,
        number: int,
        kind: str,
        on_end: Callable[[int], object],
    ) -> None:
        self.context = context
        self._kind, self._make = kind, make
        self._wire, self._threads = wire, threads
        self._number, self._on_end = number, on_end
        self._made: Any = None
        self._portable = False
        self._run: threading.Thread | None = None
        self._calls: collections.deque[list[Any]] = collections.deque()
        """Bounded by the host, where each caller waits for its answer."""
        self._lock = threading.Lock()
        self._busy = False

    def accept_call(self, message: list[Any]) -> None:
        with self._lock:
            self._calls.append(message)
            if self._busy:
                return
            self._busy = True
        self._threads.submit(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._busy = False
                    return
                message = self._calls.popleft()
            self._answer(*message[1:])

    def _answer(self, call: int, number: int, method: str, arguments: list[Any], whose: Any) -> None:
        wire, ends, context = self._wire, method == "close", self.context
        if whose is not None:
            context.rule_id, context.op_id, context.instance_id, context.row_ids = whose
        try:
            own = getattr(self, f"_{method}_instance", None)
            value = own(*arguments) if own is not None else self._forward(method, arguments)
            wire.send(["done", call, value, context.changed_state()])
        except OSError as error:
            text = str(error) if type(error) is ConnectionError else _text(error)  # the host makes it one
            wire.send(["failed", call, "again", text, context.changed_state()])
        except BaseException as error:  # foreign code: all that it raises is its answer, SystemExit too
            kinds = {ValueError: "value", NotImplementedError: "cannot"}
            kind = next((kind for its, kind in kinds.items() if isinstance(error, its)), "other")
            wire.send(["failed", call, kind, _text(error), context.changed_state()])
            ends |= method == "make"
        if ends:
            self._on_end(number)
            context.stop()

    # -- calls that are not the method of the same name

    def _make_instance(self, configuration: list[Any]) -> None:
        self._made = self._make()
        self._portable = not hasattr(type(self._made), "__abstractmethods__") and isinstance(
            self._made, portable.Source | portable.Sink | portable.Function
        )
        if self._kind != "function":
            self._made.configure(*configuration)

    def _open_instance(self, offset: Any = None) -> None:
        if self._kind == "sink":
            self._made.open(self._own_context())
            return
        if offset is not None:
            self._made.rewind(offset)
        self._run = threading.Thread(target=self._run_source, name=f"source-{self._number}", daemon=True)
        self._run.start()

    def _run_source(self) -> None:
        text = ""
        try:
            self._made.open(self._own_context())
        except SystemExit:
            pass
        except BaseException as error:
            text = _text(error)
            traceback.print_exc()
        self.context.report("ended", text=text)

    def _collect_instance(self, data: Any) -> None:
        context = self._own_context()
        self._made.collect(context, data)
        if isinstance(context, portable.PortableContext) and context.acknowledged:
            raise ConnectionError(context.acknowledged)

    def _exec_instance(self, args: list[Any]) -> list[Any]:
        """[value, None], or [None, text]: what a function raises is the row's error and not its process'."""
        try:
            return [_plain(self._made.exec(args, self._own_context()), 0), None]
        except Exception as error:
            return [None, _text(error)]

    def _stop_instance(self, limit_s: float) -> bool:
        """Waits for the source's thread. False: it does not end."""
        self.context.stop()
        if self._portable:
            self._made.close(
                self._own_context()
            )  # eKuiper's sources learn by this alone that they have to end
        if self._run is not None:
            self._run.join(float(limit_s))
            return not self._run.is_alive()
        return True

    def _close_instance(self) -> None:
        closed_by_stop = self._portable and self._kind == "source"
        if hasattr(self._made, "close") and not closed_by_stop:
            self._made.close(self._own_context())

    # -- all others

    def _forward(self, method: str, arguments: list[Any]) -> Any:
        """The sdk's method; of those that may be left out, None is the answer then."""
        if method in ("export_state", "import_state", "selftest") and not hasattr(self._made, method):
            return None
        function = getattr(self._made, method)
        if (at := context_at(self._kind, method)) is not None:
            arguments.insert(at, self._own_context())
        if self._kind in MODULES and method in ("decide", "analyse"):
            return _call_with_nouns(function, arguments)
        return _plain(function(*arguments), 0)

    def _own_context(self) -> Any:
        return portable.PortableContext(self.context) if self._portable else self.context


def _call_with_nouns(function: Any, arguments: list[Any]) -> Any:
    from opq_plugins.sdk import nouns  # and NumPy with it

    types = _argument_types(function.__func__)
    given = [nouns.from_plain(each, kind) for each, kind in zip(arguments, types, strict=True)]
    return nouns.to_plain(function(*given))


@cache
def _argument_types(function: Any) -> list[Any]:
    return [kind for name, kind in get_type_hints(function).items() if name != "return"]


def _plain(value: Any, depth: int) -> Any:
    """What JSON has; anything else is a wrong type, and the error says so."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if depth < 64 and isinstance(value, Mapping):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if depth < 64 and isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"gave a {type(value).__name__}; want what JSON has")


def _text(error: BaseException) -> str:
    return (f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error))[:2000]
