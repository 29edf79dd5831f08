"""Messages of the bus that wait for plug-ins of the original: on disk until their plug-in has handled them.

PUB/SUB keeps nothing, so every message is written to disk before anything else happens to it: after a plug-in
crashes, is stopped or replaced, or Mauka is killed, the message is still there. A message is removed when its
`on_message` has returned and its results are published.
A message on which a plug-in failed is put aside, and given to the plug-in's next version.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from opq_proto.kit.sqlite_file import FILE_ERRORS, SqliteFile, store_error

APPLICATION_ID = int.from_bytes(b"opqm")
MIGRATIONS = (
    """
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT, plugin TEXT NOT NULL, topic TEXT NOT NULL, body BLOB NOT NULL,
        ends INTEGER NOT NULL DEFAULT 0, aside INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX message_plugin ON message (plugin, aside, id)
    """,
)
MAX_MESSAGES = 100_000
MAX_BYTES = 256 << 20
"""Limits per plug-in, of messages waiting or put aside; beyond these the oldest are dropped and counted."""


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """`ends`: how often the plug-in's process ended while it had this one."""

    number: int
    topic: str
    body: bytes
    ends: int


@dataclass(slots=True)
class _Held:
    messages: int = 0
    size: int = 0


Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


def _as_store_error(
    method: Callable[Concatenate["PluginInbox", Arguments], Answer],
) -> Callable[Concatenate["PluginInbox", Arguments], Answer]:
    @functools.wraps(method)
    def called(inbox: "PluginInbox", /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        try:
            return method(inbox, *arguments, **named)
        except FILE_ERRORS as error:
            raise store_error(inbox.path, error) from error

    return called


class PluginInbox:
    """One file for all plug-ins. Thread-safe. Each method raises StoreError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StoreError: the file cannot be opened: the disk is full, or refuses.
        """
        self.path = path
        try:
            self._file = SqliteFile(path, MIGRATIONS, application_id=APPLICATION_ID, synchronous="NORMAL")
            rows = self._file.query(
                "SELECT plugin, count(*), total(length(body)) FROM message GROUP BY plugin"
            )
        except FILE_ERRORS as error:
            raise store_error(path, error) from error
        self._held = {plugin: _Held(count, int(size)) for plugin, count, size in rows}

    @_as_store_error
    def add(self, messages: Sequence[tuple[str, str, bytes]]) -> Mapping[str, int]:
        """Stores (plug-in, topic, body) of each in one transaction; returns dropped ones by plug-in."""
        dropped: dict[str, int] = {}
        with self._file.transaction() as connection:
            connection.executemany("INSERT INTO message (plugin, topic, body) VALUES (?, ?, ?)", messages)
            for plugin, _, body in messages:
                held = self._held.setdefault(plugin, _Held())
                held.messages += 1
                held.size += len(body)
            for plugin in {plugin for plugin, _, _ in messages}:
                dropped |= self._make_room(plugin)
        return dropped

    @_as_store_error
    def next(self, plugin: str) -> InboxMessage | None:
        """Returns the oldest message that is not put aside."""
        row = self._file.query_row(
            "SELECT id, topic, body, ends FROM message WHERE plugin = ? AND aside = 0 ORDER BY id LIMIT 1",
            (plugin,),
        )
        return None if row is None else InboxMessage(*row)

    @_as_store_error
    def remove(self, plugin: str, message: InboxMessage) -> None:
        """Removes a message that was handled."""
        with self._file.transaction() as connection:
            if connection.execute("DELETE FROM message WHERE id = ?", (message.number,)).rowcount:
                held = self._held[plugin]
                held.messages -= 1
                held.size -= len(message.body)

    @_as_store_error
    def note_end(self, message: InboxMessage) -> None:
        """Counts that the plug-in's process ended while it had this message."""
        self._file.execute("UPDATE message SET ends = ends + 1 WHERE id = ?", (message.number,))

    @_as_store_error
    def put_aside(self, message: InboxMessage) -> None:
        """Puts a message aside that its plug-in cannot handle; the next version may."""
        self._file.execute("UPDATE message SET aside = 1 WHERE id = ?", (message.number,))

    @_as_store_error
    def give_back(self, plugin: str) -> int:
        """Puts messages that were put aside back into the queue, in their old order; returns how many."""
        with self._file.transaction() as connection:
            statement = "UPDATE message SET aside = 0, ends = 0 WHERE plugin = ? AND (aside OR ends)"
            return connection.execute(statement, (plugin,)).rowcount

    @_as_store_error
    def counts(self, plugin: str) -> tuple[int, int]:
        """Returns (how many wait, how many are put aside)."""
        row = self._file.query_row("SELECT count(*), total(aside) FROM message WHERE plugin = ?", (plugin,))
        count, aside = row or (0, 0)
        return count - int(aside), int(aside)

    @_as_store_error
    def clear(self, plugin: str) -> int:
        """Removes all messages of the plug-in; returns how many there were."""
        with self._file.transaction() as connection:
            self._held.pop(plugin, None)
            return connection.execute("DELETE FROM message WHERE plugin = ?", (plugin,)).rowcount

    def close(self) -> None:
        self._file.close()

    def _make_room(self, plugin: str) -> dict[str, int]:
        held = self._held[plugin]
        excess = 0
        while held.messages > MAX_MESSAGES or (held.size > MAX_BYTES and held.messages > 1):
            row = self._file.query_row(
                "SELECT id, length(body) FROM message WHERE plugin = ? ORDER BY id LIMIT 1", (plugin,)
            )
            if row is None:
                break
            self._file.execute("DELETE FROM message WHERE id = ?", (row[0],))
            held.messages -= 1
            held.size -= row[1]
            excess += 1
        return {plugin: excess} if excess else {}
