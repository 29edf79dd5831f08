"""A Box without hardware: the Box's side of the serial link, at real-time rate.

`Box` is the protocol alone (samples, ring, resend, hello, health); it does no waiting and owns no
thread: `opq_sim.box.box_host` calls it. `python -m opq_sim.box` hosts Boxes on ptys.
"""

import time
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from opq_proto.kit import log
from opq_proto.link import frames as link
from opq_proto.link.messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    PROTOCOL,
    Command,
    Crossing,
    GpsState,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Log,
    Resend,
    Samples,
)
from opq_proto.messages import TimeSource
from opq_sim.box import commands
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.commands import BoxCrossings
from opq_sim.box.port import BUFFER_BYTES, PtyPort
from opq_sim.box.ring import BoxRing
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.mains.disturbance import MainsDisturbance, PlacedDisturbance
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid_events import GridEvent
from opq_sim.power_system.box_supply import BoxSupply
from opq_sim.power_system.network_source import NetworkSource

BLOCK_SAMPLES = 200
RING_SAMPLES = 38_400
"""Ring size of the firmware: OPQ_RING_SAMPLES of acquire.h (test_device_constants.py)."""
STALL_S = 10
"""The longest standstill of the process, in seconds, after which the Box still catches up. Samples of a
longer one are missing.
"""
HELLO_S = 5
"""Seconds between hello messages, so that a gateway that restarts knows its Boxes even if its own hello is
lost.
"""
LATE_NS = 500_000_000
"""A Box that is later than this catches up no faster than the line takes its samples."""
BLOCKS_PER_TICK = 12
"""Limit for catching up after a standstill: between two ticks the Box reads and answers resends."""
LONGEST_LOSS_S = 1e6
LOST_AFTER_S = 0.2
"""A supply loss on demand begins this much later than now, because samples already taken stay taken."""
RESENT_PER_TICK = 8
RESEND_WAITING_BYTES = 2048
"""Old samples are sent again only while fewer bytes wait, so that they never delay new ones."""
LOG_STARTED = 1
"""Log.code: the Box started; a is its boot_id, b the reset cause."""
GPS_STATES = {TimeSource.GPS: GpsState.LOCKED, TimeSource.HOLDOVER: GpsState.HOLDOVER}
"""GPS state that a Box with its own clock reports, by its time source."""
RESET_POWER = 1
"""Health.reset_cause: the supply came back (log_codes.RESET_CAUSES)."""
RESET_SOFTWARE = 4
"""Health.reset_cause: a command or new firmware."""


