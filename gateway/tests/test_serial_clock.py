"""The clock of a run without GPS, against a simulated truth: jitter, busy machines, clocks that are set.

A Box whose crystal is off by up to 50 ppm sends a block each 200 samples; it arrives after a delay
that never changes (0 to 10 ms), at the reader's next round, and late by what the machine did meanwhile.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_gateway.serial_side.reader import ROUND_S
from opq_gateway.serial_side.serial_clock import BoxClock, Clocks, SampleTime
from opq_gateway.serial_side.steering import SLEW_RATE, Steering, SteeringTarget
from opq_proto.kit.clock import ClockState
from opq_proto.link.messages import Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

AIMS = st.tuples(st.integers(200, 120_000), st.floats(-5e6, 5e6), st.floats(-50e-6, 50e-6))
T0_NS = 1_700_000_000_000_000_000
RATE = 12_000_000
COUNTS = np.zeros(200, np.int16)
NTP = ClockState(TimeSource.NTP, 2_000_000)
FREE = ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
UNKNOWN, FREE_TIME = UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE


@dataclass
class World:
    """Truth is UTC; the machine's monotonic clock is UTC less a constant, its system clock UTC + `off_ns`."""

    seed: int = 1
    ppm: float = 0.0
    delay_ns: float = 5e6
    late_ns: float = 1e6
    """Mean of what a busy machine adds; now and then, for a second, a hundred times that."""
    state: ClockState = NTP
    off_ns: int = 0
    now_ns: float = float(T0_NS)
    next: int = 0
    before: tuple[int, int] | None = None
    clock: BoxClock = field(init=False)

    def __post_init__(self) -> None:
        self.dice = np.random.default_rng(self.seed)
        self.phase = self.dice.uniform(0, ROUND_S)
        self.busy_until_ns = 0.0
        self.clock = BoxClock(self.clocks(), self.before)

    def clocks(self) -> Clocks:
        return Clocks(
            monotonic_s=lambda: (self.now_ns - T0_NS) / 1e9 + 1000.0,
            now_ns=lambda: round(self.now_ns) + self.off_ns,
            system=lambda: self.state,
        )

    def truth_ns(self, sample: int) -> float:
        return T0_NS + sample / (RATE / 1000) * 1e9 * (1 + self.ppm * 1e-6)

    def block(self, told: SampleTime | None = None) -> tuple[int, SampleTime | None]:
        """The next block arrives; its first sample and stamp."""
        first, self.next = self.next, self.next + 200
        late_ns = self.dice.exponential(self.late_ns)
        if self.dice.random() < 1e-3:
            self.busy_until_ns = self.now_ns + 1e9
        if self.now_ns < self.busy_until_ns:
            late_ns *= 100
        arrives_s = (self.truth_ns(first + 200) - T0_NS + self.delay_ns + late_ns) / 1e9
        rounds = np.ceil((arrives_s - self.phase) / ROUND_S)
        self.now_ns = max(self.now_ns, T0_NS + (rounds * ROUND_S + self.phase) * 1e9)
        t_ns, uncertainty_ns, source = 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE
        if told is not None:
            t_ns, uncertainty_ns, source = told.t_ns, told.uncertainty_ns, told.source
        samples = Samples(first, t_ns, uncertainty_ns, source, RATE, 0, COUNTS)
        return first, self.clock.stamp(samples, True, (self.now_ns - T0_NS) / 1e9 + 1000.0)

    def run(self, seconds: float) -> list[tuple[int, SampleTime]]:
        """Blocks of so much time; those that got a stamp."""
        blocks = [self.block() for _ in range(round(seconds * 60))]
        return [(first, stamp) for first, stamp in blocks if stamp is not None]

    def gps(self, seconds: float) -> None:
        """The Box has GPS for so long."""
        for _ in range(round(seconds * 60)):
            self.block(self.told(self.next))

    def told(self, sample: int, uncertainty_ns: int = 200) -> SampleTime:
        return SampleTime(round(self.truth_ns(sample)), uncertainty_ns, TimeSource.GPS, RATE)

    def errors_ns(self, stamps: list[tuple[int, SampleTime]]) -> np.ndarray:
        return np.array([stamp.t_ns - self.truth_ns(first) for first, stamp in stamps])


def jumps_ns(stamps: list[tuple[int, SampleTime]]) -> np.ndarray:
    """How far each stamp is from where the one before said that it would be."""
    first = np.array([sample for sample, _ in stamps])
    t_ns = np.array([stamp.t_ns for _, stamp in stamps])
    return np.abs(np.diff(t_ns) - np.diff(first) * 1e12 / RATE)


