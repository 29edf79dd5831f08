"""Runs: blocks of a Box that follow each other become pieces of samples with their time."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.clock_line import ClockLine
from opq_gateway.ring.time_axes import CLOCK_STEP_NS
from opq_measure.signal import SignalPiece
from opq_measure.timebase.time_axis import TimeMark
from opq_measure.timebase.window import Window
from opq_measure.timebase.windows import RATE_CHANGE

Broken = Callable[[SampleBlock, SampleBlock], None]
"""Called with two blocks that do not follow each other: samples are missing, or the time was set."""


@dataclass(slots=True)
class RunEnd:
    """The end of a run of samples; `rest` holds the cycles after its last window."""

    rest: Window | None
    missing: bool
    """Whether samples are missing after it; otherwise their time was set."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of one run, and the positions at which their time is set."""

    samples: SignalPiece
    clock: Sequence[TimeMark]


class Runs:
    """The runs of one Box; used by one thread.

    Attributes:
        clock: time, uncertainty and source along the samples.
        last: the newest block of the run that goes on; None between runs.
        newest: the newest block of a run that has ended.
    """

    def __init__(
        self, broken: Callable[[SampleBlock, SampleBlock], None], before: SampleBlock | None
    ) -> None:
        """`broken`: called with two blocks that do not follow each other; `before`: the predecessor of the
        first block."""
        self._broken = broken
        self.clock = ClockLine()
        self.last: SampleBlock | None = None
        self.newest = before
        self._waiting: deque[Piece | RunEnd] = deque()

    def push_blocks(self, blocks: Sequence[SampleBlock]) -> None:
        """Accepts the next blocks; a run ends where a block does not follow the one before."""
        run: list[SampleBlock] = []
        clock: list[TimeMark] = []
        for block in blocks:
            if not len(block.counts):
                continue
            off_ns, is_timed = self.clock.accept_block(block)
            if self.last is None or not _follows(self.last, block, off_ns):
                self._wait(run, clock)
                run, clock = [], []
                self.gap(block)
                if self.newest is not None:
                    self._broken(self.newest, block)
            if is_timed or not run:
                t_ns = block.t_ns if is_timed else block.t_ns - off_ns  # gives the same result for every cut
                clock.append(TimeMark(block.first_sample, block.rate_millihz / 1000, t_ns))
            run.append(block)
            self.last = block
        self._wait(run, clock)

    def gap(self, block: SampleBlock | None = None) -> None:
        """Ends the run with the last pushed block; `block` is the next one where known."""
        if self.last is not None:
            missing = block is None or block.first_sample != self.last.end_sample
            self._waiting.append(RunEnd(None, missing))
            self.newest, self.last = self.last, None

    def next_step(self) -> "Piece | RunEnd | None":
        """Returns the next piece or end of a run; None: nothing waits."""
        return self._waiting.popleft() if self._waiting else None

    def _wait(self, blocks: Sequence[SampleBlock], clock: Sequence[TimeMark]) -> None:
        """Queues blocks that follow each other, and the marks at which their time is set; the first mark is
        at the first block."""
        if not blocks:
            return
        counts = [block.counts for block in blocks]
        joined = counts[0] if len(counts) == 1 else np.concatenate(counts)
        samples = SignalPiece(joined, *clock[0], blocks[0].v_per_lsb)
        self._waiting.append(Piece(samples, clock[1:]))


def _follows(before: SampleBlock, block: SampleBlock, off_ns: int) -> bool:
    """Whether a block continues the run; `off_ns`: its time minus the time expected from the blocks
    before."""
    return (
        before.first_sample + len(before.counts) == block.first_sample
        and before.states_as(block)
        and (
            before.rate_millihz == block.rate_millihz
            or abs(block.rate_millihz / before.rate_millihz - 1) <= RATE_CHANGE
        )
        and -CLOCK_STEP_NS <= off_ns <= CLOCK_STEP_NS
    )
