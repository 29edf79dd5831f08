"""The cloud's database: the only room that knows which one it is (see `store.Store`)."""

from opq_cloud.store.opening import open_store
from opq_cloud.store.store import BoxRecord, EventRecord, Store, Trend

__all__ = ["BoxRecord", "EventRecord", "Store", "Trend", "open_store"]
