"""The store in an SQLite file: the default; it needs no server and no installation.

The log of Measurements is `measurement_log.py`; all else is written once, in `records/`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE, AccountsDriver
from opq_cloud.store.embedded.lost_store import refuse_lost
from opq_cloud.store.embedded.measurement_log import SEAL_ROWS, MeasurementLog
from opq_cloud.store.embedded.schema import open_database
from opq_cloud.store.embedded.whole_log import whole_log
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.store_records import StoreRecords
from opq_cloud.store.store import LogPlace
from opq_proto.kit.sqlite_file import BUSY_S
from opq_proto.messages import Measurement


class EmbeddedStore(MeasurementLog, StoreRecords):
    """`store.CloudStore` on the file at `path`; several processes may have it open at once."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S, seal_rows: int = SEAL_ROWS) -> None:
        refuse_lost(path)
        super().__init__(open_database(path, busy_s), seal_rows)
        self.place = None, path.parent, False
        self.people = AccountRecords(AccountsDriver(path.with_name(ACCOUNTS_FILE), busy_s))

    def all_measurements(
        self, damaged: Callable[[str], None], after: LogPlace = (), box_id: str | None = None
    ) -> Iterator[tuple[LogPlace, list[Measurement]]]:
        first = int(after[0]) if after else 0
        for block, rows in whole_log(self._database.read, damaged, first, box_id):
            yield (block,), rows
