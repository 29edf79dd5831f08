"""A disk that is full, without filling one."""

import sqlite3
from collections.abc import Callable

import pytest

from opq_gateway.uplink import queue_file


def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """SQLite itself says that the disk is full, from a call with True on: it may not take one more page."""
    opened: list[sqlite3.Connection] = []
    state = {"full": False}
    connect = sqlite3.connect

    def limited(*arguments: object, **named: object) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **named)  # type: ignore[call-overload]
        opened.append(db)
        if state["full"]:
            db.execute("PRAGMA max_page_count=1")
        return db

    monkeypatch.setattr(queue_file.sqlite3, "connect", limited)

    def full(now: bool) -> None:
        state["full"] = now
        if now:
            opened[-1].execute("PRAGMA max_page_count=1")

    return full
