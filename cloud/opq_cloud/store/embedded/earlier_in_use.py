"""Refuses to migrate a store's file beneath services of an earlier version, which could not write it then.

Such as by `opq-tools status` from cron, between an update and the restart of the services. Separate from
`store.py`, because it reads the locks of services.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from opq_cloud.store.embedded.schema import MIGRATIONS
from opq_cloud.store.service_lock import file_holders
from opq_proto.errors import StoreError


class EarlierInUseError(StoreError):
    """Services of an earlier version work on the store."""


def refuse_earlier_in_use(path: Path) -> None:
    """Raises EarlierInUseError if the file is of an earlier schema and services of other processes hold it.

    A service itself migrates it: its own lock is beside the file.
    """
    schema = _schema(path)
    if schema is None or not 0 < schema < len(MIGRATIONS):
        return
    holders = file_holders(path.parent)
    if holders and str(os.getpid()) not in holders:
        pid, name = min(holders.items())
        raise EarlierInUseError(
            f"{path}: has schema {schema}, this program makes {len(MIGRATIONS)} of it, and {name} "
            f"(process {pid}) of an earlier version works on it; restart the services first"
        )


def _schema(path: Path) -> int | None:
    if not path.is_file():
        return None
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as opened:
            return int(opened.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None  # opening it reports the problem
