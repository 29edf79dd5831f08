"""Sampling: within each interval only a source's last record is used.

With `mergeField` the last record of each of that column's values is used; they are merged into one record,
later ones win. It applies only to sources that emit by themselves: one with its own `interval` is polled at
that interval. Skipped records are intended, so they are not counted as lost. Source: docs/reference/rules.md,
E.1.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from opq_plugins.sdk import Arrivals, BatchEmitter, Context, Messages, Source, SourceContext
from opq_proto.settings import milliseconds
from opq_rules.batch import JsonObject, Metas, Row
from opq_rules.built_in import module_of
from opq_rules.streams.formats import ReadOne

LONGEST_MS = 86_400_000
MAX_VALUES = 10_000
"""Values of `mergeField` in one interval; beyond that the one that was silent longest is dropped."""
_WITHOUT = frozenset({"memory"})
"""Types whose records arrive in the engine's thread, which must not wait."""


@dataclass(frozen=True, slots=True)
class Sampling:
    interval_s: float
    merge_field: str


def sampling_of(type_name: str, properties: Mapping[str, object]) -> tuple[Sampling | None, JsonObject]:
    """The sampling (None: none), and the source's own properties. Raises ValueError."""
    own = dict(properties)
    if type_name in _WITHOUT or _is_poll_source(type_name):
        return None, own
    given, field = own.pop("interval", 0), own.pop("mergeField", "")
    try:
        interval_ms = milliseconds(given)
    except ValueError as error:
        raise ValueError(f"interval  {error}") from None
    if interval_ms > LONGEST_MS:
        raise ValueError(f"interval  is {given!r}; want ms from 0 to {LONGEST_MS}")
    if not isinstance(field, str) or (field and not interval_ms):
        raise ValueError("mergeField  wants a column's name, and an interval")
    return (Sampling(interval_ms / 1000, field) if interval_ms else None), own


def _is_poll_source(type_name: str) -> bool:
    """Whether `interval` is the source's own property; all properties of a plug-in are its own."""
    config = getattr(module_of("source", type_name), "Config", None)
    return config is None or "interval" in {each.name for each in fields(config)}


class SampledSource(Source):
    """A configured source with its sampling. `read`: payload -> records, or ValueError."""

    def __init__(self, source: Source, sampling: Sampling, read: ReadOne) -> None:
        self._source, self._sampling, self._read = source, sampling, read

    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._source.configure(datasource, properties)

    def rewind(self, offset: object) -> None:
        self._source.rewind(offset)

    def open(self, context: SourceContext) -> None:
        """Runs the source; the last kept record is emitted when the source ends."""
        held: Any = _SampledContext(context, self._sampling, self._read)
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(self._sampling.interval_s):
                held.release()

        ticking = threading.Thread(target=tick, name=f"sampling-{context.op_id}", daemon=True)
        ticking.start()
        try:
            self._source.open(held)
        finally:
            ended.set()
            ticking.join()
            held.release()

    def close(self, context: Context) -> None:
        self._source.close(context)


class _SampledContext(BatchEmitter):
    """The context that the source gets: it keeps the last record, and emits it at `release`."""

    def __init__(self, context: SourceContext, sampling: Sampling, read: ReadOne) -> None:
        self._context, self._field, self._read = context, sampling.merge_field, read
        self._lock = threading.Lock()
        self._payload: bytes | None = None
        self._rows: dict[object, Row] = {}
        self._meta: Mapping[str, object] | None = None
        self._offset: object = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: object = None, arrived_ms: Arrivals = None
    ) -> bool:
        with self._lock:
            for message in messages if self._field else messages[-1:]:
                self._store_row(dict(message))
            self._passed(meta, offset)
        return not self._context.stopped

    def emit_bytes(self, payloads: Sequence[bytes], meta: Metas = None, offset: object = None) -> bool:
        rows = [row for payload in payloads for row in self._decoded(payload)] if self._field else []
        with self._lock:
            if not self._field and payloads:
                self._payload = payloads[-1]
            for row in rows:
                self._store_row(row)
            self._passed(meta, offset)
        return not self._context.stopped

    def release(self) -> None:
        with self._lock:
            payload, rows, meta, offset = self._payload, self._rows, self._meta, self._offset
            self._payload, self._rows, self._meta = None, {}, None
        metas = None if meta is None else (meta,)
        if rows:
            merged: Row = {}
            for row in rows.values():
                merged |= row
            self._context.emit_many((merged,), metas, offset)
        elif payload is not None:
            self._context.emit_bytes((payload,), metas, offset)

    def _decoded(self, payload: bytes) -> list[Row]:
        try:
            return self._read(payload)
        except ValueError as error:
            self._context.emit_error(str(error))
            return []

    def _store_row(self, row: Row) -> None:
        value = row.get(self._field) if self._field else None
        plain = value if isinstance(value, str | int | float | None) else str(value)
        key = (isinstance(value, bool), plain)  # true is not 1
        self._rows.pop(key, None)
        self._rows[key] = row
        if len(self._rows) > MAX_VALUES:
            del self._rows[next(iter(self._rows))]

    def _passed(self, meta: Metas, offset: object) -> None:
        self._meta = meta[-1] if meta else None
        self._offset = offset if offset is not None else self._offset
