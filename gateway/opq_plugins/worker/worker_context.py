"""In the worker: what an instance sees of the engine: its rule, its state, where it emits and tells."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opq_plugins.sdk.emission import OneOfMany, check_emission
from opq_plugins.worker.wire import Wire

BATCHES_AHEAD = 8
"""Batches a source may emit before the host has taken the first."""


class WorkerContext(OneOfMany):
    """sdk.Context, SourceContext and SinkContext over the wire. `ask(key)`: what the engine has kept."""

    def __init__(self, wire: Wire, number: int, ask: Callable[[str], Any]) -> None:
        self._wire, self._number, self._ask = wire, number, ask
        self.rule_id, self.op_id, self.instance_id = "", "", 0
        self.row_ids: list[str] = []
        self.credits = threading.Semaphore(BATCHES_AHEAD)
        self.changed: dict[str, Any] = {}
        self._state: dict[str, Any] = {}
        self._stopped = threading.Event()

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

    def log(self, event: str, **facts: Any) -> None:
        self._wire.send(["tell", self._number, "log", {"event": event, "facts": facts}])

    def get_state(self, key: str) -> Any:
        if key not in self._state:
            self._state[key] = self._ask(key)
        return self._state[key]

    def put_state(self, key: str, value: Any) -> None:
        self._state[key] = self.changed[key] = value

    def taken_changes(self) -> dict[str, Any]:
        changed, self.changed = self.changed, {}
        return changed

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        arrived_ms: Any = None,
    ) -> bool:
        for row in messages:
            if not isinstance(row, Mapping):
                raise TypeError(f"emitted a {type(row).__name__}; want a mapping")
        return self._emit("rows", [dict(row) for row in messages], meta, offset, arrived_ms)

    def emit_bytes(
        self,
        payloads: Sequence[bytes],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
    ) -> bool:
        return self._emit("bytes", list(payloads), meta, offset, None)

    def emit_error(self, text: str) -> None:
        self._wire.send(["tell", self._number, "error", {"text": str(text)[:2000]}])

    def connected(self, up: bool, why: str = "") -> None:
        self._wire.send(["tell", self._number, "connected", {"up": bool(up), "why": str(why)[:2000]}])

    def _emit(self, form: str, rows: list[Any], meta: Any, offset: Any, arrived_ms: Any) -> bool:
        if self._stopped.is_set():
            return False  # nothing of it went: after a rewind it comes again
        check_emission(len(rows), meta, arrived_ms)
        self.credits.acquire()
        if self._stopped.is_set():
            return False
        given_meta = None if meta is None else list(meta)
        arrived = list(arrived_ms) if isinstance(arrived_ms, Sequence) else arrived_ms
        self._wire.send(["emit", self._number, form, rows, given_meta, offset, arrived])
        return True
