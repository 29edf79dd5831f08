"""The tracker: follows the phase of the fundamental through a stream, whatever blocks it comes in.

All hops lie on a lattice anchored at the run's first sample, a quarter of a nominal cycle apart. They are
processed in chunks of one 10/12-cycle window, each as soon as its samples are there. So blocks of any size
give the same bits. From chunk to chunk it carries the tuned frequency, the usual amplitude and the phase. The
look-ahead is a chunk, half a phasor's window, and one cycle to see whether the amplitude steps.

Where there is no fundamental (an interruption) the phase continues evenly at the last frequency. Four
cycles are held back, so that a phase that is found again after a long time is reached within them.

Source: IEC 61000-4-30:2015, 5.1 (frequency by cycles of the fundamental) and 5.4.1 (zero crossings of
the fundamental as window boundaries).
"""

import numpy as np

from opq_measure.signal import (
    LEAST_SAMPLES,
    BoolArray,
    FloatArray,
    IndexArray,
    SignalArray,
    check_samples,
    check_signal,
    like_rate_hz,
)
from opq_measure.timebase.hops import (
    HOPS_PER_CYCLE,
    SIDE_HOPS,
    TURN,
    carried,
    corrected,
    is_steady,
    unwrapped,
    usual_slope,
)
from opq_measure.timebase.phase import Track
from opq_measure.timebase.phasors import Kernel, hop_phasors, hops_of, kernel

WINDOW_S = 0.2
"""Nominal length of the 10/12-cycle window; IEC 61000-4-30:2015, 4.4. A chunk is as long."""
LOWEST_SHARE = 0.65
"""Lowest frequency that is followed, as a share of nominal."""
HIGHEST_SHARE = 1.45
"""Highest frequency that is followed, as a share of nominal."""
KERNEL_STEP_SHARE = 0.002
"""Share of nominal between the frequencies a kernel is tuned to."""
MISTUNED_SHARE = 0.0025
"""Mistuning from which a chunk is processed again; above KERNEL_STEP_SHARE / 2, so that this ends."""
MAX_PASSES = 4
FAINT_SHARE = 0.02
"""Below this share of the signal's usual fundamental its phase counts as unknown, because it is noise and
crosstalk."""
FORGOTTEN_SHARE = 1 / 3000
"""Share by which the usual level follows a fall of the fundamental per chunk: ten minutes."""
FUNDAMENTAL_SHARE = 0.25
"""Least share of the power that the fundamental has in a window whose phase is used."""
HELD_HOPS = 4 * HOPS_PER_CYCLE
"""Hops of unknown phase that are held back."""
CONTEXT_HOPS = 2 * HOPS_PER_CYCLE
"""Hops before a piece that are returned with it, because the slope at its end may need them."""


def joined_hops(hops: list[FloatArray]) -> FloatArray:
    """(4, m) the hops of several pieces, joined."""
    return hops[0] if len(hops) == 1 else np.concatenate((np.empty((4, 0)), *hops), axis=1)