def draw(seed: int) -> World:
    dice = np.random.default_rng(seed)
    return World(
        seed=seed,
        ppm=dice.uniform(-50, 50),
        delay_ns=dice.uniform(0, 10e6),
        late_ns=10 ** dice.uniform(5, 7),
        off_ns=int(dice.uniform(-1, 1) * NTP.uncertainty_ns),
    )


def test_the_stated_bound_holds_and_shrinks() -> None:
    outside = stamped = 0
    for seed in range(10):
        world = draw(seed)
        stamps = world.run(100)
        bounds = np.array([stamp.uncertainty_ns for _, stamp in stamps])
        outside += np.count_nonzero(np.abs(world.errors_ns(stamps)) > bounds)
        stamped += len(stamps)
        assert bounds[0] < 28e6 and bounds[-1] < 9e6  # of which 2 ms are the system clock's, 5 ms the delay
        assert jumps_ns(stamps).max() < 3000
        assert {stamp.source for _, stamp in stamps} == {TimeSource.NTP}
    assert outside <= 0.003 * stamped


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_stated_bound_holds_in_long_draws() -> None:
    outside = np.zeros(2, int)
    for seed in range(100):
        world = draw(1000 + seed)
        stamps = world.run(900)
        errors = np.abs(world.errors_ns(stamps))
        bad = errors > np.array([stamp.uncertainty_ns for _, stamp in stamps])
        outside += (int(bad.any()), np.count_nonzero(bad))
        if seed < 5 or bad.any():
            print(seed, world.ppm, world.late_ns, errors.max(), stamps[-1][1].uncertainty_ns)
    print(f"{outside[0]} of 100 runs and {outside[1]} of {100 * 54_000} stamps left their bound")
    assert outside[1] <= 0.003 * 100 * 54_000


def test_line_jitter_leaves_the_rate() -> None:
    world = World(ppm=31.0, late_ns=5e6)
    stamps = world.run(300)
    rate_hz = (stamps[-1][0] - stamps[-6000][0]) / (stamps[-1][1].t_ns - stamps[-6000][1].t_ns) * 1e9
    assert rate_hz == pytest.approx(12_000 / (1 + 31e-6), rel=3e-6)
    assert stamps[-1][1].rate_millihz == pytest.approx(12_000_000 / (1 + 31e-6), rel=1e-6)
    assert stamps[0][1].rate_millihz == RATE


def test_a_backlog_read_at_once_is_invisible() -> None:
    world = World(late_ns=1e5)
    for first in range(0, 12_000, 200):  # a second that stood in a buffer: all of it arrives now
        samples = Samples(first, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, RATE, 0, COUNTS)
        assert world.clock.stamp(samples, True, 1001.2) is None
    world.next, world.now_ns = 12_000, T0_NS + 1.2e9
    stamps = world.run(20)
    assert np.abs(world.errors_ns(stamps)).max() < 2e6


def test_a_too_fast_stream_is_stamped_early() -> None:
    clock = World().clock
    blocks = [
        Samples(first, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, RATE, 0, COUNTS)
        for first in range(0, 70_000, 200)
    ]
    stamps = [clock.stamp(block, True, 1001.2) for block in blocks]
    assert stamps[0] is None and stamps[-1] is not None


@pytest.mark.parametrize("by_s", [3600, -3600])
@pytest.mark.parametrize("state", [NTP, FREE])
def test_an_hours_clock_step_moves_no_stamp(by_s: int, state: ClockState) -> None:
    world = World(state=state)
    stamps = world.run(30)
    world.off_ns, world.state = by_s * 10**9, FREE  # setting it makes the kernel say unsynchronised
    stamps += world.run(60)
    world.off_ns, world.state = 0, state  # the daemon sets it right
    stamps += world.run(30)
    assert np.abs(world.errors_ns(stamps)).max() < 10e6
    assert jumps_ns(stamps).max() < 3000 and world.clock.steps == 0
    sources = {stamp.source for _, stamp in stamps}
    assert sources == ({TimeSource.NTP, TimeSource.HOLDOVER} if state == NTP else {TimeSource.FREE})
    bounds = {stamp.uncertainty_ns for _, stamp in stamps}
    assert (UNKNOWN_UNCERTAINTY_NS in bounds) is (state == FREE)


