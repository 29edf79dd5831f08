"""In the worker: the instances of a plug-in's symbols, and the frames for them.

Calls of one instance run one after another, those of several instances in parallel, on a few threads. The
main thread only reads the wire, so that it answers heartbeats while a call runs. A source has its own thread.
"""

import collections
import importlib
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from opq_plugins.package.manifest import PackageManifest, parse_manifest
from opq_plugins.sdk import PermanentError, Source, Value
from opq_plugins.worker import worker_wire as frames
from opq_plugins.worker.context import LONGEST_TEXT, WorkerContext, context_at
from opq_proto.errors import OpqError

Symbols = dict[tuple[str, str], Callable[[], Any]]
"""(kind, name) -> factory."""
CALL_THREADS = 8
NOUNS = ("decide", "analyse", "analyse_items", "analyse_histories", "wants", "reads")
"""Methods whose arguments and answers are nouns of `opq_proto.messages`."""
ORIGINAL = "OpqMauka.py"
"""Given instead of a manifest for a folder of plug-ins of the original Mauka."""
LOADERS = {
    "python": ("python_code", "load_python"),
    "lua": ("lua_script", "load_lua"),
    "c": ("c_library", "load_library"),
}
FAILURES = {PermanentError: "never", OSError: "again", ValueError: "value", NotImplementedError: "cannot"}
"""Exception of a method -> `failure` of its Answer."""


def load_symbols(folder: Path, manifest: PackageManifest, limits: Mapping[str, int]) -> Symbols:
    """Loads the symbols with the loader of the plug-in's language. Raises PluginError."""
    module, function = LOADERS[manifest.language]
    load = getattr(importlib.import_module(f"opq_plugins.worker.{module}"), function)
    found: Symbols = load(folder, manifest, limits)
    return found


def replaying(symbols: Symbols) -> list[str]:
    """The sources whose class has its own `rewind`: they can continue after an offset."""
    rewinds = {
        name: getattr(make, "rewind", Source.rewind)
        for (kind, name), make in symbols.items()
        if kind == "source"
    }
    return [name for name, rewind in rewinds.items() if rewind is not Source.rewind]


def serve(end: socket.socket, folder: Path, manifest_name: str, limits: Mapping[str, int]) -> None:
    """Serves calls until the host closes the wire."""
    wire = frames.Wire(end, frames.TO_WORKER)
    try:
        if manifest_name == ORIGINAL:
            symbols: Symbols = importlib.import_module("opq_plugins.original.hosted").load_original(folder)
        else:
            for path in (folder / "lib", folder):
                sys.path.insert(0, str(path))
            manifest = parse_manifest((folder / manifest_name).read_bytes())
            symbols = load_symbols(folder, manifest, limits)
    except OpqError as error:
        wire.send(frames.Ready(error=str(error)))
        return
    wire.send(frames.Ready(replaying(symbols)))
    WorkerServer(wire, symbols).run()


class WorkerServer:
    def __init__(self, wire: frames.Wire[frames.OfHost], symbols: Symbols) -> None:
        self.wire, self._symbols = wire, symbols
        self._instances: dict[int, WorkerInstance] = {}
        self._threads = ThreadPoolExecutor(CALL_THREADS, "calls")
        self._questions: dict[int, queue.Queue[Value]] = {}

    def run(self) -> None:
        while True:
            try:
                received = self.wire.receive()
            except (ConnectionError, ValueError):
                break
            for frame in received:
                self._accept_frame(frame)
        for instance in list(self._instances.values()):
            instance.context.stop()

    def submit(self, work: Callable[[], None]) -> None:
        """Runs `work` in one of our threads."""
        self._threads.submit(work)

    def make(self, kind: str, symbol: str) -> Any:
        return self._symbols[kind, symbol]()

    def stored_state(self, instance: int, key: str) -> Value:
        """Requests the engine's stored value for `key`."""
        answer: queue.Queue[Value] = queue.Queue(1)
        number = id(answer)
        self._questions[number] = answer
        self.wire.send(frames.StateQuestion(number, instance, key))
        return answer.get()

    def drop(self, number: int) -> None:
        """Removes an instance that is not needed any more, and stops its source."""
        if (unused := self._instances.pop(number, None)) is not None:
            unused.context.stop()

    def _accept_frame(self, frame: frames.OfHost) -> None:
        match frame:
            case frames.Heartbeat():
                self.wire.send(frame)
            case frames.StoredState(number, value):
                self._questions.pop(number).put(value)
            case frames.InstanceSignal(number, "forget"):
                self.drop(number)
            case frames.InstanceSignal(number, "stop") if number in self._instances:
                self._instances[number].context.stop()
            case frames.InstanceSignal(number, "credit") if number in self._instances:
                self._instances[number].context.credits.release()
            case frames.Call(call, number, method):
                if method == "make":
                    self.drop(number)
                    self._instances[number] = WorkerInstance(self, number)
                held = self._instances.get(number)
                if held is None:
                    self.wire.send(frames.Answer(call, None, {}, "again", f"no instance {number}"))
                else:
                    held.accept_call(frame)


