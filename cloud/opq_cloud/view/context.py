"""What every page and every answer of the API reads from; handed in, never looked up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.service import Counters
from opq_cloud.store.store import BoxRecord, CloudStore
from opq_cloud.view.live import LiveHub


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A Box as the pages show it: its record, with the grid's nominal values where it has none."""

    box_id: str
    name: str
    location: str | None
    nominal_v: float
    nominal_hz: float
    unplugged: bool


@dataclass(frozen=True, slots=True)
class ViewContext:
    """The store, the live hub and the grid's nominal values for a Box whose own are not known."""

    store: CloudStore
    hub: LiveHub
    counters: Counters
    nominal_v: float = 120.0
    nominal_hz: float = 60.0
    now_ns: Callable[[], int] = field(default=time.time_ns)

    def box(self, box_id: str) -> ShownBox:
        """As stored, or without a name where it is not."""
        return self._shown(self.store.box(box_id) or BoxRecord(box_id, ""))

    def boxes(self) -> list[ShownBox]:
        """All that are stored or were heard, in the order of their numbers."""
        records = {record.box_id: record for record in self.store.boxes()}
        for box_id in self.hub.latest():
            records.setdefault(box_id, BoxRecord(box_id, ""))
        return [self._shown(records[box_id]) for box_id in sorted(records, key=natural)]

    def _shown(self, record: BoxRecord) -> ShownBox:
        return ShownBox(
            box_id=record.box_id,
            name=record.name,
            location=record.location,
            nominal_v=record.nominal_v or self.nominal_v,
            nominal_hz=record.nominal_hz or self.nominal_hz,
            unplugged=record.unplugged,
        )


def natural(box_id: str) -> tuple[int, str]:
    """Sorts `2` before `10`, and names after numbers."""
    return (int(box_id), "") if box_id.isascii() and box_id.isdigit() else (2**63, box_id)


def label(box: ShownBox) -> str:
    """`Box 1`, or with its name: `Box 1, kitchen`."""
    plain = f"Box {box.box_id}"
    return plain if box.name in ("", box.box_id, plain) else f"{plain}, {box.name}"