class Box:
    """One simulated or replayed Box.

    Attributes:
        box_id: decimal number as text, as everywhere.
        source: where its samples come from.
        overruns, missing_samples, clipped_samples: the counters of the Health message.
        ring: the blocks that can be sent again; it counts requests that it refused.
        events_sent: monotonic ns at which the frame with an event's first sample began to leave.
    """

    def __init__(
        self,
        box_id: str,
        source: SampleSource | None = None,
        *,
        hardware: str = "opq-hil simulated",
        measurements: bool = True,
        boot_id: int = 1,
        locks_after_s: float | None = None,
    ) -> None:
        """`locks_after_s`: when its GPS locks, seconds after the start; None: it has the run's clock."""
        self._locks_after_s = locks_after_s
        if not (box_id.isdecimal() and 0 < int(box_id) <= 0xFFFF_FFFF):
            raise ValueError(f"box id is {box_id!r}; want a whole number from 1 to 4294967295")
        self.box_id = box_id
        self.source: SampleSource = source if source is not None else Generator(seed=int(box_id))
        self.hardware = hardware
        self.settings = commands.BoxSettings(box_id=box_id, measurements="on" if measurements else "off")
        self.crossings = BoxCrossings()
        self.decoder = link.Decoder()
        self.overruns = 0
        self.missing_samples = 0
        self.clipped_samples = 0
        self.events_sent: deque[int] = deque(maxlen=1000)
        self._boot_id = boot_id
        self._reset_cause = RESET_SOFTWARE  # a program starts it; its supply was there
        self._log = log.get(service="boxes", box_id=box_id)
        self._sequence = 0
        self._zero = 0  # stream index of the Box's sample 0; moves at a reset
        self._next = 0  # stream index of the next block
        self.ring = BoxRing(RING_SAMPLES // BLOCK_SAMPLES, BLOCK_SAMPLES)
        self._commanded = False
        self._hello_due_ns = 0
        self._second = 0
        self._silent_until_s: float | None = None

    def start(self, port: PtyPort, clock: RunClock) -> None:
        """Goes online on `port`; sample 0 is taken at the clock's start."""
        self.port = port
        self.clock = clock
        self._stamps = BoxStamps(clock, self.source, self._locks_after_s)
        self._boot()

    def set_clock(self, start_ns: int, uncertainty_ns: int, source: TimeSource) -> None:
        """Sets the Box's clock, as when its GPS locks: the samples go on by index, the stamps of the next
        ones are another clock's. `start_ns`: the time of sample 0 by it. Not for a Box with a clock of its
        own (`NetworkSource`)."""
        self.clock = RunClock(self.clock.monotonic_ns, start_ns, uncertainty_ns, source)
        self._stamps.set_clock(self.clock)

    def due_ns(self) -> int:
        """Monotonic time of the next `tick` that has something to do."""
        if self._silent_until_s is not None:
            return self.clock.monotonic_ns + round(self._silent_until_s * 1e9)
        return self._stamps.due_ns(self._next + BLOCK_SAMPLES)

    def tick(self, now_ns: int) -> None:
        """Sends the blocks whose samples have been taken by now, then everything else that is due."""
        if self._is_silent(now_ns):
            return
        overrun = self._skip_what_is_too_old(now_ns)
        for _ in range(BLOCKS_PER_TICK):
            late_ns = now_ns - self.due_ns()
            if late_ns < 0 or self._came_back(now_ns):
                break
            if late_ns > LATE_NS and self.port.waiting_bytes > BUFFER_BYTES // 2:
                break  # it was this process that stopped: a wire would not have lost anything
            self._block(FLAG_OVERRUN_BEFORE if overrun else 0)
            overrun = False
        self._send_again()
        if now_ns >= self._hello_due_ns:
            self._hello_due_ns = now_ns + (HELLO_S if self._commanded else 1) * 10**9
            self.send(self.hello())
        second = (now_ns - self.clock.monotonic_ns) // 10**9
        if second > self._second:
            self._second = second
            self._each_second(now_ns)

    def receive(self, data: bytes) -> None:
        """Handles bytes from the gateway; the decoder counts bad ones. A Box without supply reads none."""
        if self._silent_until_s is not None:
            return
        for _, message in self.decoder.feed(data):
            if isinstance(message, Command):
                self._commanded = True
                commands.answer(self, message)
            elif isinstance(message, Resend):
                self.ring.accept_resend(message)

    def send(self, message: LinkMessage) -> None:
        """Frames a message and queues it on the port."""
        self.port.send(link.encode(message, self._sequence))
        self._sequence += 1

    def add_event(self, event: GridEvent | MainsDisturbance) -> GridEvent | PlacedDisturbance:
        """Puts a disturbance into a simulated signal, as soon as possible.

        Raises:
            ValueError: this Box replays a recording, or is connected to a network.
        """
        if not isinstance(self.source, Generator):
            what = "replays a recording; events go to simulated Boxes only"
            if isinstance(self.source, NetworkSource):
                what = "is connected to a network; give a cause and a place, such as fault --at feeder2/3.1km"
            raise ValueError(f"box {self.box_id} {what}")
        return self.source.add(event)

    def lose_supply(self, for_s: float, own: Mapping[str, object]) -> "tuple[float, BoxSupply]":
        """Takes the supply away for `for_s` seconds, shortly after now.

        Args:
            own: `battery_s` and `outlet_dead` for a Box whose scenario gives no `supply`.
        Returns:
            The begin of the loss in seconds after the run's start, and the supply.
        Raises:
            ValueError, ConfigError: values that are not allowed, or the supply is already lost.
        """
        if not 0 < for_s <= LONGEST_LOSS_S:
            raise ValueError(f"seconds is {for_s:g}; want more than 0, {LONGEST_LOSS_S:g} at most")
        source = self.source if isinstance(self.source, NetworkSource) else None
        known = self._stamps.supply
        if known is not None and own:
            raise ValueError(
                f"box {self.box_id} has its battery and outlet from its scenario; leave out --set"
            )
        now_s = (time.monotonic_ns() - self.clock.monotonic_ns) / 1e9
        at_s = round(max(now_s, source.system.reached_s if source else 0.0) + LOST_AFTER_S, 3)
        supply = BoxSupply.lost(at_s, for_s, own) if known is None else known.losing(at_s, for_s)
        if source is None and supply.config.outlet_dead:
            raise ValueError(f"box {self.box_id} has no network: outlet_dead needs a scenario with one")
        if source is not None:
            source.supply = supply
        self._stamps.supply = supply
        return at_s, supply

    @property
    def v_per_lsb(self) -> float:
        """The source's volts per count, corrected by the setting `gain`."""
        return self.source.v_per_lsb * self.settings.number("gain")

    def hello(self) -> Hello:
        """Returns the message that describes this Box."""
        source = self.source
        return Hello(
            protocol=PROTOCOL,
            box_id=int(self.settings["box_id"]),
            boot_id=self._boot_id,
            rate_millihz=source.rate_millihz,
            v_per_lsb=self.v_per_lsb,
            nominal_v=source.nominal_v,
            nominal_hz=source.nominal_hz,
            effective_bits=source.effective_bits,
            block_samples=BLOCK_SAMPLES,
            ring_samples=self.ring.samples,
            hardware=self.hardware,
            firmware="opq-hil 1",
        )

    def reset(self) -> None:
        """Starts as after a reset: new boot id, the next sample becomes sample 0, empty ring."""
        self._restart(RESET_SOFTWARE)

    def _restart(self, cause: int) -> None:
        self._boot_id = (self._boot_id + 1) & 0xFFFF_FFFF
        self._reset_cause = cause
        self._zero = self._next
        self.ring.clear()
        self.overruns = self.missing_samples = self.clipped_samples = 0
        self._boot()

    def _is_silent(self, now_ns: int) -> bool:
        """True while the Box is without supply; afterwards it starts as after a loss of power."""
        supply = self._stamps.supply
        if supply is None:
            return False
        until_s = supply.silent_until_s((now_ns - self.clock.monotonic_ns) / 1e9)
        if until_s is not None and self._silent_until_s is None:
            self._log.info("box.supply_lost")
        self._silent_until_s = until_s
        if until_s is None:
            self._came_back(now_ns)
        return until_s is not None

    def _came_back(self, now_ns: int, within: int = BLOCK_SAMPLES) -> bool:
        """True if the next samples fall into a time without supply that is over; then the Box skips it and
        boots."""
        silent = self._stamps.silent(self._next, self._next + within)
        if not silent:
            return False
        back = self._stamps.end_of_silence(silent[-1][1])
        if self._stamps.due_ns(back) > now_ns:
            return False  # it begins only now
        self._next = -(-back // BLOCK_SAMPLES) * BLOCK_SAMPLES
        self._log.info("box.supply_back")
        self._restart(RESET_POWER)
        return True

    def _boot(self) -> None:
        self._commanded = False
        self._sequence = 0
        self._hello_due_ns = 0
        self.send(Log(LOG_STARTED, self._boot_id & 0x7FFF_FFFF, self._reset_cause, 0))
        self.send(self.hello())

    def _skip_what_is_too_old(self, now_ns: int) -> bool:
        """Skips blocks that are too old after a standstill of more than STALL_S; True if it skipped any."""
        late_ns = now_ns - self.due_ns()
        if late_ns <= STALL_S * 10**9:
            return False
        blocks = late_ns * self.source.rate_millihz // (10**12 * BLOCK_SAMPLES)
        if self._came_back(now_ns, blocks * BLOCK_SAMPLES):
            return False  # it had no supply for most of that time
        self._next += blocks * BLOCK_SAMPLES
        self.overruns += 1
        self.missing_samples += blocks * BLOCK_SAMPLES
        self._log.warning("box.overrun", samples=blocks * BLOCK_SAMPLES)
        return True

    def _block(self, flags: int) -> None:
        first = self._next
        counts = self._taken(first)
        clipped = int(np.count_nonzero((counts == 32767) | (counts == -32768)))
        if clipped:
            self.clipped_samples += clipped
            flags |= FLAG_CLIPPED
        stamp = self._stamps.stamp(first)
        phase_ns = round(self.settings.number("phase_ns"))
        samples = Samples(
            first_sample=first - self._zero,
            t_ns=stamp.t_ns - phase_ns,
            uncertainty_ns=stamp.uncertainty_ns,
            source=stamp.source,
            rate_millihz=stamp.rate_millihz,
            flags=flags,
            counts=counts,
        )
        self.ring.append(samples)
        self.send(samples)
        if self.crossings.limits:
            self._check_crossings(samples)
        self._next += BLOCK_SAMPLES
        for mark in self.source.marks(first, BLOCK_SAMPLES):
            self._event_sent(mark)

    def _taken(self, first: int) -> NDArray[np.int16]:
        """Counts less the setting `offset_lsb`, within int16."""
        counts = self.source.counts(first, BLOCK_SAMPLES)
        offset_lsb = round(self.settings.number("offset_lsb"))
        if not offset_lsb:
            return counts
        return np.clip(counts.astype(np.int32) - offset_lsb, -32768, 32767).astype(np.int16)

    def _check_crossings(self, newest: Samples) -> None:
        """Reports each limit that the rms of the last nominal cycle crosses."""
        source = self.source
        cycle = round(source.rate_millihz / 1000 / source.nominal_hz)
        rms_v = float(np.sqrt(np.mean(self.ring.newest(cycle) ** 2))) * self.v_per_lsb
        for kind, entering, share in self.crossings.crossed_by(rms_v / source.nominal_v):
            self.send(
                Crossing(
                    sample=newest.first_sample + len(newest.counts) - cycle,
                    t_ns=newest.t_ns - (cycle - len(newest.counts)) * 10**12 // source.rate_millihz,
                    uncertainty_ns=newest.uncertainty_ns,
                    source=newest.source,
                    kind=kind,
                    entering=entering,
                    rms_v=rms_v,
                    limit_v=share * source.nominal_v,
                )
            )

    def _event_sent(self, mark: int) -> None:
        now_ns = time.monotonic_ns()  # before: once the bytes are there, the gateway may run first
        self.port.flush(now_ns)
        self.events_sent.append(now_ns)
        self._log.info("box.event_sent", first_sample=mark - self._zero, monotonic_ns=now_ns)

    def _send_again(self) -> None:
        for _ in range(RESENT_PER_TICK):
            if self.port.waiting_bytes > RESEND_WAITING_BYTES:
                return
            samples = self.ring.next_resent()
            if samples is None:
                return
            self.send(samples)

    def _each_second(self, now_ns: int) -> None:
        self.send(self._health(now_ns))
        stamp = self._stamps.stamp(self._next)
        state = GPS_STATES.get(stamp.source, GpsState.FREE)
        self.send(GpsStatus(state, 0, stamp.t_ns, stamp.uncertainty_ns, 0, 0, 0, 0, 0))
        if self.settings["measurements"] == "on":
            source = self.source
            figures = self.ring.figures(source.rate_millihz / 1000, self.v_per_lsb, source.nominal_hz)
            if figures is not None:
                self.send(figures)

    def _health(self, now_ns: int) -> Health:
        since_ns = now_ns - self.clock.monotonic_ns
        supply = self._stamps.supply
        supply_v, battery_v = supply.volts(since_ns / 1e9) if supply is not None else (None, None)
        return Health(
            uptime_ms=since_ns // 10**6,
            temperature_c=None,
            supply_v=supply_v,
            battery_v=battery_v,
            cpu_permille=0,
            overruns=self.overruns,
            clipped=self.clipped_samples,
            missing_samples=self.missing_samples,
            crc_errors=self.decoder.crc_errors,
            tx_dropped=min(self.port.lost_bytes, 0xFFFF_FFFF),
            heap_free_bytes=0,
            reset_cause=self._reset_cause,
        )
