"""What the engine holds of an installed plug-in: a sink or function whose inside can be exchanged.

A swap happens between two records: the new inside is made and configured before, gets the state of the
old one, and takes over; fails any of that, the old one goes on.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.runtime import Runtime
from opq_proto.errors import PluginError


class Proxy:
    """What all kinds have in common. `on_result(failed)` is told of each call."""

    kind = ""

    def __init__(
        self, symbol: str, runtime: Runtime | None, on_result: Callable[[bool], None], drain_s: float
    ) -> None:
        self.symbol = symbol
        self.version = "" if runtime is None else str(runtime.manifest.version)
        self._on_result = on_result
        self._drain_s = drain_s
        self._runtime = runtime
        self._live: Any = None
        self._lock = threading.Lock()
        self._context: Any = None
        self._datasource = ""
        self._properties: dict[str, Any] = {}
        self._configured = False
        self.closed = False

    @property
    def rule_id(self) -> str:
        return "" if self._context is None else str(self._context.rule_id)

    def prepare(self, runtime: Runtime) -> Any:
        """An inside of this version with our properties, tested; nothing has changed yet. None: we have no
        properties yet, and make it when we do. Raises ValueError and PluginError: what it does not take."""
        if not self._configured and self.kind != "function":
            return None
        live = runtime.make(self.kind, self.symbol)
        if self._configured:
            self._configure(live, runtime.filled(self.kind, self.symbol, self._properties))
        if callable(getattr(live, "selftest", None)) and (wrong := live.selftest()):
            raise PluginError(f"{self.kind} {self.symbol!r}: its selftest says: {wrong}")
        return live

    def swap(self, live: Any, version: str) -> tuple[Any, float]:
        """Take over by `live`. The old inside, which still has to be released, and the pause in s.

        Raises whatever `live` does not manage; the old one goes on then. TimeoutError: no record boundary.
        """
        if not self._lock.acquire(timeout=self._drain_s):
            raise TimeoutError(f"{self.kind} {self.symbol!r} does not finish its record")
        try:
            began_s = time.perf_counter()
            self._hand_over(self._live, live)
            if self.kind == "sink" and self._context is not None and live is not None:
                live.open(self._context)
            old, self._live, self.version = self._live, live, version
            return old, time.perf_counter() - began_s
        finally:
            self._lock.release()

    def release(self, live: Any) -> None:
        """Close an inside that is not used any more."""
        if live is None:
            return
        if callable(getattr(live, "release", None)):
            live.release()
        elif callable(getattr(live, "close", None)):
            live.close(self._context)

    def discard(self) -> None:
        """Configured to see whether it can be, or refused: it is not used, and nothing is kept of it."""
        live, self._live = self._live, None
        self.closed, self._runtime = True, None
        if callable(getattr(live, "discard", None)):
            live.discard()

    def _configure(self, live: Any, properties: Mapping[str, Any]) -> None:
        live.configure(properties)

    def _hand_over(self, old: Any, new: Any) -> None:
        export, take = getattr(old, "export_state", None), getattr(new, "import_state", None)
        if callable(export) and callable(take):
            try:
                state = export()
            except OSError:  # the old one is dead: the new one begins with what `get_state` has
                return
            if state is not None:
                take(self.version, state)

    def _ready(self) -> Any:
        """Inside of our own, made on first use. ConnectionError: the plug-in was deleted."""
        if self._live is None:
            if self._runtime is None:
                raise ConnectionError(f"{self.kind} {self.symbol!r}: its plug-in is not installed")
            self._live = self._runtime.make(self.kind, self.symbol)
        return self._live

    def bind(self, runtime: Runtime | None) -> None:
        """Of which later insides are made; None: deleted."""
        self._runtime = runtime


class PluginSink(Proxy, sdk.Sink):
    kind = "sink"

    def configure(self, properties: Mapping[str, Any]) -> None:
        live = self._ready()
        assert self._runtime is not None
        self._configure(live, self._runtime.filled(self.kind, self.symbol, properties))
        self._properties, self._configured = dict(properties), True

    def open(self, context: sdk.Context) -> None:
        with self._lock:
            self._context = context
            self._ready().open(context)

    def collect(self, context: sdk.SinkContext, data: Any) -> None:
        with self._lock:
            try:
                self._ready().collect(context, data)
            except OSError:
                raise
            except Exception:
                self._on_result(True)
                raise
        self._on_result(False)

    def close(self, context: sdk.Context) -> None:
        with self._lock:
            live, self._live = self._live, None
            self.closed, self._runtime = True, None
            self.release(live)


class PluginFunction(Proxy, sdk.Function):
    kind = "function"

    def validate(self, args: Sequence[Any]) -> str:
        with self._lock:
            return str(self._ready().validate(args))

    def exec(self, args: Sequence[Any], context: sdk.Context) -> Any:
        with self._lock:
            self._context = context
            try:
                value = self._ready().exec(args, context)
            except OSError as error:
                raise sdk.RowError(f"{self.symbol}: {error}") from None
            except Exception:
                self._on_result(True)
                raise
        self._on_result(False)
        return value

    def is_aggregate(self) -> bool:
        with self._lock:
            return bool(self._ready().is_aggregate())
