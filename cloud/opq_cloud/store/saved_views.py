"""Views of the past that an account has named: a filter of incidents, a history, a comparison, a calendar.

A saved view is a path of ours with its query, as an address says it. They lie beside the accounts, go with
them, and both stores have them; pure over a table of `KeyedDocuments`.
"""

import secrets
import time
from dataclasses import asdict, dataclass

from opq_cloud.store.account_records import SAVED_VIEWS, read_record
from opq_cloud.store.keyed_documents import Fields, KeyedDocuments

MOST_SAVED = 100
"""Views of one account."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """One of them; `path` holds the query too."""

    view_id: str
    account_id: str
    name: str
    path: str
    made_ms: int


class SavedViewRecords:
    """Every method may be called from any thread and raises StoreError where the database cannot."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def saved(self, account_id: str) -> list[SavedView]:
        """Those of one account, in the order of their names."""
        found = self._documents.find(SAVED_VIEWS, "account_id", account_id)
        views = [read_record(SavedView, each) for each in found]
        return sorted(views, key=lambda each: (each.name.casefold(), each.view_id))

    def save(self, account_id: str, name: str, path: str) -> SavedView | None:
        """None where the account has MOST_SAVED; the same path again gets the new name and is not doubled."""
        known = self.saved(account_id)
        for each in known:
            if each.path == path:
                self.rename(account_id, each.view_id, name)
                return each
        if len(known) >= MOST_SAVED:
            return None
        made = SavedView(secrets.token_hex(8), account_id, name, path, time.time_ns() // 1_000_000)
        self._documents.insert(SAVED_VIEWS, made.view_id, asdict(made))
        return made

    def rename(self, account_id: str, view_id: str, name: str) -> bool:
        """False where the account has no such view."""

        def change(was: Fields) -> Fields | None:
            return {**was, "name": name} if was["account_id"] == account_id else None

        return self._documents.change(SAVED_VIEWS, view_id, change)

    def remove(self, account_id: str, view_id: str) -> bool:
        """False where the account has no such view."""
        found = self._documents.get(SAVED_VIEWS, view_id)
        if found is None or found["account_id"] != account_id:
            return False
        return self._documents.remove(SAVED_VIEWS, view_id) is not None
