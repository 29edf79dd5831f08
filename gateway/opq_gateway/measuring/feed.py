"""MeasuredFeed: measured items (Values, phasors, notices) for their readers on this machine: MQTT, C37.118,
page.

A slow reader loses its oldest items, counted in its channel, and does not delay other readers.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from opq_proto.kit.channel import Channel
from opq_proto.messages import TimeSource


@dataclass(slots=True)
class Values:
    """Quantities of one interval of one Box, or of a group of three; unknown ones are absent.

    Not `frozen`, which costs 1.3 us per object; they must not be changed.

    `kind` is one of KINDS. Names of `values` carry their unit (`rms_v`, `f_hz`, `thd_ratio`, `harmonics_v`).
    """

    box_id: str
    """A Box's number, or a group's name."""
    kind: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    source: TimeSource
    flagged: bool
    """Whether a dip, swell, interruption or gap touches it (61000-4-30, 4.7)."""
    values: Mapping[str, float | tuple[float, ...]]


DISTURBANCES = ("dip", "swell", "interruption")
KINDS = ("window", "3s", "10s", "10min", "2h", "half", *DISTURBANCES)
"""Window: 10/12 cycles; 3s: 150/180 cycles; 10s: frequency; 10 minutes; 2 hours; half: the half cycles of a
flagged window, with `urms_v` and `at_s`, the middle of each cycle after `start_ns`. 61000-4-30, 4.4, 5.1,
5.4. A disturbance has `residual_v` and `closed_ratio`, which is 0 while it is under way and where its end was
missed. The order is that of the ledger's files."""
LOST = "lost"
"""Kind of the ledger's records of rows that were lost for good: `kind`, a place in KINDS, and `rows`."""


@dataclass(frozen=True, slots=True)
class PhasorReport:
    """One synchrophasor of one Box at a UTC report time (C37.118.1)."""

    box_id: str
    t_ns: int
    phasor_v: complex
    """Rms volts, angle against UTC."""
    frequency_hz: float
    rocof_hz_per_s: float
    uncertainty_ns: int
    source: TimeSource
    known: bool
    """False where the fundamental or samples are missing; the numbers are then NaN."""


@dataclass(frozen=True, slots=True)
class DisturbanceNotice:
    """A disturbance that began or ended at a Box."""

    box_id: str
    kind: str
    """One of dip, swell and interruption."""
    t_ns: int
    uncertainty_ns: int
    source: TimeSource
    entering: bool
    rms_v: float | None


Item = Values | PhasorReport | DisturbanceNotice


class MeasuredFeed:
    """Passes items from the writer to any number of readers; may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: tuple[tuple[tuple[type[Item], ...], Channel[Item]], ...] = ()

    def subscribe(self, name: str, kinds: tuple[type[Item], ...], limit: int = 1000) -> Channel[Item]:
        """A channel that gets every item of these types from now on."""
        channel: Channel[Item] = Channel(name, limit, "drop_oldest")
        with self._lock:
            self._readers = (*self._readers, (kinds, channel))
        return channel

    @property
    def channels(self) -> tuple[Channel[Item], ...]:
        """The channels of all readers, which count waiting and dropped items."""
        return tuple(channel for _, channel in self._readers)

    def wanted(self, kind: type[Item]) -> bool:
        """Whether items of this type have a reader; otherwise they need not be made."""
        return any(kind in kinds for kinds, _ in self._readers)

    def offer(self, item: Item) -> None:
        """Hands an item to its readers; never blocks."""
        for kinds, channel in self._readers:
            if isinstance(item, kinds):
                channel.offer(item)
