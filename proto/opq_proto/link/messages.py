"""The messages of the serial link between a Box and its gateway, as plain frozen values.

Field order is wire order, everything is little endian, `str8` is a length byte and that many
bytes of UTF-8. NaN on the wire is None here. The byte layout is in proto/golden/README.md;
frames around it are in `opq_proto.link.frames`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import TimeSource

PROTOCOL = 1
"""Version of the link's messages; a Box sends its own in Hello."""
LINK_BAUD = 921_600
"""Rate of a real line, 8N1: ten bits a byte."""


class Operation(IntEnum):
    """What a Command requests from a Box."""

    HELLO = 1
    GET_SETTINGS = 2
    PUT_SETTING = 3
    RESET = 4
    SYNC_TIME = 5
    CROSSING_LIMITS = 6
    UPDATE_BEGIN = 7
    """`<bytes of the image>`: erase the free slot; UpdateData follows."""
    UPDATE_END = 8
    """Verify what came, mark it for trial, reset into it."""
    REPL = 9
    """Hand the line to MicroPython's prompt until the next reset."""
    PROTECT = 10
    """`<brown-out level> <boot sectors>`: set the option bytes; empty: report them. `detail` has both."""
    PROGRAM = 11
    """A user's program: put, its pieces, end, get, remove; empty: its state (proto/golden/README.md)."""
    PROMPT = 12
    """MicroPython's prompt while the Box samples: open, what is typed and printed, close (the same page)."""


class Status(IntEnum):
    """How a Command ended."""

    DONE = 0
    UNKNOWN = 1
    BAD_ARGUMENT = 2
    BUSY = 3
    FAILED = 4


class GpsState(IntEnum):
    """State of the Box's clock."""

    FREE = 0
    ACQUIRING = 1
    LOCKED = 2
    HOLDOVER = 3


class CrossingKind(IntEnum):
    """Which limit was crossed."""

    DIP = 1
    SWELL = 2
    INTERRUPTION = 3


FLAG_CLIPPED = 1
"""Samples.flags: a count was at the converter's limit."""
FLAG_OVERRUN_BEFORE = 2
"""Samples.flags: the Box lost samples right before this block."""
FLAG_RESENT = 4
"""Samples.flags: the block is sent again, because of a Resend."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who the Box is; sent at its start, each second until commanded otherwise, and on request."""

    TYPE: ClassVar[int] = 0x01
    protocol: int
    box_id: int
    """0 where it is not set."""
    boot_id: int
    """Random or counted per start; where it changes, sample indices have started again."""
    rate_millihz: int
    v_per_lsb: float
    nominal_v: float
    nominal_hz: float
    effective_bits: float
    """Of a sample, front end included: the largest sine in its linear range against the noise in 3 kHz."""
    block_samples: int
    ring_samples: int
    """Number of samples in the ring: how far back a Resend can reach."""
    hardware: str
    firmware: str


@dataclass(slots=True)
class Samples:
    """One block of samples with the time of its first; must not be changed.

    It is not `frozen` like the others: that would cost 0.6 us per block, and a Box makes 60 a second.
    """

    TYPE: ClassVar[int] = 0x02
    first_sample: int
    t_ns: int
    uncertainty_ns: int
    """0xFFFFFFFF where unknown."""
    source: TimeSource
    rate_millihz: int
    flags: int
    counts: NDArray[np.int16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Samples):
            return NotImplemented
        return self._facts() == other._facts() and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[int, ...]:
        return (
            self.first_sample,
            self.t_ns,
            self.uncertainty_ns,
            int(self.source),
            self.rate_millihz,
            self.flags,
            len(self.counts),
        )


