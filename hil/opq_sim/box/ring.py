"""The blocks that a Box sent last, and which of them it has to send again."""

from collections import deque
from dataclasses import replace

import numpy as np

from opq_measure.frequency.per_window import window_frequency_hz
from opq_measure.harmonics.spectrum import window_thd
from opq_measure.waveform.high_pass import transient_peak_v
from opq_proto.link.messages import FLAG_RESENT, BoxMeasurement, Resend, Samples
from opq_sim.mains.grid import FloatArray

FIGURES_S = 0.5
"""Two windows of 10/12 cycles; a whole second would double the cost."""


class BoxRing:
    """The last blocks; the oldest is dropped first.

    Attributes:
        refused: blocks requested again that are no longer here, or too many at once.
    """

    def __init__(self, blocks: int, block_samples: int) -> None:
        self.refused = 0
        self._block = block_samples
        self._held: deque[Samples] = deque(maxlen=blocks)
        self._requested: deque[int] = deque(maxlen=2 * blocks)  # first samples, in the order of the requests

    def append(self, samples: Samples) -> None:
        """Stores the newest block."""
        self._held.append(samples)

    def clear(self) -> None:
        """Drops all blocks and requests, as after a reset."""
        self._held.clear()
        self._requested.clear()

    @property
    def samples(self) -> int:
        """The largest number of samples that it holds."""
        return (self._held.maxlen or 0) * self._block

    def accept_resend(self, resend: Resend) -> None:
        """Notes which of the blocks held here a Resend covers, and counts the others as refused."""
        wanted = set(self._requested)
        held = {samples.first_sample for samples in self._held}
        first = resend.first_sample // self._block * self._block
        end = resend.first_sample + resend.count
        begin = max(first, min(held, default=end))
        self.refused += max(0, min(begin, end) - first) // self._block
        for first in range(begin, min(end, max(held, default=0) + self._block), self._block):
            if first not in held or (first not in wanted and len(self._requested) == self._requested.maxlen):
                self.refused += 1
            elif first not in wanted:
                self._requested.append(first)

    def next_resent(self) -> Samples | None:
        """The next block to send again, flagged; None when no request waits."""
        while self._requested:
            first = self._requested.popleft()
            samples = next((held for held in self._held if held.first_sample == first), None)
            if samples is not None:
                return replace(samples, flags=samples.flags | FLAG_RESENT)
            self.refused += 1
        return None

    def newest(self, count: int) -> FloatArray:
        """The last `count` counts, or fewer if fewer are here, as float64."""
        blocks = list(self._held)[-count // self._block :]  # rounds up, from the end
        return np.concatenate([block.counts for block in blocks])[-count:].astype(np.float64)

    def figures(self, rate_hz: float, v_per_lsb: float, nominal_hz: float) -> BoxMeasurement | None:
        """The Box's own measurement of the last FIGURES_S, by the definitions of opq_measure.

        It begins again after a jump of the indices, as the firmware's does (cmodules/dsp/features.c); None
        until the time after it is long enough.
        """
        wanted = round(rate_hz * FIGURES_S / self._block)
        blocks = list(self._held)[-wanted:]
        if (
            len(blocks) < wanted
            or blocks[-1].first_sample - blocks[0].first_sample != (wanted - 1) * self._block
        ):
            return None
        volts = np.concatenate([block.counts for block in blocks]) * v_per_lsb
        return BoxMeasurement(
            first_sample=blocks[0].first_sample,
            samples=len(volts),
            rms_v=float(np.sqrt(np.mean(volts**2))),
            f_hz=_mean(window_frequency_hz(volts, rate_hz, nominal_hz)),
            thd=_mean(window_thd(volts, rate_hz, nominal_hz)),
            trans_v=transient_peak_v(volts, rate_hz),
        )


def _mean(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
