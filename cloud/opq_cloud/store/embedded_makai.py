"""`makai_config` and `makai_metrics` in the embedded store: documents of the original's form.

Short; a part of its own beside `mongo_makai.py`, which holds the same contract.
"""

import json
import secrets
import sqlite3
import time

from opq_cloud.store.makai_documents import (
    IDENTITY,
    BrokerTraffic,
    MakaiConfig,
    makai_config_document,
    makai_config_from_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.schema import EmbeddedPart
from opq_cloud.store.sealing import counter


class EmbeddedMakai(EmbeddedPart):
    """Rows of `makai_config` and `makai_metrics`, and the store's name."""

    def identity(self) -> str:
        drawn = secrets.randbits(63)

        def job(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", (IDENTITY, drawn))
            return counter(connection, IDENTITY)

        return f"{self._database.write(job):016x}"

    def makai_config(self) -> MakaiConfig | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM makai_config").fetchone()
        return None if row is None else makai_config_from_document(json.loads(row[0]))

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        rows = [] if config is None or config.is_empty else [(json.dumps(makai_config_document(config)),)]

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM makai_config")
            connection.executemany("INSERT INTO makai_config VALUES (?)", rows)

        self._database.write(job)

    def put_traffic(self, traffic: BrokerTraffic) -> None:
        expire_at = int(time.time()) + self._ttls.measurements
        row = traffic.timestamp_ms, expire_at, json.dumps(traffic_document(traffic))

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO makai_metrics VALUES (?, ?, ?)", row)

        self._database.write(job)

    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM makai_metrics WHERE timestamp_ms >= ? AND timestamp_ms < ? "
                "ORDER BY timestamp_ms",
                (start_ms, end_ms),
            ).fetchall()
        return [traffic_from_document(json.loads(text)) for (text,) in rows]


def expire_traffic(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    return connection.execute(
        "DELETE FROM makai_metrics WHERE rowid IN "
        "(SELECT rowid FROM makai_metrics WHERE expire_at <= ? LIMIT ?)",
        (now_s, slice_rows),
    ).rowcount
