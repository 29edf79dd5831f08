"""Leap seconds: doubted until the receiver, the gateway or time confirms them; inserted, deleted."""

from datetime import UTC, datetime
from typing import Any

import pytest
from clock_on_pc import (
    HOLDOVER,
    LOCKED,
    NMEA,
    SECOND_NS,
    SOURCE_FREE,
    SOURCE_GPS,
    SOURCE_NTP,
    UBX,
    UBX_CONFIRMED,
    UNKNOWN_NS,
    UTC_S,
    ClockOnPc,
    Line,
    Stamp,
    stamped,
)
from gps_messages import nav_timels, rmc

NEW_YEAR_S = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
SUBFRAMES_S = 750
"""12.5 minutes, in which the satellites send their leap seconds once."""


def test_a_gateway_confirms_the_leap_seconds() -> None:
    """Its time is right to 10 ms."""
    line = Line(ClockOnPc())
    for k in range(60):
        line.clock.sync(
            line.tick_at(k + 0.3), line.utc_s * SECOND_NS + k * SECOND_NS + 300_000_000, 10_000_000
        )
        list(line.run(1, kind=NMEA))
    stamp = line.clock.stamp(line.tick_at(59.5))
    assert stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 1000


def test_leap_seconds_are_doubted_from_the_fix_on() -> None:
    """One damaged sentence was not the first fix: for 12.5 minutes its leap seconds may be the firmware's."""
    line = Line(ClockOnPc())
    for k in range(1600):
        error_s = 2 if k < 600 + 750 else 0
        line.clock.receive(rmc(UTC_S + k + error_s, fix=k == 30 or k >= 600), line.tick_at(k + 0.1))
        list(line.run(1, labels=False))
        stamped(line, k + 0.6)
    assert stamped(line, 1599.9).source == SOURCE_GPS and abs(line.error_ns(1599.9)) <= 1


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("change", [1, -1])
def test_a_leap_second_is_neither_lost_nor_doubled(announced: bool, change: int) -> None:
    """Unix time: 23:59:60 repeats the second before it; stamps stop there and say so."""
    lead = 900  # NMEA does not say whether its leap seconds are the satellites' for 12.5 minutes
    line = Line(ClockOnPc(), utc_s=NEW_YEAR_S - lead)
    leap_k = lead if change > 0 else lead - 1  # second 60, or the one that is left out
    last_ns = 0
    for k in range(lead + 60):
        if announced and k > 30:
            ahead = k < leap_k
            known_s = 18 if ahead else 18 + change
            message = nav_timels(0, leap_seconds=known_s, change=change if ahead else 0, at_s=NEW_YEAR_S)
            line.clock.receive(message, line.tick_at(k + 0.05))
        line.clock.pps(line.tick_at(k))
        unix_s = line.utc_s + k - (change if k >= leap_k else 0)
        second = 60 if change > 0 and k == leap_k else None
        line.clock.receive(rmc(NEW_YEAR_S - 1 if second else unix_s, second=second), line.tick_at(k + 0.12))
        line.clock.tick(line.tick_at(k + 0.6))
        for part in (0.1, 0.4, 0.65):
            stamp = line.clock.stamp(line.tick_at(k + part))
            assert stamp.t_ns >= last_ns
            last_ns = stamp.t_ns
            error_ns = stamp.t_ns - unix_s * SECOND_NS - round(part * SECOND_NS)
            if k == leap_k and change > 0:
                error_ns = max(abs(error_ns), abs(error_ns - SECOND_NS))  # its two names
            if k > 40:
                assert abs(error_ns) <= stamp.uncertainty_ns
            if k > leap_k + 12 or lead - 50 < k < leap_k - 10:
                assert abs(error_ns) <= 14  # a tick, rounded twice
                assert stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 1000
    assert line.clock.status().leap_seconds == 18 + change or not announced


