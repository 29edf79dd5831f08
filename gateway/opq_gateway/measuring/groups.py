"""Groups: three Boxes on the three phases of one place, joined on UTC, and their unbalance.

A window without all three phases has no unbalance: absent, not zero. Source: IEC 61000-4-30:2015, 5.7.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from opq_gateway.config import GroupSection
from opq_gateway.measuring.box_intervals import KIND, known_of
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import BESIDE_NS, Ledger
from opq_measure.aggregation import unbalance
from opq_measure.aggregation.aggregate import Quantity
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.timebase.window import Window, WindowTime
from opq_proto.messages import TimeSource

_ALONE = ("u2_ratio", "u0_ratio", "positive_v", "clock_ratio")
QUANTITIES = (
    *map(Quantity, _ALONE),
    *(Quantity(f"{part}_{phase}", 1, "arithmetic") for phase in "bc" for part in ("cos", "sin")),
)
"""The angles of the phases b and c against a are averaged as directions."""


class GroupMeter:
    """Measures one group of three."""

    def __init__(self, group: GroupSection, nominal_hz: float, before: Iterable[Values] = ()) -> None:
        """`before`: its ten-minute values of the present two hours that are already on disk, in time
        order."""
        self.group = group
        self._joined = unbalance.Group()
        self._aggregator = Aggregator(QUANTITIES, nominal_hz)
        self._sources = [TimeSource.FREE] * 3
        self._uncertain_ns = [0] * 3
        self._flagged: list[deque[tuple[int, int]]] = [
            deque(maxlen=unbalance.WINDOWS_WAITING) for _ in range(3)
        ]
        """[start_ns, end_ns) of each phase's windows that a dip, swell or interruption touches."""
        for each in before:
            stored = {name: value for name, value in each.values.items() if isinstance(value, float)}
            means = {name: stored[name] for name in _ALONE if name in stored}
            for name in "bc":
                turned = math.radians(stored.get(f"angle_{name}_deg", math.nan))
                means |= {f"cos_{name}": math.cos(turned), f"sin_{name}": math.sin(turned)}
            coverage = stored.get("coverage_ratio", 0.0)
            self._aggregator.restore_ten(each.start_ns, means, {}, {}, coverage, each.flagged)

    def accept_window(
        self, phase: int, window: Window, uncertainty_ns: int, source: TimeSource, flagged: bool = False
    ) -> list[Values]:
        """Takes a window of phase 0, 1 or 2; returns the Values that it completes."""
        self._sources[phase], self._uncertain_ns[phase] = source, uncertainty_ns
        if window.start_ns is None or window.end_ns is None:
            return []
        if flagged:
            self._flagged[phase].append((window.start_ns, window.end_ns))
        found = []
        for each in self._joined.push_window(phase, unbalance.PhaseWindow.of(window, uncertainty_ns)):
            found += self._joined_window(each, window)
        return found

    def _joined_window(self, each: unbalance.Unbalance, window: Window) -> list[Values]:
        assert window.start_ns is not None and window.end_ns is not None
        values = {
            "u2_ratio": each.u2_percent / 100,
            "u0_ratio": each.u0_percent / 100,
            "positive_v": each.positive_v,
            "clock_ratio": each.clock_percent / 100,
        }
        if not math.isfinite(values["u2_ratio"]):
            return []
        flagged = any(
            start_ns < each.end_ns and end_ns > each.start_ns
            for spans in self._flagged
            for start_ns, end_ns in spans
        )
        found = [self._values("window", each.start_ns, each.end_ns, flagged, values)]
        for name, angle_rad in zip("bc", each.angles_rad, strict=True):
            values |= {f"cos_{name}": math.cos(angle_rad), f"sin_{name}": math.sin(angle_rad)}
        # its span contains three windows with different starts; it has the length of one, so no time counts
        # twice
        middle_ns, length_ns = (each.start_ns + each.end_ns) // 2, window.end_ns - window.start_ns
        start_ns = middle_ns - length_ns // 2
        time = WindowTime(start_ns, start_ns + length_ns, window.tick, window.overlap)
        for aggregate in self._aggregator.push_values(time, values, flagged):
            means = {key: float(value.mean) for key, value in aggregate.values().items()}
            for name in "bc":
                turned = math.atan2(means.pop(f"sin_{name}"), means.pop(f"cos_{name}"))
                means[f"angle_{name}_deg"] = math.degrees(turned)
            found.append(
                self._values(
                    KIND.get(aggregate.kind, "3s"),
                    aggregate.start_ns,
                    aggregate.end_ns,
                    aggregate.flagged or aggregate.coverage < 1.0,
                    {**means, "coverage_ratio": aggregate.coverage},
                )
            )
        return found

    def _values(
        self, kind: str, start_ns: int, end_ns: int, flagged: bool, values: Mapping[str, float]
    ) -> Values:
        """The Values of a window; the worst of the three clocks counts."""
        clock = max(self._uncertain_ns), min(self._sources)
        return Values(self.group.name, kind, start_ns, end_ns, *clock, flagged, known_of(values))


