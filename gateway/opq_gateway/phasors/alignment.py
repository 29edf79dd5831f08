"""Alignment: collects the phasors of all Boxes by their instant, on the one axis of UTC; pure.

An instant is sent when every expected Box has reported, at the latest `wait_s` after its first phasor came. A
Box that missed an instant is not expected until it reports again. A phasor for an instant that was sent is
late. The axis is that of the Box with the best time; a Box whose time differs from it by more than `AXIS_NS`
(no GPS, clock never set) is left out, so that it cannot move the stream.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opq_gateway.measuring.feed import PhasorReport

AXIS_NS = 5 * 10**9
FORGOTTEN_S = 5.0
"""A Box that was silent for this long no longer determines the axis."""
MAX_PENDING = 1000
"""Most instants that wait at once; 8 s of 120 a second."""


@dataclass(frozen=True, slots=True)
class Instant:
    """The phasors of one report instant; a Box that is not in `phasors` is absent."""

    t_ns: int
    phasors: Mapping[str, PhasorReport]


@dataclass(slots=True)
class _Pending:
    until_s: float
    phasors: dict[str, PhasorReport] = field(default_factory=dict)


@dataclass(slots=True)
class _NewestPhasor:
    """The newest phasor of a Box."""

    phasor: PhasorReport
    at_s: float

    def rank(self) -> tuple[int, int]:
        return self.phasor.source, -self.phasor.uncertainty_ns


class Alignment:
    """`count(name, box_id)` counts what is left out: `phasors_late`, `phasors_off_axis`,
    `phasors_absent`."""

    def __init__(self, box_ids: Sequence[str], wait_s: float, count: Callable[[str, str], None]) -> None:
        self._wait_s = wait_s
        self._count = count
        self._known = frozenset(box_ids)
        self._expected: set[str] = set()
        self._newest: dict[str, _NewestPhasor] = {}
        self._best_id = ""
        self._pending: dict[int, _Pending] = {}
        self._left_ns: int | None = None

    def accept_phasor(self, phasor: PhasorReport, now_s: float) -> None:
        """Adds a phasor; `now_s` is monotonic."""
        box_id = phasor.box_id
        if box_id not in self._known:
            return
        axis_ns = self._axis_ns(phasor, now_s)
        if abs(phasor.t_ns - axis_ns) > AXIS_NS:
            self._count("phasors_off_axis", box_id)
            return
        if self._left_ns is not None and axis_ns < self._left_ns - AXIS_NS:
            self._pending.clear()  # the axis was set back, so the last instant is not a limit
            self._left_ns = None
        self._expected.add(box_id)
        if self._left_ns is not None and phasor.t_ns <= self._left_ns:
            self._count("phasors_late", box_id)
            return
        pending = self._pending.setdefault(phasor.t_ns, _Pending(now_s + self._wait_s))
        pending.phasors[box_id] = phasor

    def due(self, now_s: float) -> list[Instant]:
        """The instants to send now, in order of time; an instant whose wait is over also releases all older
        ones."""
        found = []
        over_ns = max((t_ns for t_ns, each in self._pending.items() if now_s >= each.until_s), default=None)
        for t_ns in sorted(self._pending):
            whole = self._expected <= self._pending[t_ns].phasors.keys()
            waits = over_ns is None or t_ns > over_ns
            if not whole and waits and len(self._pending) <= MAX_PENDING:
                break
            found.append(self._leave(t_ns))
        return found

    def next_s(self) -> float | None:
        """Monotonic time at which `due` must be called again even without a new phasor."""
        return min((pending.until_s for pending in self._pending.values()), default=None)

    def _leave(self, t_ns: int) -> Instant:
        phasors = self._pending.pop(t_ns).phasors
        for box_id in self._known - phasors.keys():
            self._count("phasors_absent", box_id)
        self._expected &= phasors.keys()
        self._left_ns = t_ns
        return Instant(t_ns, phasors)

    def _axis_ns(self, phasor: PhasorReport, now_s: float) -> int:
        """The newest instant of the Box with the best time among the Boxes heard lately, `phasor`
        included."""
        newest = _NewestPhasor(phasor, now_s)
        self._newest[phasor.box_id] = newest
        best = self._newest.get(self._best_id)
        if best is None or now_s - best.at_s > FORGOTTEN_S or newest.rank() > best.rank():
            self._best_id = phasor.box_id
            best = newest
        return best.phasor.t_ns
