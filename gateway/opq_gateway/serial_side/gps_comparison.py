"""GpsComparison: GPS time for this machine, from those of its Boxes whose receivers are locked.

A live block of such a Box has the GPS time of its last sample and arrives later; that delay is never
negative. Its earliest arrivals form a line (arrivals.py): this machine's monotonic clock against GPS, with
offset and rate. The line stamps the blocks of Boxes without GPS, which take the same kind of path. The
system's clock is not used, so that setting it does not move time stamps.

    one Box locked, or in its own holdover     followed; the bound includes the Box's own
    no such Box for STALE_S                    the last rate is held: source HOLDOVER, a growing bound
    such a Box is back, or another one agrees  followed again, by slewing
    one that is late against the monotonic     not followed, and the last rate is held as above: it is read
    clock, more than before (lateness.py)      late, or it is an emulated one that is slower than its time
    one that comes earlier than ever           was late before: followed at its new time, at once
    several such Boxes                         the one followed so far, unless most of them contradict it
    one that contradicts                       logged, counted, not followed. When there is no other, it is
                                               followed after CONTRADICTED_S; until then the bound covers both
    two that contradict from the start         neither is followed; a synchronised system clock counts as one

Used by the reader's thread alone, except for `state`. Pure; the clocks are handed in.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from opq_gateway.serial_side.arrivals import Arrivals, Fit
from opq_gateway.serial_side.clock_comparison import stepped
from opq_gateway.serial_side.lateness import Lateness, Pace
from opq_gateway.serial_side.system_time import ClockOffset, read_offset
from opq_proto.kit import log
from opq_proto.kit.clock import ClockState, system_clock
from opq_proto.link.messages import Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.time_units import NS_PER_S

HALF_WAY_NS = 5_000_000
"""From a block's last sample to its earliest arrival: between nothing (a pty) and 10 ms (clock.DELAY_NS)."""
START_S = 2.0
"""Blocks from a buffer arrive late, so a Box is followed only after this time, when two windows of its
lateness agree."""
AWAITED_S = 6.0
"""Longest wait for another Box with GPS that may contradict."""
BACKLOG_NS = 3 * NS_PER_S
"""At most this much waits for a gateway that reads late, because a Box holds 3.2 s. If blocks are later, the
cause is that Box."""
BACKLOG_S = 60.0
"""If blocks are late for longer than this, the cause is that Box."""
STALE_S = 15.0
ABSENT_S = 60.0
"""A Box that was away for longer is compared from the start again."""
CRYSTAL_WANDER = 10e-6
"""Change of this machine's crystal's rate after the last comparison, over 10 K."""
COARSE_NS = 1_000_000
"""A Box that states a larger bound gets a new line when it is locked again."""
CONTRADICTED_S = 300.0
"""Longer than a setting of the system's clock has to last (system_time.py): nothing vouches for what a lone
receiver says."""
MAX_BOXES = 8
"""Most Boxes that are compared; each costs a fit every five seconds."""
MAX_CONTRADICTIONS = 3
"""A Box counts as contradicting after this many contradictions in a row, one every five seconds."""


@dataclass(frozen=True, slots=True)
class TimeLine:
    """UTC along the monotonic clock, from a Box's blocks or from the system's clock."""

    box_id: str
    """Empty for the system's clock."""
    at_ns: int
    """Monotonic time at which it is `t_ns`."""
    t_ns: int
    period_ns: float
    """Monotonic ns per ns of UTC."""
    error_ns: float
    """Bound of the error at `at_ns`."""
    period_bound: float
    """Bound of the rate's error, as a ratio."""
    fitted: bool
    """Whether the rate was measured."""
    newest_ns: int
    """Monotonic time of the newest block in it."""

    @classmethod
    def by_arrivals(cls, box_id: str, fit: Fit, stated_ns: int, newest_ns: int) -> "TimeLine":
        """The line of the earliest arrivals of a Box that states a bound of at most `stated_ns`."""
        error_ns = fit.bound_ns + stated_ns + HALF_WAY_NS
        t_ns = fit.sample + HALF_WAY_NS
        return cls(
            box_id, round(fit.at_ns), t_ns, fit.period_ns, error_ns, fit.slope_bound, fit.fitted, newest_ns
        )

    def offset_ns(self, monotonic_ns: int) -> int:
        """UTC minus the monotonic clock, in ns."""
        return self.t_ns - self.at_ns + round((monotonic_ns - self.at_ns) * (1 / self.period_ns - 1))

    def bound_ns(self, monotonic_ns: int) -> float:
        """The bound of that offset's error, in ns."""
        since_ns = abs(monotonic_ns - self.at_ns)
        silent_ns = max(0.0, monotonic_ns - self.newest_ns - STALE_S * 1e9)
        return self.error_ns + self.period_bound * since_ns + CRYSTAL_WANDER * silent_ns

    def agrees(self, other: "TimeLine", monotonic_ns: int) -> bool:
        """Whether both lines may be right."""
        apart_ns = abs(self.offset_ns(monotonic_ns) - other.offset_ns(monotonic_ns))
        return apart_ns <= self.bound_ns(monotonic_ns) + other.bound_ns(monotonic_ns)


