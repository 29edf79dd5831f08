"""The state of each gateway's update, and the plans in force, as the update service last stored them."""

from collections.abc import Mapping
from typing import Any

from opq_cloud.store.driver import Fields
from opq_cloud.store.records.accounts.account_records import GATEWAY_UPDATES
from opq_cloud.store.records.keyed_documents import KeyedDocuments


class GatewayUpdates:
    """A table of `KeyedDocuments`. Any thread may call; methods raise StoreError where the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def put_report(self, gateway: str, report: Mapping[str, Any]) -> bool:
        """Keeps a gateway's newest report; False: a newer one, or this one, is there already."""
        key, new = f"gateway {gateway}", dict(report)

        def changed(before: Fields) -> Fields | None:
            return new if new["at_ms"] > before["at_ms"] else None

        return self._documents.insert(GATEWAY_UPDATES, key, new) or self._documents.change(
            GATEWAY_UPDATES, key, changed
        )

    def put_plan(self, kind: str, plan: Mapping[str, Any]) -> None:
        key, new = f"plan {kind}", dict(plan)
        if not self._documents.insert(GATEWAY_UPDATES, key, new):
            self._documents.change(GATEWAY_UPDATES, key, lambda before: dict(new) if before != new else None)

    def reports(self) -> list[Fields]:
        """The newest report of each gateway."""
        return [each for each in self._documents.find(GATEWAY_UPDATES) if "gateway" in each]

    def plans(self) -> list[Fields]:
        return [each for each in self._documents.find(GATEWAY_UPDATES) if "kind" in each]
