"""What others hold of an installed plug-in: a sink, function, trigger or analysis with a changeable inside.

A swap happens between two calls: the new inside is made and configured before, gets the state of the old one,
and takes over; if any of that fails, the old one goes on.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opq_plugins import sdk
from opq_plugins.host.runtime import Runtime
from opq_proto.errors import OpqError, PluginError

if TYPE_CHECKING:  # NumPy comes with them; a host of sinks and functions needs none
    from opq_proto.decision import Decision, Nominal
    from opq_proto.messages import Event, Finding, Measurement


class Proxy:
    """What all kinds have in common. `on_result(failed)` is called after each call."""

    kind = ""

    def __init__(
        self, symbol: str, runtime: Runtime | None, on_result: Callable[[bool], None], drain_s: float
    ) -> None:
        self.symbol = symbol
        self.version = "" if runtime is None else str(runtime.manifest.version)
        self.closed = False
        self._on_result = on_result
        self._drain_s = drain_s
        self._runtime = runtime
        self._inside: Any = None
        self._lock = threading.Lock()
        self._context: Any = None
        self._datasource: tuple[str, ...] = ()
        """A source has one, before its properties."""
        self._properties: dict[str, Any] = {}
        self._configured = False

    @property
    def rule_id(self) -> str:
        return "" if self._context is None else str(self._context.rule_id)

    def prepare(self, runtime: Runtime) -> Any:
        """An inside of this version with our properties, tested; nothing has changed yet. None: we have no
        properties yet, and make it when we do. Raises ValueError and PluginError: what it does not take."""
        if not self._configured and self.kind != "function":
            return None
        inside = runtime.make(self.kind, self.symbol)
        if self._configured:
            filled = runtime.filled(self.kind, self.symbol, self._properties)
            inside.configure(*self._datasource, filled)
        if callable(getattr(inside, "selftest", None)) and (wrong := inside.selftest()):
            raise PluginError(f"{self.kind} {self.symbol!r}: its selftest says: {wrong}")
        return inside

    def swap(self, inside: Any, version: str) -> tuple[Any, float]:
        """Take over by `inside`. Gives the old inside, which still has to be released, and the pause in s.

        Raises whatever `inside` does not manage; the old one goes on then. TimeoutError: no record boundary.
        """
        if not self._lock.acquire(timeout=self._drain_s):
            raise TimeoutError(f"{self.kind} {self.symbol!r} does not finish its record")
        try:
            began_s = time.perf_counter()
            self._hand_over(self._inside, inside)
            if self.kind == "sink" and self._context is not None and inside is not None:
                inside.open(self._context)
            old, self._inside, self.version = self._inside, inside, version
            return old, time.perf_counter() - began_s
        finally:
            self._lock.release()

    def release(self, inside: Any) -> None:
        """Close an inside that is not used any more."""
        if callable(release := getattr(inside, "release", None)):
            release()
        elif callable(close := getattr(inside, "close", None)):
            close(self._context)

    def discard(self) -> None:
        """Configured to see whether it can be, or refused: it is not used, and nothing is kept of it."""
        inside, self._inside = self._inside, None
        self.closed, self._runtime = True, None
        if callable(getattr(inside, "discard", None)):
            inside.discard()

    def bind(self, runtime: Runtime | None) -> None:
        """Later insides are made of `runtime`; None: deleted."""
        self._runtime = runtime

    # -- for the kinds

    def _configure(self, properties: Mapping[str, Any], *datasource: str) -> None:
        """Raises ValueError: properties that it does not take; PluginError, OSError: it does not start."""
        inside = self._ready()
        assert self._runtime is not None
        try:
            inside.configure(*datasource, self._runtime.filled(self.kind, self.symbol, properties))
        except (OpqError, ValueError, OSError):
            raise
        except Exception as error:  # foreign code
            what = f"{self.kind} {self.symbol!r}: {type(error).__name__}: {error}"
            raise PluginError(what) from error
        self._datasource, self._properties, self._configured = datasource, dict(properties), True

    def _call(self, method: str, *arguments: Any) -> Any:
        """A call whose failure counts, unless its process is gone: that is counted there."""
        with self._lock:
            try:
                answer = getattr(self._ready(), method)(*arguments)
            except OSError:
                raise
            except Exception:
                self._on_result(True)
                raise
        self._on_result(False)
        return answer

    def _end(self) -> None:
        with self._lock:
            inside, self._inside = self._inside, None
            self.closed, self._runtime = True, None
            self.release(inside)

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
        if self._inside is None:
            if self._runtime is None:
                raise ConnectionError(f"{self.kind} {self.symbol!r}: its plug-in is not installed")
            self._inside = self._runtime.make(self.kind, self.symbol)
        return self._inside


class PluginSink(Proxy, sdk.Sink):
    kind = "sink"

    def configure(self, properties: Mapping[str, Any]) -> None:
        self._configure(properties)

    def open(self, context: sdk.Context) -> None:
        with self._lock:
            self._context = context
            self._ready().open(context)

    def collect(self, context: sdk.SinkContext, data: Any) -> None:
        self._call("collect", context, data)

    def close(self, context: sdk.Context) -> None:
        self._end()


class PluginFunction(Proxy, sdk.Function):
    kind = "function"

    def validate(self, args: Sequence[Any]) -> str:
        with self._lock:
            return str(self._ready().validate(args))

    def exec(self, args: Sequence[Any], context: sdk.Context) -> Any:
        self._context = context
        try:
            return self._call("exec", args, context)
        except OSError as error:
            raise sdk.RowError(f"{self.symbol}: {error}") from None

    def is_aggregate(self) -> bool:
        with self._lock:
            return bool(self._ready().is_aggregate())


class PluginModule(Proxy):
    """What a trigger and an analysis have in common.

    `named_by`: whose configuration names it; it is not deleted without force then.
    `anew`: an inside has taken over that knows nothing of what came before; who has seen to that clears it.
    """

    named_by = ""
    anew = False

    @property
    def rule_id(self) -> str:
        return self.named_by

    @property
    def mode(self) -> str:
        """process or inproc; "" when it was deleted."""
        return "" if self._runtime is None else self._runtime.mode

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Raises ValueError: settings that it does not take; PluginError, OSError: it does not start."""
        with self._lock:
            self._configure(settings)
            self.anew = True

    def close(self) -> None:
        self._end()

    def _hand_over(self, old: Any, new: Any) -> None:
        self.anew = True
        if old is None or new is None:
            return
        try:
            state = old.export_state()
        except OSError:  # the old one is dead
            return
        if state is not None:
            self.anew = not new.take_state(self.version, state)


