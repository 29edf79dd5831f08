"""The cloud's database; only this package knows which one it is (see `store.CloudStore`)."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE, AccountsDriver
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.store import CloudStore
from opq_proto.kit.sqlite_file import BUSY_S

__all__ = [
    "FILE_NAME",
    "BoxRecord",
    "CloudStore",
    "EventRecord",
    "LocationRecord",
    "open_store",
    "opened_people",
]

FILE_NAME = "opq.db"


def open_store(
    mongo_uri: str | None, data_dir: Path, untouched: bool = False, answer_s: float | None = None
) -> CloudStore:
    """Opens MongoDB where a `mongodb://…` address is given, else `data_dir/opq.db`; creates what is missing.

    Args:
        untouched: only read a MongoDB; missing indexes are not made.
        answer_s: how long a command waits for an answer of a MongoDB; services wait for ever.
    Raises:
        StoreError: it cannot be opened; the text says why and what to do.
    """
    if mongo_uri:
        from opq_cloud.store.mongo.mongo_store import MongoStore  # pymongo is loaded only where it is used

        return MongoStore(mongo_uri, untouched, answer_s)
    from opq_cloud.store.embedded.embedded_store import EmbeddedStore  # as above: one of the two

    return EmbeddedStore(data_dir / FILE_NAME)


@contextmanager
def opened_people(mongo_uri: str | None, data_dir: Path) -> Iterator[AccountRecords]:
    """Opens the accounts only, for a command while the cloud runs: an embedded `opq.db` is not opened.

    Raises:
        StoreError: as in `open_store`.
    """
    if mongo_uri:
        with closing(open_store(mongo_uri, data_dir)) as store:
            yield store.people
        return

    with closing(AccountRecords(AccountsDriver(data_dir / ACCOUNTS_FILE, BUSY_S))) as people:
        yield people