def test_a_synchronised_step_is_believed_and_counted() -> None:
    """A clock that stays where it was set and is synchronised is believed by a counted step."""
    world = World()
    world.run(30)
    world.off_ns = 1_000_000_000  # a leap second: the kernel goes back, or the daemon was wrong
    held = world.run(40)
    assert world.clock.steps == 0 and {stamp.source for _, stamp in held[400:]} == {TimeSource.HOLDOVER}
    assert min(stamp.uncertainty_ns for _, stamp in held[400:]) > 990_000_000  # either may be right
    after = world.run(20)
    assert world.clock.steps == 1 and "was set" in world.clock.step_reason
    assert world.clock.last_step_ns == pytest.approx(1e9, abs=10e6)
    assert world.errors_ns(after)[-1] == pytest.approx(1e9, abs=10e6)
    assert np.count_nonzero(jumps_ns(held + after) > 1e6) == 1


def test_a_late_synchronisation_steps_the_time() -> None:
    """A Raspberry Pi without a battery: the clock is hours off until the network is there."""
    world = World(state=FREE, off_ns=-7200 * 10**9)
    before = world.run(20)
    assert {stamp.uncertainty_ns for _, stamp in before} == {UNKNOWN_UNCERTAINTY_NS}
    world.state, world.off_ns = NTP, 0
    after = world.run(20)
    assert world.clock.steps == 1 and "synchronised" in world.clock.step_reason
    assert abs(world.errors_ns(after)[-1]) < after[-1][1].uncertainty_ns < 28e6


YEARS_56_S = 56 * 365.25 * 86400


@pytest.mark.parametrize("by_s", [1, -1, 3600, -3600, YEARS_56_S, -YEARS_56_S])
@pytest.mark.parametrize("was", [FREE, NTP])
def test_a_synchronised_clock_ends_own_time(by_s: float, was: ClockState) -> None:
    """The Box was set by the machine's clock, which was wrong by so much until it became synchronised, or was
    set while it stayed so (a laptop that wakes up). One step, within a minute; the truth from there on."""
    world = World(delay_ns=1e6, state=was)
    wrong_ns = -round(by_s * 1e9)
    world.off_ns = wrong_ns
    own_time(world, 30, off_ns=wrong_ns)
    assert world.clock.uses_own_time and world.clock.steps == 0
    world.off_ns, world.state = 0, NTP
    own_time(world, 60, off_ns=wrong_ns)
    assert not world.clock.uses_own_time
    assert world.clock.steps == 1 and "synchronised" in world.clock.step_reason
    assert world.clock.last_step_ns == pytest.approx(by_s * 1e9, abs=20e6)
    first, stamp = world.block(
        replace(world.told(world.next), t_ns=0, uncertainty_ns=UNKNOWN, source=FREE_TIME)
    )
    assert stamp is not None and abs(stamp.t_ns - world.truth_ns(first)) <= stamp.uncertainty_ns < 28e6


@pytest.mark.parametrize("by_s", [1, -1, 3600, -3600, YEARS_56_S, -YEARS_56_S])
def test_a_set_clocks_bound_is_not_believed(by_s: float) -> None:
    """A Box that states 4 ms by its machine's clock, and is wrong by so much since that was set."""
    world, wrong_ns = World(delay_ns=1e6), -round(by_s * 1e9)
    world.off_ns = wrong_ns
    own_time(world, 30, wrong_ns, 4_000_000)
    world.off_ns = 0
    stamps = own_time(world, 60, wrong_ns, 4_000_000)
    assert world.clock.steps == 1 and "synchronised" in world.clock.step_reason
    first, stamp = stamps[-1]
    assert abs(stamp.t_ns - world.truth_ns(first)) <= stamp.uncertainty_ns < 28e6
    assert np.count_nonzero(jumps_ns(stamps) > 50e6) == 1, "each sample once, in one of the two times"
    own_time(world, 30, 0, 4_000_000)  # the Box's time is right again
    first, stamp = own_time(world, 1, 0, 4_000_000)[-1]
    assert stamp.uncertainty_ns == 4_000_000 and stamp.t_ns == pytest.approx(world.truth_ns(first), abs=1)


@pytest.mark.parametrize("by_s", [1, -1, 3600, -3600, YEARS_56_S, -YEARS_56_S])
@pytest.mark.parametrize("state", [FREE, NTP])
def test_a_clock_put_back_moves_nothing(by_s: float, state: ClockState) -> None:
    """Back and forth within ten seconds; without synchronisation for good."""
    world = World(delay_ns=1e6, state=state)
    own_time(world, 30)
    world.off_ns = round(by_s * 1e9)
    own_time(world, 5 if state is NTP else 90)
    world.off_ns = 0
    own_time(world, 60)
    assert world.clock.steps == 0


