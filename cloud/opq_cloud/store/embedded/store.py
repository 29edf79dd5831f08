"""The store in an SQLite file: the default; it needs no server and no installation.

Modules of their own hold the parts for Boxes, measurements, trends, events and findings.
"""

import sqlite3
from pathlib import Path

from opq_cloud.store.embedded.accounts import ACCOUNTS_FILE, AccountsDriver
from opq_cloud.store.embedded.driver import SqliteDocuments
from opq_cloud.store.embedded.findings import EmbeddedFindings, expire_findings
from opq_cloud.store.embedded.incident_index import EmbeddedIndex
from opq_cloud.store.embedded.incident_parts import EmbeddedParts
from opq_cloud.store.embedded.lost_store import lost_while_open, refuse_lost
from opq_cloud.store.embedded.measurement_log import SEAL_ROWS, MeasurementLog
from opq_cloud.store.embedded.minutes import ALL_MINUTES
from opq_cloud.store.embedded.parcel_slots import LIVE
from opq_cloud.store.embedded.schema import open_database
from opq_cloud.store.embedded.trends import EmbeddedTrends
from opq_cloud.store.records.accounts import AccountRecords
from opq_cloud.store.records.boxes import BoxRecords
from opq_cloud.store.records.events import EventRecords
from opq_cloud.store.records.makai import MakaiRecords
from opq_cloud.store.records.waveforms import WaveformRecords
from opq_proto.kit.sqlite_file import BUSY_S

_TABLES = {
    "trends": ALL_MINUTES, "events": "events", "box_events": "box_events",
    "incidents": "incidents", "opq_boxes": "opq_boxes", "fs.files": "files",
}  # fmt: skip


class EmbeddedStore(
    MeasurementLog,
    EmbeddedTrends,
    EventRecords,
    WaveformRecords,
    EmbeddedFindings,
    EmbeddedIndex,
    EmbeddedParts,
    BoxRecords,
    MakaiRecords,
):
    """`store.CloudStore` on the file at `path`; several processes may have it open at once."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S, seal_rows: int = SEAL_ROWS) -> None:
        refuse_lost(path)
        super().__init__(open_database(path, busy_s), seal_rows)
        self._path, self._inode = path, path.stat().st_ino
        self.people = AccountRecords(AccountsDriver(path.with_name(ACCOUNTS_FILE), busy_s))

    @property
    def unreadable(self) -> dict[str, int]:
        """Returns nothing: no other program writes its documents."""
        return {}

    @property
    def numbers_problem(self) -> str | None:
        """Returns None: no other program numbers incidents in it."""
        return None

    @property
    def problem(self) -> str | None:
        return lost_while_open(self._path, self._inode)

    def close(self) -> None:
        self.people.close()
        super().close()

    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        def job(connection: sqlite3.Connection) -> int:
            return (
                self._expire_events(SqliteDocuments(connection), now_s, max(1, slice_rows // 100))
                + expire_findings(connection, now_s, slice_rows)
                + self._expire_traffic(SqliteDocuments(connection), now_s, slice_rows)
            )

        gone = self._expire_measurements(now_s, slice_rows) + self._expire_trends(now_s, slice_rows)
        return gone + self._database.write(job)

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            (rows,) = connection.execute(
                "SELECT (SELECT count(*) FROM measurements) + (SELECT coalesce(sum(rows), 0) FROM segments)"
                f" + (SELECT coalesce(sum(rows), 0) FROM parcels WHERE {LIVE})"
            ).fetchone()
            counts = {"measurements": int(rows)}
            for collection, table in _TABLES.items():
                counts[collection] = int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        return counts

    def sizes(self) -> dict[str, int]:
        """Returns nothing: SQLite would have to read the whole file to know the sizes."""
        return {}
