"""Clock: the time of a block, from the Box; from the system's clock where the Box has none.

    the Box knows (GPS, holdover, NTP)    its stamps pass through, with their uncertainty
    it knows by a machine's clock, and    the system's clock, by a counted step: what the Box was told before
    the system's is synchronised and      is as any own time, whatever bound it states
    another for 20 s
    it knew, and reports FREE now         continued from its last stamp, at the rate that it had
                                          against GPS; the bound grows by HOLDOVER_DRIFT
    it never knew, but is near (60 s),    somebody set it: used as it is, FREE, so that Boxes that
    or continues where the ring ends      share a clock stay on one axis
    it never knew                         arrivals over minutes (arrivals.py) on the system's clock
                                          (system_time.py): source NTP where that is synchronised, else FREE.
                                          After a restart it continues where the ring ends, even if somebody
                                          set an unsynchronised clock meanwhile, as with a running gateway
    it never knew, and another Box here   the same arrivals by that Box's GPS time (gps_comparison.py): source
    has GPS                               NTP, for another clock disciplines it; also for a time that was near
    its time was near, and the system's   the same arrivals by the system's clock: what was set before that is
    clock becomes synchronised, or has    of an unknown clock (a small computer without a battery begins in
    been apart while it was               1970), and the step is counted

A time stamp is never revised; later knowledge is approached by slewing (steering.py). Only a better clock
than before (first GPS, a system's clock that became synchronised) makes a step, which is counted, and logged
with its reason. Towards another Box's GPS a step is made only from beyond HURRIED_NS and the bound; otherwise
slewing is faster, and time stamps do not go back. One BoxClock per run of sample indices. Pure: the clocks
are handed in.

Leap seconds: times are Unix time, UTC without a number for 23:59:60. With GPS the Box gives the leap second
the numbers of the second before it (device/cmodules/clock): stamps stop for a second at midnight, the
bound is 1 s in it, and 00:00:00 is right from its first sample. With the system's clock there are two cases.
A server that smears the leap second over hours is followed without a step, but meanwhile is up to 0.5 s from
UTC by design, which the bound does not include. A kernel that inserts the second sets its clock back by one,
which is not followed at once (system_time.py): for SETTLED_S stamps run a second ahead, with source HOLDOVER,
and then step, counted. Indices and rate are not affected.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from opq_gateway.ring.time_axes import HOLDOVER_DRIFT
from opq_gateway.serial_side.arrivals import CRYSTAL_ERROR, Arrivals, Fit
from opq_gateway.serial_side.clock_comparison import ClockComparison
from opq_gateway.serial_side.gps_comparison import GpsComparison
from opq_gateway.serial_side.steering import HURRIED_SLEW, SLEW_RATE, Steering, SteeringTarget
from opq_gateway.serial_side.system_time import ClockOffset, SystemTime
from opq_proto.kit.clock import ClockState, system_clock
from opq_proto.link.messages import Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

DELAY_NS = 10_000_000
"""Longest time from a block's last sample to its earliest arrival: 0 with a pty; a frame at 921,600 baud
takes 5 ms, and USB and the Box's work add to it. Half of it is subtracted and is the bound."""
START_S = 2.0
"""A run that needs the system's clock waits this long for its first time stamp, because blocks from a buffer
come late."""
AWAITED_S = 4.0
"""The same wait where another Box's GPS is not known yet and the ring has no time to continue."""
LATE_NS = 50_000_000
"""If another Box's GPS shows that blocks arrive later than this, the first time stamp waits for a block that
does not."""
MAX_LATE_S = 10.0
"""Longest such wait, because the Box's blocks are held meanwhile (axis.HELD_BLOCKS). After it the bound
includes the lateness."""
PLAUSIBLE_NS = 60_000_000_000
RATE_S = 600.0
"""The rate against GPS is measured over this time, and over a tenth of it at least."""
STEP_NS = 1_000_000
"""For readers of the ring a larger step begins another axis (time_axes.CLOCK_STEP_NS)."""
GO_ON_NS = 1_000_000_000
"""A restarted gateway continues the ring's time if it agrees within this."""
HURRIED_NS = 1_000_000_000
"""Nine minutes at HURRIED_SLEW. A clock that is further off was never set."""
SHARED_ERROR_NS = 5_000_000
"""Largest sum of the bound of a Box's arrivals and the remaining slew. With half of DELAY_NS two such Boxes
are at most 20 ms apart (docs/reference/contracts.md, clock_id)."""
KEPT_NS = GO_ON_NS / CRYSTAL_ERROR
"""Nearly three hours, for which the ring's time, continued in samples, is right within GO_ON_NS."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a run, handed in."""

    monotonic_s: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns
    system: Callable[[], ClockState] = system_clock
    gps: GpsComparison | None = None
    """Shared by all Boxes of the gateway; None: Boxes are not compared."""


