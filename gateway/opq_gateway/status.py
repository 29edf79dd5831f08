"""Status: what is known of one Box right now, for health, GetInfo and logs.

One writer per field (said beside it), any reader; single values, so no lock is needed.
"""

from dataclasses import dataclass

from opq_proto.box_losses import box_losses
from opq_proto.link_messages import GpsStatus, Health, Hello, Log, Losses
from opq_proto.messages import TimeSource

ORDINARY_RATE_HZ = 12_000.0


@dataclass(slots=True)
class BoxStatus:
    """One Box, live."""

    box_id: str
    measurement_cycles: int
    """Cycles per Measurement; command desk."""
    serial_open: bool = False
    """Serial side."""
    serial_problem: str = ""
    """Why the port is not open; serial side."""
    hello: Hello | None = None
    """Intake."""
    foreign_box: int = 0
    """Another Box's id that was found on the port; intake."""
    in_recovery: bool = False
    """The last hello was a boot loader's, which waits for firmware; intake."""
    gps: GpsStatus | None = None
    health: Health | None = None
    """The Box's own; intake."""
    gateway_failing: bool | None = None
    """Whether the gateway's own supply fails; None: nobody tells it. Power."""
    losses: Losses | None = None
    """None: it has said none since its start, as a Box does whose firmware knows them not; intake."""
    started: Log | None = None
    """The Box's line of its newest start, with its cause; None: it began before the gateway. Intake."""
    trial_end: Log | None = None
    """The Box's newest line of how a trial of new firmware ended; intake."""
    sample_monotonic_s: float | None = None
    """When the newest samples came in order; intake."""
    sample_ns: int | None = None
    """UTC of the newest sample; intake."""
    sample_uncertainty_ns: int | None = None
    """Uncertainty of that time, and where it comes from; written by intake."""
    sample_source: TimeSource | None = None
    shares_clock: bool = False
    """Its times are this machine's clock's: given by it, or the Box's own that follow it; intake."""
    by_gps: bool = False
    """Its times are by the GPS of another Box of this gateway; intake."""
    gps_apart_ns: int | None = None
    """How far its GPS time is from that which this gateway follows; None: it does not contradict. Reader."""
    ring_problem: str = ""
    """Why the disk takes no samples; intake."""
    measurement_ms: int | None = None
    """`timestamp_ms` of the newest Measurement; intake."""
    connected: bool = False
    """All three uplink connections stand; uplink."""
    refused: bool = False
    """The broker refused the key; uplink."""
    acknowledged_monotonic_s: float | None = None
    """When the cloud last acknowledged Measurements; command desk."""
    acknowledged_sequence: int | None = None
    acknowledging: bool = False
    """The cloud acknowledges what it gets; an original broker never does. Uplink."""
    prompt: bool = False
    """Measurements leave at once, in order, without crossings: the broker does not acknowledge. Uplink."""
    held_sequences: tuple[int, int] | None = None
    """The oldest that is not acknowledged, and the next; None: nothing is held. Uplink."""
    queue_problem: str = ""
    """Why the disk takes no Measurements; uplink."""

    @property
    def rate_hz(self) -> float:
        """Samples per second, as the Box says; before its hello ORDINARY_RATE_HZ."""
        return ORDINARY_RATE_HZ if self.hello is None else self.hello.rate_millihz / 1000

    @property
    def lost(self) -> dict[str, int]:
        """What the Box lost since its start, by name (`opq_proto.box_losses`), as far as it says."""
        return box_losses(self.health, self.losses)

    def problem(self, now_monotonic_s: float, silent_s: float = 5.0) -> str | None:
        """What is wrong in one line; None: all is well."""
        if not self.serial_open:
            return f"port not open: {self.serial_problem or 'opening'}"
        if self.foreign_box:
            return f"Box {self.foreign_box} is on this port"
        if self.in_recovery:
            return "Box is in its boot loader's recovery"
        if self.sample_monotonic_s is None:
            return "no samples yet"
        silent = now_monotonic_s - self.sample_monotonic_s
        if silent > silent_s:
            return f"no samples for {silent:.0f} s"
        if self.refused:
            return "the broker refused this Box's key"
        if self.gps_apart_ns is not None:
            return f"its GPS time contradicts the others here by {self.gps_apart_ns / 1e9:+.3f} s"
        if self.ring_problem:
            return f"samples are measured and not kept: {self.ring_problem}"
        if self.queue_problem:
            return f"measurements wait in memory: {self.queue_problem}"
        return None if self.connected else "no uplink"
