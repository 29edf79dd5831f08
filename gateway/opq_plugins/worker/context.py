"""In the worker: the engine's context for a source, sink or function, over the wire."""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from opq_plugins import sdk
from opq_plugins.sdk import Arrivals, Messages, Metas, Value
from opq_plugins.worker.worker_wire import Caller, LogLine, Notice, NoticeKind, OfHost, Payloads, Rows, Wire

BATCHES_AHEAD = 8
"""Batches a source may emit before the host has accepted the first."""
LONGEST_TEXT = 2_000
_CLASSES: dict[str, type] = {"source": sdk.Source, "sink": sdk.Sink, "function": sdk.Function}


@cache
def context_at(kind: str, method: str) -> int | None:
    """Index of the context among the arguments of this sdk method; it does not go over the wire."""
    function = getattr(_CLASSES.get(kind), method, None)
    names = list(inspect.signature(function).parameters)[1:] if function is not None else []
    return names.index("context") if "context" in names else None


class WorkerContext(sdk.BatchEmitter):
    """Every context of the sdk in one. `stored_state(instance, key)` gets the engine's stored value."""

    def __init__(self, wire: Wire[OfHost], number: int, stored_state: Callable[[int, str], Value]) -> None:
        self._wire, self._number, self._stored_state = wire, number, stored_state
        self.rule_id, self.op_id, self.instance_id = "", "", 0
        self.row_ids: list[str] = []
        self.credits = threading.Semaphore(BATCHES_AHEAD)
        self._changed: dict[str, Value] = {}
        self._state: dict[str, Value] = {}
        self._stopped = threading.Event()

    def set_caller(self, caller: Caller) -> None:
        self.rule_id, self.op_id, self.instance_id = caller.rule_id, caller.op_id, caller.instance_id
        self.row_ids = caller.row_ids

    @property
    def row_id(self) -> str:
        return self.row_ids[0] if self.row_ids else ""

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()
        self.credits.release()

    def wait(self, seconds: float) -> bool:
        return self._stopped.wait(seconds)

    def log(self, event: str, **facts: Value) -> None:
        self._wire.send(LogLine(self._number, str(event), facts))

    def get_state(self, key: str) -> Value:
        if key not in self._state:
            self._state[key] = self._stored_state(self._number, key)
        return self._state[key]

    def put_state(self, key: str, value: Value) -> None:
        self._state[key] = self._changed[key] = value

    def changed_state(self) -> dict[str, Value]:
        """Values that were put since the last call of this method."""
        changed, self._changed = self._changed, {}
        return changed

    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: Value = None, arrived_ms: Arrivals = None
    ) -> bool:
        for row in messages:
            if not isinstance(row, Mapping):
                raise TypeError(f"emitted a {type(row).__name__}; want a mapping")
        sdk.check_emission(len(messages), meta, arrived_ms)
        arrived = list(arrived_ms) if isinstance(arrived_ms, Sequence) else arrived_ms
        return self._emit(Rows(self._number, [dict(row) for row in messages], _dicts(meta), offset, arrived))

    def emit_bytes(self, payloads: Sequence[bytes], meta: Metas = None, offset: Value = None) -> bool:
        sdk.check_emission(len(payloads), meta, None)
        return self._emit(Payloads(self._number, list(payloads), _dicts(meta), offset))

    def publish(self, topic: bytes, body: bytes) -> None:
        """Publishes on Mauka's bus what a plug-in of the original produced outside of a call."""
        self._wire.send(Payloads(self._number, [topic, body], None, None))

    def emit_error(self, text: str) -> None:
        self.report("error", text)

    def connected(self, up: bool, why: str = "") -> None:
        self.report("connected" if up else "disconnected", why)

    def report(self, what: NoticeKind, text: str) -> None:
        self._wire.send(Notice(self._number, what, str(text)[:LONGEST_TEXT]))

    def _emit(self, batch: Rows | Payloads) -> bool:
        """Sends a batch. False: nothing was sent; after a rewind the source emits it again."""
        if self._stopped.is_set():
            return False
        self.credits.acquire()
        if self._stopped.is_set():
            return False
        self._wire.send(batch)
        return True


def _dicts(meta: Metas) -> list[dict[str, Value] | None] | None:
    """`meta` as dicts with text keys, which the host requires."""
    if meta is None:
        return None
    return [None if each is None else {str(name): value for name, value in each.items()} for each in meta]
