"""Accounts in MongoDB: their driver, and the original's own users (docs/reference/opq-interop.md, D.8).

The original's users are read and never written; they are deleted only at a person's request.
"""

import time

from opq_cloud.store.documents import Document
from opq_cloud.store.mongo.mongo_driver import MongoDriver
from opq_cloud.store.mongo.mongo_server import MongoServer, store_errors
from opq_cloud.store.records.keyed_documents import OriginalUser

UNCOUNTED_S = 30.0
"""If a process is killed between a write and its count, others see the change after this time."""


class MongoAccountsDriver(MongoDriver):
    """`PeopleDriver` on the store's own database."""

    def exists(self) -> bool:
        return True

    def version(self, counted: str) -> tuple[int, int]:
        with self.read() as documents:
            return documents.number(counted) or 0, int(time.monotonic() / UNCOUNTED_S)

    def close(self) -> None:
        """Leaves the client to the store, which closes it."""

    def empty_log(self) -> None: ...


class MongoOriginalUsers:
    """`OriginalUsers` in the collections of the original's View."""

    def __init__(self, server: MongoServer) -> None:
        self._db = server.db

    @store_errors
    def any(self) -> bool:
        return self._db.users.find_one({}, {"_id": True}) is not None

    @store_errors
    def named(self, name: str) -> OriginalUser | None:
        found = self._found(name)
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
    def delete(self, name: str) -> None:
        found = self._found(name)
        if found is None:
            return
        username = str(found.get("username") or name)
        self._db.users.delete_one({"_id": found["_id"]})
        for collection in (self._db.UserProfiles, self._db.BoxOwners, self._db.notifications):
            collection.delete_many({"username": username})

    def _found(self, name: str) -> Document | None:
        for query in ({"username": name}, {"emails.address": name}):
            found = self._db.users.find_one(query)
            if found is not None:
                return found
        return None
