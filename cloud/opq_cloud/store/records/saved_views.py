"""Saved views of an account: a filter of incidents, a history, a comparison or a calendar, with a name.

A saved view is a path of View with its query. Saved views are stored and deleted together with the accounts,
in both stores. Works on a table of `KeyedDocuments`.
"""

import secrets
import time
from dataclasses import asdict, dataclass

from opq_cloud.store.records.accounts import SAVED_VIEWS, read_record
from opq_cloud.store.records.keyed_documents import Fields, KeyedDocuments

MAX_SAVED = 100
"""Views that one account may save."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """One saved view; `path` includes the query."""

    view_id: str
    account_id: str
    name: str
    path: str
    made_ms: int


class SavedViewRecords:
    """Saved views. Any thread may call; methods raise StoreError where the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def saved(self, account_id: str) -> list[SavedView]:
        """Returns the views of one account, sorted by name."""
        found = self._documents.find(SAVED_VIEWS, "account_id", account_id)
        views = [read_record(SavedView, each) for each in found]
        return sorted(views, key=lambda each: (each.name.casefold(), each.view_id))

    def save(self, account_id: str, name: str, path: str) -> SavedView | None:
        """Saves a view, or renames the one with this path; None where the account has MAX_SAVED."""
        known = self.saved(account_id)
        for each in known:
            if each.path == path:
                self.rename(account_id, each.view_id, name)
                return each
        if len(known) >= MAX_SAVED:
            return None
        made = SavedView(secrets.token_hex(8), account_id, name, path, time.time_ns() // 1_000_000)
        self._documents.insert(SAVED_VIEWS, made.view_id, asdict(made))
        return made

    def rename(self, account_id: str, view_id: str, name: str) -> bool:
        """Renames a view; False where the account has no such view."""

        def change(was: Fields) -> Fields | None:
            return {**was, "name": name} if was["account_id"] == account_id else None

        return self._documents.change(SAVED_VIEWS, view_id, change)

    def remove(self, account_id: str, view_id: str) -> bool:
        """Removes a view; False where the account has no such view."""
        found = self._documents.get(SAVED_VIEWS, view_id)
        if found is None or found["account_id"] != account_id:
            return False
        return self._documents.remove(SAVED_VIEWS, view_id) is not None