class Tracker:
    """Follows one run of samples without a gap, with one gain: `push_volts` for each piece, `end` at its end.

    Positions count from the run's first sample. Raises and errors are those of `cycles.track`.
    """

    def __init__(self, rate_hz: float, nominal_hz: float) -> None:
        check_signal(np.empty(0), rate_hz, nominal_hz, LEAST_SAMPLES)
        self.rate_hz, self.nominal_hz = rate_hz, nominal_hz
        self._like_hz = like_rate_hz(rate_hz)  # used in here, so that Boxes can be processed together
        self._hop = max(1, round(rate_hz / nominal_hz / HOPS_PER_CYCLE))
        self._chunk = HOPS_PER_CYCLE * max(1, round(WINDOW_S * nominal_hz))
        self._reach = int(rate_hz / nominal_hz / LOWEST_SHARE) + 2  # half of the longest window
        self._volts = np.empty(0)
        self._base = 0  # position of _volts[0]
        self._samples = 0
        self._next = 0  # next hop to process
        self._hz = self._tuned_hz = nominal_hz
        self._usual = 0.0  # size of the fundamental
        self._measured = np.empty((5, 0))  # position, angle, size, seen, tuned (rad per sample)
        self._reported = 0  # number of hops of _measured already reported
        self._anchor: tuple[float, float] | None = None  # position and phase of the last reported hop
        self._highest_rad = -np.inf
        self._begun = False
        self._accepted = np.empty((3, 0))  # position, raw phase, tuned: a chunk of hops reported before
        self._lead = np.empty((4, 0))  # hops reported before, the context of the next piece

    def push_volts(self, volts: SignalArray) -> Track:
        """The piece of the track that is final now; without positions when there is none."""
        return self._piece(self.feed(volts), ended=False)

    def end(self) -> Track:
        """The last piece."""
        return self._piece(self.finish(), ended=True)

    def feed(self, volts: SignalArray) -> FloatArray:
        """(4, m) the hops that are final now: position, phase, amplitude, and 1 where known, else 0."""
        check_samples(volts)
        self.append_volts(volts)
        hops = []
        while self.has_chunk:
            hops.append(self.step())
        return joined_hops(hops)

    def append_volts(self, volts: SignalArray) -> None:
        """Appends the following samples, which are checked already."""
        self._volts = np.concatenate((self._volts, volts))
        self._samples += len(volts)

    @property
    def has_chunk(self) -> bool:
        """Whether the samples of the next chunk have arrived."""
        return (self._next + self._chunk - 1) * self._hop + self._reach < self._samples

    def step(self) -> FloatArray:
        """Processes the next chunk and returns the hops that become final."""
        self._measure(self._next + self._chunk)
        return self._take_hops(ended=False)

    def finish(self) -> FloatArray:
        """(4, m) the remaining hops."""
        self._measure(self._samples // self._hop + 1)
        return self._take_hops(ended=True)

    def _piece(self, hops: FloatArray, ended: bool) -> Track:
        lead = self._lead
        begin = int(lead[0, -1]) if lead.shape[1] else 0
        joined = np.concatenate((lead, hops), axis=1)
        self._lead = joined[:, -CONTEXT_HOPS - 1 :]
        here = joined if ended or hops.shape[1] else joined[:, :0]
        end = self._samples if ended else (int(hops[0, -1]) if hops.shape[1] else begin)
        return Track(
            end,
            self.rate_hz,
            self.nominal_hz,
            here[0],
            here[1],
            here[2],
            here[3] > 0,
            begin=begin,
            joined=lead.shape[1] > 0,
            open=not ended,
        )

    # The input and the result of a chunk in which nothing happens; `in_step` processes many of them together.

    @property
    def pace(self) -> tuple[float, float, float] | None:
        """Values that trackers must share to process a chunk together; None until the tracker has settled."""
        at_rest = self._measured.shape[1] == 2 * SIDE_HOPS and self._reported == SIDE_HOPS
        if not (at_rest and self._accepted.shape[1] == self._chunk):
            return None
        return self._like_hz, self.nominal_hz, self._tuned_hz

    def chunk(self) -> tuple[FloatArray, Kernel]:
        """(hops, hop) samples of the next chunk, and the kernel to weigh them with."""
        tuned = kernel(self._like_hz / self._tuned_hz, self._hop)
        first = self._next * self._hop - self._base
        return hops_of(self._volts, first, self._hop, self._chunk, tuned), tuned

    def row(self) -> tuple[FloatArray, FloatArray, float, float, float, float, float]:
        """Hops processed, those used, first new position, usual size, anchor (two values), highest phase."""
        position, phase_rad = self._anchor or (0.0, 0.0)
        first = float(self._next * self._hop)
        return self._measured, self._accepted, first, self._usual, position, phase_rad, self._highest_rad

    def set_row(
        self,
        looked: FloatArray,
        accepted: FloatArray,
        hz: float,
        usual: float,
        anchor: tuple[float, float],
        highest_rad: float,
    ) -> None:
        """Stores the result of a chunk that was processed elsewhere."""
        self._measured, self._accepted, self._hz, self._usual = looked, accepted, hz, usual
        self._anchor, self._highest_rad = anchor, highest_rad
        self._passed(self._next + self._chunk)

    def _measure(self, stop: int) -> None:
        """Computes the phasors of the hops up to `stop` whose windows lie inside the run."""
        looked, usual = None, 0.0
        for _ in range(MAX_PASSES):
            tuned = kernel(self._like_hz / self._tuned_hz, self._hop)
            first = max(self._next, -(-tuned.half // self._hop))
            last = min(stop, (self._samples - tuned.half - 1) // self._hop + 1)
            if last <= first:
                break
            looked, usual = self._phasors(first, last, tuned)
            self._hz = self._frequency_hz(looked)
            if abs(self._hz / self._tuned_hz - 1) < MISTUNED_SHARE:
                break
            self._tuned_hz = (
                self.nominal_hz * KERNEL_STEP_SHARE * round(self._hz / self.nominal_hz / KERNEL_STEP_SHARE)
            )
        if looked is not None:
            self._measured = np.concatenate((self._measured, looked), axis=1)
            self._usual = usual
        self._passed(stop)

    def _passed(self, stop: int) -> None:
        self._next = stop
        keep = stop * self._hop - self._reach - self._base
        if keep > 0:
            self._volts = self._volts[keep:]
            self._base += keep

    def _phasors(self, first: int, last: int, tuned: Kernel) -> tuple[FloatArray, float]:
        """New columns of `_measured`, and the fundamental's usual size including them."""
        looked = np.empty((5, last - first))
        looked[0] = np.arange(first * self._hop, last * self._hop, self._hop)
        blocks = hops_of(self._volts, first * self._hop - self._base, self._hop, last - first, tuned)
        looked[1:4] = hop_phasors(blocks[np.newaxis], last - first, tuned)[:, 0]
        clear = (looked[3] > FUNDAMENTAL_SHARE) & (looked[2] > 0)
        usual = self._usual_size(looked[2][clear])
        looked[3] = clear & (looked[2] > FAINT_SHARE * usual)
        looked[4] = TURN * self._tuned_hz / self._like_hz
        return looked, usual

    def _usual_size(self, size: FloatArray) -> float:
        """The size that a tenth of these exceed, or the slowly falling usual size where that is larger."""
        if len(size) == 0:
            return self._usual
        level = float(np.partition(size, 9 * len(size) // 10)[9 * len(size) // 10])
        return max(level, self._usual + FORGOTTEN_SHARE * (level - self._usual))

    def _frequency_hz(self, looked: FloatArray) -> float:
        """The median frequency over steps of a cycle; the last one found where there is no such step."""
        cycle = HOPS_PER_CYCLE
        per_sample = looked[4, 0]
        steps = looked[1, cycle:] - (looked[1, :-cycle] + per_sample * cycle * self._hop)
        steps = steps[looked[3, cycle:] * looked[3, :-cycle] > 0]
        if len(steps) == 0:
            return self._hz
        steps -= TURN * np.rint(steps / TURN)
        steps.sort()
        found = (per_sample + float(steps[len(steps) // 2]) / (cycle * self._hop)) * self._like_hz / TURN
        return float(min(max(found, LOWEST_SHARE * self.nominal_hz), HIGHEST_SHARE * self.nominal_hz))

    def _take_hops(self, ended: bool) -> FloatArray:
        """(4, m) the hops whose phase is final now."""
        count = self._measured.shape[1] - self._reported - (0 if ended else SIDE_HOPS)
        if count <= 0:
            return np.empty((4, 0))
        steady = np.flatnonzero(self._steady(count))
        if not ended:
            count = max(steady[-1] + 1 if len(steady) else 0, count - HELD_HOPS)
            if count <= (0 if self._begun else CONTEXT_HOPS):
                return np.empty((4, 0))
        looked = self._measured[:, self._reported : self._reported + count]
        phase_rad, gain = self._phase_rad(looked, steady)
        self._anchor = (float(looked[0, -1]), float(phase_rad[-1]))
        hops = np.empty((4, count))
        hops[0] = looked[0]
        np.maximum.accumulate(phase_rad, out=hops[1])
        np.maximum(hops[1], self._highest_rad, out=hops[1])
        self._highest_rad = float(hops[1, -1])
        hops[1] += np.pi / 2  # from cosine to sine, whose zero crossings are the edges
        np.multiply(looked[2], 2.0, out=hops[2])
        hops[2, steady] *= gain
        hops[3] = looked[3]
        keep = max(0, self._reported + count - SIDE_HOPS)
        self._measured = self._measured[:, keep:]
        self._reported += count - keep
        self._begun = True
        return hops

    def _phase_rad(self, looked: FloatArray, steady: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Phases of all these hops, and factors for the sizes of the steady ones."""
        position = looked[0]
        whole = len(steady) == len(position)
        per_sample = self._per_sample(whole)
        if len(steady):
            part = looked if whole else looked[:, steady]
            raw = unwrapped(part[0], part[1], per_sample, self._anchor)
            phase_rad, gain = self._corrected(np.array((part[0], raw, part[4])), per_sample)
            if not whole:
                per_sample = self._per_sample(whole)
                phase_rad = carried(position, part[0], phase_rad, per_sample, self._anchor)
            return phase_rad, gain
        since, phase = (0.0, -np.pi / 2) if self._anchor is None else self._anchor
        return phase + per_sample * (position - since), np.empty(0)

    def _corrected(self, accepted: FloatArray, per_sample: float) -> tuple[FloatArray, FloatArray]:
        """`hops.corrected` of these hops, with those reported before as context."""
        joined = np.concatenate((self._accepted, accepted), axis=1)
        before = min(self._accepted.shape[1], CONTEXT_HOPS)
        position, raw, tuned = joined[:, self._accepted.shape[1] - before :]
        self._accepted = joined[:, -self._chunk :]
        phase_rad, gain = corrected(position, raw, tuned, self._hop, per_sample)
        return phase_rad[before:], gain[before:]

    def _per_sample(self, whole: bool) -> float:
        """Rise of the phase, rad; where it is interpolated, that of the last chunk's worth of steady hops."""
        usual = None if whole else usual_slope(self._accepted[0], self._accepted[1], self._hop)
        return TURN * self._hz / self._like_hz if usual is None else usual

    def _steady(self, count: int) -> BoolArray:
        """True for those of the next `count` hops whose phase is used: the steady ones.

        Where none is steady, these are all that were seen, if nothing was reported before or half a chunk was
        seen.
        """
        first = self._reported
        size = self._measured[2, max(0, first - SIDE_HOPS) : first + count + SIDE_HOPS]
        lack = max(0, SIDE_HOPS - first), first + count + SIDE_HOPS - self._measured.shape[1]
        if lack[0] > 0 or lack[1] > 0:
            size = np.pad(size, (lack[0], max(0, lack[1])), "edge")
        seen = self._measured[3, first : first + count] > 0
        steady = is_steady(size, seen)
        alone = self._anchor is None or 2 * np.count_nonzero(seen) >= self._chunk
        return seen if alone and not steady.any() else steady
