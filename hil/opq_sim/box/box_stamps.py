"""BoxStamps: time stamps of one Box, from the run's clock or from the Box's own timekeeping if it has one."""

from dataclasses import dataclass

from opq_gateway.blocks import SampleBlock
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.power_system.network_source import NetworkSource

LOCKED_NS = 100
"""Bound of a locked clock, as the firmware states it with GPS."""


@dataclass(frozen=True, slots=True)
class SampleStamp:
    """Time stamp that a Box gives to a sample, and the rate from that sample on."""

    t_ns: int
    uncertainty_ns: int
    source: TimeSource
    rate_millihz: int


class BoxStamps:
    """Time stamps by sample number.

    Attributes:
        supply: gives the times in which nothing is sampled; None where there are none. `Box.lose_supply` may
            add some.
    """

    def __init__(self, run: RunClock, source: SampleSource, locks_after_s: float | None = None) -> None:
        """`locks_after_s`: when the Box's GPS locks; until then it counts from its start, without a time."""
        self._locks_at = None if locks_after_s is None else round(locks_after_s * source.rate_millihz / 1000)
        self._run, self._rate_millihz, self._offset_ns = run, source.rate_millihz, source.offset_ns
        self._start_id = run.start_id
        self._own = source.timekeeping if isinstance(source, NetworkSource) else None
        self.supply = source.supply if isinstance(source, NetworkSource) else None

    def set_clock(self, run: RunClock) -> None:
        """Stamps by another clock from now on; it began at the same moment."""
        self._run = run

    def stamp(self, sample: int) -> SampleStamp:
        """The time stamp of a sample."""
        run = self._run
        if self._locks_at is not None:
            if sample < self._locks_at:
                since_ns = sample * 10**12 // self._rate_millihz
                return SampleStamp(since_ns, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, self._rate_millihz)
            t_ns = run.t_ns(sample, self._rate_millihz, self._offset_ns)
            return SampleStamp(t_ns, LOCKED_NS, TimeSource.GPS, self._rate_millihz)
        if self._own is None:
            t_ns = run.t_ns(sample, self._rate_millihz, self._offset_ns)
            return SampleStamp(t_ns, run.uncertainty_ns, run.source, self._rate_millihz)
        stamp_s, reading = self._own.stamp_s(sample)
        t_ns = run.start_ns + round(stamp_s * 1e9)
        return SampleStamp(t_ns, reading.uncertainty_ns, reading.source, self._own.rate_millihz(sample))

    def due_ns(self, sample: int) -> int:
        """Monotonic time at which the samples before `sample` have been taken."""
        if self._own is None:
            return self._run.due_ns(sample, self._rate_millihz)
        return self._run.monotonic_ns + round(self._own.taken_s(sample) * 1e9)

    def taken(self, monotonic_ns: int) -> int:
        """Number of samples that were taken until a monotonic time."""
        since_ns = monotonic_ns - self._run.monotonic_ns
        if self._own is None:
            return since_ns * self._rate_millihz // 10**12
        return self._own.samples_by(since_ns / 1e9)

    def sample_at(self, t_ns: int) -> int:
        """The sample whose time stamp is nearest before or at `t_ns`."""
        sample = (t_ns - self._run.start_ns + 1) * self._rate_millihz // 10**12
        for _ in range(3 if self._own is not None else 0):
            sample += (t_ns - self.stamp(sample).t_ns + 1) * self._rate_millihz // 10**12
        return sample

    def next_run(self, first: int, taken: int) -> tuple[int, int]:
        """[first, end) of the next samples without a gap: after a silence, and up to the next one."""
        for begin, end in self.silent(first, taken):
            if begin > first:
                return first, begin
            first = end
        return first, max(first, taken)

    def block(self, source: SampleSource, first: int, count: int) -> SampleBlock:
        """A block of samples in the gateway's form."""
        stamp = self.stamp(first)
        return SampleBlock(
            self._start_id,
            source.v_per_lsb,
            first,
            stamp.t_ns,
            stamp.uncertainty_ns,
            stamp.source,
            stamp.rate_millihz,
            source.counts(first, count),
            nominal_v=source.nominal_v,
            nominal_hz=source.nominal_hz,
        )

    def end_of_silence(self, sample: int) -> int:
        """The first sample after the silence that contains `sample`; `sample` itself if it is in none."""
        for begin, end in self.silent(0, 1 << 62):
            if begin <= sample < end:
                return end
        return sample

    def silent(self, first: int, end: int) -> tuple[tuple[int, int], ...]:
        """Spans [first, end) between two samples that are never taken, because the Box has no supply."""
        spans = []
        for begin_s, end_s in self.supply.silent_s if self.supply is not None else ():
            low, high = (self.taken(self._run.monotonic_ns + round(at * 1e9)) for at in (begin_s, end_s))
            if max(low, first) < min(high, end):
                spans.append((max(low, first), min(high, end)))
        return tuple(spans)
