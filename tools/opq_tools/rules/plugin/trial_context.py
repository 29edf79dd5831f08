"""The context of a plug-in under test: stands for the engine, for one source, sink or function."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any


class TrialContext:
    """A source has to end after `stop_after` records or `seconds`."""

    rule_id, op_id, instance_id = "test", "test", 0

    def __init__(self, stop_after: int = 0, seconds: float = 0.0) -> None:
        self.rows: list[Any] = []
        self.errors: list[str] = []
        self.row_ids: Sequence[str] = ["test:0/0"]
        self._stop_after = stop_after
        self._end_s = time.monotonic() + seconds
        self._state: dict[str, Any] = {}
        self._asleep = threading.Event()

    @property
    def row_id(self) -> str:
        return self.row_ids[0] if self.row_ids else ""

    @property
    def stopped(self) -> bool:
        return len(self.rows) >= self._stop_after or time.monotonic() > self._end_s

    def wait(self, seconds: float) -> bool:
        self._asleep.wait(seconds)  # never set
        return self.stopped

    def log(self, event: str, **facts: Any) -> None:
        return

    def get_state(self, key: str) -> Any:
        return self._state.get(key)

    def put_state(self, key: str, value: Any) -> None:
        self._state[key] = value

    def emit(self, message: Any, meta: Any = None, offset: Any = None) -> bool:
        return self.emit_many([message])

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Any = None,
        offset: Any = None,
        arrived_ms: Any = None,
        **_: Any,
    ) -> bool:
        self.rows += messages
        return True

    def emit_bytes(self, payloads: Sequence[bytes], meta: Any = None, offset: Any = None, **_: Any) -> bool:
        self.rows += payloads
        return True

    def emit_error(self, text: str) -> None:
        self.errors.append(text)

    def connected(self, up: bool, why: str = "") -> None:
        if why:
            self.errors.append(why)
