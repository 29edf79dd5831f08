"""What every page and every answer of the API reads from; handed in, never looked up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.service import Counters
from opq_cloud.store.store import BoxRecord, Store
from opq_cloud.view.live import LiveHub

SILENT_AFTER_MS = 10_000
"""A Box sends about once a second; after so long it is shown as silent (static/live.js has it too)."""


@dataclass(frozen=True, slots=True)
class ViewContext:
    """The store, the live hub and the grid's nominal values for a Box that the store does not know."""

    store: Store
    hub: LiveHub
    counters: Counters
    nominal_v: float = 120.0
    nominal_hz: float = 60.0
    now_ns: Callable[[], int] = field(default=time.time_ns)

    def box_record(self, box_id: str) -> BoxRecord:
        """As stored, or with nominal values where it is not."""
        record = self.store.box(box_id)
        return record or BoxRecord(box_id, "", nominal_v=self.nominal_v, nominal_hz=self.nominal_hz)

    def box_records(self) -> list[BoxRecord]:
        """All that are stored or were heard, in the order of their numbers."""
        records = {record.box_id: record for record in self.store.boxes()}
        for box_id in self.hub.latest():
            records.setdefault(
                box_id, BoxRecord(box_id, "", nominal_v=self.nominal_v, nominal_hz=self.nominal_hz)
            )
        return [records[box_id] for box_id in sorted(records, key=natural)]


def natural(box_id: str) -> tuple[int, str]:
    """Sorts `2` before `10`, and names after numbers."""
    return (int(box_id), "") if box_id.isascii() and box_id.isdigit() else (2**63, box_id)


def label(record: BoxRecord) -> str:
    """`Box 1`, or with its name: `Box 1, kitchen`."""
    plain = f"Box {record.box_id}"
    return plain if record.name in ("", record.box_id, plain) else f"{plain}, {record.name}"
