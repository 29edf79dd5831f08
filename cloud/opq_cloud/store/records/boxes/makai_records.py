"""Makai's limits and traffic, as the original's documents (docs/reference/opq-interop.md, D.7), and the
store's name."""

import secrets

from opq_cloud.store.documents.makai_documents import (
    IDENTITY,
    MAKAI_CONFIG_KEYS,
    BrokerTraffic,
    MakaiConfig,
    limits_document,
    makai_config_from_document,
    settings_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.driver import Documents, Fields, Table
from opq_cloud.store.records.part import StorePart, expires
from opq_cloud.store.records.tables import MAKAI_CONFIG, TRAFFIC, TRIGGER_SETTINGS


class MakaiRecords(StorePart):
    """`makai_config`, `makai_metrics` and the counter with the store's name."""

    def identity(self) -> str:
        drawn = secrets.randbits(63)
        return f"{self._driver.write(lambda documents: documents.first_number(IDENTITY, drawn)):016x}"

    def makai_config(self) -> MakaiConfig | None:
        with self._driver.read() as documents:
            settings = documents.get(TRIGGER_SETTINGS) if documents.original else None
            return makai_config_from_document(documents.get(MAKAI_CONFIG), settings)

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """Changes the document in place, so that a reader always finds one.

        In the original's database the triggers' settings are a document of their own: the original's
        optimiser writes `makai_config` again, with its own fields alone.
        """
        settings = settings_document(config)
        stated = {} if config is None or not config.limited else limits_document(config)

        def job(documents: Documents) -> None:
            if documents.original:
                _replace(documents, MAKAI_CONFIG, limits_document(config))
                _replace(documents, TRIGGER_SETTINGS, settings)
            else:
                _replace(documents, MAKAI_CONFIG, stated | settings)

        self._driver.write(job)

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


def _replace(documents: Documents, table: Table, new: Fields) -> None:
    """Replaces the one document of a table, but for fields of others; removes it where there is nothing."""
    if not new:
        documents.remove(table, ())
        return

    def changed(known: Fields | None) -> Fields:
        return {key: each for key, each in (known or {}).items() if key not in MAKAI_CONFIG_KEYS} | new

    documents.change(table, (), changed)
