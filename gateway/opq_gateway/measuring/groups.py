"""Groups: three Boxes on the three phases of one place, joined on UTC, and their unbalance.

A window in which a phase is missing gives nothing: absent, not zero. Source: IEC 61000-4-30:2015, 5.7.
"""

import math
from collections.abc import Callable, Sequence

from opq_gateway.config import GroupSection
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.intervals import KIND, known_of
from opq_measure.aggregation import unbalance
from opq_measure.aggregation.aggregate import Quantity
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.timebase.window import Window, WindowTime
from opq_proto.messages import TimeSource

QUANTITIES = (Quantity("u2_ratio"), Quantity("u0_ratio"), Quantity("positive_v"))


class GroupMeter:
    """Measures one group of three."""

    def __init__(self, group: GroupSection, nominal_hz: float) -> None:
        self.group = group
        self._joined = unbalance.Group()
        self._aggregator = Aggregator(QUANTITIES, nominal_hz)
        self._sources = [TimeSource.FREE] * 3
        self._uncertain_ns = [0] * 3
        self._touched: list[tuple[int, int]] = []

    def accept_window(
        self, phase: int, window: Window, uncertainty_ns: int, source: TimeSource
    ) -> list[Values]:
        """Takes a window of phase 0, 1 or 2; returns the Values that it completes."""
        self._sources[phase], self._uncertain_ns[phase] = source, uncertainty_ns
        if window.start_ns is None or window.end_ns is None:
            return []
        clock = max(self._uncertain_ns), min(self._sources)
        found = []
        for each in self._joined.push_window(phase, unbalance.PhaseWindow.of(window, uncertainty_ns)):
            values = {
                "u2_ratio": each.u2_percent / 100,
                "u0_ratio": each.u0_percent / 100,
                "positive_v": each.positive_v,
                "clock_ratio": each.clock_percent / 100,
            }
            if not math.isfinite(values["u2_ratio"]):
                continue
            name = self.group.name
            found.append(Values(name, "window", each.start_ns, each.end_ns, *clock, False, known_of(values)))
            time = WindowTime(each.start_ns, each.end_ns, window.tick, window.overlap)
            for aggregate in self._aggregator.push_values(time, {key: values[key] for key in _NAMES}):
                means = {key: value.mean for key, value in aggregate.values().items()}
                found.append(
                    Values(
                        name,
                        KIND.get(aggregate.kind, "3s"),
                        aggregate.start_ns,
                        aggregate.end_ns,
                        *clock,
                        aggregate.coverage < 1.0,
                        known_of({**means, "coverage_ratio": aggregate.coverage}),
                    )
                )
        return found


_NAMES = tuple(quantity.name for quantity in QUANTITIES)


class GroupMeters:
    """Measures all groups; takes the windows of every Box and ignores those in no group."""

    def __init__(
        self,
        groups: Sequence[GroupSection],
        values: Callable[[Values], None],
        unbalanced: Callable[[str, float, int], None],
    ) -> None:
        """`unbalanced` gets a Box's id, u2 as a ratio, and the end of the window, for each window of its
        group."""
        self._groups = groups
        self._values, self._unbalanced = values, unbalanced
        self._places: dict[str, GroupMeter] = {}
        self._phases: dict[str, list[tuple[GroupSection, int]]] = {}
        for group in groups:
            for phase, box_id in enumerate(group.boxes):
                self._phases.setdefault(box_id, []).append((group, phase))

    def accept_window(self, box_id: str, window: Window, uncertainty_ns: int, source: TimeSource) -> None:
        """Takes a window of any Box."""
        for group, phase in self._phases.get(box_id, ()):
            place = self._places.get(group.name)
            if place is None:
                place = self._places[group.name] = GroupMeter(group, window.nominal_hz)
            for values in place.accept_window(phase, window, uncertainty_ns, source):
                self._values(values)
                u2 = values.values.get("u2_ratio")
                if values.kind == "window" and isinstance(u2, float):
                    for box in group.boxes:
                        self._unbalanced(box, u2, values.end_ns)
