"""Reports a store's file that is empty or missing; without these checks SQLite would make an empty one.
Separate from `embedded_store.py`, because it reads another file.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE
from opq_cloud.store.records.accounts.account_records import TABLES, TICKETS
from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_file import reading_address

BEING_MADE_S = 5.0
"""A file that another process creates is empty for an instant."""
RESTORE = "put a back-up in its place with opq-tools restore, or, to begin with an empty store, move"


def refuse_lost(path: Path) -> None:
    """Raises StoreError if the file is empty, or missing where `accounts.db` shows that there was one."""
    until_s = time.monotonic() + BEING_MADE_S
    while path.is_file() and not path.stat().st_size:
        if time.monotonic() > until_s:
            raise StoreError(f"{path}: is empty (0 bytes), so its data is lost; {RESTORE} it away")
        time.sleep(0.02)
    accounts = path.with_name(ACCOUNTS_FILE)
    if not path.exists() and accounts.exists() and _was_in_use(accounts):
        raise StoreError(
            f"{path}: is gone, and {ACCOUNTS_FILE} beside it shows that there was one; {RESTORE} "
            f"{ACCOUNTS_FILE} away"
        )


def _was_in_use(accounts: Path) -> bool:
    """Whether it has anything but invitations: `--first-admin` writes one before there is a store."""
    try:
        with contextlib.closing(sqlite3.connect(reading_address(accounts), uri=True)) as opened:
            tables = {
                name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            used = tables.intersection(TABLES) - {TICKETS}
            return any(opened.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in used)
    except sqlite3.Error:
        return False  # its own reader reports the problem
