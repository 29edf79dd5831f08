"""Proxies of an installed plug-in: sinks, functions, triggers and analyses whose inside can be exchanged.

An exchange happens between two calls: the new inside is made and configured first, gets the state of the old
one, and takes over. If any of that fails, the old one stays.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opq_plugins import sdk
from opq_plugins.host.worker.runtime import InProcessRuntime, Inside, Runtime
from opq_plugins.sdk import Row, Value
from opq_plugins.worker_errors import ENDED, NOT_CALLED, WorkerAbsentError, WorkerTimeoutError
from opq_proto.errors import OpqError, PluginError

if TYPE_CHECKING:  # they import NumPy, which a host of sinks and functions does not need
    from opq_plugins.sdk.nouns import BatchResult, ItemBatch
    from opq_proto.decision import Decision, Nominal
    from opq_proto.messages import Event, Finding, HistoryRequest, Measurement, SampleRequest

CRASHES_PER_ROW = 3


class Proxy:
    """The common part of all kinds. `on_result(failed)` is called after each call."""

    kind = ""

    def __init__(
        self, symbol: str, runtime: Runtime | None, on_result: Callable[[bool], None], drain_s: float
    ) -> None:
        self.symbol = symbol
        self.closed = False
        self._on_result = on_result
        self._drain_s = drain_s
        self._runtime = runtime
        self._inside: Inside = None
        self._lock = threading.Lock()
        self._context: sdk.Context | None = None
        self._configuration: tuple[Value, ...] = ()
        """The arguments of `configure`; the properties are the last."""

    @property
    def version(self) -> str:
        """The running version; "" where the plug-in was deleted."""
        return "" if self._runtime is None else str(self._runtime.manifest.version)

    @property
    def rule_id(self) -> str:
        return "" if self._context is None else str(self._context.rule_id)

    def prepare(self, runtime: Runtime) -> Inside:
        """Makes and tests an inside of this version with our properties; nothing has changed yet.

        None: there are no properties yet. Raises ValueError and PluginError where it refuses them.
        """
        if not self._configuration and self.kind != "function":
            return None
        inside = runtime.make(self.kind, self.symbol)
        if self._configuration:
            self._configure_inside(runtime, inside, self._configuration)
        if callable(getattr(inside, "selftest", None)) and (wrong := inside.selftest()):
            raise PluginError(f"{self.kind} {self.symbol!r}: its selftest reports: {wrong}")
        return inside

    def swap(self, inside: Inside, runtime: Runtime | None) -> tuple[Inside, Runtime | None, float]:
        """Replaces the inside by `inside`, which `runtime` made and which makes all later ones; None, None:
        deleted.

        Returns the old inside, which still has to be released, the old runtime, and the pause in s.

        Raises whatever `inside` raises; the old one then stays. TimeoutError: the present record does not
        end.
        """
        if not self._lock.acquire(timeout=self._drain_s):
            raise TimeoutError(
                f"{self.kind} {self.symbol!r} does not finish its record within {self._drain_s:g} s"
            )
        try:
            began_s = time.perf_counter()
            self._hand_over(self._inside, inside)
            if self.kind == "sink" and self._context is not None and inside is not None:
                inside.open(self._context)
            old = self._inside, self._runtime
            self._inside, self._runtime = inside, runtime
            return *old, time.perf_counter() - began_s
        finally:
            self._lock.release()

    def release(self, inside: Inside) -> None:
        """Closes an inside that is not used any more."""
        if callable(release := getattr(inside, "release", None)):
            release()
        elif callable(close := getattr(inside, "close", None)):
            close(self._context)

    def discard(self) -> None:
        """Drops an inside that was only configured as a check, or was refused; stores nothing."""
        inside, self._inside = self._inside, None
        self.closed, self._runtime = True, None
        if callable(getattr(inside, "discard", None)):
            inside.discard()

    # -- for the kinds

    def _configure(self, *configuration: Value) -> None:
        """Raises ValueError: properties that it refuses; PluginError, OSError: it does not start."""
        inside = self._ready()
        assert self._runtime is not None
        try:
            self._configure_inside(self._runtime, inside, configuration)
        except (OpqError, ValueError, OSError):
            raise
        except Exception as error:  # foreign code
            what = f"{self.kind} {self.symbol!r}: {type(error).__name__}: {error}"
            raise PluginError(what) from error
        self._configuration = (*configuration[:-1], dict(configuration[-1]))

    def _configure_inside(self, runtime: Runtime, inside: Inside, configuration: tuple[Value, ...]) -> None:
        *others, properties = configuration
        inside.configure(*others, runtime.filled(self.kind, self.symbol, properties))

    def _call(self, method: str, *arguments: object) -> Any:
        """Calls a method and counts a failure, except the loss of its process, which the supervisor
        counts, and what a sink waits for."""
        with self._lock:
            try:
                answer = getattr(self._ready(), method)(*arguments)
            except (*ENDED, *NOT_CALLED):
                raise
            except Exception as error:
                if not (self.kind == "sink" and isinstance(error, OSError)):
                    self._on_result(True)
                raise
        self._on_result(False)
        return answer

    def _end(self) -> None:
        with self._lock:
            inside, self._inside = self._inside, None
            self.closed, self._runtime = True, None
            self.release(inside)

    def _hand_over(self, old: Inside, new: Inside) -> bool:
        """Whether `new` continues with the state of `old`."""
        export, take = getattr(old, "export_state", None), getattr(new, "import_state", None)
        if not callable(export) or not callable(take):
            return False
        try:
            state = export()
        except OSError:  # the old process has ended; the new one begins with the state of `get_state`
            return False
        return state is not None and take(self.version, state) is not False

    def _ready(self) -> Inside:
        """The inside, made at its first use. WorkerAbsentError: the plug-in was deleted."""
        if self._inside is None:
            if self._runtime is None:
                raise WorkerAbsentError(f"{self.kind} {self.symbol!r}: its plug-in is not installed")
            self._inside = self._runtime.make(self.kind, self.symbol)
        return self._inside


class PluginSink(Proxy, sdk.Sink):
    """A sink. An emission that ends its process CRASHES_PER_ROW times in a row is refused."""

    kind = "sink"
    _suspect: object = None
    _deaths = 0

    def configure(self, properties: Row) -> None:
        self._configure(properties)

    def open(self, context: sdk.Context) -> None:
        with self._lock:
            self._context = context
            self._ready().open(context)

    def collect(self, context: sdk.SinkContext, data: Value) -> None:
        try:
            self._call("collect", context, data)
        except ENDED as error:
            key = self.version, list(context.row_ids) or repr(data)[:500]
            self._deaths = self._deaths + 1 if key == self._suspect else 1
            self._suspect = key
            if self._deaths < CRASHES_PER_ROW:
                raise
            self._suspect, self._deaths = None, 0
            self._on_result(True)
            times = f"refused: it ended the plug-in's process {CRASHES_PER_ROW} times"
            raise PluginError(f"{times}: {error}") from None
        self._suspect, self._deaths = None, 0

    def close(self, context: sdk.Context) -> None:
        self._end()


class PluginFunction(Proxy, sdk.Function):
    """A function. One proxy serves all rules, because the engine knows which rule calls it."""

    kind = "function"

    @property
    def rule_id(self) -> str:
        return ""

    def validate(self, args: Sequence[Value]) -> str:
        with self._lock:
            return str(self._ready().validate(args))

    def exec(self, args: Sequence[Value], context: sdk.Context) -> Value:
        self._context = context
        try:
            return self._call("exec", args, context)
        except OSError as error:
            raise sdk.RowError(f"{self.symbol}: {error}") from None

    def is_aggregate(self) -> bool:
        with self._lock:
            return bool(self._ready().is_aggregate())


class PluginModule(Proxy):
    """The common part of a trigger and an analysis.

    `named_by`: whose configuration names it; without force it is not deleted then. `begins_again`: the
    present inside has no memory of the past; the code that replays the past to it resets this.
    """

    named_by = ""
    begins_again = False

    @property
    def rule_id(self) -> str:
        return self.named_by

    @property
    def mode(self) -> str:
        """ "process" or "inproc"; "" where the plug-in was deleted."""
        return "" if self._runtime is None else self._runtime.mode

    def configure(self, settings: Mapping[str, object]) -> None:
        """Raises ValueError: settings that it refuses; PluginError, OSError: it does not start."""
        with self._lock:
            self._configure(settings)
            self.begins_again = True

    def close(self) -> None:
        self._end()

    def _hand_over(self, old: Inside, new: Inside) -> bool:
        self.begins_again = True  # stays True if this fails
        self.begins_again = not super()._hand_over(old, new)
        return not self.begins_again


class PluginTrigger(PluginModule):
    kind = "trigger"

    @property
    def up(self) -> bool:
        """False while its process is started again: it cannot be called."""
        return bool(getattr(self._inside, "up", True))

    @property
    def forgot(self) -> bool:
        """Whether it runs in a new process since its last decision, and so has lost its memory."""
        return bool(getattr(self._inside, "forgot", False))

    def decide(self, measurement: "Measurement", nominal: "Nominal") -> "Decision | None":
        """Raises whatever the trigger raises; ENDED, NOT_CALLED: its process is gone, or takes too long."""
        decision: Decision | None = self._call("decide", measurement, nominal)
        return decision

    def forget(self) -> None:
        """Drops its memory; it begins again with the next Measurement."""
        with self._lock:
            self._ready().forget()

    def forget_box(self, box_id: str) -> bool:
        """Drops its memory of a deleted Box. False: it dropped its memory of all, as it has no other way."""
        with self._lock:
            if self.forgot or not self.up:  # its next process has no memory, and a call would hide that
                return True
            try:
                return self._ready().forget_box(box_id) is not False
            except (*ENDED, *NOT_CALLED):
                return True


class PluginAnalysis(PluginModule):
    """Its calls have a time limit, in the server's process, too."""

    kind = "analysis"

    def _call(self, method: str, *arguments: object) -> Any:
        runtime = self._runtime
        if not isinstance(runtime, InProcessRuntime):
            return super()._call(method, *arguments)
        try:
            histories = any(getattr(each, "histories", ()) for each in arguments)
            with runtime.deadline.limited(method, runtime.history_s if histories else None):
                return super()._call(method, *arguments)
        except WorkerTimeoutError:
            self._on_result(True)  # there is no supervisor that counts it
            raise

    def analyse(self, event: "Event", nominal_v: float, nominal_hz: float) -> "tuple[Finding, ...]":
        """Raises whatever the analysis raises; ENDED, NOT_CALLED: its process is gone, or takes too long."""
        findings: tuple[Finding, ...] = self._call("analyse", event, nominal_v, nominal_hz)
        return findings

    def analyse_items(self, batch: "ItemBatch", nominal_v: float, nominal_hz: float) -> "BatchResult":
        """The results for single items. Raises as `analyse`."""
        result: BatchResult = self._call("analyse_items", batch, nominal_v, nominal_hz)
        return result

    def wait_up(self, seconds: float) -> None:
        """Waits for its next process, up to this time; no longer than that process takes to start."""
        if callable(wait := getattr(self._inside, "wait_up", None)):
            wait(seconds)

    def declared(self) -> tuple[str, str]:
        """The nouns that it takes and gives. OSError: its process is gone."""
        with self._lock:
            takes, gives = self._ready().declared()
        return str(takes), str(gives)

    def reads(self) -> "HistoryRequest":
        """What its Histories have, and how often. Raises what it raises; OSError: its process is gone."""
        with self._lock:
            request: HistoryRequest = self._ready().reads()
        return request

    def alone(self) -> bool:
        """Whether it may analyse single Boxes of an event, because it has no memory. OSError: its process is
        gone."""
        with self._lock:
            return bool(self._ready().alone())

    def asks(self) -> bool:
        """Whether it may request more samples of an event. OSError: its process is gone."""
        with self._lock:
            return bool(self._ready().asks())

    def wants(
        self, event: "Event", findings: "Sequence[Finding]", nominal_v: float, nominal_hz: float
    ) -> "tuple[SampleRequest, ...]":
        """The samples that it requests after its `findings` in the event. Raises as `analyse`."""
        requests: tuple[SampleRequest, ...] = self._call("wants", event, findings, nominal_v, nominal_hz)
        return requests
