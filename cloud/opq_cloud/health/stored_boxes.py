"""What the store and the key folder say of Boxes: which are not expected to send, and how much each measured.

Both are read in threads of their own, because a store may hang; the readings are `readings.py`.
"""

import time
from collections.abc import Callable

from opq_cloud.store.store import CloudStore
from opq_cloud.store.trends.availability import covered_by_trend, measured_share
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import TREND_MS
from opq_proto.time_units import HOUR_MS

RETIRED, UNPLUGGED, REVOKED = "is retired here", "is unplugged here", "has no key here since it was revoked"
DELETED = "was deleted here"


class StoredBoxes:
    """Reads the Boxes of one cloud. Each method raises StoreError."""

    def __init__(self, store: Callable[[], CloudStore], keys: KeyFolder) -> None:
        self.keys = keys
        self._store = store

    def not_expected(self) -> dict[str, str]:
        """Returns each Box that is not expected to send, with the reason."""
        boxes = self._store().boxes()
        registered = {each.box_id for each in boxes if each.public_key}
        shut_out = self.keys.revoked_boxes() - registered
        known = {each.box_id for each in boxes} | self.keys.listed_boxes()
        deleted = self._store().people.deletions().keys() - known
        return (
            dict.fromkeys(shut_out, REVOKED)
            | dict.fromkeys(deleted, DELETED)
            | {
                each.box_id: RETIRED if each.retired_ms else UNPLUGGED
                for each in boxes
                if not each.is_in_service
            }
        )

    def measured_shares(self) -> dict[str, float]:
        """Returns how much of the last hour each Box in service measured, where that is known."""
        store = self._store()
        shares = {each.box_id: _share(store, each.box_id) for each in store.boxes() if each.is_in_service}
        return {name: share for name, share in shares.items() if share is not None}


def _share(store: CloudStore, box_id: str) -> float | None:
    """The measured share of the hour before a Box's newest minute; None where too little of it is known."""
    now_ms = time.time_ns() // 1_000_000
    rows = [
        row
        for row in store.trend_rows(box_id, now_ms - 2 * HOUR_MS, now_ms, TREND_MS)
        if row.length_ms == TREND_MS
    ]
    if not rows:
        return None
    until_ms = rows[-1].start_ms + TREND_MS
    return measured_share(map(covered_by_trend, rows), until_ms - HOUR_MS, until_ms, rows[0].start_ms)
