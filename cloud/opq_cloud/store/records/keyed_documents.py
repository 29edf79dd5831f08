"""Tables of documents by a text key, which both stores have, for accounts and the log of changes.

Separate from `accounts.py`, which the log of changes must not import.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Fields = dict[str, Any]
"""A document: JSON values by field name."""


@dataclass(frozen=True, slots=True)
class OriginalUser:
    """A user of the original's View (docs/reference/opq-interop.md D.8): `users`, `UserProfiles`,
    `BoxOwners`."""

    username: str
    bcrypt_hash: str
    """bcrypt of the hexadecimal SHA-256 of the password, as Meteor stores it."""
    name: str
    admin: bool
    box_ids: tuple[str, ...]
    preferences: Mapping[str, Any] = field(default_factory=dict)
    """`notification_preferences` of the profile, as they are stored."""


class KeyedDocuments(Protocol):
    """Tables of documents by a text key; every method is atomic over threads and processes."""

    def insert(self, table: str, key: str, document: Fields) -> bool:
        """Insert a document; False, with nothing stored, where the key or a unique field exists already."""

    def get(self, table: str, key: str) -> Fields | None: ...

    def change(self, table: str, key: str, changed: Callable[[Fields], Fields | None]) -> bool:
        """Replace a document by what `changed` returns for it; `changed` may be called several times.

        False where there is no document, or where `changed` returns None.
        """

    def remove(self, table: str, key: str) -> Fields | None:
        """Remove a document and return it; where several callers remove it, one gets it."""

    def find(self, table: str, field: str = "", value: str = "") -> list[Fields]:
        """Return all documents, or those whose `field` (an indexed one) is `value`, in the order of keys."""

    def newest(self, table: str, below: str, limit: int) -> list[Fields]:
        """Return the documents with the highest keys, the highest first; only those below a given key."""

    def remove_many(self, table: str, keys: Sequence[str]) -> int:
        """Remove the documents with these keys in one step; returns how many there were."""

    def remove_expired(self, table: str, now_s: float) -> int:
        """Remove all whose `expires_s` is not after `now_s` in one step; returns how many."""

    def revision(self, table: str) -> tuple[int, ...] | None:
        """Return a value that differs after each change by any process; None where unknown.

        The value may also differ without a change.
        """

    def has_original_users(self) -> bool:
        """Whether the database has users of the original's View, who may sign in with their passwords."""

    def original_user(self, name: str) -> OriginalUser | None:
        """Return a user of the original's View (Meteor) by name or e-mail; None where nobody has it."""

    def remove_original_user(self, name: str) -> None:
        """Remove that user, with its profile, Box ownership and notifications."""

    def close(self) -> None: ...
