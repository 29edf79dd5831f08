"""A Box whose GPS time is late by the gateway's monotonic clock is not a reference for other Boxes.

An emulated Box on a busy machine is such a one.
"""

from collections.abc import Callable

import numpy as np
import pytest
from test_serial_gps_comparison import COUNTS, FREE, MS, RATE, T0_NS, Fleet, S

from opq_gateway.serial_side.axis import Axis
from opq_gateway.serial_side.gps_comparison import GpsComparison
from opq_gateway.serial_side.lateness import Lateness, Pace
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.link.messages import Hello, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

Lag = Callable[[float], float]


def play(fleet: Fleet, lag_s: Lag, seconds: float) -> Fleet:
    """Box 1 has GPS and is so late; Box 2 knows no time, Box 3 follows the machine's clock, 250 ms ahead."""
    until_s = fleet.t_s + seconds
    while fleet.t_s < until_s:
        fleet.delay_ns["1"] = max(0.0, lag_s(fleet.t_s)) * S
        fleet.run(0.1, own="3")
    return fleet


SLOW: dict[str, Lag] = {
    "a little slow": lambda t_s: 0.005 * t_s,
    "slow, and then as fast as its time": lambda t_s: min(10.0, 0.1 * t_s),
    "at half its speed for ever": lambda t_s: t_s,
    "in time at first": lambda t_s: 0.0 if t_s < 20 else min(10.0, 0.2 * (t_s - 20)),
    "late at its start": lambda t_s: max(0.0, 5 - 0.25 * t_s),
    "late each two minutes": lambda t_s: 10 * max(0.0, 1 - abs(t_s % 120 - 60) / 30),
}


@pytest.mark.parametrize("how", SLOW)
def test_a_slow_receiver_steps_no_neighbour(how: str) -> None:
    fleet = play(Fleet(), SLOW[how], 300)
    for box_id in "23":
        off, bounds = fleet.checked_ns(box_id)
        assert fleet.clocks[box_id].steps == 0 and np.abs(off).max() < 300 * MS
        known = bounds < UNKNOWN_UNCERTAINTY_NS
        begins = int(np.argmax(known)) if known.any() else len(known)
        assert known[begins:].all(), "a bound that was known stays known"
        assert begins < len(known) or how == "at half its speed for ever"
        assert known.any() == (fleet.gps.state.box_id == "1")


def test_a_temporarily_late_receiver_is_held_over() -> None:
    fleet = play(Fleet(), lambda _: 0.0, 60)
    play(fleet, lambda t_s: 0.2 * (t_s - 60), 40)
    held = fleet.stamps["2"][-1][1]
    assert held.source is TimeSource.HOLDOVER and held.uncertainty_ns < 50 * MS
    assert fleet.gps.refresh_state().held and not fleet.heard, "it contradicts no other Box"
    play(fleet, lambda t_s: 8 - 0.4 * (t_s - 100), 60)
    again = fleet.stamps["2"][-1][1]
    assert again.source is TimeSource.NTP and fleet.clocks["2"].steps == 0
    fleet.checked_ns("2")


def test_an_always_late_receiver_is_believed_once_punctual() -> None:
    """Nothing shows a lateness that never changes; the first blocks that are earlier do."""
    fleet = play(Fleet(), lambda t_s: 5.0 if t_s < 60 else max(0.0, 5 - 0.5 * (t_s - 60)), 100)
    blocks, found = zip(*fleet.stamps["2"], strict=True)
    off_s = [(each.t_ns - fleet.truth_ns(block)) / S for block, each in zip(blocks, found, strict=True)]
    assert off_s[600] == pytest.approx(-5, abs=0.1) and off_s[-1] == pytest.approx(0, abs=0.05)
    assert found[-1].uncertainty_ns < 100 * MS and found[-1].source is TimeSource.NTP


@pytest.mark.parametrize("catches_up", [False, True])
def test_a_late_lock_is_judged_by_earlier_samples(catches_up: bool) -> None:
    """An emulator that is slow while it starts; its GPS locks after 20 s, when the machine has time."""
    fleet = Fleet()

    def lag_s(t_s: float) -> float:
        since_s = max(0.0, t_s - 60) if catches_up else 0.0
        return max(0.0, min(6.0, 0.4 * t_s) - 0.5 * since_s)

    while fleet.t_s < 20:
        fleet.delay_ns["1"] = lag_s(fleet.t_s) * S
        fleet.run(0.1, gps="", free="12", own="3")
    play(fleet, lag_s, 100)
    for box_id in "23":
        errors_s = [abs(each.t_ns - fleet.truth_ns(block)) / S for block, each in fleet.stamps[box_id]]
        assert max(errors_s) < 0.3 and fleet.clocks[box_id].steps == 0
    assert (fleet.gps.state.box_id == "1") is catches_up


def test_a_slow_receiver_blocks_no_other() -> None:
    fleet = Fleet()
    until_s = 30.0
    while fleet.t_s < until_s:
        fleet.delay_ns["1"] = 0.5 * fleet.t_s * S
        fleet.run(0.1, gps="14")
    assert fleet.gps.state.box_id == "4" and not fleet.gps.state.apart_ns
    fleet.checked_ns("2")


def test_a_box_beside_a_slow_receiver_is_punctual() -> None:
    """It is not taken for late itself."""
    fleet = Fleet()
    while fleet.t_s < 60:
        fleet.delay_ns["1"] = max(0.0, 0.2 * (fleet.t_s - 20)) * S
        fleet.run(0.1, free="")
    play(fleet, lambda t_s: 0.2 * (t_s - 20), 30)
    _, bounds = fleet.checked_ns("2")
    assert len(bounds) and bounds[-1] < 100 * MS


def test_a_busy_machines_windows_are_steady() -> None:
    """A crystal is not slow because of it."""
    dice = np.random.default_rng(5)
    for late_ms, ppm in ((0.5, 90), (30, -90), (300, 0)):
        lateness, paces, arrived = Lateness(), [], 0.0
        while arrived < 600e9:
            arrived += 16e6 + dice.exponential(late_ms * 1e6)
            end = round(arrived * (1 + ppm * 1e-6) - dice.exponential(late_ms * 1e6))
            if lateness.add(end, round(arrived)):
                paces.append(lateness.pace)
        assert len(paces) > 190 and Pace.EARLIER not in paces and lateness.is_settled
        assert paces.count(Pace.LATE) <= (0 if late_ms < 300 else len(paces) // 20)


def test_unnumbered_boxes_compare_as_configured() -> None:
    """They do not state a number."""
    now_s = [1000.0]
    gps = GpsComparison(lambda: T0_NS, lambda: now_s[0], lambda: FREE)
    clocks = Clocks(lambda: now_s[0], lambda: T0_NS, lambda: FREE, gps)
    hello = Hello(1, 0, 5, RATE, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")
    axes = {box_id: Axis(box_id, hello, None, clocks) for box_id in "89"}
    for block in range(1500):
        now_s[0] = 1000.0 + block / 60
        for box_id, axis in axes.items():
            t_ns = T0_NS + block * 200 * 10**12 // RATE + (5 * S if box_id == "9" else 0)
            axis.accept_samples(Samples(block * 200, t_ns, 100, TimeSource.GPS, RATE, 0, COUNTS), hello)
    assert set(gps.state.apart_ns) == {"8", "9"} and gps.reference(round(now_s[0] * 1e9)) is None
