"""The proxy of an installed source: its `open` continues while its insides are exchanged."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from opq_plugins import sdk
from opq_plugins.host.proxy import Proxy
from opq_plugins.host.worker.remote_source import SourceGate
from opq_plugins.host.worker.runtime import Inside, Runtime
from opq_plugins.sdk import Row, Value

IDLE_S = 0.1


class PluginSource(Proxy, sdk.Source):
    """A source. When one inside ends, the next continues after the last record that was accepted."""

    kind = "source"

    def __init__(
        self, symbol: str, runtime: Runtime | None, on_result: Callable[[bool], None], drain_s: float
    ) -> None:
        super().__init__(symbol, runtime, on_result, drain_s)
        self._gate: SourceGate | None = None
        self._offset: Value = None
        self._next: tuple[Inside, Runtime | None, Future[float]] | None = None
        """The next inside, used when the old one has ended; the future gets the pause in s, or the error."""
        self._swapping = threading.Lock()

    def configure(self, datasource: str, properties: Row) -> None:
        self._configure(datasource, properties)

    def rewind(self, offset: Value) -> None:
        self._ready().rewind(offset)
        self._offset = offset

    def open(self, context: sdk.SourceContext) -> None:
        self._context = context
        while not context.stopped:
            inside = self._inside
            if inside is None:  # deleted by force: waits until it is installed again
                context.connected(False, f"source {self.symbol!r}: its plug-in is not installed")
                with self._lock:
                    gate = self._gate = SourceGate(context)
                while self._next is None and not context.wait(IDLE_S):
                    pass
                if self._next is not None:
                    context.connected(True)  # it may report another state later
            else:
                gate = SourceGate(context)
                with self._lock:
                    self._gate = gate
                    if self._next is not None:
                        gate.end()
                try:
                    inside.open(gate)
                except Exception:
                    self._on_result(True)
                    self._note(gate)
                    if self._next is None:
                        self._gate = None
                        raise
                self._note(gate)
            with self._lock:
                if self._next is None:
                    if inside is None or not gate.told or context.stopped:
                        self._gate = None
                        return
                    self._rewind(inside)  # the exchange was given up after the source was told to end
                    continue
            self._take_over()
        with self._lock:
            self._gate = None

    def swap(self, inside: Inside, runtime: Runtime | None) -> tuple[Inside, Runtime | None, float]:
        with self._swapping:
            with self._lock:
                gate, old = self._gate, (self._inside, self._runtime)
                if gate is None:  # it is not open, so it is not read
                    self._hand_over(self._inside, inside)
                    self._inside, self._runtime = inside, runtime
                    self._rewind(inside)
                    return *old, 0.0
                done: Future[float] = Future()
                self._next = inside, runtime, done
                gate.end()
            try:
                return *old, done.result(self._drain_s)
            except TimeoutError:
                with self._lock:
                    if not done.done():
                        self._next = None
                        if self._gate is not None:
                            self._gate.go_on()
                        late = f"source {self.symbol!r} does not end within {self._drain_s:g} s"
                        raise TimeoutError(late) from None
                return *old, done.result()

    def close(self, context: sdk.Context) -> None:
        inside, self._inside = self._inside, None  # without the lock, which `open` takes
        self.closed, self._runtime = True, None
        self.release(inside)

    def _rewind(self, inside: Inside) -> None:
        if self._offset is None or inside is None:
            return
        with contextlib.suppress(NotImplementedError):  # it gives offsets, but cannot go back to one
            inside.rewind(self._offset)

    def _note(self, gate: SourceGate) -> None:
        if gate.offset is not None:
            self._offset = gate.offset

    def _take_over(self) -> None:
        """Exchanges the inside, in the source's thread, after the old one has ended."""
        began_s = time.perf_counter()
        with self._lock:
            if self._next is None:  # the exchange was given up meanwhile; the old inside continues
                return
            (inside, runtime, done), self._next = self._next, None
            try:
                self._hand_over(self._inside, inside)
                self._rewind(inside)
            except Exception as error:  # code of a plug-in; the old inside continues
                done.set_exception(error)
                self._rewind(self._inside)
            else:
                self._inside, self._runtime = inside, runtime
                done.set_result(time.perf_counter() - began_s)


class SourceFactory:
    """Makes proxies of one source. It has the attribute `rewind` only if the source can go back."""

    def __init__(self, make: Callable[[], sdk.Source], replays: bool) -> None:
        self._make = make
        if replays:
            self.rewind = PluginSource.rewind

    def __call__(self) -> sdk.Source:
        return self._make()