class PluginTrigger(PluginModule):
    kind = "trigger"

    @property
    def up(self) -> bool:
        """False while its process is started again: it cannot be asked."""
        return bool(getattr(self._inside, "up", True))

    @property
    def forgot(self) -> bool:
        """Its process is another one than that which has judged before: it remembers nothing."""
        return bool(getattr(self._inside, "forgot", False))

    def decide(self, measurement: "Measurement", nominal: "Nominal") -> "Decision | None":
        """Raises whatever it raises; OSError: its process is gone, or takes too long."""
        decision: Decision | None = self._call("decide", measurement, nominal)
        return decision

    def forget(self) -> None:
        """Begin again with the next Measurement."""
        with self._lock:
            self._ready().forget()


class PluginAnalysis(PluginModule):
    kind = "analysis"

    def analyse(self, event: "Event", nominal_v: float, nominal_hz: float) -> "tuple[Finding, ...]":
        """Raises whatever it raises; OSError: its process is gone, or takes too long."""
        findings: tuple[Finding, ...] = self._call("analyse", event, nominal_v, nominal_hz)
        return findings

    def alone(self) -> bool:
        """Whether it may be asked of one Box of an event: it has no memory. OSError: its process is gone."""
        with self._lock:
            return bool(self._ready().alone())
