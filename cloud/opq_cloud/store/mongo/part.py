"""What the parts of the store share that are MongoDB's own."""

from bson.int64 import Int64

from opq_cloud.store.mongo.driver import MongoDriver
from opq_cloud.store.mongo.server import MongoServer
from opq_cloud.store.records.part import StorePart, box_locations, expires


class MongoPart(StorePart):
    """Some collections and the store's methods on them; `MongoStore` inherits from all parts."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(MongoDriver(server))
        self._server = server
        self._db = server.db
        self._readable = server.readable

    def _box_locations(self, box_ids: set[str]) -> dict[str, str]:
        """Returns Box -> location, for Boxes that have one."""
        with self._driver.read() as documents:
            return box_locations(documents, box_ids)

    def _expires(self, ttl_s: int) -> Int64:
        return Int64(expires(ttl_s))
