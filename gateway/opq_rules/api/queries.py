"""POST /query: a SELECT as a temporary rule; GET /query/{rule_id}: the rows of an existing rule.

Rows are sent as server-sent events until the client disconnects. It is ours, and not eKuiper's.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import msgspec
from anyio import CancelScope, to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from opq_rules.api.bodies import QueryText
from opq_rules.api.routing import Routes
from opq_rules.engine.engine import Engine
from opq_rules.errors import RuleError
from opq_rules.values.batch import Emission, JsonObject, Row

MAX_WAITING = 10_000
"""Most rows that wait for a slow client; beyond it the oldest are dropped, and the client is sent their
number."""
_AT_ONCE_BYTES = 256 << 10
"""Bytes that are sent together at most, because REST stops while they are made."""
_PING_S = 2.0
"""Also the longest time until a rule's new state is sent."""
_GONE = 'event: state\ndata: {"status":"deleted"}\n\n'


class _Rows:
    """Rows on their way from the engine's thread to a client.

    Waiting for rows takes no thread, because REST has 40 threads, which as many clients of quiet rules would
    occupy.
    """

    def __init__(self) -> None:
        self._dropped = 0
        self._rows: deque[Row] = deque()
        self._wake: Callable[[], object] | None = None
        """Called with the next row."""

    def add_rows(self, topic: str, rows: Sequence[Row]) -> None:
        self._rows.extend(rows)
        while len(self._rows) > MAX_WAITING:
            with suppress(IndexError):  # the client took them meanwhile
                self._rows.popleft()
                self._dropped += 1
        wake, self._wake = self._wake, None
        if wake is not None:
            with suppress(RuntimeError):  # the server has ended
                wake()

    def add_emissions(self, emissions: Sequence[Emission]) -> None:
        for rows in emissions:
            self.add_rows("", rows)

    async def events(self, state: Callable[[], JsonObject] | None = None) -> AsyncIterator[str]:
        """Yields server-sent events, without end.

        Args:
            state: gives the rule's state; sent as event `state` at first and when it changes, with the
                number of rows dropped so far. The events end when it raises RuleError: the rule was deleted.
        """
        loop, some = asyncio.get_running_loop(), asyncio.Event()
        sent_dropped, sent_state = 0, ""
        yield ": begun\n\n"
        while True:
            if state is not None and (text := self._state(state)) != sent_state:
                sent_state = text
                yield text
                if text == _GONE:
                    return
            some.clear()
            self._wake = lambda: loop.call_soon_threadsafe(some.set)
            if not self._rows:
                try:
                    await asyncio.wait_for(some.wait(), _PING_S)
                except TimeoutError:
                    yield ": nothing yet\n\n"
                    continue
            if state is None and self._dropped != sent_dropped:
                sent_dropped = self._dropped
                yield f": {sent_dropped} rows were dropped so far\n\n"
            yield self._taken()
            await asyncio.sleep(0)  # lets other clients run even if rows never end

    def _state(self, state: Callable[[], JsonObject]) -> str:
        try:
            facts = {**state(), "dropped": self._dropped}
        except RuleError:
            return _GONE
        return f"event: state\ndata: {msgspec.json.encode(facts).decode()}\n\n"

    def _taken(self) -> str:
        taken, size = [], 0
        with suppress(IndexError):  # the engine dropped them meanwhile
            while size < _AT_ONCE_BYTES:
                taken.append(_event(self._rows.popleft()))
                size += len(taken[-1])
        return "".join(taken)


def routes_of(engine: Engine) -> Routes:
    routes = Routes("rules")

    @routes.post("/query")
    def query(body: QueryText) -> StreamingResponse:
        rule_id = f"query_{uuid.uuid4().hex[:12]}"
        rows = _Rows()
        engine.topics.listen(rule_id, rows.add_rows)
        actions = [{"memory": {"topic": rule_id}}]
        try:
            options = {"sendError": True}  # shows people who query by hand why there is no row
            engine.create_rule(
                {"id": rule_id, "sql": body.sql, "actions": actions, "options": options, "temp": True}
            )
        except RuleError:
            engine.topics.leave(rows.add_rows)
            raise

        def end() -> None:
            engine.topics.leave(rows.add_rows)
            engine.delete_rule(rule_id)

        return _Events(rows.events(), end)

    @routes.get("/query/{rule_id}")
    def rows_of(rule_id: str) -> StreamingResponse:
        rows = _Rows()
        engine.tap(rule_id, rows.add_emissions)
        return _Events(
            rows.events(lambda: engine.views.run_state(rule_id)),
            lambda: engine.leave(rule_id, rows.add_emissions),
        )

    return routes


class _Events(StreamingResponse):
    """Calls `end()` as soon as the client has disconnected; an iterator's `finally` would come later."""

    def __init__(self, events: AsyncIterator[str], end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._end)


def _event(row: Row) -> str:
    return f"data: {msgspec.json.encode(row).decode()}\n\n"
