"""Between a source of a plug-in and the engine: remembers the offset, and asks the source to end for a swap.

False from `emit` means: not taken. After a swap was asked for nothing is taken from the source any more; only
what a worker had accepted before that (`late`) still is.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opq_plugins import sdk
from opq_plugins.sdk.emission import OneOfMany, check_emission

SLICE_S = 0.1


class Gate(OneOfMany):
    """A SourceContext around the engine's. One per opening of a source."""

    def __init__(self, context: sdk.SourceContext) -> None:
        self._context = context
        self._ending = threading.Event()
        self.offset: Any = None
        self.taken = 0

    def end(self) -> None:
        self._ending.set()

    def go_on(self) -> None:
        self._ending.clear()

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    @property
    def rule_id(self) -> str:
        return self._context.rule_id

    @property
    def op_id(self) -> str:
        return self._context.op_id

    @property
    def instance_id(self) -> int:
        return self._context.instance_id

    @property
    def stopped(self) -> bool:
        return self._ending.is_set() or self._context.stopped

    def wait(self, seconds: float) -> bool:
        end_s = time.monotonic() + seconds
        while not self.stopped:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            if self._context.wait(min(left_s, SLICE_S)):
                return True
        return True

    def log(self, event: str, **facts: Any) -> None:
        self._context.log(event, **facts)

    def get_state(self, key: str) -> Any:
        return self._context.get_state(key)

    def put_state(self, key: str, value: Any) -> None:
        self._context.put_state(key, value)

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        arrived_ms: int | Sequence[int] | None = None,
        *,
        late: bool = False,
    ) -> bool:
        if not late:  # what a worker has sent is checked where it is heard
            if self.ending:
                return False
            check_emission(len(messages), meta, arrived_ms)
        return self._took(self._context.emit_many(messages, meta, offset, arrived_ms), len(messages), offset)

    def emit_bytes(
        self,
        payloads: Sequence[bytes],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        *,
        late: bool = False,
    ) -> bool:
        if not late:
            if self.ending:
                return False
            check_emission(len(payloads), meta, None)
        return self._took(self._context.emit_bytes(payloads, meta, offset), len(payloads), offset)

    def emit_error(self, text: str) -> None:
        self._context.emit_error(text)

    def connected(self, up: bool, why: str = "") -> None:
        self._context.connected(up, why)

    def _took(self, taken: bool, count: int, offset: Any) -> bool:
        if taken:
            self.taken += count
            if offset is not None:
                self.offset = offset
        return taken
