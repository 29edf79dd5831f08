"""Continuity: what lies between the samples of one Box's Measurements, for `wire.continuity`'s metrics.

    gaps of the serial side or the ring --+
    two blocks that do not follow --------+--> notes --> metrics of the first Measurement after

Samples that lie between two blocks are missing for the reasons that were given; for the rest the gateway
itself was too slow. Seconds of one reason add up until a Measurement reports them. Pure; one Box.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring.lost import GAP_REASONS
from opq_gateway.ring.time_axes import CLOCK_STEP_NS
from opq_proto.messages import Gap, Metric, TimeSource
from opq_proto.wire.continuity import CLOCK_SET, DARK_AFTER, GapReason, box_time_ns, single

LATE_S = 10.0
"""A gateway on a busy machine reads a line this late; up to it, clocks that know the time are better."""
CAUSE_WAITS = 10
"""Measurements that a start waits for its cause, which comes with the Box's health within seconds."""


@dataclass(frozen=True, slots=True)
class _Note:
    """Something that lies before a sample of a meter; `reason` None: the clock was set."""

    meter: int
    sample: int
    reason: GapReason | None
    seconds: float


@dataclass(slots=True)
class _Start:
    """A start of the Box, with the time since the start before as the clocks show it."""

    boot_id: int
    source: TimeSource
    """Of its first block."""
    seconds: float
    measured: bool
    """Whether the gateway measured these seconds itself, so that no clock corrects them."""
    meter: int
    sample: int
    ran_s: float
    """For how long the Box had run before, by the index of its samples."""
    reported: bool = False
    waited: int = 0


class Continuity:
    """Notes of one Box; a Measurement belongs to a meter by number, because sample indices begin again."""

    def __init__(self, reason_of_start: Callable[[int], GapReason | None]) -> None:
        """`reason_of_start`: why the Box did not sample before the start with a boot id; None: not known."""
        self._reason_of_start = reason_of_start
        self._gaps: dict[GapReason, int] = {}
        self._notes: list[_Note] = []
        self._start: _Start | None = None

    def accept_gap(self, gap: Gap) -> None:
        """Takes samples that are missing before the next block, with their reason."""
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
        """Takes two blocks that do not follow each other.

        Args:
            supplied: whether the Box had its supply between them.
            silent_s: for how long the gateway received nothing before a start of the Box; None: not known.
        """
        gaps, self._gaps = self._gaps, {}
        if before.boot_id != block.boot_id:
            seconds = (block.t_ns - before.end_ns) / 1e9
            timed = before.source is not TimeSource.FREE and block.source is not TimeSource.FREE
            measured = silent_s is not None and not (timed and abs(seconds - silent_s) <= LATE_S)
            if silent_s is not None and measured:
                seconds = silent_s  # whatever the clocks were set to meanwhile
            ran_s = box_time_ns(before.end_sample, before.rate_millihz / 1000) / 1e9
            self._start = _Start(
                block.boot_id, block.source, seconds, measured, meter, block.first_sample, ran_s
            )
            return
        missing = block.first_sample - before.end_sample
        for reason, known in (*gaps.items(), (GapReason.GATEWAY, missing)):
            part = min(known, missing)
            if part > 0:
                missing -= part
                if reason is GapReason.GATEWAY and not supplied:
                    reason = GapReason.DARK  # what took the Box's supply away took the gateway's, too
                self._note(meter, block, reason, part * 1000 / block.rate_millihz)
        off_ns = block.t_ns - before.time_ns(block.first_sample)
        if not -CLOCK_STEP_NS <= off_ns <= CLOCK_STEP_NS:
            self._note(meter, block, None, off_ns / 1e9)
            self._correct_start(meter, block, off_ns / 1e9)

    def metrics(self, meter: int, end_sample: float) -> dict[str, Metric]:
        """Returns what a Measurement of a meter up to a sample has to report; each note once."""
        found: dict[str, float] = {}
        due = [note for note in self._notes if (note.meter, note.sample) < (meter, end_sample)]
        for note in due:
            self._notes.remove(note)
            name = CLOCK_SET if note.reason is None else note.reason.metric
            found[name] = found.get(name, 0.0) + note.seconds
        start = self._start
        if start is not None and not start.reported and (start.meter, start.sample) < (meter, end_sample):
            reason = self._reason_of_start(start.boot_id)
            start.waited += 1
            if reason is not None or start.waited >= CAUSE_WAITS:
                start.reported = True
                found[(reason or GapReason.RESTART).metric] = max(0.0, start.seconds)
                if reason is GapReason.DARK:
                    found[DARK_AFTER] = start.ran_s
        return {name: single(seconds) for name, seconds in found.items()}

    def _correct_start(self, meter: int, block: SampleBlock, by_s: float) -> None:
        """A better clock shows how much time really passed before this start: reports that, once more."""
        start = self._start
        if start is None or start.boot_id != block.boot_id or start.measured:
            return
        start.seconds += by_s
        if start.reported and block.source > start.source:
            start.reported, start.meter, start.sample = False, meter, block.first_sample
            start.source = block.source

    def _note(self, meter: int, block: SampleBlock, reason: GapReason | None, seconds: float) -> None:
        self._notes.append(_Note(meter, block.first_sample, reason, seconds))
