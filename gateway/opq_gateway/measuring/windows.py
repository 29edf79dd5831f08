"""Windows: whole cycles of the mains, cut from the stream of one Box.

A window goes from tracked cycle edge to cycle edge; the next begins where it ended. What is
looked at depends on sample indices alone, never on how the stream was cut into blocks, so the
same samples give the same windows. A gap ends a window before it, and the next begins behind it.
Pure: blocks and gaps in, windows out; one Windows per Box.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from opq_gateway.blocks import Block
from opq_measure.frequency.per_window import cycles_per_window
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import Track, track
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

CONTEXT_CYCLES = 3
"""Samples on both sides that the edges (2 cycles, see cycles.cycle_edges) and filters need."""
LEAST_CYCLES, MOST_CYCLES = 1, 600
"""Range of the original's measurement rate."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole cycles of one Box: samples with context around them, edges, time, rate.

    `volts` (n,) is the window with what is there of its context; `edges` (m,) are fractional
    positions in it: edges[first] .. edges[-1] is the window, what is before is context.
    """

    volts: FloatArray
    track: Track
    edges: FloatArray
    first: int
    rate_hz: float
    nominal_hz: float
    first_sample: float
    """Index of the window's start on the Box's axis, fractional."""
    end_sample: float
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    source: TimeSource
    cut: bool
    """A gap or a restart ended it before its full number of cycles."""

    @property
    def cycles(self) -> int:
        return len(self.edges) - 1 - self.first


class Windows:
    """Cuts windows of `cycles` cycles; a change of `cycles` holds from the next window on."""

    def __init__(self, nominal_hz: float, cycles: int) -> None:
        self.cycles = cycles
        self._nominal_hz = nominal_hz
        self._blocks: deque[Block] = deque()
        self._restart()

    def _restart(self) -> None:
        self._blocks.clear()
        self._start: float | None = None  # edge at which the next window begins
        self._wanted = self.cycles
        self._period = 0.0  # samples per cycle, as found last
        self._need: int | None = None  # sample index up to which samples must be there

    def push(self, block: Block) -> list[Window]:
        """Take in the block that follows; every window that is complete now.

        A block that does not follow, or has another gain, ends the run as a gap does.
        """
        found: list[Window] = []
        if self._blocks and not _follows(self._blocks[-1], block):
            found += self.gap()
        if not self._blocks:
            self._period = block.rate_millihz / 1000 / self._nominal_hz
        self._blocks.append(block)
        if self._need is None:
            self._need = self._look_at()
        while self._blocks[-1].end_sample >= self._need:
            window = self._cut(self._need, final=False)
            if window is not None:
                found.append(window)
        return found

    def gap(self) -> list[Window]:
        """Samples are missing now, or the axis ends: the whole cycles that are left, then anew."""
        found: list[Window] = []
        while self._blocks:
            window = self._cut(self._blocks[-1].end_sample, final=True)
            if window is None:
                break
            found.append(window)
        self._restart()
        return found

    def _look_at(self) -> int:
        """How far samples must reach before it is worth looking for the window's end."""
        self._wanted = self.cycles
        start = self._blocks[0].first_sample if self._start is None else self._start
        ahead = self._wanted + CONTEXT_CYCLES + (1 if self._start is None else 0)
        return int(start + ahead * self._period) + 1

    def _cut(self, end: int, final: bool) -> Window | None:
        """The window from `_start` on, looking at samples before `end`; None: not yet (or no more).

        Moves `_start` or `_need`, so that the caller gets on.
        """
        base = self._base()
        parts = [block.part(base, end) for block in self._blocks]
        counts = np.concatenate([part.counts for part in parts])
        last = parts[-1] if len(parts[-1].counts) else parts[0]
        volts = counts.astype(np.float64) * last.v_per_lsb
        rate_hz = last.rate_millihz / 1000
        tracked = track(volts, rate_hz, self._nominal_hz)
        edges = tracked.edges(1)
        if self._start is not None:
            start = self._start - base
            edges = np.concatenate(
                (edges[edges < start - self._period / 2], [start], edges[edges > start + self._period / 2])
            )
            first = int(np.searchsorted(edges, start))
        else:
            first = 0
        margin = 0.0 if final else (CONTEXT_CYCLES - 1) * self._period
        usable = edges[edges <= len(volts) - margin]
        stop = min(first + self._wanted, len(usable) - 1)
        if stop <= first or (not final and stop < first + self._wanted):
            missing = first + self._wanted - (len(usable) - 1)
            self._need = end + max(1, int(max(1, missing) * self._period))
            return None
        chosen = usable[: stop + 1]
        self._period = float(chosen[-1] - chosen[first]) / (stop - first)
        window = self._window(volts, tracked, chosen, first, base, rate_hz)
        self._start = base + float(chosen[-1])
        self._forget()
        self._need = self._look_at()
        return window

    def _base(self) -> int:
        """First sample to look at: the context before the window, as far as it is there."""
        oldest = self._blocks[0].first_sample
        if self._start is None:
            return oldest
        return max(oldest, int(self._start - self._lead_cycles() * self._period))

    def _lead_cycles(self) -> int:
        """Context before a window: its last 10/12-cycle group may reach back before its start."""
        per_window = cycles_per_window(self._nominal_hz)
        return CONTEXT_CYCLES + (per_window if self._wanted % per_window else 0)

    def _forget(self) -> None:
        assert self._start is not None
        lead = CONTEXT_CYCLES + cycles_per_window(self._nominal_hz) + 1
        keep = self._start - lead * self._period
        while len(self._blocks) > 1 and self._blocks[0].end_sample <= keep:
            self._blocks.popleft()

    def _window(
        self, volts: FloatArray, tracked: Track, edges: FloatArray, first: int, base: int, rate_hz: float
    ) -> Window:
        start, end = base + float(edges[first]), base + float(edges[-1])
        inside = [b for b in self._blocks if b.end_sample > start and b.first_sample < end]
        return Window(
            volts=volts,
            track=tracked,
            edges=edges,
            first=first,
            rate_hz=rate_hz,
            nominal_hz=self._nominal_hz,
            first_sample=start,
            end_sample=end,
            start_ns=self._time_ns(start),
            end_ns=self._time_ns(end),
            uncertainty_ns=min(max(b.uncertainty_ns for b in inside), UNKNOWN_UNCERTAINTY_NS),
            source=min(b.source for b in inside),
            cut=len(edges) - 1 - first < self._wanted,
        )

    def _time_ns(self, position: float) -> int:
        """UTC of a fractional sample index, by the block that holds it."""
        holder = self._blocks[0]
        for block in self._blocks:
            if block.first_sample > position:
                break
            holder = block
        whole = int(position)
        return holder.time_ns(whole) + round((position - whole) * 1e12 / holder.rate_millihz)


def _follows(before: Block, block: Block) -> bool:
    return before.end_sample == block.first_sample and before.v_per_lsb == block.v_per_lsb
