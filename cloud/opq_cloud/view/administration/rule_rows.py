"""Rows of a stream rule as they appear, with the rule's own window state, while a page is open.

The engine's GET /query/{rule} passes rows on in addition to the rule's actions, and reports when the rule
does not run. If many rows come, the newest few of each second are kept; all are counted, also those that
waited too long.
"""

import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from opq_cloud.view.administration.rule_engine import EngineSilentError, OpenRows, RuleEngine
from opq_proto.errors import OpqError

MAX_OPEN = 4
"""Pages that read rows at once; each has a thread and a connection to the engine."""
ROWS_A_SECOND = 5
LOOK_S, LOOK_ROWS = 5.0, 20
"""Limits for a page without JavaScript."""
LONGEST_S = 600.0
CHECKED_EVERY_S = 5.0
ROW_CHARACTERS = 500
LINE_BYTES = 1 << 16
_DATA, _EVENT = b"data: ", b"event: "
RUNNING, DELETED = "running", "deleted"
DELETED_WORDS = "The rule was deleted."


class TooManyRowsError(OpqError):
    """MAX_OPEN pages already read rows."""


@dataclass(frozen=True, slots=True)
class RowsTaken:
    """The rows since the last call."""

    rows: tuple[tuple[int, str], ...]
    """(time of arrival in ms since 1970; the row as JSON, shortened), oldest first."""
    passed_over: int
    """How many other rows came."""
    resting: str = ""
    """A sentence why the rule gives no rows now; empty while it runs."""


class RuleRows:
    """One rule at one engine. A thread of its own reads what the engine sends."""

    _open = threading.BoundedSemaphore(MAX_OPEN)

    def __init__(self, engine: RuleEngine, rule: str, kept: int = ROWS_A_SECOND) -> None:
        """Raises TooManyRowsError, EngineSilentError, EngineRefusedError."""
        if not self._open.acquire(blocking=False):
            raise TooManyRowsError(f"{MAX_OPEN} pages read rows already; close one of them")
        try:
            self._opened: OpenRows = engine.open_rows(rule)
        except BaseException:
            self._open.release()
            raise
        self.ended = ""
        """Why no more rows come; empty while they may."""
        self._rows: deque[tuple[int, str]] = deque(maxlen=kept)
        self._count = self._dropped = 0
        self._resting = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._read,), name="view.rule_rows", daemon=True
        )  # the context has the language of the page
        self._thread.start()

    def pop_rows(self) -> RowsTaken:
        with self._changed:
            rows, count = tuple(self._rows), self._count
            if not rows:  # rows that were passed over are reported with the next ones
                return RowsTaken((), 0, self._resting)
            self._rows.clear()
            self._count = 0
            return RowsTaken(rows, count - len(rows), self._resting)

    def wait(self, count: int, seconds: float) -> None:
        """Waits until `count` rows are there, no more can come, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._rows) >= count or bool(self.ended or self._resting), seconds
            )

    def close(self) -> None:
        """Closes the connection; the engine stops sending as soon as it notices."""
        self._opened.close()

    def _read(self) -> None:
        event, text = "", "The rule engine sends no more."
        try:
            for line in self._opened.lines(LINE_BYTES):
                words = line.decode("utf-8", "replace").strip()
                if line.startswith(_EVENT):
                    event = words.removeprefix("event: ")
                elif line.startswith(_DATA) and event == "state":
                    self._note_state(words.removeprefix("data: "))
                elif line.startswith(_DATA):
                    self._note(words.removeprefix("data: "))
                elif not words:
                    event = ""
        except EngineSilentError as error:
            text = f"The rule engine is gone: {error}."
        finally:
            self._open.release()
        with self._changed:
            self.ended = self._resting if self._resting == DELETED_WORDS else text
            self._changed.notify_all()

    def _note_state(self, text: str) -> None:
        """Reads `{"status", "message", "dropped"}`: whether the rule runs, and rows that waited too long."""
        with suppress(ValueError, TypeError, AttributeError):
            facts = json.loads(text)
            status, message = str(facts["status"]), str(facts.get("message") or "")
            dropped = int(facts.get("dropped", 0))
            with self._changed:
                self._count += max(0, dropped - self._dropped)
                self._dropped = dropped
                self._resting = _resting_words(status, message)
                self._changed.notify_all()

    def _note(self, row: str) -> None:
        cut = row if len(row) <= ROW_CHARACTERS else f"{row[:ROW_CHARACTERS]}…"
        with self._changed:
            self._rows.append((time.time_ns() // 1_000_000, cut))
            self._count += 1
            self._changed.notify_all()


def _resting_words(status: str, message: str) -> str:
    if status == RUNNING:
        return ""
    if status == DELETED:
        return DELETED_WORDS
    why = f": {message}" if message else ""
    return f"The rule does not run ({status.rstrip('.') + why})."


def read_sample_rows(engine: RuleEngine, rule: str) -> RowsTaken:
    """The rows within LOOK_S, LOOK_ROWS at most. Raises the errors of RuleRows."""
    rows = RuleRows(engine, rule, LOOK_ROWS)
    try:
        rows.wait(LOOK_ROWS, LOOK_S)
        return rows.pop_rows()
    finally:
        rows.close()


async def row_events(rows: RuleRows, may_go_on: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """Yields server-sent events: `rows` once a second where some came, `end` with the reason.

    `state` states why the rule does not run, when that changes; it is empty when the rule runs again.
    """
    began_s = checked_s = time.monotonic()
    resting = ""
    yield b": begun\n\n"
    while True:
        await anyio.sleep(1.0)
        ended, taken, now_s = rows.ended, rows.pop_rows(), time.monotonic()
        if taken.rows:
            yield _event("rows", {"rows": taken.rows, "passed_over": taken.passed_over})
        if taken.resting != resting:
            resting = taken.resting
            yield _event("state", {"text": resting})
        elif not taken.rows:
            yield b": nothing yet\n\n"
        if now_s - checked_s >= CHECKED_EVERY_S:
            checked_s = now_s
            if not await may_go_on():
                ended = "You may not see them any more."
        if not ended and now_s - began_s >= LONGEST_S:
            ended = f"Ended after {LONGEST_S / 60:g} minutes; begin again for more."
        if ended:
            yield _event("end", {"text": ended})
            return


class RowResponse(StreamingResponse):
    """Closes `rows` when the page has gone: an iterator's own `finally` waits for the garbage collector."""

    def __init__(self, rows: RuleRows, events: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._shown = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._shown.close()


def _event(name: str, facts: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(facts)}\n\n".encode()
