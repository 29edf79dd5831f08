"""In the worker: what the plug-in has of each kind, and the calls that come over the wire.

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

from opq_plugins.package.package_manifest import PackageManifest, parse_manifest
from opq_plugins.sdk import Source
from opq_plugins.worker.instance import Instance
from opq_plugins.worker.wire import Wire
from opq_plugins.worker.worker_context import WorkerContext
from opq_proto.errors import OpqError

Symbols = dict[tuple[str, str], Callable[[], Any]]
THREADS = 8


def load_symbols(folder: Path, manifest: PackageManifest, lua_memory: int, lua_instructions: int) -> Symbols:
    """Of the plug-in's language. Raises PluginError."""
    if manifest.language == "python":
        return importlib.import_module("opq_plugins.worker.python_code").load_python(folder, manifest)  # type: ignore[no-any-return]
    if manifest.language == "lua":
        load = importlib.import_module("opq_plugins.worker.lua_script").load_lua
        return load(folder, manifest, lua_memory, lua_instructions)  # type: ignore[no-any-return]
    return importlib.import_module("opq_plugins.worker.c_library").load_library(folder, manifest)  # type: ignore[no-any-return]


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
        self.instances: dict[int, Instance] = {}
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
                instance = self._instance(number, kind)
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

    def _instance(self, number: int, kind: str) -> Instance:
        context = WorkerContext(self.wire, number, partial(self.ask, number))
        return Instance(self.wire, self.threads, self.symbols, context, number, kind, self._forget)

    def _forget(self, number: int) -> None:
        self.instances.pop(number, None)

    def ask(self, instance: int, key: str) -> Any:
        self._asked += 1
        number = self._asked * 1_000_003 + instance
        answer: queue.Queue[Any] = queue.Queue(1)
        self.answers[number] = answer
        self.wire.send(["ask", number, instance, key])
        return answer.get()


def _replaying(symbols: Symbols) -> list[str]:
    """Sources that can go on behind an offset."""
    sources = [(name, factory) for (kind, name), factory in symbols.items() if kind == "source"]
    return [name for name, factory in sources if replays(factory)]
