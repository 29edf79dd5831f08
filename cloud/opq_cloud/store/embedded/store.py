"""The store in an SQLite file: the default; it needs no server and no installation.

Modules of their own hold the parts for Boxes, measurements, trends, events and findings.
"""

from pathlib import Path

from opq_cloud.store.embedded.accounts import ACCOUNTS_FILE, AccountsDriver
from opq_cloud.store.embedded.lost_store import refuse_lost
from opq_cloud.store.embedded.measurement_log import SEAL_ROWS, MeasurementLog
from opq_cloud.store.embedded.minutes import ALL_MINUTES
from opq_cloud.store.embedded.parcel_slots import LIVE
from opq_cloud.store.embedded.schema import open_database
from opq_cloud.store.embedded.trends import EmbeddedTrends
from opq_cloud.store.records.accounts import AccountRecords
from opq_cloud.store.records.store_records import StoreRecords
from opq_proto.kit.sqlite_file import BUSY_S


class EmbeddedStore(MeasurementLog, EmbeddedTrends, StoreRecords):
    """`store.CloudStore` on the file at `path`; several processes may have it open at once."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S, seal_rows: int = SEAL_ROWS) -> None:
        refuse_lost(path)
        super().__init__(open_database(path, busy_s), seal_rows)
        self.people = AccountRecords(AccountsDriver(path.with_name(ACCOUNTS_FILE), busy_s))

    def _expire_log(self, now_s: int, slice_rows: int) -> int:
        return self._expire_measurements(now_s, slice_rows) + self._expire_trends(now_s, slice_rows)

    def _log_counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            (rows,) = connection.execute(
                "SELECT (SELECT count(*) FROM measurements) + (SELECT coalesce(sum(rows), 0) FROM segments)"
                f" + (SELECT coalesce(sum(rows), 0) FROM parcels WHERE {LIVE})"
            ).fetchone()
            (minutes,) = connection.execute(f"SELECT count(*) FROM {ALL_MINUTES}").fetchone()
        return {"measurements": int(rows), "trends": int(minutes)}
