"""A store in memory with whole weeks of intervals, which answers as the store's reader does."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_proto.measurement.intervals import LENGTHS_MS, Disturbance, IntervalColumns


@dataclass
class WeeksInMemory:
    """Intervals by (Box or group, length); both reads are half open, and give only what is asked for."""

    columns: dict[tuple[str, int], IntervalColumns] = field(default_factory=dict)
    events: list[Disturbance] = field(default_factory=list)
    asked: list[tuple[str, int, tuple[str, ...] | None]] = field(default_factory=list)

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns:
        assert length_ms in LENGTHS_MS and start_ns < end_ns
        self.asked.append((box_id, length_ms, None if names is None else tuple(sorted(names))))
        found = self.columns.get((box_id, length_ms))
        if found is None:
            nothing = np.zeros(0, np.int64)
            return IntervalColumns(
                box_id, length_ms, nothing, nothing, nothing.astype(bool), nothing.astype(np.float32), {}
            )
        kept = (found.start_ns >= start_ns) & (found.start_ns < end_ns)
        values: Mapping[str, np.ndarray] = {
            name: each[kept] for name, each in found.values.items() if names is None or name in names
        }
        return IntervalColumns(
            box_id,
            length_ms,
            found.start_ns[kept],
            found.end_ns[kept],
            found.flagged[kept],
            found.coverage[kept],
            values,
        )

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        return [
            each
            for each in self.events
            if box_id in (None, each.box_id)
            and each.start_ns < end_ns
            and (each.end_ns is None or each.end_ns > start_ns or each.start_ns >= start_ns)
        ]


@dataclass
class StoreInMemory:
    records: Sequence[BoxRecord]
    intervals: WeeksInMemory
    outages: Sequence[IndexedIncident] = ()

    def boxes(self) -> list[BoxRecord]:
        return list(self.records)

    def find_incidents(self, wanted: IncidentFilter, limit: int) -> list[IndexedIncident]:
        assert wanted.kind == "outage" and wanted.start_ns is not None and wanted.end_ns is not None
        return [
            each for each in self.outages if each.end_ns > wanted.start_ns and each.start_ns < wanted.end_ns
        ][:limit]
