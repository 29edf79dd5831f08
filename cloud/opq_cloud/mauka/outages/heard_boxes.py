"""What the outage watch remembers about each Box, and the changes that it reports."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.mauka.outages.outage_judgement import TOGETHER_S, SilenceJudgement
from opq_cloud.mauka.outages.states import State
from opq_cloud.mauka.outages.stored_rows import row_end_ns
from opq_proto.decision import window_ns
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Measurement
from opq_proto.time_units import NS_PER_S

RETURNED_S = 15.0
"""A Box that sends again is read for this time after: its first Measurement is the one that the loss of
supply cut short, and how long it was dark comes with a later one, within ten (gateway's `CAUSE_WAITS`)."""


@dataclass(slots=True)
class HeardBox:
    """The newest Measurement of a Box, its arrival, and the last silence of the Box."""

    row: Measurement
    end_ns: int
    at_s: float
    judged: bool
    """It was silent before this watch began: no judgement until it sends again."""
    of_old: bool = False
    """It has sent nothing since the first check."""
    silent_from_ns: int | None = None
    """Beginning of its last silence that is over."""
    pause_s: float = 0.0
    """For how long nothing had come of it when its last silence ended, at `pause_end_s`."""
    pause_end_s: float = -math.inf
    sequence: int | None = None
    """Number of its newest Measurement, crossings included."""
    dark_before: Measurement | None = None
    """The Measurement before its last loss of supply, for a clock that is set later."""
    dark_measured_s: float | None = None
    """For how much of that silence numbers were given."""
    incomplete: list["IncompleteSilence"] = field(default_factory=list)

    @property
    def box_id(self) -> str:
        return self.row.box_id

    def is_new(self, row: Measurement) -> bool:
        """Whether a Measurement arrived after the newest one."""
        if row.sequence is not None and self.sequence is not None:
            return row.sequence > self.sequence
        return row_end_ns(row) != self.end_ns

    def note(self, row: Measurement, now_s: float) -> None:
        """Notes that a Measurement came."""
        self.end_ns, self.sequence = row_end_ns(row), row.sequence
        self.at_s, self.judged, self.of_old = now_s, False, False
        if not row.crossing:
            self.row = row

    def holds_none_before(self, row: Measurement) -> bool:
        """Whether the gateway holds no unsent Measurement before this one.

        Numbers that are still missing were never used: a gateway that is killed skips some.
        """
        oldest = self.row.oldest_sequence
        return oldest is not None and row.sequence is not None and oldest >= row.sequence

    def incomplete_within(self, before: Measurement, after: Measurement) -> "IncompleteSilence | None":
        """Returns what is incomplete between two Measurements, or None."""
        return next((each for each in self.incomplete if each.is_within(before, after)), None)

    def incomplete_after(self, before: Measurement) -> "IncompleteSilence | None":
        """Returns the incomplete silence that was judged with this Measurement as its first, or None."""
        judged = (each for each in self.incomplete if each.judged is not None and each.judged[0] is before)
        return next(judged, None)


@dataclass(slots=True)
class IncompleteSilence:
    """Two Measurements between which others may still come."""

    before: Measurement
    after: Measurement
    since_s: float
    due_s: float
    """When the store is read again: after as long again as it has lasted."""
    judged: tuple[Measurement, Measurement] | None = None
    """The whole Measurements about it that were judged, or wait for judgement."""
    waits: bool = False
    """Its judgement waits: the gateway reports a loss of supply that began after the first of them."""
    passed_s: float = 0.0
    """How much time passed between them, as it was known when the later one came."""
    told: list[Finding] = field(default_factory=list)
    """What was reported before the others came."""

    def is_within(self, before: Measurement, after: Measurement) -> bool:
        """Whether it lies between two Measurements, by their numbers."""
        numbers = (before.sequence, self.before.sequence, self.after.sequence, after.sequence)
        known = [number for number in numbers if number is not None]
        return len(known) == len(numbers) and known == sorted(known)


class HeardBoxes:
    """What is remembered of all Boxes, and the state of each that follows from it."""

    def __init__(self, silence_s: float, clock: Callable[[], float]) -> None:
        self._silence_s, self._clock = silence_s, clock
        self.known: dict[str, HeardBox] = {}
        self.open: dict[str, Finding] = {}
        """Outages that last, by Box; at a start also of Boxes that have not sent since."""
        self.lit: dict[str, Measurement] = {}
        """Box on battery without voltage -> its last Measurement before."""

    def state(self, box_id: str, now_s: float) -> State:
        """Returns the state of a Box that is known."""
        if box_id in self.lit:  # before LOST and SILENT: what it reports is newer than its outage
            return State.DARK_LOST if box_id in self.open else State.DARK
        if box_id in self.open:
            return State.LOST
        box = self.known[box_id]
        if now_s - box.at_s >= self._silence_s:
            return State.SILENT
        return State.BACK if now_s - box.pause_end_s <= RETURNED_S else State.HEARD

    def fell_silent(self, other: HeardBox, at_ns: int) -> bool:
        """Whether another Box fell silent at a moment and is silent for long enough, or was."""
        reach_ns = TOGETHER_S * NS_PER_S
        if other.silent_from_ns is not None and abs(other.silent_from_ns - at_ns) <= reach_ns:
            return True
        silent_s = self._clock() - other.at_s
        return silent_s >= self._silence_s / 2 and abs(other.end_ns - at_ns) <= reach_ns


@dataclass(frozen=True, slots=True)
class OutageChange:
    """A finding to store, or, if `withdrawn`, one to remove because the silence was not an outage."""

    finding: Finding
    withdrawn: bool = False


def outage_finding(
    before: Measurement, judged: SilenceJudgement, end_ns: int | None = None, because: str = ""
) -> Finding:
    """Makes the finding: the supply was lost in the window that never came, in its middle +- half.

    `end_ns`: None while it lasts. `because`: said if no evidence speaks for a lost supply.
    """
    began_ns, last_ns = window_ns(before)
    half_ns = (last_ns - began_ns) // 2
    start_ns = last_ns + half_ns
    uncertainty_ns, clock_ns = UNKNOWN_UNCERTAINTY_NS, before.uncertainty_ns
    if clock_ns is not None and clock_ns < UNKNOWN_UNCERTAINTY_NS:
        uncertainty_ns = min(half_ns + clock_ns, UNKNOWN_UNCERTAINTY_NS)
    figures = [("probability", judged.probability)]
    if end_ns is not None:
        figures.append(("silent_s", (end_ns - last_ns) / NS_PER_S))
    return Finding(
        "outage",
        before.box_id,
        start_ns,
        max(start_ns, end_ns or 0),
        uncertainty_ns,
        closed=end_ns is not None,
        confidence=judged.probability,
        because=judged.because or because,
        measurement_type="HEALTH",
        figures=tuple(figures),
    )