@dataclass(frozen=True, slots=True)
class GpsComparisonState:
    """State for health and metrics."""

    box_id: str | None
    """The Box that is followed, even while it is silent; None if no Box is followed."""
    held: bool
    """Whether the last rate is held because no Box gives the time now."""
    uncertainty_ns: int | None
    system_off_ns: int | None
    """This machine's system clock minus GPS time."""
    drift_ppm: float | None
    """The monotonic clock's rate minus that of GPS; None: not known yet."""
    apart_ns: Mapping[str, int]
    """Boxes that contradict: their time minus the time of the followed Box; without a followed Box, minus
    that of another Box or the system's clock."""


NOT_COMPARED = GpsComparisonState(None, False, None, None, None, {})


class _ComparedBox:
    """One Box with GPS."""

    def __init__(self, box_id: str) -> None:
        self.box_id = box_id
        self.line: TimeLine | None = None
        self.contradicted = 0
        self.logged_late = False
        self.was_late = False
        """Whether its previous line was late, by earlier blocks."""
        self._last: Samples | None = None
        self._begin(0.0)

    def _begin(self, now_s: float, late_ns: int = 0) -> None:
        self._forget_arrivals()
        self.lateness = Lateness(late_ns)
        self.began_s = now_s
        self._stated_ns = 0
        self.end_ns = 0
        self.received_s = now_s

    def _forget_arrivals(self) -> None:
        self._arrivals = Arrivals(10**12)  # its "samples" are nanoseconds of GPS time
        self.line = None

    def accept_block(self, samples: Samples, now_s: float, late_ns: int) -> bool:
        """Adds a live block, which is `late_ns` late by the index of its samples; True when `line` is new, or
        a window was late."""
        last = self._last
        if (
            last is None
            or now_s - self.received_s > ABSENT_S
            or stepped(last, samples)
            or (samples.source is TimeSource.GPS and self._stated_ns > COARSE_NS)
        ):
            self._begin(now_s, late_ns)
        self._last, self.received_s = samples, now_s
        self._stated_ns = max(self._stated_ns, samples.uncertainty_ns)
        arrived_ns = round(now_s * 1e9)
        self.end_ns = samples.t_ns + len(samples.counts) * 10**12 // samples.rate_millihz
        lateness = self.lateness
        is_over = lateness.add(self.end_ns, arrived_ns)
        if lateness.pace is Pace.LATE:
            return is_over
        if is_over and lateness.pace is Pace.EARLIER:
            self._forget_arrivals()
            self.was_late = True
        full = self._arrivals.add(self.end_ns, arrived_ns)
        if not lateness.is_settled or (self.line is not None and not full):
            return False
        fit = self._arrivals.fit()
        if fit is None:
            return False
        self.line = TimeLine.by_arrivals(self.box_id, fit, self._stated_ns, arrived_ns)
        return True


