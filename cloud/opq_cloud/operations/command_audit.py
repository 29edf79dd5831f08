"""Entries in the log of changes for changes of Boxes and keys by commands. Short, and outside the rooms,
because `opq-tools` calls it and the store keeps the entries."""

import getpass
from collections.abc import Mapping
from pathlib import Path

from opq_cloud.store import FILE_NAME, opened_people
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.accounts.audit import BY_COMMAND
from opq_proto.keys.register import KeyEntry, key_fingerprint


def note_command(
    people: AccountRecords,
    what: str,
    subject: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Adds one entry; the address is the user of this machine."""
    people.changes.add("", _user(), what, subject, before, after, BY_COMMAND)


def note_in_store(
    mongo_uri: str | None,
    data_dir: Path,
    entries: list[tuple[str, str, Mapping[str, object], Mapping[str, object]]],
) -> bool:
    """Adds (what, subject, before, after) of each; returns False, without adding, where there is no store.

    Raises StoreError.
    """
    if not entries or (mongo_uri is None and not (data_dir / FILE_NAME).exists()):
        return False
    with opened_people(mongo_uri, data_dir) as people:
        for what, subject, before, after in entries:
            note_command(people, what, subject, before, after)
    return True


def key_values(entry: KeyEntry) -> dict[str, object]:
    """Returns state and fingerprints of a key, for the log of changes."""
    following = key_fingerprint(entry.next_public_key) if entry.next_public_key else None
    prints = {"fingerprint": key_fingerprint(entry.public_key), "next_fingerprint": following}
    return {"key": entry.state, **prints}


def _user() -> str:
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):
        return "a user without a name"
