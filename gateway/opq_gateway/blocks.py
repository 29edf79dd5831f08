"""Block: a run of neighbouring samples of one Box, with the time of the first, the gain and the start.

The serial side makes it of a Samples message and a Hello; the ring records it, and windows are cut from it.
`start_id` names the start of the Box in which its index counts (docs/identity.md). What the Box stated about
its samples (gain, nominal voltage and frequency) stays with them, whatever it states later.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import TimeSource

BOOT_ID_BITS = 32


def drawn_start_id(boot_id: int) -> int:
    """A name for a start of a Box: its boot id and 31 random bits."""
    drawn = int.from_bytes(os.urandom(4)) >> 1 or 1  # `secrets` would load OpenSSL
    return drawn << BOOT_ID_BITS | boot_id_of(boot_id)


def boot_id_of(start_id: int) -> int:
    """The boot id that the Box stated in a start; 0: none."""
    return start_id & (1 << BOOT_ID_BITS) - 1


@dataclass(slots=True)
class SampleBlock:
    """`counts` are samples first_sample .. end_sample - 1 of one start of a Box; they must not be changed.

    Not `frozen`, which costs 0.8 us per object, and there are 60 of them per Box and second.
    """

    start_id: int
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
    nominal_v: float | None = None
    """The Box's nominal voltage when it took these samples; None: it stated none."""
    nominal_hz: float | None = None

    @property
    def end_sample(self) -> int:
        return self.first_sample + len(self.counts)

    @property
    def end_ns(self) -> int:
        return self.time_ns(self.end_sample)

    def time_ns(self, sample: int) -> int:
        """UTC of a sample index, by this block's time and measured rate (floor)."""
        return self.t_ns + (sample - self.first_sample) * 10**12 // self.rate_millihz

    def states_as(self, other: "SampleBlock") -> bool:
        """Whether both are of one start of the Box, with one gain and one nominal voltage and frequency."""
        return (
            self.start_id == other.start_id
            and self.v_per_lsb == other.v_per_lsb
            and self.nominal_v == other.nominal_v
            and self.nominal_hz == other.nominal_hz
        )

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