class GpsComparison:
    """The comparison for all Boxes of one gateway."""

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        system: Callable[[], ClockState] = system_clock,
        on_contradiction: Callable[[str, int | None], None] = lambda box_id, apart_ns: None,
    ) -> None:
        """:
        Args:
            on_contradiction: called when a Box begins to contradict, with the ns; None: it agrees again.
        """
        self._now_ns, self._monotonic_s, self._system = now_ns, monotonic_s, system
        self._on_contradiction = on_contradiction
        self._boxes: dict[str, _ComparedBox] = {}
        self._followed: TimeLine | None = None
        self._disagrees_s: float | None = None  # since when every received line contradicts the followed one
        self._doubt_ns = 0.0
        self._log = log.get(service="gateway")
        self.state = NOT_COMPARED
        """Replaced as a whole; any thread may read it."""

    def accept_block(self, box_id: str, samples: Samples, now_s: float, late_ns: int = 0) -> None:
        """Adds a live block with the receiver's time, which arrived at `now_s` (monotonic).

        `late_ns`: how late it is by the arrivals of the Box's earlier blocks, which had no time.
        """
        box = self._boxes.get(box_id)
        if box is None:
            if len(self._boxes) >= MAX_BOXES and not self._make_room(now_s):
                return
            box = self._boxes[box_id] = _ComparedBox(box_id)
        if not box.accept_block(samples, now_s, late_ns):
            return
        if box.lateness.pace is Pace.LATE:
            if not box.logged_late:
                self._log.info("gps.late", box_id=box_id)
            box.logged_late = True
        else:
            box.logged_late = False
            if box.was_late and self._followed is not None and self._followed.box_id == box_id:
                self._followed, self._disagrees_s = None, None
            box.was_late = False
            self._choose(round(now_s * 1e9))

    def reference(self, monotonic_ns: int) -> ClockOffset | None:
        """GPS time for the monotonic clock; None if no Box ever gave it, or two contradicted each other."""
        line = self._followed
        if line is None:
            return None
        held = self._doubt_ns > 0 or monotonic_ns - line.newest_ns > STALE_S * 1e9
        return ClockOffset(
            line.offset_ns(monotonic_ns),
            TimeSource.HOLDOVER if held else TimeSource.NTP,
            min(round(line.bound_ns(monotonic_ns) + self._doubt_ns), UNKNOWN_UNCERTAINTY_NS),
            period_ns=line.period_ns,
            period_bound=line.period_bound,
            period_known=line.fitted,
        )

    def awaits(self, now_s: float) -> bool:
        """Whether the time is not known yet, but a Box with GPS is sending and will give it."""
        return self._followed is None and any(
            box.line is None and now_s - box.received_s <= START_S and now_s - box.began_s <= AWAITED_S
            for box in self._boxes.values()
        )

    def late_ns(self, monotonic_ns: int) -> int:
        """Returns how late blocks arrive now: the age of the followed Box's newest block; 0: not known, or
        only that Box is late."""
        line = self._followed
        box = None if line is None else self._boxes.get(line.box_id)
        if line is None or box is None or monotonic_ns / 1e9 - box.received_s > STALE_S:
            return 0
        late_ns = monotonic_ns + line.offset_ns(monotonic_ns) - box.end_ns - HALF_WAY_NS
        since_ns = box.lateness.late_since_ns
        if since_ns is not None and (late_ns > BACKLOG_NS or monotonic_ns - since_ns > BACKLOG_S * 1e9):
            return 0
        return late_ns

    def refresh_state(self) -> GpsComparisonState:
        """`state`, renewed even while no Box sends blocks."""
        line = self._followed
        if line is None:
            return self.state
        offset_ns, now_s = read_offset(self._now_ns, self._monotonic_s)
        reference = self.reference(round(now_s * 1e9))
        assert reference is not None
        return replace(
            self.state,
            held=reference.source is TimeSource.HOLDOVER,
            uncertainty_ns=reference.bound_ns,
            system_off_ns=offset_ns - reference.offset_ns,
        )

    def _make_room(self, now_s: float) -> bool:
        """Forgets silent Boxes; True if there was one."""
        silent = [box_id for box_id, box in self._boxes.items() if now_s - box.received_s > ABSENT_S]
        for box_id in silent:
            self._agrees(self._boxes.pop(box_id))
        return bool(silent)

    def _choose(self, monotonic_ns: int) -> None:
        """Chooses the line to follow after one has changed."""
        box_lines = [
            box.line
            for box in self._boxes.values()
            if box.line is not None and monotonic_ns - box.line.newest_ns <= STALE_S * 1e9
        ]
        witnesses = box_lines + self._system_line(monotonic_ns)
        if self.awaits(monotonic_ns / 1e9):
            return  # it may contradict the others
        elected, self._doubt_ns = self._elected(box_lines, witnesses, monotonic_ns)
        if elected is not None:
            if self._followed is None or elected.box_id != self._followed.box_id:
                self._log.info("gps.followed", box_id=elected.box_id)
            self._followed = elected
            drift_ppm = round((elected.period_ns - 1) * 1e6, 3) if elected.fitted else None
            self.state = replace(self.state, box_id=elected.box_id, drift_ppm=drift_ppm)
        for line in box_lines:
            others = [self._followed] if self._followed is not None else witnesses
            against = [other for other in others if not line.agrees(other, monotonic_ns)]
            if against:
                self._contradicts(self._boxes[line.box_id], line, against[0], monotonic_ns)
            else:
                self._agrees(self._boxes[line.box_id])

    def _elected(
        self, box_lines: list[TimeLine], witnesses: list[TimeLine], monotonic_ns: int
    ) -> tuple[TimeLine | None, float]:
        """The line to follow from now on (None: no change), and the addition to the current line's bound."""

        def support(line: TimeLine) -> int:
            return sum(line.agrees(other, monotonic_ns) for other in witnesses)

        def bound_ns(line: TimeLine) -> float:
            return line.bound_ns(monotonic_ns)

        best = max(box_lines, key=lambda line: (support(line), -bound_ns(line)))
        most = 2 * support(best) > len(witnesses)
        known = self._followed
        if known is None:
            return (best if most else None), 0.0
        agreeing = [line for line in box_lines if line.agrees(known, monotonic_ns)]
        if agreeing and not (most and support(best) > 1 and best not in agreeing):
            self._disagrees_s = None
            same = [line for line in agreeing if line.box_id == known.box_id]
            return min(same or agreeing, key=bound_ns), 0.0
        now_s = monotonic_ns / 1e9
        if self._disagrees_s is None:
            self._disagrees_s = now_s
        if most and (support(best) > 1 or now_s - self._disagrees_s >= CONTRADICTED_S):
            self._disagrees_s = None
            return best, 0.0
        return None, abs(best.offset_ns(monotonic_ns) - known.offset_ns(monotonic_ns)) + bound_ns(best)

    def _system_line(self, monotonic_ns: int) -> list[TimeLine]:
        """The system's clock, where it is synchronised with a known bound; otherwise an empty list."""
        state = self._system()
        if state.source is TimeSource.FREE or state.uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
            return []
        offset_ns, _ = read_offset(self._now_ns, self._monotonic_s)
        bound_ns, utc_ns = float(state.uncertainty_ns), monotonic_ns + offset_ns
        return [TimeLine("", monotonic_ns, utc_ns, 1.0, bound_ns, 0.0, False, monotonic_ns)]

    def _contradicts(self, box: _ComparedBox, line: TimeLine, other: TimeLine, monotonic_ns: int) -> None:
        """Counts a contradiction, and reports it after enough of them in a row."""
        box.contradicted += 1
        if box.contradicted != MAX_CONTRADICTIONS:
            return
        apart_ns = line.offset_ns(monotonic_ns) - other.offset_ns(monotonic_ns)
        self._log.warning(
            "gps.contradicts",
            box_id=box.box_id,
            apart_ns=apart_ns,
            other=f"Box {other.box_id}" if other.box_id else "the system's clock",
        )
        self.state = replace(self.state, apart_ns={**self.state.apart_ns, box.box_id: apart_ns})
        self._on_contradiction(box.box_id, apart_ns)

    def _agrees(self, box: _ComparedBox) -> None:
        box.contradicted = 0
        if box.box_id in self.state.apart_ns:
            apart = {box_id: by for box_id, by in self.state.apart_ns.items() if box_id != box.box_id}
            self.state = replace(self.state, apart_ns=apart)
            self._on_contradiction(box.box_id, None)
