"""A source that runs by itself, and what it emits into."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opq_plugins.sdk import Source


class Stream:
    """What a source emits into; `limit` records, then it says stop."""

    rule_id, op_id, instance_id = "", "source_s", 0

    def __init__(self, limit: int = 1 << 30) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.payloads: list[bytes] = []
        self.metas: list[Mapping[str, Any] | None] = []
        self.errors: list[str] = []
        self.offset: Any = None
        self.offsets: list[Any] = []
        self.up: bool | None = None
        self._limit, self._stop = limit, threading.Event()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def emit(self, message: Mapping[str, Any], meta: Any = None, offset: Any = None) -> bool:
        return self.emit_many([message], [meta], offset)

    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Any = None,
        offset: Any = None,
        arrived_ms: Any = None,
    ) -> bool:
        if self.stopped:
            return False
        self.rows += messages
        self.metas += meta or []
        self.offset = offset
        self.offsets.append(offset)
        if len(self.rows) >= self._limit:
            self._stop.set()
        return True

    def emit_bytes(self, payloads: Sequence[bytes], meta: Any = None, offset: Any = None) -> bool:
        self.payloads += payloads
        self.metas += meta or []
        return not self.stopped

    def emit_error(self, text: str) -> None:
        self.errors.append(text)

    def connected(self, up: bool, why: str = "") -> None:
        self.up = up
        if why:
            self.errors.append(why)

    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


@contextmanager
def running(source: Source, stream: Stream) -> Iterator[None]:
    thread = threading.Thread(target=source.open, args=(stream,))
    thread.start()
    try:
        yield
    finally:
        stream.stop()
        thread.join(240)
        assert not thread.is_alive(), "the source does not end"
        source.close(stream)


def made(source: Source, datasource: str, **properties: Any) -> Source:
    source.configure(datasource, properties)
    return source
