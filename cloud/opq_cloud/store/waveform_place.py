"""The place of a stored waveform by index and by time, without its samples, for reading many events. Not part
of `event_record.py`, because a record describes an event and this one Box in it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WaveformPlace:
    """The first sample of a Box's waveform in an event, its time, and how far it reaches."""

    event_id: int
    first_sample: int
    start_ns: int
    end_ms: int
    """Its end, rounded up."""
    rate_millihz: int
    stored_ns: int | None
    """When (UTC) it was stored; None: by the original."""
    numbered: bool = True
    """`Waveform.numbered`."""
    start_id: int | None = None
    """The start of the Box in which its samples count; None where not named."""

    @property
    def end_sample(self) -> int:
        """The first sample after it; up to a millisecond more."""
        return self.first_sample + (self.end_ms * 1_000_000 - self.start_ns) * self.rate_millihz // 10**12

    def time_ns(self, sample: int) -> int:
        """Returns UTC of the sample with this index."""
        return self.start_ns + (sample - self.first_sample) * 10**12 // self.rate_millihz
