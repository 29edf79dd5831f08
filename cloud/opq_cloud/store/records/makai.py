"""Makai's limits and traffic, as the original's documents (docs/reference/opq-interop.md, D.7), and the
store's name."""

import secrets

from opq_cloud.store.documents.makai import (
    IDENTITY,
    MAKAI_CONFIG_KEYS,
    BrokerTraffic,
    MakaiConfig,
    makai_config_document,
    makai_config_from_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.records.part import StorePart, expires
from opq_cloud.store.records.tables import MAKAI_CONFIG, TRAFFIC


class MakaiRecords(StorePart):
    """`makai_config`, `makai_metrics` and the counter with the store's name."""

    def identity(self) -> str:
        drawn = secrets.randbits(63)
        return f"{self._driver.write(lambda documents: documents.first_number(IDENTITY, drawn)):016x}"

    def makai_config(self) -> MakaiConfig | None:
        with self._driver.read() as documents:
            return makai_config_from_document(documents.get(MAKAI_CONFIG))

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """Changes the document in place, so that a reader always finds one."""
        new = {} if config is None else makai_config_document(config)

        def changed(known: Fields | None) -> Fields:
            return {key: each for key, each in (known or {}).items() if key not in MAKAI_CONFIG_KEYS} | new

        if config is None or config.is_empty:
            self._driver.write(lambda documents: documents.remove(MAKAI_CONFIG, ()))
        else:
            self._driver.write(lambda documents: documents.change(MAKAI_CONFIG, (), changed))

    def put_traffic(self, traffic: BrokerTraffic) -> None:
        new = {**traffic_document(traffic), "expire_at": expires(self._ttls.measurements)}
        self._driver.write(lambda documents: documents.insert(TRAFFIC, new))

    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        span = [("timestamp_ms", ">=", start_ms), ("timestamp_ms", "<", end_ms)]
        with self._driver.read() as documents:
            return [
                traffic_from_document(each) for each in documents.find(TRAFFIC, span, sort=("timestamp_ms",))
            ]

    def _expire_traffic(self, documents: Documents, now_s: int, slice_rows: int) -> int:
        """Deletes expired rows; those of the original have no `expire_at`."""
        return documents.remove(TRAFFIC, [("expire_at", "<=", now_s)], slice_rows)
