"""`makai_config` and `makai_metrics` in MongoDB: the original's own documents (opq-interop, D.7).

Short; a part of its own beside `embedded_makai.py`, which holds the same contract.
"""

import secrets

from bson.int64 import Int64
from pymongo import ASCENDING

from opq_cloud.store.makai_documents import (
    IDENTITY,
    MAKAI_CONFIG_KEYS,
    BrokerTraffic,
    MakaiConfig,
    makai_config_document,
    makai_config_from_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.mongo_server import MongoPart, store_errors, upsert
from opq_proto.errors import StoreError


class MongoMakai(MongoPart):
    """The part of the store described above, and the store's name."""

    @store_errors
    def identity(self) -> str:
        counters, first = self._db.opq_counters, {"$setOnInsert": {"value": Int64(secrets.randbits(63))}}
        upsert(lambda: counters.update_one({"_id": IDENTITY}, first, upsert=True))
        found = counters.find_one({"_id": IDENTITY})
        if found is None:
            raise StoreError("opq_counters: the name that was just drawn is not there")
        return f"{int(found['value']):016x}"

    @store_errors
    def makai_config(self) -> MakaiConfig | None:
        return makai_config_from_document(self._db.makai_config.find_one())

    @store_errors
    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """In place: who reads it meanwhile always finds one."""
        if config is None or config.is_empty:
            self._db.makai_config.delete_many({})
            return
        document = makai_config_document(config)
        gone = {key: "" for key in MAKAI_CONFIG_KEYS if key not in document}
        change = {"$set": document} | ({"$unset": gone} if gone else {})
        upsert(lambda: self._db.makai_config.update_one({}, change, upsert=True))

    @store_errors
    def put_traffic(self, traffic: BrokerTraffic) -> None:
        document = traffic_document(traffic)
        for name in ("timestamp_ms", *traffic.counts):
            document[name] = Int64(document[name])
        document["expire_at"] = self._server.expires(self._server.ttls.measurements)
        self._db.makai_metrics.insert_one(document)

    @store_errors
    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        span = {"timestamp_ms": {"$gte": start_ms, "$lt": end_ms}}
        found = self._db.makai_metrics.find(span, {"_id": 0}).sort("timestamp_ms", ASCENDING)
        return [traffic_from_document(document) for document in found]

    def _expire_traffic(self, now_s: int, slice_rows: int) -> int:
        """Only ours: an original's documents have no end."""
        rows = self._db.makai_metrics
        due = [d["_id"] for d in rows.find({"expire_at": {"$lte": now_s}}, {"_id": 1}).limit(slice_rows)]
        return rows.delete_many({"_id": {"$in": due}}).deleted_count if due else 0