@dataclass(frozen=True, slots=True)
class SampleTime:
    """UTC of a sample, and the rate from there on."""

    t_ns: int
    uncertainty_ns: int
    source: TimeSource
    rate_millihz: int


class BoxClock:
    """Gives each block of one run its time.

    Attributes:
        steps, last_step_ns, step_reason: of the run's time, by more than STEP_NS.
    """

    def __init__(self, clocks: Clocks, before: tuple[int, int] | None = None, box_id: str = "") -> None:
        """`before`: sample index and UTC at which the ring ends, where this may be the same run."""
        self._box_id = box_id
        self.steps = 0
        self.last_step_ns = 0
        self.step_reason = ""
        self._clocks = clocks
        self._before = before
        self._kept = False
        """Whether the ring's time is continued although the system's clock differs."""
        self._uses_own_time: bool | None = None
        self._last_timed: Samples | None = None  # the last live block with a known time
        self._gps: deque[tuple[int, int]] = deque()  # (sample, UTC), at least a second apart
        self._arrivals: Arrivals | None = None
        self._system: SystemTime | None = None
        self._steering = Steering()
        self._former: tuple[int, Steering | None] | None = None
        """The first sample whose time the Box knew, and the steering of earlier samples; None: their own
        time."""
        self._began_s = 0.0
        self._rate_millihz = 0
        self._newest = 0
        self._comparison = ClockComparison()
        self._by_gps = False
        """Whether another Box's GPS steers it."""
        self._overruled = False
        self._was_free: bool | None = None
        """Whether the system's clock was not synchronised when the Box's own time was first used."""
        self._arrivals_bound_ns = 0.0
        self._late_ns = 0
        """The least lateness of arrivals since the first one, by the followed Box with GPS."""

    def stamp(self, samples: Samples, live: bool, now_s: float) -> SampleTime | Samples | None:
        """The time of a block's first sample, or the block itself where its own time is used; None: not known
        yet (START_S)."""
        is_timed = samples.source is not TimeSource.FREE or samples.uncertainty_ns != UNKNOWN_UNCERTAINTY_NS
        if is_timed and not self._is_overruled(samples, live, now_s):
            if live:
                self._passes(samples, now_s)
            return samples
        if not live and self._former is not None and samples.first_sample < self._former[0]:
            steering = self._former[1]
            return samples if steering is None else _stamp(steering, samples.first_sample)
        if self._uses_own_time is None:
            near = abs(samples.t_ns - self._clocks.now_ns()) < PLAUSIBLE_NS or self._as_before(samples)
            self._uses_own_time = near and self._last_timed is None
        if self._uses_own_time:
            if live:
                self._comparison.compare(samples, self._clocks.now_ns(), now_s)
            if not live or not self._leaves_own_time(samples, now_s):
                return samples
        elif live:
            self._observe(samples, now_s)
        return self.at(samples.first_sample) if self._steering.begun else None

    def _is_overruled(self, samples: Samples, live: bool, now_s: float) -> bool:
        """Whether the time that the Box knows by a machine's clock is another than the system's clock, which
        is synchronised: then it is as any own time, until it is GPS or follows the system's clock again."""
        if samples.source >= TimeSource.HOLDOVER:
            self._overruled = False
            return False
        if live:
            self._comparison.compare(samples, self._clocks.now_ns(), now_s)
        if self._overruled:
            self._overruled = not self._comparison.follows
        elif self._comparison.is_apart and self._clocks.system().source is not TimeSource.FREE:
            self._overruled = self._uses_own_time = True
            self._last_timed = None
        return self._overruled

    @property
    def shared(self) -> bool:
        """Whether the times follow a clock that Boxes share: the system's, or another Box's GPS."""
        if self._by_gps:
            left_ns = self._steering.piece(self._newest).left_ns(self._newest)
            return left_ns + self._arrivals_bound_ns <= SHARED_ERROR_NS
        return self._steering.begun or (bool(self._uses_own_time) and self._comparison.follows)

    @property
    def uses_own_time(self) -> bool:
        """Whether the Box's own time is used although it states no bound."""
        return bool(self._uses_own_time)

    @property
    def by_gps(self) -> bool:
        """Whether the times come from another Box's GPS instead of the system's clock."""
        return self._by_gps

    def at(self, sample: int) -> SampleTime | None:
        """The time of a sample where this clock gives it; otherwise None."""
        return _stamp(self._steering, sample) if self._steering.begun else None

    def begin_stamping(self) -> None:
        """Starts stamping with the present knowledge, because the run ends before START_S."""
        if self._arrivals is not None and not self._steering.begun:
            self._steer(self._newest)

    def _as_before(self, samples: Samples) -> bool:
        """Whether the Box's own time continues where the ring ends; then the system's clock was set
        meanwhile."""
        if self._before is None:
            return False
        sample, t_ns = self._before
        elapsed_ns = (samples.first_sample - sample) * 10**12 // samples.rate_millihz
        return elapsed_ns >= 0 and abs(samples.t_ns - t_ns - elapsed_ns) < GO_ON_NS

    def _passes(self, samples: Samples, now_s: float) -> None:
        """Handles a live block whose time the Box knows."""
        compared = self._clocks.gps
        if compared is not None and samples.source >= TimeSource.HOLDOVER:
            late_ns = 0 if self._arrivals is None else self._slow_ns(self._arrivals, samples, now_s)
            compared.accept_block(self._box_id, samples, now_s, late_ns)
        last, self._last_timed = self._last_timed, samples
        if last is not None and self._arrivals is None:
            elapsed_ns = (samples.first_sample - last.first_sample) * 10**12 // last.rate_millihz
            by_ns = samples.t_ns - last.t_ns - elapsed_ns
            if not -STEP_NS <= by_ns <= STEP_NS and elapsed_ns > 0:
                self._stepped(by_ns, "the Box's clock was set")
        elif self._steering.begun:
            by_ns = samples.t_ns - self._steering.piece(samples.first_sample).t_at(samples.first_sample)
            if abs(by_ns) > STEP_NS:
                self._stepped(by_ns, "the Box knows the time")
            self._former = samples.first_sample, self._steering
            self._steering = Steering()
        elif self._uses_own_time:
            self._former = samples.first_sample, None
        self._arrivals = self._system = None
        self._uses_own_time = None
        self._by_gps = False
        if samples.source is not TimeSource.GPS:
            return
        gps = self._gps
        if not gps or samples.t_ns - gps[-1][1] >= 10**9:
            gps.append((samples.first_sample, samples.t_ns))
            while samples.t_ns - gps[0][1] > RATE_S * 1e9:
                gps.popleft()

    @staticmethod
    def _slow_ns(arrivals: Arrivals, samples: Samples, now_s: float) -> int:
        """How late a block is by the arrivals of earlier blocks, which had no time. If all later blocks are
        as late, the Box runs slower than its samples state."""
        fit = arrivals.fit()
        if fit is None:
            return 0
        end_sample = samples.first_sample + len(samples.counts)
        return max(0, round(now_s * 1e9 - fit.arrival_ns(end_sample) - fit.bound_ns))

    def _stepped(self, by_ns: int, reason: str) -> None:
        self.steps += 1
        self._gps.clear()
        self.last_step_ns, self.step_reason = by_ns, reason

    def _leaves_own_time(self, samples: Samples, now_s: float) -> bool:
        """Whether from here on another clock is better than the Box's time, which has no bound.

        Arrivals are recorded from the first block on, because after a busy start every block comes seconds
        late, and only an earlier block shows that.
        """
        self._collect(samples, now_s)
        reason = self._better_clock(now_s)
        if reason is None or not self._may_begin(now_s):
            return False
        period_ns = 1e12 / samples.rate_millihz
        own = SteeringTarget(
            samples.first_sample, samples.t_ns, period_ns, None, 0.0, TimeSource.FREE, samples.rate_millihz
        )
        self._steering.steer_to(own)
        self._uses_own_time = False
        self._steer(samples.first_sample, step_reason=reason)
        return True

    def _better_clock(self, now_s: float) -> str | None:
        """Which clock is better than the Box's own time, as the reason of a step; empty: another Box's GPS,
        which has its own reason; None: none is."""
        gps, system = self._clocks.gps, self._clocks.system()
        other = None if gps is None else gps.reference(round(now_s * 1e9))
        if other is not None and 2 * other.bound_ns < system.uncertainty_ns:
            return ""
        is_free = system.source is TimeSource.FREE
        if self._was_free is None:
            self._was_free = is_free
        if is_free:
            return None
        if self._was_free:
            return "the system's clock was synchronised"
        apart = "the system's clock is synchronised, and the Box's own time is another"
        return apart if self._comparison.is_apart else None

    def _collect(self, samples: Samples, now_s: float) -> bool:
        """Records the arrival of a live block without a time; True when a bucket is full."""
        if self._arrivals is None:
            self._arrivals = Arrivals(samples.rate_millihz)
            clocks = self._clocks
            self._system = SystemTime(clocks.now_ns, clocks.monotonic_s, clocks.system)
            self._began_s = now_s
            self._rate_millihz = samples.rate_millihz
            self._late_ns = UNKNOWN_UNCERTAINTY_NS
        if self._late_ns > LATE_NS:
            gps = self._clocks.gps
            self._late_ns = 0 if gps is None else min(self._late_ns, gps.late_ns(round(now_s * 1e9)))
        self._newest = samples.first_sample
        return self._arrivals.add(samples.first_sample + len(samples.counts), round(now_s * 1e9))

    def _observe(self, samples: Samples, now_s: float) -> None:
        """Handles a live block without a time."""
        full = self._collect(samples, now_s)
        began = self._steering.begun
        due = full if began else self._last_timed is not None or self._may_begin(now_s, full)
        if due:
            self._steer(self._newest)
        elif not began and self._before is not None:
            self._steer(self._newest, only_as_before=True)

    def _may_begin(self, now_s: float, full: bool = False) -> bool:
        """Whether arrivals have lasted long enough for a first time stamp, and one of them was in time.

        `full`: they fill a bucket, however fast they came, because waiting blocks are held in memory.
        """
        lasted_s = now_s - self._began_s
        if self._late_ns > LATE_NS:
            return lasted_s >= MAX_LATE_S
        gps = self._clocks.gps
        if self._before is None and gps is not None and not full and gps.awaits(now_s):
            # waits for one more read of a busy machine, because another Box gives the time
            return lasted_s >= AWAITED_S
        return full or lasted_s >= START_S

    def _steer(self, sample: int, only_as_before: bool = False, step_reason: str = "") -> None:
        """Estimates the true time, and steers towards it from `sample` on; by a step for that reason."""
        assert self._arrivals is not None and self._system is not None
        fit = self._arrivals.fit()
        if fit is None:
            return
        reference = self._reference(fit, sample)
        bound_ns = None
        if reference.source is not TimeSource.FREE:
            late_ns = self._late_ns if self._late_ns > LATE_NS else 0
            bound_ns = reference.bound_ns + DELAY_NS / 2 + fit.bound_ns + late_ns
        if self._last_timed is not None and self._holds_over(self._last_timed, sample, bound_ns):
            self._by_gps = False
            return
        period_ns = fit.period_ns / reference.period_ns
        measured = fit.fitted and reference.period_known and bound_ns is not None
        target = SteeringTarget(
            sample,
            fit.arrival_ns(sample) + reference.offset_ns - DELAY_NS / 2,
            period_ns,
            bound_ns,
            fit.slope_bound + reference.period_bound,
            reference.source,
            round(1e12 / period_ns) if measured else self._rate_millihz,
        )
        self._arrivals_bound_ns = fit.bound_ns
        self._go_on(target)
        if only_as_before and not self._steering.begun:
            return
        reason, slew = reference.step or step_reason, SLEW_RATE
        if self._by_gps and bound_ns is not None:
            off_ns = abs(self._steering.off_ns(target))
            reason = "compared with another Box's GPS" if off_ns > max(HURRIED_NS, bound_ns) else ""
            slew = HURRIED_SLEW if off_ns > bound_ns / 4 else SLEW_RATE
        step = bool(reason) and self._steering.begun
        by_ns = self._steering.steer_to(target, step, slew)
        if step:
            self._stepped(by_ns, reason)

    def _reference(self, fit: Fit, sample: int) -> ClockOffset:
        """The reference of another Box's GPS or of the system's clock; changes only to a reference that is
        twice as good."""
        system = self._system_bearing(fit, sample)
        gps = self._clocks.gps
        other = None if gps is None else gps.reference(round(fit.arrival_ns(sample)))
        if other is None:
            self._by_gps = False
        elif self._by_gps:
            self._by_gps = other.bound_ns <= 2 * system.bound_ns
        else:
            self._by_gps = 2 * other.bound_ns < system.bound_ns
        return other if other is not None and self._by_gps else system

    def _system_bearing(self, fit: Fit, sample: int) -> ClockOffset:
        """The system's clock; or the ring's time, where the clock is not synchronised and was set
        meanwhile.

        The first arrival may be late, so the offset is computed again from the earliest of the first bucket.
        """
        assert self._system is not None
        reference = self._system.read_clocks()
        if self._before is None or reference.source is not TimeSource.FREE or fit.buckets > 1:
            return reference
        before, before_ns = self._before
        elapsed_ns = (sample - before) * fit.period_ns
        if not 0 <= elapsed_ns <= KEPT_NS or (self._steering.begun and not self._kept):
            return reference
        offset_ns = round(before_ns + elapsed_ns + DELAY_NS / 2 - fit.arrival_ns(sample))
        if not self._kept and abs(offset_ns - reference.offset_ns) < GO_ON_NS:
            return reference
        self._kept = True
        return self._system.keep_offset(offset_ns)

    def _holds_over(self, timed: Samples, sample: int, other_bound_ns: float | None) -> bool:
        """Whether to hold over from the Box's last stamp: yes, unless the system's clock is twice as good by
        now."""
        period_ns = self._gps_period_ns(timed)
        bound_ns = timed.uncertainty_ns + 1000.0
        if not self._steering.begun:  # begins at the last time stamp, so that resent blocks fit, too
            known_ns = bound_ns if timed.uncertainty_ns < UNKNOWN_UNCERTAINTY_NS else None
            rate_millihz = round(1e12 / period_ns)
            held = SteeringTarget(
                timed.first_sample,
                timed.t_ns,
                period_ns,
                known_ns,
                HOLDOVER_DRIFT,
                TimeSource.HOLDOVER,
                rate_millihz,
            )
            self._steering.steer_to(held)
            return True
        bound_ns += HOLDOVER_DRIFT * (sample - timed.first_sample) * period_ns
        return other_bound_ns is None or 2 * other_bound_ns >= bound_ns

    def _gps_period_ns(self, timed: Samples) -> float:
        """The period as last measured against GPS over minutes; otherwise as the Box reports it."""
        if self._gps:
            (first, first_ns), (last, last_ns) = self._gps[0], self._gps[-1]
            if last_ns - first_ns >= RATE_S * 1e8:
                return (last_ns - first_ns) / (last - first)
        return 1e12 / timed.rate_millihz

    def _go_on(self, target: SteeringTarget) -> None:
        """Continues the ring's time after a restart of the gateway, without a wait for START_S."""
        if self._before is None or self._steering.begun or target.sample < self._before[0]:
            return
        sample, t_ns = self._before
        if abs(t_ns + (target.sample - sample) * target.period_ns - target.t_ns) < GO_ON_NS:
            self._steering.steer_to(replace(target, sample=sample, t_ns=t_ns))


def _stamp(steering: Steering, sample: int) -> SampleTime:
    piece = steering.piece(sample)
    target = piece.target
    return SampleTime(piece.t_at(sample), piece.uncertainty_ns(sample), target.source, target.rate_millihz)