class GroupMeters:
    """Measures all groups; takes the windows of every Box and ignores those in no group."""

    def __init__(
        self,
        groups: Sequence[GroupSection],
        values: Callable[[Values], None],
        unbalanced: Callable[[str, float, int], None],
        ledgers: Mapping[str, Ledger] = MappingProxyType({}),
    ) -> None:
        """`ledgers` are those of the groups, by name. `unbalanced` gets a Box's id, u2 as a ratio and the
        window's end, for each window of its group."""
        self._groups = groups
        self._values, self._unbalanced, self._ledgers = values, unbalanced, ledgers
        self._places: dict[str, GroupMeter] = {}
        self._phases: dict[str, list[tuple[GroupSection, int]]] = {}
        for group in groups:
            for phase, box_id in enumerate(group.boxes):
                self._phases.setdefault(box_id, []).append((group, phase))

    def accept_window(
        self, box_id: str, window: Window, uncertainty_ns: int, source: TimeSource, flagged: bool = False
    ) -> None:
        """Takes a window of any Box, with its flag."""
        for group, phase in self._phases.get(box_id, ()):
            place = self._places.get(group.name)
            if place is None:
                before = self._before(group.name)
                place = self._places[group.name] = GroupMeter(group, window.nominal_hz, before)
            for values in place.accept_window(phase, window, uncertainty_ns, source, flagged):
                self._values(values)
                u2 = values.values.get("u2_ratio")
                if values.kind == "window" and isinstance(u2, float):
                    for box in group.boxes:
                        self._unbalanced(box, u2, values.end_ns)

    def _before(self, name: str) -> list[Values]:
        """The ten-minute values of the present two hours that are on disk."""
        ledger = self._ledgers.get(name)
        end_ns = None if ledger is None else ledger.newest_ns("10min")
        return [] if ledger is None or end_ns is None else ledger.two_hours_until(end_ns)


class WrittenBefore:
    """Knows which values of a group were on disk when the gateway began, because they are measured again from
    the rings."""

    def __init__(self, ledger: Ledger) -> None:
        """Raises OSError: the ledger cannot be read."""
        known = {kind: ledger.newest_ns(kind) for kind in ("window", "3s", "10min", "2h")}
        self._ends_ns = {kind: end_ns for kind, end_ns in known.items() if end_ns is not None}
        self._newest_ns = max(self._ends_ns.values(), default=0)

    def has(self, values: Values) -> bool:
        """Whether these values are on disk; values after the newest on disk are not."""
        if not self._ends_ns:
            return False
        if values.kind == "window" and values.start_ns >= self._newest_ns - BESIDE_NS:
            self._ends_ns = {}
            return False
        return values.start_ns < self._ends_ns.get(values.kind, 0) - BESIDE_NS
