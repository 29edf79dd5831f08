"""In the worker: what the plug-in has of each kind, and the calls that come over the wire.

Calls of one instance come one after another, those of several at once, by a few threads; the main thread only
reads the wire, so that a heartbeat is answered while a call runs. A source that is open has its own thread.
"""

import collections
import importlib
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from opq_proto.errors import OpqError
from opq_rules.plugins.package_manifest import PackageManifest, parse_manifest
from opq_rules.plugins.portable import PortableContext
from opq_rules.plugins.wire import Wire
from opq_rules.plugins.worker_context import WorkerContext
from opq_rules.sdk import Source

Symbols = dict[tuple[str, str], Callable[[], Any]]
THREADS = 8


def load_symbols(folder: Path, manifest: PackageManifest, lua_memory: int, lua_instructions: int) -> Symbols:
    """Of the plug-in's language. Raises PluginError."""
    if manifest.language == "python":
        return importlib.import_module("opq_rules.plugins.python_code").load_python(folder, manifest)  # type: ignore[no-any-return]
    if manifest.language == "lua":
        load = importlib.import_module("opq_rules.plugins.lua_script").load_lua
        return load(folder, manifest, lua_memory, lua_instructions)  # type: ignore[no-any-return]
    return importlib.import_module("opq_rules.plugins.c_library").load_library(folder, manifest)  # type: ignore[no-any-return]


def replays(factory: Callable[[], Any]) -> bool:
    """Whether a source's class has a `rewind` of its own."""
    return getattr(factory, "rewind", Source.rewind) is not Source.rewind


def serve(end: socket.socket, facts: Mapping[str, Any], protections: Mapping[str, str]) -> None:
    """Until the host closes the wire."""
    wire = Wire(end)
    folder = Path(facts["folder"])
    for path in (folder / "lib", folder):
        sys.path.insert(0, str(path))
    manifest = parse_manifest((folder / facts["manifest"]).read_bytes(), facts["manifest"])
    try:
        limits = facts["limits"]
        symbols = load_symbols(folder, manifest, limits["lua_memory_bytes"], limits["lua_instructions"])
    except OpqError as error:
        wire.send(["ready", {"error": str(error)}])
        return
    about = {"pid": os.getpid(), "protections": dict(protections), "replay": _replaying(symbols)}
    wire.send(["ready", about])
    _Server(wire, symbols).run()


class _Server:
    def __init__(self, wire: Wire, symbols: Symbols) -> None:
        self.wire = wire
        self.symbols = symbols
        self.instances: dict[int, _Instance] = {}
        self.threads = ThreadPoolExecutor(THREADS, "calls")
        self.answers: dict[int, queue.Queue[Any]] = {}
        self._asked = 0

    def run(self) -> None:
        while True:
            try:
                message = self.wire.receive()
            except (ConnectionError, ValueError):
                break
            for each in message:
                self._take(each)
        for instance in list(self.instances.values()):
            instance.stop()

    def _take(self, message: list[Any]) -> None:
        match message:
            case ["ping", number]:
                self.wire.send(["pong", number])
            case ["call", _, number, "make", [kind, *_]]:
                if (former := self.instances.get(number)) is not None:
                    former.stop()
                instance = _Instance(self, number, kind)
                self.instances[number] = instance
                instance.take(message)
            case ["call", call, number, _, _]:
                held = self.instances.get(number)
                if held is None:
                    self.wire.send(["failed", call, "gone", f"no instance {number}", {}])
                else:
                    held.take(message)
            case ["credit", number, count]:
                if number in self.instances:
                    self.instances[number].context.credits.release(count)
            case ["forget", number]:
                if (unused := self.instances.pop(number, None)) is not None:
                    unused.stop()
            case ["stop", number]:
                if number in self.instances:
                    self.instances[number].context.stop()
            case ["answer", number, value]:
                if (waiting := self.answers.pop(number, None)) is not None:
                    waiting.put(value)

    def ask(self, instance: int, key: str) -> Any:
        self._asked += 1
        number = self._asked * 1_000_003 + instance
        answer: queue.Queue[Any] = queue.Queue(1)
        self.answers[number] = answer
        self.wire.send(["ask", number, instance, key])
        return answer.get()


class _Instance:
    """One source, sink, function, trigger or analysis, made by the call "make"."""

    def __init__(self, server: _Server, number: int, kind: str) -> None:
        self.kind = kind
        self.context = WorkerContext(server.wire, number, partial(server.ask, number))
        self._server, self._number = server, number
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
        self._server.threads.submit(self._work)

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
        wire, ends = self._server.wire, method == "close"
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
            self._server.instances.pop(number, None)
            self.stop()

    # -- the calls

    def _do_make(self, body: list[Any]) -> None:
        kind, symbol, datasource, properties = body
        self._made = self._server.symbols[kind, symbol]()
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
        self._server.wire.send(["tell", self._number, "ended", told])

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


def _replaying(symbols: Symbols) -> list[str]:
    """Sources that can go on behind an offset."""
    sources = [(name, factory) for (kind, name), factory in symbols.items() if kind == "source"]
    return [name for name, factory in sources if replays(factory)]


def _is_portable(made: Any) -> bool:
    from opq_rules.plugins import portable

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