def test_lost_gps_is_held_over_with_growing_bound() -> None:
    """The time does not jump."""
    world = World(ppm=-20.0, state=FREE)
    world.gps(120)
    last = world.told(world.next - 200)
    stamps = [(world.next - 200, last), *world.run(600)]
    assert len(stamps) == 600 * 60 + 1  # no wait at the start: the time is known
    assert {stamp.source for _, stamp in stamps[1:]} == {TimeSource.HOLDOVER}
    errors = np.abs(world.errors_ns(stamps))
    bounds = np.array([stamp.uncertainty_ns for _, stamp in stamps])
    assert errors.max() < 2000 and np.all(errors <= bounds) and np.all(np.diff(bounds[1:]) >= 0)
    assert bounds[-1] == pytest.approx(600e9 * 10e-6, rel=0.01)
    assert stamps[-1][1].rate_millihz == pytest.approx(12_000_000 / (1 - 20e-6), rel=1e-7)
    world.gps(1)
    assert world.clock.steps == 0  # it is where GPS is


def test_a_better_system_clock_slews_in() -> None:
    """A system clock twice as good takes over from the holdover by slewing."""
    world = World(ppm=-20.0, delay_ns=9e6, state=ClockState(TimeSource.NTP, 100_000))
    world.gps(120)
    stamps = world.run(1300)
    sources = [stamp.source for _, stamp in stamps]
    assert sources[0] is TimeSource.HOLDOVER and sources[-1] is TimeSource.NTP
    errors = np.abs(world.errors_ns(stamps))
    assert np.all(errors <= [stamp.uncertainty_ns for _, stamp in stamps])
    assert jumps_ns(stamps).max() < 3000 and world.clock.steps == 0


def test_first_gps_is_a_counted_step() -> None:
    world = World(delay_ns=0.0, state=FREE, off_ns=40_000_000)
    world.run(20)
    assert world.clock.shared
    world.gps(10)
    assert not world.clock.shared
    assert world.clock.steps == 1 and world.clock.last_step_ns == pytest.approx(-35e6, abs=2e6)


@pytest.mark.parametrize(("off_ms", "shared"), [(0, True), (-30_000, False), (30, False), (-30, False)])
def test_a_boxs_own_time_may_be_the_systems(off_ms: int, shared: bool) -> None:
    world = World(delay_ns=1e6, state=FREE)
    for _ in range(1800):
        own = replace(world.told(world.next, UNKNOWN_UNCERTAINTY_NS), source=TimeSource.FREE)
        _, stamp = world.block(replace(own, t_ns=own.t_ns + off_ms * 1_000_000))
        assert stamp is not None  # believed either way
    assert world.clock.shared is shared
    world.off_ns = 10**9  # somebody sets the system's clock
    for _ in range(1800):
        world.block(own)
    assert not world.clock.shared


def own_time(
    world: World, seconds: float, off_ns: int = 0, bound_ns: int = UNKNOWN_UNCERTAINTY_NS
) -> list[tuple[int, SampleTime]]:
    """Blocks with a time that the Box states of its own; with a bound it has it by a machine's clock."""
    source = TimeSource.FREE if bound_ns == UNKNOWN_UNCERTAINTY_NS else TimeSource.NTP
    found = []
    for _ in range(round(seconds * 60)):
        told = world.told(world.next, bound_ns)
        first, stamp = world.block(replace(told, t_ns=told.t_ns + off_ns, source=source))
        assert stamp is not None
        found.append((first, stamp))
    return found


def test_a_busy_machine_keeps_following_the_system() -> None:
    """Although it reads the system's clock late."""
    world = World(delay_ns=1e6, state=FREE)
    own_time(world, 5)
    assert world.clock.shared
    world.delay_ns = 60e6  # every block waits for its reader
    own_time(world, 90)
    assert world.clock.shared
    own_time(world, 200)
    assert not world.clock.shared  # meanwhile its crystal may have moved it by 20 ms
    world.delay_ns = 1e6
    own_time(world, 1)
    assert world.clock.shared


def test_a_set_box_is_compared_again() -> None:
    world = World(delay_ns=1e6, state=FREE)
    own_time(world, 5)
    world.delay_ns = 60e6
    own_time(world, 1, off_ns=-30_000_000)
    assert not world.clock.shared


