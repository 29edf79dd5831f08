"""What the outage watch remembers about each Box, and the changes that it reports."""

import math
from dataclasses import dataclass, field

from opq_cloud.mauka.outages.stored_rows import row_end_ns
from opq_proto.messages import Finding, Measurement


@dataclass(slots=True)
class NewestMeasurement:
    """The newest Measurement of a Box, when it came, and when the Box was last silent."""

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

    def is_new(self, row: Measurement) -> bool:
        """Whether a Measurement came after the newest one."""
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
    """What was told before the others came."""

    def is_within(self, before: Measurement, after: Measurement) -> bool:
        """Whether it lies between two Measurements, by their numbers."""
        numbers = (before.sequence, self.before.sequence, self.after.sequence, after.sequence)
        known = [number for number in numbers if number is not None]
        return len(known) == len(numbers) and known == sorted(known)


@dataclass(frozen=True, slots=True)
class OutageChange:
    """A finding to store, or, if `withdrawn`, one to remove because the silence was not an outage."""

    finding: Finding
    withdrawn: bool = False
