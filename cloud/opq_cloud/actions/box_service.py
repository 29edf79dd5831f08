"""Retires a Box and returns it to service, for View's pages and `opq-tools boxes`.

The store has the Boxes in service, the key folder those
that may connect, and both change together.
"""

import time

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.register import KeyRegister


def retire_box(store: CloudStore, keys: KeyFolder | None, box_id: str) -> bool:
    """Retires a Box for good: unplugged, no longer listed, its key revoked; its measurements stay.

    Returns whether it had a key that was admitted. Raises StoreError, KeyFileError.
    """
    store.put_box(BoxRecord(box_id, "", unplugged=True, retired_ms=time.time_ns() // 1_000_000))
    return keys is not None and KeyRegister(keys).revoke(box_id)


def return_box(store: CloudStore, box_id: str) -> None:
    """Returns a Box to service; it needs a key then. Raises StoreError."""
    store.put_box(BoxRecord(box_id, "", unplugged=False, retired_ms=0))


def box_of_name(store: CloudStore, name: str, but: str) -> str | None:
    """Returns the Box with this name, other than `but`: names are unique, as in the original's index."""
    for other in store.boxes():
        if name and other.name == name and other.box_id != but:
            return other.box_id
    return None