def test_late_resent_samples_get_neighbours_time() -> None:
    world = World(ppm=40.0, late_ns=5e6)
    stamps = world.run(100)
    for first, stamp in stamps[-1200::7]:
        again = Samples(first, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, RATE, 4, COUNTS)
        assert world.clock.stamp(again, False, 2000.0) == stamp


def test_resent_samples_keep_pre_lock_time() -> None:
    world = World(state=FREE, off_ns=-3600 * 10**9)
    stamps = world.run(20)
    world.gps(2)
    for first, stamp in stamps[-60:]:
        again = Samples(first, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, RATE, 4, COUNTS)
        assert world.clock.stamp(again, False, 2000.0) == stamp
    own = World(state=FREE)
    near = [Samples(at * 200, T0_NS + at, 2**32 - 1, TimeSource.FREE, RATE, 0, COUNTS) for at in range(5)]
    assert [own.clock.stamp(each, True, 1000.0) for each in near] == near
    own.next = 1000
    own.gps(1)
    assert own.clock.stamp(replace(near[3], flags=4), False, 2000.0) == replace(near[3], flags=4)


def test_a_restarted_gateway_continues_the_rings_time() -> None:
    first = World(delay_ns=1e6)
    stamps = first.run(60)
    end_ns = stamps[-1][1].t_ns + 200 * 10**12 // RATE + 30_000_000  # of a gateway that was 30 ms off
    second = World(delay_ns=1e6, before=(first.next, end_ns), now_ns=first.now_ns, next=first.next + 24_000)
    more = second.run(60)
    assert len(more) == 3600  # no wait: what is missing is asked for with the first block
    errors = second.errors_ns(more)
    assert errors[0] == pytest.approx(30e6, abs=5e6)
    assert abs(errors[-1]) < abs(errors[0]) - 2e6  # and slews to the truth
    assert np.all(np.abs(errors) <= [stamp.uncertainty_ns for _, stamp in more])
    assert jumps_ns(more).max() < 3000


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_a_set_clock_keeps_the_rings_time(off_s: int) -> None:
    """It was set while the gateway was off."""
    first = World(delay_ns=1e6, state=FREE)
    first.run(60)
    end_ns = round(first.truth_ns(first.next))
    second = World(
        delay_ns=1e6,
        state=FREE,
        off_ns=off_s * 10**9,
        before=(first.next, end_ns),
        now_ns=first.now_ns + 2.5e9,  # half a second waits in a buffer
        next=first.next + 24_000,
    )
    more = second.run(60)
    assert len(more) == 3600  # no wait
    assert np.abs(second.errors_ns(more)).max() < 12e6  # a round of the reader
    assert jumps_ns(more).max() < 3000
    assert {stamp.uncertainty_ns for _, stamp in more} == {UNKNOWN_UNCERTAINTY_NS}
    second.off_ns = 0  # set back, and synchronised: believed at once
    second.state = NTP
    assert np.abs(second.errors_ns(second.run(60)[-600:])).max() < 12e6


def test_a_synchronised_clock_overrules_the_ring() -> None:
    world = World(off_ns=-3600 * 10**9, before=(0, T0_NS), now_ns=T0_NS + 2e9, next=24_000)
    stamps = world.run(10)
    assert np.abs(world.errors_ns(stamps) + 3600e9).max() < 60e6


@settings(max_examples=200, deadline=None)
@given(st.lists(AIMS, min_size=1, max_size=8))
def test_time_continues_without_revision(
    aims: list[tuple[int, float, float]],
) -> None:
    """(samples since the last aim, where it is seen beside the nominal line, its rate)."""
    steering = Steering()
    given_ns: dict[int, int] = {}
    sample = 0
    for samples, off_ns, rate in aims:
        period_ns = 1e12 / RATE * (1 + rate)
        target_ns = T0_NS + sample * 1e12 / RATE + off_ns
        steering.steer_to(SteeringTarget(sample, target_ns, period_ns, 1e6, 1e-6, TimeSource.NTP, RATE))
        for first in range(sample, sample + samples, 200):
            piece = steering.piece(first)
            given_ns[first] = piece.t_at(first)
            error_ns = abs(given_ns[first] - target_ns - (first - sample) * period_ns)
            assert error_ns <= piece.uncertainty_ns(first)
        sample += -(-samples // 200) * 200
    times = np.array(list(given_ns.values()))
    pace = np.diff(times) / (200 * 1e12 / RATE)
    assert np.all(np.abs(pace - 1) <= SLEW_RATE + 51e-6)
    for first, t_ns in given_ns.items():
        assert steering.piece(first).t_at(first) == t_ns
