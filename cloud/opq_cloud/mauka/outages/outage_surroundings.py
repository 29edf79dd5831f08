"""The evidence of other Boxes, the store and the inventory about a Box when it fell silent."""

from collections.abc import Callable, Sequence

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.outages.heard_boxes import HeardBoxes
from opq_cloud.mauka.outages.outage_judgement import DEAD_PERCENT, NeighbourSight
from opq_cloud.mauka.outages.stored_rows import lowest_percent, row_end_ns, rows_between
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.measurement.supply_word import SUPPLY, SupplyWord, supply_word
from opq_proto.messages import Measurement
from opq_proto.time_units import NS_PER_MS, NS_PER_S

AROUND_NS = 2 * NS_PER_S
EDGE_NS = 3 * NS_PER_S
"""Boxes of an installation that is stopped or started fall silent, or send again, within this time."""
MAX_NEIGHBOURS = 12
WELL_NS = 70 * NS_PER_S
"""A gateway reports each minute that the supply of a Box with a battery is well."""


class Surroundings:
    """Reads the store at each call. `place_of`: where a Box is in the grid."""

    def __init__(
        self,
        store: Callable[[], CloudStore],
        config: OutageSection,
        nominal: Nominal,
        place_of: Callable[[str], BoxPlace],
        boxes: HeardBoxes,
    ) -> None:
        self._store, self._config, self._nominal = store, config, nominal
        self._place_of, self._boxes = place_of, boxes

    def is_expected(self, box_id: str) -> bool:
        """Whether the Box should send; the original treats an unknown Box as unplugged."""
        box = self._store().box(box_id)
        if box is None:
            return not self._config.compat
        not_known = self._config.compat
        unplugged = not_known if box.unplugged is None else box.unplugged
        return not unplugged and not box.retired_ms

    def is_unlit(self, row: Measurement) -> bool:
        """Whether a Box reports that its supply is lost, and measures less than a tenth of its voltage."""
        if SUPPLY not in row.metrics or "rms" not in row.metrics or row.crossing:
            return False
        low = supply_word(row.metrics) in (SupplyWord.ON_BATTERY, SupplyWord.FAILING)
        return low and self.is_dead(row, row.metrics["rms"].max)

    def is_dead(self, row: Measurement, rms_v: float) -> bool:
        """Whether this is less than a tenth of the voltage that the Box should measure."""
        nominal_v = row.nominal_v
        if not nominal_v:
            box = self._store().box(row.box_id)
            nominal_v = (box and box.at(row_end_ns(row)).nominal_v) or self._nominal.volts
        return rms_v < DEAD_PERCENT / 100 * nominal_v

    def last_word(self, box_id: str) -> SupplyWord | None:
        """Returns its last report of its supply: in its last Measurement, or `well` in its last minute."""
        last = self._boxes.known[box_id].row
        if (word := supply_word(last.metrics)) is not None:
            return word
        before = rows_between(self._store(), box_id, row_end_ns(last) - WELL_NS, row_end_ns(last))
        return SupplyWord.WELL if SupplyWord.WELL in map(supply_word, (r.metrics for r in before)) else None

    def another_reported(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Whether another Box measured during a silence, except in its first and last seconds."""
        first_ms, last_ms = (start_ns + EDGE_NS) // NS_PER_MS, (end_ns - EDGE_NS) // NS_PER_MS
        store, others = self._store(), (each for each in self._boxes.known if each != box_id)
        return first_ms < last_ms and any(store.measurements(each, first_ms, last_ms, 1) for each in others)

    def gateways_together(self, row: Measurement) -> int:
        """Number of gateways at different places whose Boxes fell silent together with this one; 0 where its
        own is not known. Boxes of one place share a network, and an original Box is its own gateway."""
        if self._gateway_of(row) is None:
            return 0
        at_ns = self._boxes.known[row.box_id].end_ns
        places: dict[str, set[object]] = {}
        for other_id, other in self._boxes.known.items():
            gateway = self._gateway_of(other.row)
            if gateway is not None and (other_id == row.box_id or self._boxes.fell_silent(other, at_ns)):
                places.setdefault(gateway, set()).add(self._place_of(other_id).place)
        return len({min(map(str, each)) for each in places.values()})

    def _gateway_of(self, row: Measurement) -> str | None:
        if row.sequence is None:
            return f"box {row.box_id}"
        box = self._store().box(row.box_id)
        return None if box is None or box.gateway_id is None else str(box.gateway_id)

    def around(self, before: Measurement) -> tuple[float | None, Sequence[NeighbourSight], int]:
        """Returns a Box's last voltage, its neighbours, and how many others sent after it fell silent."""
        store, box_id = self._store(), before.box_id
        box = self._boxes.known[box_id]
        at_ns = max(row_end_ns(before), box.end_ns if before is box.row else 0)
        own = self._place_of(box_id)
        neighbours: list[NeighbourSight] = []
        others = 0
        for other_id, other in self._boxes.known.items():
            if other_id == box_id:
                continue
            together = self._boxes.fell_silent(other, at_ns)
            place = self._place_of(other_id)
            near = place.feeder == own.feeder if own.feeder else place.place == own.place and own.place
            if place.grid != own.grid or not near:
                others += not together and other.end_ns > at_ns + AROUND_NS
            elif len(neighbours) < MAX_NEIGHBOURS:
                span = at_ns - AROUND_NS, at_ns + AROUND_NS
                lowest = lowest_percent(store, other_id, *span, self._nominal)
                neighbours.append(NeighbourSight(other_id, together, lowest))
        last = lowest_percent(store, box_id, at_ns - AROUND_NS, at_ns + AROUND_NS // 2, self._nominal)
        return last, neighbours, others