class WorkerInstance:
    """One instance: made by the call "make", removed after its `close`."""

    def __init__(self, server: WorkerServer, number: int) -> None:
        self.context = WorkerContext(server.wire, number, server.stored_state)
        self._server, self._number = server, number
        self._kind = ""
        self._made: Any = None
        self._run: threading.Thread | None = None
        self._calls: collections.deque[frames.Call] = collections.deque()
        """Bounded by the host, where each caller waits for its answer."""
        self._lock = threading.Lock()
        self._busy = False

    def accept_call(self, call: frames.Call) -> None:
        with self._lock:
            self._calls.append(call)
            if self._busy:
                return
            self._busy = True
        self._server.submit(self._work)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._busy = False
                    return
                call = self._calls.popleft()
            self._answer(call)

    def _answer(self, call: frames.Call) -> None:
        wire, context, ends = self._server.wire, self.context, call.method == "close"
        if call.caller is not None:
            context.set_caller(call.caller)
        try:
            own = getattr(self, f"_{call.method}_instance", None)
            value = own(*call.arguments) if own is not None else self._forward(call.method, call.arguments)
            wire.send(frames.Answer(call.number, value, context.changed_state()))
        except BaseException as error:  # code of a plug-in: any error is its answer, even SystemExit
            kind, text = "row", _text(error)
            if call.method != "exec":  # an error of a function belongs to the row, not to its process
                kind = next((kind for its, kind in FAILURES.items() if isinstance(error, its)), "other")
                text = str(error) if type(error) is ConnectionError else text  # the type is added again there
            wire.send(frames.Answer(call.number, None, context.changed_state(), kind, text))
            ends |= call.method == "make" and kind != "again"
        if ends:
            self._server.drop(self._number)

    # -- calls for which this side has its own method

    def _make_instance(self, kind: str, symbol: str, configuration: list[Value]) -> None:
        made = self._server.make(kind, symbol)
        self._kind, self._made = kind, made
        if hasattr(made, "attach"):  # a plug-in of the original also publishes outside of calls
            made.attach(self.context.publish)
        if kind != "function":
            made.configure(*configuration)

    def _open_instance(self) -> None:
        if self._kind == "sink":
            self._made.open(self.context)
            return
        self._run = threading.Thread(target=self._run_source, name=f"source-{self._number}", daemon=True)
        self._run.start()

    def _run_source(self) -> None:
        text = ""
        try:
            self._made.open(self.context)
        except SystemExit:
            pass
        except BaseException as error:
            text = _text(error)
            traceback.print_exc()
        self.context.report("ended", text)

    def _stop_instance(self, limit_s: float) -> bool:
        """Stops the source and waits for its thread. False: it does not end."""
        self.context.stop()
        if self._run is not None:
            self._run.join(float(limit_s))
            return not self._run.is_alive()
        return True

    def _close_instance(self) -> None:
        if hasattr(self._made, "close"):
            self._made.close(self.context)

    # -- all others

    def _forward(self, method: str, arguments: list[Value]) -> Value:
        """Calls the method of the instance; returns None for an optional one that is missing."""
        if method in ("export_state", "import_state", "selftest") and not hasattr(self._made, method):
            return None
        function = getattr(self._made, method)
        if (at := context_at(self._kind, method)) is not None:
            arguments.insert(at, self.context)
        if method in NOUNS:
            return _call_with_nouns(function, arguments)
        return _plain(function(*arguments), 0)


def _call_with_nouns(function: Callable[..., Any], arguments: list[Value]) -> Value:
    from opq_plugins.sdk import nouns  # it imports NumPy

    types = _argument_types(getattr(function, "__func__", function))
    given = [nouns.from_plain(each, kind) for each, kind in zip(arguments, types, strict=True)]
    return nouns.to_plain(function(*given))


@cache
def _argument_types(function: Callable[..., Any]) -> list[Any]:
    return [kind for name, kind in get_type_hints(function).items() if name != "return"]


def _plain(value: object, depth: int) -> Value:
    """`value` in types of JSON; raises TypeError for any other type."""
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
    return (str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")[
        :LONGEST_TEXT
    ]
