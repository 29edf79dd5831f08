"""SampledBox: one Box of a fleet, with its samples as blocks, as a gateway reads them from a line."""

from opq_gateway.blocks import SampleBlock
from opq_proto.link.messages import Health
from opq_sim.box.box import BLOCK_SAMPLES
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.fleet.sample_crossings import SampleCrossings


class SampledBox:
    """One Box and the state of its sample stream."""

    def __init__(self, box_id: str, source: SampleSource, clock: RunClock) -> None:
        self.box_id, self.source = box_id, source
        self.clock = BoxStamps(clock, source)
        self.crossings = SampleCrossings(source.nominal_v, source.nominal_hz)
        self.next_sample = 0
        self._began_ns = clock.monotonic_ns

    def health(self, monotonic_ns: int) -> Health | None:
        """The Health message with its supply; None if the Box has no supply model."""
        if self.clock.supply is None:
            return None
        since_ns = monotonic_ns - self._began_ns
        volts = self.clock.supply.volts(since_ns / 1e9)
        return Health(since_ns // 10**6, None, *volts, *[0] * 8)

    def next_block(self, monotonic_ns: int) -> SampleBlock | None:
        """The samples taken since the last call; None if there are none."""
        taken = self.clock.taken(monotonic_ns) // BLOCK_SAMPLES * BLOCK_SAMPLES
        first, self.next_sample = self.clock.next_run(self.next_sample, taken)
        if self.next_sample <= first:
            return None
        return self.clock.block(self.source, first, self.next_sample - first)