@dataclass(frozen=True, slots=True)
class BoxMeasurement:
    """The Box's own figures of one window, for a cross-check, and used where samples are missing."""

    TYPE: ClassVar[int] = 0x03
    first_sample: int
    samples: int
    rms_v: float | None
    f_hz: float | None
    thd: float | None
    """Ratio."""
    trans_v: float | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """The rms crossed a limit at a sample."""

    TYPE: ClassVar[int] = 0x04
    sample: int
    t_ns: int
    uncertainty_ns: int
    source: TimeSource
    kind: CrossingKind
    entering: bool
    rms_v: float | None
    limit_v: float | None


@dataclass(frozen=True, slots=True)
class ChannelValue:
    """A value of a channel of a user's program, of one window."""

    TYPE: ClassVar[int] = 0x10
    first_sample: int
    """Of the window."""
    value: float | None
    name: str
    unit: str
    """Both by the rule of `opq_proto.measurement.own_channels`."""


@dataclass(frozen=True, slots=True)
class GpsStatus:
    """The receiver and the clock that it disciplines."""

    TYPE: ClassVar[int] = 0x05
    state: GpsState
    satellites: int
    t_ns: int
    uncertainty_ns: int
    pps_count: int
    pps_offset_ns: int
    latitude_e7: int
    """Degrees times 1e7."""
    longitude_e7: int
    leap_seconds: int


@dataclass(frozen=True, slots=True)
class Health:
    """State of the Box itself; counters since its start."""

    TYPE: ClassVar[int] = 0x06
    uptime_ms: int
    temperature_c: float | None
    supply_v: float | None
    battery_v: float | None
    cpu_permille: int
    overruns: int
    clipped: int
    missing_samples: int
    crc_errors: int
    tx_dropped: int
    """Bytes that the Box could not send."""
    heap_free_bytes: int
    reset_cause: int


@dataclass(frozen=True, slots=True)
class Losses:
    """Counts of what the Box lost since its start; sent every minute, and every second in which one rose.

    It is its own message: a gateway skips and counts an unknown message, but refuses a longer Health as
    malformed. A newer Box may send more than `opq_proto.link.box_losses` has names for.
    """

    TYPE: ClassVar[int] = 0x0D
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What a Box's chip is set to and what its clock uses: numbers in the order of `link.box_facts`.

    Sent as Losses are: its own message, with fewer or more numbers than this gateway has names for.
    """

    TYPE: ClassVar[int] = 0x0E
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Crash:
    """The record of the crash that led to the Box's start: words in the order of `link.crash_record`.

    Sent at the start and each minute, for a gateway that starts later.
    """

    TYPE: ClassVar[int] = 0x0F
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Log:
    """A code with two integers; the gateway adds the words."""

    TYPE: ClassVar[int] = 0x07
    code: int
    a: int
    b: int
    uptime_ms: int


@dataclass(frozen=True, slots=True)
class Command:
    """Gateway -> Box; answered by an Acknowledgement with the same command_id."""

    TYPE: ClassVar[int] = 0x08
    command_id: int
    operation: Operation
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Box -> gateway: how a Command ended."""

    TYPE: ClassVar[int] = 0x09
    command_id: int
    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a Box, in the Box's order; keys are unique."""

    TYPE: ClassVar[int] = 0x0A
    sequence: int
    """Counts changes."""
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Resend:
    """Gateway -> Box: send these samples again (flag 4), as far as the ring has them."""

    TYPE: ClassVar[int] = 0x0B
    first_sample: int
    count: int


@dataclass(frozen=True, slots=True)
class UpdateData:
    """Gateway -> Box: a piece of a firmware image; acknowledged with the next offset in `detail`."""

    TYPE: ClassVar[int] = 0x0C
    command_id: int
    offset: int
    data: bytes
    """At most 1024 bytes."""


LinkMessage = (
    Hello
    | Samples
    | BoxMeasurement
    | Crossing
    | ChannelValue
    | GpsStatus
    | Health
    | Losses
    | BoxFacts
    | Crash
    | Log
    | Command
    | Acknowledgement
    | Settings
    | Resend
    | UpdateData
)
