"""The steady cycles before a recording's event, repeated with continuous phase.

The loop is `[0, end)` of the recording: `end` lies whole cycles after sample 0, so that the recording
itself can follow after any turn. The loop jumps back by whole cycles of the tracked fundamental, as near as
whole samples allow; the numbers of cycles are chosen so that the rounding stays below a few hundredths of a
sample.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.rms import half_cycle_rms_v
from opq_measure.timebase.cycles import cycle_edges, half_cycle_edges
from opq_proto.errors import RecordingError
from opq_sim.mains.grid import FloatArray
from opq_sim.mains.replayed_recording import ReplayedRecording

STEADY_SHARE = 0.01
"""A Urms(1/2) that differs by more from the median of the first cycles belongs to the event."""
FEWEST_CYCLES = 10
LONGEST_S = 3.0
"""Longest steady part that is used; a longer one has no advantage."""
EVEN_TURN_SHARES = (0.7, 0.9)
"""A choice stays possible while the mean of the remaining turns is within these shares of the loop."""
SPREAD_CYCLES = 8
"""Largest difference of a jump's number of cycles from the mean."""


@dataclass(frozen=True, slots=True)
class SteadyLoop:
    """The loop of one recording.

    `edges` are its rising zero crossings, fractional samples of the recording.
    """

    edges: FloatArray
    end: int
    """Samples; a jump from here to 0 keeps the phase."""

    @property
    def cycle_samples(self) -> float:
        """Mean length of a cycle."""
        return self.end / round(self.cycles(self.end) - self.cycles(0))

    def cycles(self, position: float) -> float:
        """Phase at a sample position, in cycles."""
        edges = self.edges
        k = int(np.clip(np.searchsorted(edges, position) - 1, 0, len(edges) - 2))
        return k + float((position - edges[k]) / (edges[k + 1] - edges[k]))

    def position(self, cycles: float) -> float:
        """Sample position of a phase; the inverse of `cycles`."""
        edges = self.edges
        k = int(np.clip(np.floor(cycles), 0, len(edges) - 2))
        return float(edges[k] + (cycles - k) * (edges[k + 1] - edges[k]))

    def jump(self, cycles: int, beyond: float = 0.0) -> tuple[int, float]:
        """Samples to jump back from `end` for whole cycles and `beyond` samples, and the rounding error."""
        exact = self.end - self.position(self.cycles(self.end) - cycles) + beyond
        return round(exact), abs(round(exact) - exact)

    def entry(self, position: float) -> int:
        """Sample in the loop's first half with the same phase as `position`, nearest to a whole sample."""
        part = self.cycles(position) % 1.0
        first = int(np.ceil(self.cycles(0) - part))
        last = int(np.floor(self.cycles(self.end / 2) - part))
        exact = np.array([self.position(n + part) for n in range(first, last + 1)])
        exact = exact[exact >= 0]
        return round(float(exact[np.argmin(np.abs(exact - np.rint(exact)))]))

    def jumps(self, samples: int) -> list[int]:
        """Lengths of the turns that together last `samples`, each ending with a jump from `end`.

        The remainder of whole cycles is spread evenly over the jumps. The first turn is a partial
        one only if the caller wants it: `samples` is at least half the loop.
        """
        lengths = []
        longest = round(self.cycles(self.end) - self.cycles(0))
        left = samples
        count = max(1, -(-left // round(self.end * 0.8)))
        while count > 1:
            mean = left / count
            cycles = round(left / self.cycle_samples)
            wanted = (left - cycles * self.cycle_samples) / count
            near = round(mean / self.cycle_samples)
            choices = [n for n in range(near - SPREAD_CYCLES, near + SPREAD_CYCLES + 1) if 1 <= n <= longest]
            choices = [n for n in choices if self._leaves_even(left - self.jump(n)[0], count - 1)]
            nearest = min(longest, near)
            best = min(choices, key=lambda n: self.jump(n, wanted)[1], default=nearest)
            length = self.jump(best, wanted)[0]
            lengths.append(length)
            left -= length
            count -= 1
        return [*lengths, left]

    def _leaves_even(self, samples: int, count: int) -> bool:
        return EVEN_TURN_SHARES[0] * self.end <= samples / count <= EVEN_TURN_SHARES[1] * self.end


def find_steady(recording: ReplayedRecording) -> SteadyLoop:
    """The loop before a recording's event; the whole recording if it has no event.

    Raises:
        RecordingError: fewer than FEWEST_CYCLES steady cycles at its beginning.
    """
    volts = recording.volts
    rate_hz, nominal_hz = recording.rate_hz, recording.nominal_hz
    halves = half_cycle_edges(volts, rate_hz, nominal_hz)
    rms_v = half_cycle_rms_v(volts, halves)
    usual_v = float(np.median(rms_v[: 2 * FEWEST_CYCLES])) if len(rms_v) else 0.0
    away = np.flatnonzero(np.abs(rms_v - usual_v) > STEADY_SHARE * usual_v)
    stop = max(0, int(away[0]) - 1) if len(away) else max(0, len(halves) - 1)
    until = min(float(halves[stop]) if len(halves) else 0.0, LONGEST_S * rate_hz)
    edges = cycle_edges(volts, rate_hz, nominal_hz)
    found = int(np.searchsorted(edges, until)) - 1
    if found < FEWEST_CYCLES or usual_v <= 0:
        raise RecordingError(
            f"{recording.name}: {max(0, found)} steady cycles at its beginning; "
            f"a replay wants {FEWEST_CYCLES} to repeat"
        )
    whole = SteadyLoop(edges, len(volts))
    start = whole.cycles(0)
    last = int(np.floor(whole.cycles(until) - start))
    ends = np.array([whole.position(start + n) for n in range(max(FEWEST_CYCLES, last // 2), last + 1)])
    best = int(np.argmin(np.abs(ends - np.rint(ends))))
    return SteadyLoop(edges, round(float(ends[best])))
