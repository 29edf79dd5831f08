"""Accounts in MongoDB, in added collections, and the original's own users (D.8).

Every change of a document raises its `_revision`; a change of a document that was changed meanwhile reads it
again. The original's users are read and never written; they are deleted only at a person's request.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from opq_cloud.store.documents import Document
from opq_cloud.store.mongo.server import MongoServer, store_errors, upsert
from opq_cloud.store.records.accounts import ACCESSES, TABLES
from opq_cloud.store.records.audit import AUDIT, checked_change, checked_removal
from opq_cloud.store.records.keyed_documents import Fields, OriginalUser

T = TypeVar("T")
REVISION = "_revision"
COUNTED = frozenset({ACCESSES})
"""Tables whose changes are counted, after each write, so that readers may cache them."""
UNCOUNTED_S = 30.0
"""If a process is killed between a write and its count, others see the change after this time."""


class MongoDocuments:
    """`KeyedDocuments` in the collections that TABLES names."""

    def __init__(self, server: MongoServer) -> None:
        self._db = server.db
        self._indexed = False

    @store_errors
    def insert(self, table: str, key: str, document: Fields) -> bool:
        self._index()
        try:
            self._db[table].insert_one({"_id": key, REVISION: 0, **document})
        except DuplicateKeyError:
            return False
        return self._changed(table, True)

    @store_errors
    def get(self, table: str, key: str) -> Fields | None:
        return _plain(self._db[table].find_one({"_id": key}))

    @store_errors
    def change(self, table: str, key: str, changed: Callable[[Fields], Fields | None]) -> bool:
        while True:
            found = self._db[table].find_one({"_id": key})
            before = _plain(found)
            after = None if before is None else changed(dict(before))
            if found is None or before is None or after is None:
                return False
            if table == AUDIT:
                checked_change(before, after)
            revision = int(found[REVISION])
            done = self._db[table].update_one(
                {"_id": key, REVISION: revision}, {"$set": {**after, REVISION: revision + 1}}
            )
            if done.matched_count == 1:
                return self._changed(table, True)

    @store_errors
    def remove(self, table: str, key: str) -> Fields | None:
        found = self._db[table].find_one({"_id": key})
        if found is not None and table == AUDIT:
            checked_removal(found, time.time())
        if found is None or self._db[table].delete_one({"_id": key}).deleted_count != 1:
            return None
        return self._changed(table, _plain(found))

    @store_errors
    def find(self, table: str, field: str = "", value: str = "") -> list[Fields]:
        found = self._db[table].find({field: value} if field else {}).sort("_id", ASCENDING)
        return [document for document in map(_plain, found) if document is not None]

    @store_errors
    def newest(self, table: str, below: str, limit: int) -> list[Fields]:
        query: Document = {"_id": {"$lt": below}} if below else {}
        found = self._db[table].find(query).sort("_id", DESCENDING).limit(limit)
        return [document for document in map(_plain, found) if document is not None]

    @store_errors
    def remove_many(self, table: str, keys: Sequence[str]) -> int:
        gone = self._db[table].delete_many({"_id": {"$in": list(keys)}}).deleted_count
        return self._changed(table, int(gone))

    @store_errors
    def remove_expired(self, table: str, now_s: float) -> int:
        gone = self._db[table].delete_many({"expires_s": {"$lte": now_s}}).deleted_count
        return self._changed(table, int(gone))

    @store_errors
    def revision(self, table: str) -> tuple[int, ...] | None:
        if table not in COUNTED:
            return None
        found = self._db.opq_counters.find_one({"_id": f"{table}_revision"})
        return (0 if found is None else int(found["value"])), int(time.monotonic() / UNCOUNTED_S)

    def _changed(self, table: str, result: T) -> T:
        if result and table in COUNTED:
            key, change = {"_id": f"{table}_revision"}, {"$inc": {"value": Int64(1)}}
            upsert(lambda: self._db.opq_counters.update_one(key, change, upsert=True))
        return result

    @store_errors
    def has_original_users(self) -> bool:
        return self._db.users.find_one({}, {"_id": True}) is not None

    @store_errors
    def original_user(self, name: str) -> OriginalUser | None:
        found = self._original(name)
        stored = ((found or {}).get("services") or {}).get("password") or {}
        if found is None or not isinstance(stored, dict) or not isinstance(stored.get("bcrypt"), str):
            return None
        username = str(found.get("username") or name)
        profile = self._db.UserProfiles.find_one({"username": username}) or {}
        boxes = {str(each.get("boxId")) for each in self._db.BoxOwners.find({"username": username})}
        whole = " ".join(str(profile.get(key) or "") for key in ("firstName", "lastName")).strip()
        roles = found.get("roles") or ()
        preferences = profile.get("notification_preferences")
        return OriginalUser(
            username=username,
            bcrypt_hash=stored["bcrypt"],
            name=whole or username,
            admin=profile.get("role") == "admin" or (isinstance(roles, list) and "admin" in roles),
            box_ids=tuple(sorted(boxes - {"None", ""})),
            preferences=preferences if isinstance(preferences, dict) else {},
        )

    @store_errors
    def remove_original_user(self, name: str) -> None:
        found = self._original(name)
        if found is None:
            return
        username = str(found.get("username") or name)
        self._db.users.delete_one({"_id": found["_id"]})
        for collection in (self._db.UserProfiles, self._db.BoxOwners, self._db.notifications):
            collection.delete_many({"username": username})

    def close(self) -> None:
        return None  # the store closes its client

    def _original(self, name: str) -> Document | None:
        for query in ({"username": name}, {"emails.address": name}):
            found = self._db.users.find_one(query)
            if found is not None:
                return found
        return None

    def _index(self) -> None:
        """Makes the indexes, before the first document only: a store without accounts has no collections."""
        if self._indexed:
            return
        for table, names in TABLES.items():
            for name in names:
                self._db[table].create_index(name, unique=name == "email")
        self._indexed = True


def _plain(document: Document | None) -> Fields | None:
    if document is None:
        return None
    return {name: value for name, value in document.items() if name not in ("_id", REVISION)}
