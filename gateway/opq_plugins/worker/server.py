"""In the worker: the instances of a plug-in's symbols, and the messages that come for them.

Calls of one instance come one after another, those of several at once, by a few threads; the main thread only
reads the wire, so that a heartbeat is answered while a call runs. A source that is open has its own thread.
"""

import importlib
import os
import queue
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from opq_plugins.package.manifest import PackageManifest, parse_manifest
from opq_plugins.sdk import Source
from opq_plugins.worker.instance import WorkerContext, WorkerInstance
from opq_plugins.worker.wire import WorkerWire
from opq_proto.errors import OpqError

Symbols = dict[tuple[str, str], Callable[[], Any]]
THREADS = 8


def load_symbols(folder: Path, manifest: PackageManifest, limits: Mapping[str, Any]) -> Symbols:
    """(kind, name) -> factory, in the plug-in's language. Raises PluginError."""
    module, function = {
        "python": ("python_code", "load_python"),
        "lua": ("lua_script", "load_lua"),
        "c": ("c_library", "load_library"),
    }[manifest.language]
    load = getattr(importlib.import_module(f"opq_plugins.worker.{module}"), function)
    found: Symbols = load(folder, manifest, limits)
    return found


def replays(factory: Callable[[], Any]) -> bool:
    """Whether a source's class has a `rewind` of its own."""
    return getattr(factory, "rewind", Source.rewind) is not Source.rewind


def serve(end: socket.socket, facts: Mapping[str, Any], protections: Mapping[str, str]) -> None:
    """Until the host closes the wire."""
    wire = WorkerWire(end)
    folder = Path(facts["folder"])
    for path in (folder / "lib", folder):
        sys.path.insert(0, str(path))
    manifest = parse_manifest((folder / facts["manifest"]).read_bytes(), facts["manifest"])
    try:
        symbols = load_symbols(folder, manifest, facts["limits"])
    except OpqError as error:
        wire.send(["ready", {"error": str(error)}])
        return
    sources = [(name, factory) for (kind, name), factory in symbols.items() if kind == "source"]
    replaying = [name for name, factory in sources if replays(factory)]
    wire.send(["ready", {"pid": os.getpid(), "protections": dict(protections), "replay": replaying}])
    WorkerServer(wire, symbols).run()


class WorkerServer:
    def __init__(self, wire: WorkerWire, symbols: Symbols) -> None:
        self.wire = wire
        self.symbols = symbols
        self.instances: dict[int, WorkerInstance] = {}
        self.threads = ThreadPoolExecutor(THREADS, "calls")
        self.answers: dict[int, queue.Queue[Any]] = {}
        self._asked = 0

    def run(self) -> None:
        while True:
            try:
                messages = self.wire.receive()
            except (ConnectionError, ValueError):
                break
            for message in messages:
                self._accept_message(message)
        for instance in list(self.instances.values()):
            instance.context.stop()

    def ask_host(self, instance: int, key: str) -> Any:
        """What the engine has kept under `key`."""
        self._asked += 1
        number = self._asked * 1_000_003 + instance
        answer: queue.Queue[Any] = queue.Queue(1)
        self.answers[number] = answer
        self.wire.send(["ask", number, instance, key])
        return answer.get()

    def _accept_message(self, message: list[Any]) -> None:
        match message:
            case ["ping", number]:
                self.wire.send(["pong", number])
            case ["call", _, number, "make", [kind, symbol, configuration], _]:
                if (former := self.instances.get(number)) is not None:
                    former.context.stop()
                message[4] = [configuration]
                self.instances[number] = self._instance(number, kind, symbol)
                self.instances[number].accept_call(message)
            case ["call", call, number, *_]:
                held = self.instances.get(number)
                if held is None:
                    self.wire.send(["failed", call, "gone", f"no instance {number}", {}])
                else:
                    held.accept_call(message)
            case ["credit", number, count]:
                if number in self.instances:
                    self.instances[number].context.credits.release(count)
            case ["forget", number]:
                if (unused := self.instances.pop(number, None)) is not None:
                    unused.context.stop()
            case ["stop", number]:
                if number in self.instances:
                    self.instances[number].context.stop()
            case ["answer", number, value]:
                if (waiting := self.answers.pop(number, None)) is not None:
                    waiting.put(value)

    def _instance(self, number: int, kind: str, symbol: str) -> WorkerInstance:
        context = WorkerContext(self.wire, number, partial(self.ask_host, number))
        return WorkerInstance(
            self.wire, self.threads, partial(self._make, kind, symbol), context, number, kind, self._forget
        )

    def _make(self, kind: str, symbol: str) -> Any:
        return self.symbols[kind, symbol]()

    def _forget(self, number: int) -> None:
        self.instances.pop(number, None)
