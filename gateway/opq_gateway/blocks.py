"""Block: a run of neighbouring samples of one Box, with the time of the first and the gain.

The serial side makes it of a Samples message and a Hello; the ring records it, and windows are cut from it.
`boot_id` names the index axis: it changes when the Box starts again.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import TimeSource


@dataclass(slots=True)
class SampleBlock:
    """`counts` are samples first_sample .. end_sample - 1 of one boot of a Box; nobody may change one.

    Not `frozen`, which costs 0.8 us per object, and there are 60 of them per Box and second.
    """

    boot_id: int
    v_per_lsb: float
    first_sample: int
    t_ns: int
    """UTC of the first sample."""
    uncertainty_ns: int
    source: TimeSource
    rate_millihz: int
    counts: NDArray[np.int16]
    overrun_before: bool = False
    """Whether the Box itself lost the samples right before this block."""
    clipped: bool = False

    @property
    def end_sample(self) -> int:
        return self.first_sample + len(self.counts)

    @property
    def end_ns(self) -> int:
        return self.time_ns(self.end_sample)

    def time_ns(self, sample: int) -> int:
        """UTC of a sample index, by this block's time and measured rate (floor)."""
        return self.t_ns + (sample - self.first_sample) * 10**12 // self.rate_millihz

    def part(self, first_sample: int, end_sample: int) -> "SampleBlock":
        """The samples in first_sample .. end_sample - 1 of this block; may be empty."""
        first = min(max(first_sample, self.first_sample), self.end_sample)
        end = max(first, min(end_sample, self.end_sample))
        if first == self.first_sample and end == self.end_sample:
            return self
        counts = self.counts[first - self.first_sample : end - self.first_sample]
        return replace(
            self,
            first_sample=first,
            t_ns=self.time_ns(first),
            counts=counts,
            overrun_before=self.overrun_before and first == self.first_sample,
        )
