"""Taking a Box out of service and into it again; for View's pages and `opq-tools boxes` alike.

It lies beside the rooms, as `incident_edits.py`: the store says what is in service, the key folder who may
connect, and both change together.
"""

import time

from opq_cloud.store.store import BoxRecord, CloudStore
from opq_proto.key_register import KeyRegister
from opq_proto.keys import KeyFolder


def retire_box(store: CloudStore, keys: KeyFolder | None, box_id: str) -> bool:
    """For good: unplugged, no longer listed, its key revoked; what it measured stays.

    Returns whether it had a key that was admitted. Raises StoreError, KeyFileError.
    """
    store.put_box(BoxRecord(box_id, "", unplugged=True, retired_ms=time.time_ns() // 1_000_000))
    return keys is not None and KeyRegister(keys).revoke(box_id)


def return_box(store: CloudStore, box_id: str) -> None:
    """Into service again; it needs a key then. Raises StoreError."""
    store.put_box(BoxRecord(box_id, "", unplugged=False, retired_ms=0))


def box_of_name(store: CloudStore, name: str, but: str) -> str | None:
    """The Box that has this name, other than `but`: names are unique, as in the original's index."""
    for other in store.boxes():
        if name and other.name == name and other.box_id != but:
            return other.box_id
    return None
