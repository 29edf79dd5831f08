"""Status: what is known of one Box right now, for health, GetInfo and logs.

Each field has one writer (named with it) and any number of readers. They are single values, which do not need
a lock.
"""

from dataclasses import dataclass
from enum import IntEnum

from opq_proto.link.box_facts import box_facts
from opq_proto.link.box_losses import box_losses
from opq_proto.link.messages import BoxFacts, GpsStatus, Health, Hello, Log, Losses
from opq_proto.messages import TimeSource

ORDINARY_RATE_HZ = 12_000.0
NO_FRAMES = (
    "bytes come, but no frame of a Box: another baud or device, noise, or a board with another crystal than "
    "its firmware is for (8 MHz instead of 25 makes 294,912 Bd of 921,600)"
)


class Acknowledging(IntEnum):
    """Whether the cloud acknowledges what it gets."""

    NEVER = 0
    NOW = 1
    BEFORE = 2
    """It did, and is away or behind: it is asked again."""


@dataclass(slots=True)
class BoxStatus:
    """One Box's state, live."""

    box_id: str
    measurement_cycles: int
    """Cycles per Measurement; written by the command handler."""
    serial_open: bool = False
    """Written by the serial side."""
    serial_unreadable: bool = False
    """Whether the open port brings bytes and no frame; serial side."""
    serial_problem: str = ""
    """Why the port is not open; serial side."""
    hello: Hello | None = None
    """Written by intake."""
    foreign_box: int = 0
    """Another Box's id found on the port; intake."""
    number_refused: str = ""
    """Why the Box, which has no number, did not take that of its port, and what helps; intake."""
    in_recovery: bool = False
    """Whether the last hello was from a boot loader that waits for firmware; intake."""
    gps: GpsStatus | None = None
    health: Health | None = None
    """The Box's own health; intake."""
    gateway_failing: bool | None = None
    """Whether the gateway's own supply fails; None: not known. Power."""
    losses: Losses | None = None
    """None: the Box has not reported losses since its start; intake."""
    reported_facts: BoxFacts | None = None
    """Facts about its chip and clock; None: as with `losses`. Intake."""
    started: Log | None = None
    """The Box's log line of its newest start, with the cause; None: it started before the gateway. Intake."""
    silent_before: tuple[int, float] | None = None
    """(start_id, seconds without samples before that start), independent of clock settings. None: not known,
    because this machine started later. Intake."""
    start_id: int | None = None
    """The start of the Box whose samples come now; None before the first. Intake."""
    trial_end: Log | None = None
    """The Box's newest log line about the end of a firmware trial; intake."""
    sample_monotonic_s: float | None = None
    """When the newest samples in order arrived; intake."""
    sample_ns: int | None = None
    """UTC of the newest sample; intake."""
    sample_uncertainty_ns: int | None = None
    """Uncertainty of that time, and (next field) its source; written by intake."""
    sample_source: TimeSource | None = None
    shares_clock: bool = False
    """Whether its times follow a clock that Boxes share: this machine's, or another Box's GPS; intake."""
    by_gps: bool = False
    """Whether its times come from the GPS of another Box of this gateway; intake."""
    gps_apart_ns: int | None = None
    """Its GPS time minus the followed Box's; None: it does not contradict. Reader."""
    rate_share: float | None = None
    """Its samples' rate as a share of the stated one; None: right, or not known. Intake."""
    ring_problem: str = ""
    """Why the disk does not take samples; intake."""
    measurement_ms: int | None = None
    """`timestamp_ms` of the newest Measurement; measuring."""
    connected: bool = False
    """Whether all three uplink connections are up; uplink."""
    refused: bool = False
    """Whether the broker refused the key; uplink."""
    acknowledged_monotonic_s: float | None = None
    """When the cloud last acknowledged Measurements; command handler."""
    acknowledged_sequence: int | None = None
    acknowledging: bool = False
    """Whether the cloud acknowledges what it gets; an original broker never does. Uplink."""
    prompt: bool = False
    """Whether Measurements are sent at once, in order, without crossings, because the broker does not
    acknowledge. Uplink."""
    held_sequences: tuple[int, int] | None = None
    """The oldest unacknowledged sequence, and the next one; None: nothing is held. Uplink."""
    ledger_problem: str = ""
    """Why the disk does not take measured values; the ledgers' writer."""
    ledger_lost: str = ""
    """Measured values that were lost for good, in words, until somebody deletes the file that names them."""
    queue_problem: str = ""
    """Why the disk does not take Measurements; uplink."""

    @property
    def rate_hz(self) -> float:
        """Samples per second, as the Box reports; before its hello ORDINARY_RATE_HZ."""
        return ORDINARY_RATE_HZ if self.hello is None else self.hello.rate_millihz / 1000

    @property
    def lost(self) -> dict[str, int]:
        """The Box's reported losses since its start, by name (`link.box_losses`)."""
        return box_losses(self.health, self.losses)

    @property
    def facts(self) -> dict[str, str]:
        """The settings of its chip and the source of its seconds (`link.box_facts`), in words."""
        return box_facts(self.reported_facts)

    def problem(self, now_monotonic_s: float, silent_s: float = 5.0) -> str | None:
        """The most important problem in one line; None: all is well."""
        if not self.serial_open:
            return f"port not open: {self.serial_problem or 'opening'}"
        if self.foreign_box:
            number = f"opq-tools box settings {self.box_id} box_id={self.box_id} --force"
            return (
                f"Box {self.foreign_box} is on this port: are two cables swapped? "
                f"Only if it is to become Box {self.box_id}: {number}"
            )
        if self.in_recovery:
            return "Box is in its boot loader's recovery"
        if self.serial_unreadable:
            return NO_FRAMES
        if self.sample_monotonic_s is None:
            return "no samples yet"
        silent = now_monotonic_s - self.sample_monotonic_s
        if silent > silent_s:
            return f"no samples for {silent:.0f} s"
        if self.refused:
            return (
                "the cloud does not admit this Box's key (revoked, retired, or another one), or has another "
                "server key: opq-tools keys list there says which"
            )
        if self.rate_share is not None:
            emulator = ", or it is an emulator that is slower than real time" if self.rate_share < 1 else ""
            return (
                f"its samples come at {self.rate_share:.3f} of the rate that it states: its frequencies are "
                f"wrong because the board has another crystal than its firmware is for{emulator}"
            )
        if self.gps_apart_ns is not None:
            return f"its GPS time contradicts the other Boxes here by {self.gps_apart_ns / 1e9:+.3f} s"
        if self.ring_problem:
            return f"samples are measured but not stored: {self.ring_problem}"
        if self.ledger_problem:
            return f"measured values are not stored: {self.ledger_problem}"
        if self.queue_problem:
            return f"measurements wait in memory: {self.queue_problem}"
        return None if self.connected else "no uplink"