@pytest.mark.parametrize("kind", [NMEA, UBX])
def test_leap_seconds_of_a_cold_receiver_are_doubted(kind: int) -> None:
    """Two seconds ahead for 12.5 minutes; NMEA is used then, UBX once it says that it knows."""
    line = Line(ClockOnPc())
    for _ in line.run(750, label_error_s=2, kind=kind):
        stamped(line, line.k + 0.6)
    stamp = stamped(line, line.k)
    assert (stamp.source, stamp.uncertainty_ns // SECOND_NS) == (SOURCE_FREE, 2)
    for _ in line.run(120, kind=NMEA if kind == NMEA else UBX_CONFIRMED):
        stamped(line, line.k + 0.6)
    stamp = stamped(line, line.k)
    assert stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 1000


def judged(line: Line, seconds: int, **receiver: Any) -> Stamp:
    """The last stamp of these seconds; each holds its bound, and time does not go back."""
    last_ns = 0
    for _ in line.run(seconds, **receiver):
        stamp = stamped(line, line.k + 0.6)
        assert stamp.t_ns >= last_ns
        last_ns = stamp.t_ns
    return stamped(line, line.k - 0.1)


def certain(stamp: Stamp) -> bool:
    return stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 1000


def doubtful(stamp: Stamp) -> bool:
    return stamp.source == SOURCE_FREE and stamp.uncertainty_ns >= 2 * SECOND_NS


@pytest.mark.parametrize("error_s", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("unconfirmed_s", [20, 60, SUBFRAMES_S])
def test_a_confirmation_ends_the_doubt(error_s: int, unconfirmed_s: int) -> None:
    """Also where it confirms the same number."""
    line = Line(ClockOnPc())
    stamp = judged(line, unconfirmed_s, label_error_s=error_s, kind=UBX)
    assert unconfirmed_s < 60 or doubtful(stamp)
    assert certain(judged(line, 60))


def test_one_confirmed_label_confirms_nothing() -> None:
    """As a damaged message may say."""
    line = Line(ClockOnPc())
    judged(line, 60, label_error_s=2, kind=UBX)
    for k in range(300):
        judged(line, 1, label_error_s=2, kind=UBX_CONFIRMED if k % 30 == 0 else UBX)
    assert doubtful(judged(line, 1, label_error_s=2, kind=UBX))


@pytest.mark.parametrize("kind", [NMEA, UBX])
@pytest.mark.parametrize("error_s", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("says_no_fix", [True, False])
@pytest.mark.parametrize("without_s", [40, 3600])
def test_a_receiver_that_starts_again_cold(
    kind: int, error_s: int, says_no_fix: bool, without_s: int
) -> None:
    """It lost its supply, or was exchanged; its leap seconds are those of its firmware for 12.5 minutes."""
    line = Line(ClockOnPc())
    knows = NMEA if kind == NMEA else UBX_CONFIRMED
    assert certain(judged(line, 900, kind=knows))
    judged(line, without_s, fix=False, labels=says_no_fix, kind=kind)
    assert line.clock.status().state == HOLDOVER
    judged(line, SUBFRAMES_S, label_error_s=error_s, kind=kind)
    assert line.clock.status().state == LOCKED
    assert certain(judged(line, 120, kind=knows))


@pytest.mark.parametrize("error_s", [-2, 2])
def test_each_cold_start_is_doubted(error_s: int) -> None:
    """Also one that comes before the former one's leap seconds are known."""
    line = Line(ClockOnPc())
    for fixed_s in (100, 700, 900, 300):
        judged(line, fixed_s, label_error_s=error_s if fixed_s < SUBFRAMES_S else 0, kind=NMEA)
        judged(line, 40, fix=False, kind=NMEA)
    judged(line, SUBFRAMES_S, label_error_s=error_s, kind=NMEA)
    assert certain(judged(line, 120, kind=NMEA))


@pytest.mark.parametrize("error_s", [-2, 2])
def test_another_pulse_train_is_doubted(error_s: int) -> None:
    """A receiver that replaces the other, 300 ms off: nothing of the former second is known to hold."""
    line = Line(ClockOnPc())
    assert certain(judged(line, 900, kind=NMEA))
    judged(line, 40, labels=False, pulses=False)
    for k in range(SUBFRAMES_S):
        line.clock.pps(line.tick_at(line.k + 0.3))
        line.clock.label(UTC_S + line.k + error_s, line.tick_at(line.k + 0.42), kind=NMEA)
        line.clock.tick(line.tick_at(line.k + 0.6))
        line.k += 1
        if k > 150:
            assert line.clock.status().state == LOCKED
            assert doubtful(line.clock.stamp(line.tick_at(line.k)))


@pytest.mark.parametrize("says_no_fix", [True, False])
def test_a_ublox_that_lost_its_supply_speaks_nmea(says_no_fix: bool) -> None:
    """Until the Box has set it again; in between its leap seconds are those of its firmware."""
    line = Line(ClockOnPc())
    assert certain(judged(line, 300))
    judged(line, 30, fix=False, labels=says_no_fix, kind=NMEA)
    judged(line, 120, label_error_s=2, kind=NMEA)
    judged(line, 300, label_error_s=2, kind=UBX)
    assert certain(judged(line, 60))


def test_a_second_that_was_certain_stays() -> None:
    """A receiver that starts again cannot know better than the pulses that were counted without a break."""
    for error_s in (-2, 2):
        line = Line(ClockOnPc())
        assert certain(judged(line, 900, kind=NMEA))
        judged(line, 40, fix=False, kind=NMEA)
        for _ in range(SUBFRAMES_S // 10):
            judged(line, 10, label_error_s=error_s, kind=NMEA)
            assert abs(line.error_ns(line.k - 0.5)) < 100_000
        assert doubtful(stamped(line, line.k - 0.1))
        assert line.clock.status().labels_wrong == 29, "it is logged once, and not for 12.5 minutes"


@pytest.mark.parametrize("off_s", [0, -5, -2, -1, 2, 3])
@pytest.mark.parametrize("after_s", [0, 5, 60])
def test_a_gateway_is_asked_after_a_cold_start(off_s: int, after_s: int) -> None:
    """It ends the doubt; where it is seconds wrong and states 10 ms, it does not win."""
    line = Line(ClockOnPc())
    assert certain(judged(line, 900, kind=NMEA))
    judged(line, 40, fix=False, kind=NMEA)
    judged(line, 1 + after_s, label_error_s=2, kind=NMEA)
    for _ in range(120):
        true_ns = (UTC_S + line.k + off_s) * SECOND_NS + 300_000_000
        line.clock.sync(line.tick_at(line.k + 0.3), true_ns, 10_000_000)
        stamp = judged(line, 1, label_error_s=2, kind=NMEA)
    if off_s:
        assert stamp.source == SOURCE_FREE and stamp.uncertainty_ns >= min(abs(off_s) * SECOND_NS, UNKNOWN_NS)
    else:
        assert stamp.source == SOURCE_NTP and stamp.uncertainty_ns < SECOND_NS // 10


@pytest.mark.parametrize("kind", [NMEA, UBX])
def test_a_missed_leap_second_needs_two_clocks(kind: int) -> None:
    """The antenna was off over its midnight, it was not announced; the gateway agrees with the labels."""
    line = Line(ClockOnPc(), utc_s=NEW_YEAR_S - 1300)
    for second in range(1700):
        after = second >= 1300
        fix = not 1200 <= second < 1600
        list(line.run(1, label_error_s=-after, fix=fix, kind=kind))
        if second % 20 == 0:
            told_s = line.utc_s + line.k - after
            line.clock.sync(line.tick_at(line.k + 0.3), told_s * SECOND_NS + 300_000_000, 10_000_000)
    stamp = line.clock.stamp(line.tick_at(line.k))
    assert stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 1000
    assert abs(stamp.t_ns - (line.utc_s + line.k - 1) * SECOND_NS) < 1000


def test_the_receivers_leap_seconds_win() -> None:
    line = Line(ClockOnPc(leap_seconds=17))
    list(line.run(60))
    assert line.clock.status().leap_seconds == 17
    line.clock.receive(nav_timels(0, leap_seconds=19), line.tick_at(line.k))
    line.clock.configure(leap_seconds=16)
    assert line.clock.status().leap_seconds == 19
