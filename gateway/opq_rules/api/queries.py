"""POST /query: a SELECT as a temporary rule, its rows as server-sent events until the client goes.

Ours: eKuiper's CLI does this over a port of its own.
"""

import queue
import uuid
from collections.abc import Callable, Iterator, Sequence

import msgspec
from anyio import CancelScope, to_thread
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from opq_rules.api.bodies import Query
from opq_rules.batch import Row
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError

MOST_WAITING = 10_000
"""Rows for a client that is slow; the oldest go, and it is told how many."""
_PING_S = 2.0


class _Rows:
    """From the engine's thread to the client's."""

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: queue.Queue[Row] = queue.Queue(MOST_WAITING)

    def heard(self, topic: str, rows: Sequence[Row]) -> None:
        for row in rows:
            while True:
                try:
                    self._queue.put_nowait(row)
                    break
                except queue.Full:
                    self._queue.get_nowait()
                    self.dropped += 1

    def next(self) -> Row | None:
        """None: there was none for a while."""
        try:
            return self._queue.get(timeout=_PING_S)
        except queue.Empty:
            return None


def router(engine: Engine) -> APIRouter:
    routes = APIRouter(tags=["rules"])

    @routes.post("/query")
    def query(body: Query) -> StreamingResponse:
        rule_id = f"query_{uuid.uuid4().hex[:12]}"
        rows = _Rows()
        engine.topics.listen(rule_id, rows.heard)
        actions = [{"memory": {"topic": rule_id}}]
        try:
            engine.create_rule({"id": rule_id, "sql": body.sql, "actions": actions, "temp": True})
        except RuleError:
            engine.topics.leave(rows.heard)
            raise

        def end() -> None:
            engine.topics.leave(rows.heard)
            engine.delete_rule(rule_id)

        return _Events(_told(rows), end)

    return routes


class _Events(StreamingResponse):
    """`end()` is called when the client has gone; an iterator's own `finally` waits for the collector."""

    def __init__(self, events: Iterator[str], end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._end)


def _told(rows: _Rows) -> Iterator[str]:
    dropped = 0
    yield ": begun\n\n"
    while True:
        row = rows.next()
        if rows.dropped != dropped:
            dropped = rows.dropped
            yield f": {dropped} rows were dropped so far\n\n"
        yield ": nothing yet\n\n" if row is None else _event(row)


def _event(row: Row) -> str:
    return f"data: {msgspec.json.encode(row).decode()}\n\n"
