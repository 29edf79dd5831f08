"""In the worker: one source, sink, function, trigger or analysis, and the calls that come for it."""

import collections
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from opq_plugins.sdk import portable
from opq_plugins.sdk.portable import PortableContext
from opq_plugins.worker.wire import Wire
from opq_plugins.worker.worker_context import WorkerContext


class Instance:
    """Made by the call "make". `context`: what it sees of the engine; `on_end(number)`: it was closed."""

    def __init__(
        self,
        wire: Wire,
        threads: Executor,
        symbols: Mapping[tuple[str, str], Callable[[], Any]],
        context: WorkerContext,
        number: int,
        kind: str,
        on_end: Callable[[int], object],
    ) -> None:
        self.kind = kind
        self.context = context
        self._wire, self._threads, self._symbols = wire, threads, symbols
        self._number, self._on_end = number, on_end
        self._made: Any = None
        self._portable = False
        self._run: threading.Thread | None = None
        self._calls: collections.deque[list[Any]] = collections.deque()
        """Bounded by the host, where each caller waits for its answer."""
        self._lock = threading.Lock()
        self._busy = False

    def stop(self) -> None:
        self.context.stop()

    def take(self, message: list[Any]) -> None:
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
            self.answer(message)

    def answer(self, message: list[Any]) -> None:
        _, call, number, method, body = message
        wire, ends = self._wire, method == "close"
        try:
            value = getattr(self, "_do_" + method)(body)
            wire.send(["done", call, value, self.context.taken_changes()])
        except OSError as error:
            text = str(error) if type(error) is ConnectionError else _text(error)  # the host makes it one
            wire.send(["failed", call, "again", text, self.context.taken_changes()])
        except BaseException as error:  # foreign code: all that it raises is its answer, SystemExit too
            kinds = {ValueError: "value", NotImplementedError: "cannot"}
            kind = next((kind for its, kind in kinds.items() if isinstance(error, its)), "other")
            wire.send(["failed", call, kind, _text(error), self.context.taken_changes()])
            ends |= method == "make"
        if ends:
            self._on_end(number)
            self.stop()

    # -- the calls

    def _do_make(self, body: list[Any]) -> None:
        kind, symbol, datasource, properties = body
        self._made = self._symbols[kind, symbol]()
        self._portable = not hasattr(type(self._made), "__abstractmethods__") and _is_portable(self._made)
        if kind == "source":
            self._made.configure(datasource, properties)
        elif kind != "function":
            self._made.configure(properties)

    def _do_open(self, body: list[Any]) -> None:
        context = self.context
        context.rule_id, context.op_id, context.instance_id = body[:3]
        if self.kind == "sink":
            self._made.open(self._given())
        elif self.kind == "source":
            if body[3] is not None:
                self._made.rewind(body[3])
            self._run = threading.Thread(target=self._run_source, name=f"source-{self._number}", daemon=True)
            self._run.start()

    def _do_rewind(self, offset: Any) -> None:
        self._made.rewind(offset)

    def _run_source(self) -> None:
        told: dict[str, Any] = {"text": ""}
        try:
            self._made.open(self._given())
        except SystemExit:
            pass
        except BaseException as error:
            told["text"] = _text(error)
            traceback.print_exc()
        self._wire.send(["tell", self._number, "ended", told])

    def _do_collect(self, body: list[Any]) -> None:
        self.context.row_ids, data = body
        given = self._given()
        self._made.collect(given, data)
        if isinstance(given, PortableContext) and given.acknowledged:
            raise ConnectionError(given.acknowledged)

    def _do_validate(self, args: list[Any]) -> str:
        told = self._made.validate(args)
        if not isinstance(told, str):
            raise TypeError(f"validate gave {type(told).__name__}; want text")
        return told

    def _do_exec(self, many: list[Any]) -> list[Any]:
        """Each: [args, rule_id]. [value, None], or [None, text]."""
        results: list[Any] = []
        for args, rule_id in many:
            self.context.rule_id = rule_id
            try:
                results.append([_plain(self._made.exec(args, self._given()), 0), None])
            except Exception as error:
                results.append([None, _text(error)])
        return results

    def _do_is_aggregate(self, body: Any) -> bool:
        return bool(self._made.is_aggregate())

    def _do_decide(self, body: list[Any]) -> Any:
        return self._made.decide_plain(body)

    def _do_forget(self, body: Any) -> None:
        self._made.forget()

    def _do_analyse(self, body: list[Any]) -> Any:
        return self._made.analyse_plain(body)

    def _do_alone(self, body: Any) -> bool:
        return bool(self._made.alone())

    def _do_take_state(self, body: list[Any]) -> bool:
        return bool(self._made.take_state(body[0], body[1]))

    def _do_stop(self, body: Any) -> bool:
        """Waits for the source's thread. False: it does not end."""
        self.context.stop()
        if self._portable:
            self._made.close(self._given())  # eKuiper's sources learn by this alone that they have to end
        if self._run is not None:
            self._run.join(float(body))
            return not self._run.is_alive()
        return True

    def _do_close(self, body: Any) -> None:
        if (
            self._made is not None
            and hasattr(self._made, "close")
            and not (self._portable and self.kind == "source")
        ):
            self._made.close(self._given())

    def _do_export_state(self, body: Any) -> Any:
        return _plain(self._made.export_state(), 0) if hasattr(self._made, "export_state") else None

    def _do_import_state(self, body: list[Any]) -> None:
        if hasattr(self._made, "import_state"):
            self._made.import_state(body[0], body[1])

    def _do_selftest(self, body: Any) -> str:
        return str(self._made.selftest() or "") if hasattr(self._made, "selftest") else ""

    def _given(self) -> Any:
        return PortableContext(self.context) if self._portable else self.context


def _is_portable(made: Any) -> bool:
    return isinstance(made, portable.Source | portable.Sink | portable.Function)


def _plain(value: Any, depth: int) -> Any:
    """What JSON has; anything else is a wrong type, and said so."""
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
