"""Continuity: what lies between the samples of one Box's Measurements, as `measurement.continuity` names it.

    gaps of the serial side or the ring --+
    two blocks that do not follow --------+--> notes --> metrics of the first Measurement after

Samples between two blocks are missing for the noted reasons; for the rest the gateway was too slow. Seconds
of one reason add up until a Measurement reports them. Pure; one Box.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import GAP_REASONS
from opq_gateway.ring.time_axes import CLOCK_STEP_NS
from opq_proto.measurement.continuity import CLOCK_SET, DARK_AFTER, GapReason, box_time_ns, single
from opq_proto.messages import Gap, Metric, TimeSource

LATE_S = 10.0
"""A gateway on a busy machine may read the line this late; below it, disciplined clocks are better."""
CORRECTED_S = 0.2
"""A reported length is reported once more if the Box's receiver shows that it was wrong by this much."""
DISCIPLINED_NS = 100_000_000
"""A time with less uncertainty comes from a receiver or its holdover; every reported length is longer."""
CAUSE_WAITS = 10
"""A start waits this many Measurements for its cause, which comes with the Box's health within seconds."""


@dataclass(frozen=True, slots=True)
class _Note:
    """Something that lies before a sample of a meter; `reason` None: the clock was set."""

    meter: int
    sample: int
    reason: GapReason | None
    seconds: float


@dataclass(slots=True)
class _Start:
    """A start of the Box, with the time since the samples of the start before."""

    start_id: int
    source: TimeSource
    """Time source of its first block."""
    seconds: float
    measured: bool
    """Whether the gateway measured `seconds`, so that a clock does not correct them."""
    meter: int
    sample: int
    ran_s: float
    """For how long the Box had run before, by the index of its samples."""
    stamped_s: float
    """The same time as `seconds`, by the time stamps on both sides, corrected by later clock settings."""
    was_disciplined: bool
    """Whether a receiver gave the last time stamp before the start."""
    is_disciplined: bool
    """Whether a receiver gave the first or a later time stamp; then `stamped_s` counts."""
    reported: bool = False
    waited: int = 0


class _Timed(Protocol):
    """Samples or a Measurement, with a time."""

    @property
    def source(self) -> TimeSource: ...

    @property
    def uncertainty_ns(self) -> int | None: ...


def is_disciplined(timed: _Timed) -> bool:
    """Whether a receiver gives this time, or did until a while ago (holdover)."""
    known_ns = timed.uncertainty_ns
    return timed.source >= TimeSource.HOLDOVER and known_ns is not None and known_ns <= DISCIPLINED_NS


