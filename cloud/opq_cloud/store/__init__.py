"""The cloud's database: the only room that knows which one it is (see `store.CloudStore`)."""

from pathlib import Path

from opq_cloud.store.store import BoxRecord, CloudStore, EventRecord, LocationRecord, Trend

__all__ = ["FILE_NAME", "BoxRecord", "CloudStore", "EventRecord", "LocationRecord", "Trend", "open_store"]

FILE_NAME = "opq.db"


def open_store(mongo_uri: str | None, data_dir: Path) -> CloudStore:
    """MongoDB when a `mongodb://…` address is given, else `data_dir/opq.db`; both are made when missing.

    Raises:
        StoreError: it cannot be opened; the text says why and what to do.
    """
    if mongo_uri:
        from opq_cloud.store.mongo import MongoStore  # pymongo is loaded only when asked for

        return MongoStore(mongo_uri)
    from opq_cloud.store.embedded import EmbeddedStore

    return EmbeddedStore(data_dir / FILE_NAME)
