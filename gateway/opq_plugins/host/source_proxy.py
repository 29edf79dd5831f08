"""What the engine holds of an installed source: its `open` outlives its insides."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.gate import Gate
from opq_plugins.host.proxy import Proxy
from opq_plugins.host.runtime import Runtime

IDLE_S = 0.1


class PluginSource(Proxy, sdk.Source):
    """One inside ends, and the next goes on behind the last record taken."""

    kind = "source"

    def __init__(
        self, symbol: str, runtime: Runtime | None, on_result: Callable[[bool], None], drain_s: float
    ) -> None:
        super().__init__(symbol, runtime, on_result, drain_s)
        self._gate: Gate | None = None
        self._offset: Any = None
        self._next: Any = None
        self._swapped = threading.Event()
        self._failure: Exception | None = None
        self._pause_s = 0.0
        self._swapping = threading.Lock()

    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        live = self._ready()
        assert self._runtime is not None
        self._datasource = datasource
        self._configure(live, self._runtime.filled(self.kind, self.symbol, properties))
        self._properties, self._configured = dict(properties), True

    def rewind(self, offset: Any) -> None:
        self._ready().rewind(offset)
        self._offset = offset

    def open(self, context: sdk.SourceContext) -> None:
        self._context = context
        while not context.stopped:
            live = self._live
            if live is None:  # deleted by force: waits until it is there again
                context.connected(False, f"source {self.symbol!r}: its plug-in is not installed")
                with self._lock:
                    gate = self._gate = Gate(context)
                while self._next is None and not context.wait(IDLE_S):
                    pass
                if self._next is not None:
                    context.connected(True)  # unless it says otherwise itself
            else:
                gate = Gate(context)
                with self._lock:
                    self._gate = gate
                    if self._next is not None:
                        gate.end()
                try:
                    live.open(gate)
                except Exception:
                    self._on_result(True)
                    self._note(gate)
                    if self._next is None:
                        self._gate = None
                        raise
                self._note(gate)
            with self._lock:
                if self._next is None:
                    self._gate = None
                    return
            self._take_over()
        with self._lock:
            self._gate = None

    def swap(self, live: Any, version: str) -> tuple[Any, float]:
        with self._swapping:
            with self._lock:
                gate = self._gate
                if gate is None:  # not open: nobody reads from it
                    self._hand_over(self._live, live)
                    old, self._live, self.version = self._live, live, version
                    self._rewind(live)
                    return old, 0.0
                self._swapped.clear()
                self._failure = None
                old, self._next = self._live, (live, version)
                gate.end()
            if not self._swapped.wait(self._drain_s):
                with self._lock:
                    if not self._swapped.is_set():
                        self._next = None
                        if self._gate is not None:
                            self._gate.go_on()
                        raise TimeoutError(f"source {self.symbol!r} does not end within {self._drain_s:g} s")
            if self._failure is not None:
                raise self._failure
            return old, self._pause_s

    def close(self, context: sdk.Context) -> None:
        live, self._live = self._live, None
        self.closed, self._runtime = True, None
        self.release(live)

    def _configure(self, live: Any, properties: Mapping[str, Any]) -> None:
        live.configure(self._datasource, properties)

    def _rewind(self, live: Any) -> None:
        if self._offset is None or live is None:
            return
        with contextlib.suppress(NotImplementedError):  # it gives offsets, and cannot go back to one
            live.rewind(self._offset)

    def _note(self, gate: Gate) -> None:
        if gate.offset is not None:
            self._offset = gate.offset

    def _take_over(self) -> None:
        """In the source's thread: the old one has ended."""
        began_s = time.perf_counter()
        with self._lock:
            live, version = self._next
            self._next = None
            try:
                self._hand_over(self._live, live)
                self._rewind(live)
            except Exception as error:  # foreign code: the old one goes on where it was
                self._failure = error
                self._rewind(self._live)
            else:
                self._live, self.version = live, version
            self._pause_s = time.perf_counter() - began_s
            self._swapped.set()


class Maker:
    """Makes proxies of one type. A source's that can go back has `rewind`, as a class has."""

    def __init__(self, make: Callable[[], Any], replays: bool) -> None:
        self._make = make
        if replays:
            self.rewind = PluginSource.rewind

    def __call__(self) -> Any:
        return self._make()