class Continuity:
    """Notes of one Box; a Measurement belongs to a meter by number, because sample indices begin again."""

    def __init__(self, reason_of_start: Callable[[int], GapReason | None]) -> None:
        """`reason_of_start`: start id -> why the Box did not sample before it; None: not known."""
        self._reason_of_start = reason_of_start
        self._gaps: dict[GapReason, int] = {}
        self._notes: list[_Note] = []
        self._start: _Start | None = None
        self._earlier: list[_Start] = []
        """Starts that ended before their cause was known."""

    def accept_gap(self, gap: Gap) -> None:
        """Notes the samples missing before the next block, with their reason."""
        reason = GAP_REASONS.get(gap.reason, GapReason.GATEWAY)
        self._gaps[reason] = self._gaps.get(reason, 0) + gap.samples

    def accept_break(
        self,
        meter: int,
        before: SampleBlock,
        block: SampleBlock,
        supplied: bool,
        silent_s: float | None = None,
    ) -> None:
        """Notes two blocks that do not follow each other.

        Args:
            supplied: whether the Box had its supply between them.
            silent_s: how long the gateway received nothing before a start of the Box; None: not known.
        """
        gaps, self._gaps = self._gaps, {}
        if before.start_id != block.start_id:
            seconds = stamped_s = (block.t_ns - before.end_ns) / 1e9
            was, now = is_disciplined(before), is_disciplined(block)
            timed = before.source is not TimeSource.FREE and block.source is not TimeSource.FREE
            agrees = silent_s is not None and timed and abs(seconds - silent_s) <= LATE_S
            measured = silent_s is not None and not agrees and not (was and now and seconds >= 0)
            if silent_s is not None and measured:
                seconds = silent_s  # the clocks may have been set meanwhile
            if self._start is not None and not self._start.reported:
                self._earlier.append(self._start)
            ran_s = box_time_ns(before.end_sample, before.rate_millihz / 1000) / 1e9
            self._start = _Start(
                block.start_id,
                block.source,
                seconds,
                measured,
                meter,
                block.first_sample,
                ran_s,
                stamped_s,
                was,
                now,
            )
            return
        missing = block.first_sample - before.end_sample
        for reason, known in (*gaps.items(), (GapReason.GATEWAY, missing)):
            part = min(known, missing)
            if part > 0:
                missing -= part
                if reason is GapReason.GATEWAY and not supplied:
                    reason = GapReason.DARK  # Box and gateway lost their supply together
                self._note(meter, block, reason, part * 1000 / block.rate_millihz)
        off_ns = block.t_ns - before.time_ns(block.first_sample)
        if not -CLOCK_STEP_NS <= off_ns <= CLOCK_STEP_NS:
            self._note(meter, block, None, off_ns / 1e9)
            self._correct_start(meter, block, off_ns / 1e9)

    def metrics(self, meter: int, end_sample: float, disciplined: bool = False) -> dict[str, Metric]:
        """Returns the notes that a Measurement of a meter up to a sample has to report, each once.

        `disciplined`: whether a receiver gave its times.
        """
        found: dict[str, float] = {}
        due = [note for note in self._notes if (note.meter, note.sample) < (meter, end_sample)]
        for note in due:
            self._notes.remove(note)
            name = CLOCK_SET if note.reason is None else note.reason.metric
            found[name] = found.get(name, 0.0) + note.seconds
        start = self._start
        if start is not None and disciplined and meter >= start.meter:
            self._discipline_start(start, meter, end_sample)
        for each in (*self._earlier, *(() if start is None or start.reported else (start,))):
            if (each.meter, each.sample) >= (meter, end_sample):
                continue
            reason = self._reason_of_start(each.start_id)
            each.waited += 1
            if reason is not None or each.waited >= CAUSE_WAITS or each is not start:
                each.reported = True
                name = (reason or GapReason.RESTART).metric
                found[name] = found.get(name, 0.0) + max(0.0, each.seconds)
                if reason is GapReason.DARK:
                    found[DARK_AFTER] = each.ran_s
        self._earlier = [each for each in self._earlier if not each.reported]
        return {name: single(seconds) for name, seconds in found.items()}

    def _correct_start(self, meter: int, block: SampleBlock, by_s: float) -> None:
        """Reports the time before this start once more, because a better clock has measured it."""
        start = self._start
        if start is None or start.start_id != block.start_id:
            return
        start.stamped_s += by_s
        if start.measured:
            return
        start.seconds += by_s
        if start.reported and block.source > start.source:
            start.reported, start.meter, start.sample = False, meter, block.first_sample
            start.source = block.source

    def _discipline_start(self, start: _Start, meter: int, end_sample: float) -> None:
        """The Box's receiver has the time in this start. If it also had the time before, both time stamps
        give the length of the absence, even where the gateway read the line late."""
        if start.is_disciplined or not start.was_disciplined or start.stamped_s < 0:
            return
        start.is_disciplined = True
        off_s, start.seconds = start.stamped_s - start.seconds, start.stamped_s
        start.measured = False
        if start.reported and abs(off_s) > CORRECTED_S:
            start.reported, start.meter, start.sample = False, meter, round(end_sample) - 1

    def _note(self, meter: int, block: SampleBlock, reason: GapReason | None, seconds: float) -> None:
        self._notes.append(_Note(meter, block.first_sample, reason, seconds))
