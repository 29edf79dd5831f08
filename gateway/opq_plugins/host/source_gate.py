"""Between a source of a plug-in and the engine: remembers the offset, and makes the source end for a swap.

False from `emit` means: not accepted. Once a swap is asked for, nothing is accepted from the source any more;
only what a worker had accepted before that (`late`) still is.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opq_plugins import sdk

SLICE_S = 0.1


class SourceGate(sdk.BatchEmitter):
    """A SourceContext around the engine's. One per opening of a source."""

    def __init__(self, context: sdk.SourceContext) -> None:
        self._context = context
        self._ending = threading.Event()
        self.offset: Any = None

    def end(self) -> None:
        self._ending.set()

    def go_on(self) -> None:
        self._ending.clear()

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    def __getattr__(self, name: str) -> Any:
        """`rule_id`, `log`, `get_state`, `emit_error` and all else that it does not change."""
        return getattr(self._context, name)

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
            sdk.check_emission(len(messages), meta, arrived_ms)
        return self._accepted(self._context.emit_many(messages, meta, offset, arrived_ms), offset)

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
            sdk.check_emission(len(payloads), meta, None)
        return self._accepted(self._context.emit_bytes(payloads, meta, offset), offset)

    def _accepted(self, accepted: bool, offset: Any) -> bool:
        if accepted and offset is not None:
            self.offset = offset
        return accepted
