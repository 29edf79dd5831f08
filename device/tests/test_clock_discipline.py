"""The clock by hand-made pulses and labels: states, steps, slews, names of seconds."""

import random
from datetime import UTC, datetime

import pytest
from clock_on_pc import (
    ACQUIRING,
    FREE,
    HOLDOVER,
    LOCKED,
    NMEA,
    SECOND_NS,
    SOURCE_FREE,
    SOURCE_GPS,
    SOURCE_HOLDOVER,
    SOURCE_NTP,
    TICK_HZ,
    UBX,
    UBX_CONFIRMED,
    UNKNOWN_NS,
    UTC_S,
    ClockOnPc,
    Line,
    stamped,
)
from gps_messages import gga, nav_pvt, rmc, tim_tp

NEW_YEAR_S = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def locked(line: Line, seconds: int = 60) -> Line:
    assert list(line.run(seconds))[-1] == LOCKED
    return line


def test_without_a_receiver_time_is_unknown() -> None:
    clock = ClockOnPc(now_tick=1000)
    for s in range(5):
        assert clock.tick(1000 + s * TICK_HZ) == FREE
    stamp = clock.stamp(1000 + 3 * TICK_HZ)
    assert stamp.t_ns == 3 * SECOND_NS
    assert (stamp.uncertainty_ns, stamp.source, stamp.rate_millihz) == (UNKNOWN_NS, SOURCE_FREE, 12_000_000)


def test_it_acquires_then_locks() -> None:
    line = Line(ClockOnPc())
    states = list(line.run(60))
    assert states == sorted(states) and ACQUIRING in states and states[-1] == LOCKED
    assert abs(line.error_ns(59.9)) <= 1
    stamp = line.clock.stamp(line.tick_at(59.9))
    assert stamp.source == SOURCE_GPS and stamp.uncertainty_ns < 300
    assert line.clock.status().pulses_rejected == 0


@pytest.mark.parametrize("ppm", [-50, 50])
def test_the_measured_rate_is_the_crystals(ppm: int) -> None:
    line = locked(Line(ClockOnPc(), rate_hz=TICK_HZ + TICK_HZ * ppm // 10**6), 120)
    stamp = line.clock.stamp(line.tick_at(119.5))
    assert abs(stamp.rate_millihz - 12_000_000 * (1 + ppm / 1e6)) <= 1  # 1 mHz is 0.08 ppm
    assert abs(line.error_ns(119.5)) < 20
    assert abs(line.clock.status().frequency_ppb - 1000 * ppm) < 20


def test_cable_and_receiver_delay_is_removed() -> None:
    line = locked(Line(ClockOnPc(pulse_delay_ns=250)))
    assert abs(line.error_ns(59.9) - 250) <= 2  # the edge labelled as on the second came 250 ns after it


def test_glitches_doubles_and_a_missing_pulse_change_nothing() -> None:
    line = locked(Line(ClockOnPc()))
    status = line.clock.status()
    line.clock.pps(line.tick_at(59.9))  # between
    line.clock.pps(line.tick_at(59.95))
    list(line.run(1))
    line.clock.pps(line.tick_at(60.0001))  # doubled
    list(line.run(1, pulses=False))  # missing
    list(line.run(3))
    after = line.clock.status()
    assert after.pulses_rejected - status.pulses_rejected == 3
    assert after.pulses_missed - status.pulses_missed == 1
    assert after.state == LOCKED and abs(line.error_ns(64.9)) <= 1


def test_holdover_grows_and_return_is_slewed() -> None:
    line = locked(Line(ClockOnPc()), 300)
    before = line.clock.stamp(line.tick_at(299.5))
    states = list(line.run(600, pulses=False, labels=False))
    assert states[0] == LOCKED and states[-1] == HOLDOVER
    doubts = [line.clock.stamp(line.tick_at(line.k - 0.5)).uncertainty_ns]
    assert doubts[0] > 10 * before.uncertainty_ns
    assert line.clock.stamp(line.tick_at(line.k - 0.5)).source == SOURCE_HOLDOVER
    # The pulses come back 8 us late: inside the bound, so they are believed, and slewed to at 20 ppm.
    line.utc_s, late_ticks = line.utc_s, 8 * 84
    last_ns = line.clock.stamp(line.tick_at(line.k - 0.4)).t_ns
    for k in range(line.k, line.k + 12):
        line.clock.pps(line.tick_at(k) + late_ticks)
        line.clock.label(line.utc_s + k, line.tick_at(k + 0.12))
        line.clock.tick(line.tick_at(k + 0.6))
        for tenth in range(10):
            t_ns = line.clock.stamp(line.tick_at(k - 0.4 + tenth / 10)).t_ns
            step_ns = t_ns - last_ns
            assert abs(step_ns - SECOND_NS // 10) <= 2100 or step_ns == 0  # 20 ppm of 0.1 s
            last_ns = t_ns
    assert line.clock.status().state == LOCKED
    assert abs(line.error_ns(line.k + 11.5) + 8000) < 100


@pytest.mark.parametrize("pulses", [2, 3, 4, 5, 6, 7, 8, 9, 10])
@pytest.mark.parametrize("missing", [0.0, 0.05, 0.2])
def test_several_pulses_a_second_lock_nothing(pulses: int, missing: float) -> None:
    """HKUST-Aerial-Robotics/GVINS-Dataset 4: 10 pulses a second; one of them is the second, but which?"""
    chance = random.Random(pulses)
    line = Line(ClockOnPc())
    for k in range(200 * pulses):
        if chance.random() >= missing:
            line.clock.pps(line.tick_at((k + 0.5) / pulses))
        if k % pulses == 0:
            list(line.run(1, pulses=False))
    assert line.clock.status().state < LOCKED and line.clock.status().pulses == 0
    assert line.clock.stamp(line.tick_at(199.5)).uncertainty_ns == UNKNOWN_NS


@pytest.mark.parametrize(("after_s", "locks"), [(2e-6, True), (20e-6, True), (1e-3, True), (0.1, False)])
def test_a_bouncing_edge_locks(after_s: float, locks: bool) -> None:
    """From the start on. After 100 ms a bounce is over: which of the two is the second is not known."""
    line = Line(ClockOnPc())
    for _ in range(60):
        line.clock.pps(line.tick_at(line.k))
        line.clock.pps(line.tick_at(line.k + after_s))
        list(line.run(1, pulses=False))
    assert (line.clock.status().state == LOCKED) is locks
    if locks:
        assert abs(line.error_ns(59.5)) <= 1 and line.clock.status().pulses_rejected == 60


def test_a_bouncing_edge_overthrows_too() -> None:
    line = locked(Line(ClockOnPc()), 120)
    for _ in range(100):
        for after_s in (0.3, 0.301):
            line.clock.pps(line.tick_at(line.k + after_s))
        list(line.run(1, pulses=False, labels=False))
    assert line.clock.status().state == ACQUIRING


def test_more_pulses_once_locked_change_nothing() -> None:
    line = locked(Line(ClockOnPc()))
    for _ in range(100):
        list(line.run(1))
        line.clock.pps(line.tick_at(line.k - 0.5))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(line.k - 0.5)) <= 1


def test_returning_pulses_300_ms_off_are_doubted() -> None:
    """Pulses that come back 300 ms off are not believed within a minute."""
    line = locked(Line(ClockOnPc()), 120)
    list(line.run(30, pulses=False, labels=False))
    for _ in range(40):
        line.clock.pps(line.tick_at(line.k + 0.3))
        list(line.run(1, pulses=False))
    assert line.clock.status().state == HOLDOVER
    assert abs(line.error_ns(line.k - 0.5)) < 2000
    assert list(line.run(8))[-1] == LOCKED


def test_lasting_pulses_overthrow_the_clock() -> None:
    line = locked(Line(ClockOnPc()), 120)
    seen = []
    for _ in range(140):
        line.clock.pps(line.tick_at(line.k + 0.3))
        line.clock.label(line.utc_s + line.k, line.tick_at(line.k + 0.42))
        seen.append(line.clock.tick(line.tick_at(line.k + 0.6)))
        line.k += 1
    assert HOLDOVER in seen and seen[-1] == LOCKED
    assert ACQUIRING in seen[seen.index(HOLDOVER) :]  # in between: unknown, then the step
    assert line.clock.status().steps_back == 0


@pytest.mark.parametrize("error_s", [-1, 1])
def test_a_briefly_wrong_label_is_counted(error_s: int) -> None:
    line = locked(Line(ClockOnPc()))
    list(line.run(5, label_error_s=error_s))
    list(line.run(10))
    assert line.clock.status().labels_wrong == 5
    assert abs(line.error_ns(line.k - 0.5)) <= 1


def test_a_wrong_first_second_is_refused() -> None:
    """A wrong second after a cold start is not taken for the time."""
    line = Line(ClockOnPc())
    list(line.run(12, label_error_s=2))
    list(line.run(40))
    assert line.clock.status().state == LOCKED
    assert abs(line.error_ns(line.k - 0.5)) <= 1


@pytest.mark.parametrize("error_s", [-1, 1])
def test_lasting_labels_win_without_going_back(error_s: int) -> None:
    line = locked(Line(ClockOnPc()))
    doubted = False
    last_ns = 0
    for state in line.run(60, label_error_s=error_s):
        assert state == LOCKED
        stamp = line.clock.stamp(line.tick_at(line.k + 0.5))
        assert stamp.t_ns > last_ns
        last_ns = stamp.t_ns
        doubted = doubted or stamp.uncertainty_ns >= SECOND_NS
    assert doubted
    assert abs(line.error_ns(line.k - 0.5) - error_s * SECOND_NS) <= 1


def test_late_labels_name_the_right_pulse() -> None:
    """Labels late by up to a second and more name the right pulse."""
    line = Line(ClockOnPc())
    for k in range(80):
        list(line.run(1, latency_s=(0.75, 0.9, 1.05)[k % 3]))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(line.k - 0.5)) <= 1


def test_a_next_pulse_receiver_is_right() -> None:
    """By TIM-TP and by the setting; the gateway's time makes it a doubt."""
    by_message = Line(ClockOnPc())
    for k in range(60):
        by_message.clock.receive(tim_tp(UTC_S + k + 1), by_message.tick_at(k + 0.3))
        list(by_message.run(1, labels=False))
    by_setting = Line(ClockOnPc(label_offset_s=-1))
    list(by_setting.run(60, label_error_s=1))
    by_gateway = Line(ClockOnPc())
    for k in range(60):
        if k % 5 == 0:
            by_gateway.clock.sync(
                by_gateway.tick_at(k + 0.5), (UTC_S + k) * SECOND_NS + SECOND_NS // 2, 20_000_000
            )
        list(by_gateway.run(1, label_error_s=1, kind=NMEA))
    for line in (by_message, by_setting):
        assert line.clock.status().state == LOCKED and abs(line.error_ns(59.5)) <= 1
    assert by_gateway.clock.status().label_conflicts == 1
    assert stamped(by_gateway, 59.9).source == SOURCE_FREE


def test_a_confirmed_ubx_label_outweighs_nmea() -> None:
    line = Line(ClockOnPc())
    for k in range(60):
        line.clock.receive(rmc(UTC_S + k + 2), line.tick_at(k + 0.1))
        line.clock.receive(nav_pvt(UTC_S + k), line.tick_at(k + 0.15))
        list(line.run(1, labels=False))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(59.5)) <= 1


@pytest.mark.parametrize("kind", [NMEA, UBX, UBX_CONFIRMED])
def test_the_status_says_which_label_names_the_seconds(kind: int) -> None:
    line = Line(ClockOnPc())
    list(line.run(20, pulses=False, kind=kind))
    assert line.clock.status().label == 0, "without pulses there are no seconds to name"
    list(line.run(20, kind=kind))
    assert line.clock.status().label == 1 + kind


def test_1024_lost_weeks_are_found() -> None:
    line = Line(ClockOnPc())
    for k in range(60):
        line.clock.sync(line.tick_at(k + 0.5), (UTC_S + k) * SECOND_NS + SECOND_NS // 2, 20_000_000)
        list(line.run(1, label_error_s=-1024 * 604_800))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(59.5)) <= 1


def test_pulses_without_a_fix_are_unused() -> None:
    line = Line(ClockOnPc())
    for k in range(30):
        line.clock.receive(rmc(UTC_S + k, fix=False), line.tick_at(k + 0.1))
        list(line.run(1, labels=False))
    assert line.clock.status().state == FREE
    line = locked(Line(ClockOnPc()))
    for _ in range(30):
        line.clock.receive(rmc(UTC_S + line.k, fix=False), line.tick_at(line.k + 0.1))
        list(line.run(1, labels=False))
    assert line.clock.status().state == HOLDOVER


def test_one_sentence_with_a_fix_is_no_fix() -> None:
    """NMEA's checksum lets one damaged sentence of 256 pass; the pulses then run free, by 100 ns a second."""
    line = locked(Line(ClockOnPc()), 30)
    for k in range(200):
        if k % 3 == 0:  # the others are damaged
            line.clock.receive(rmc(UTC_S + line.k, fix=k % 30 == 27), line.tick_at(line.k + 0.1))
        line.clock.pps(line.tick_at(line.k + max(k - 9, 0) * 100e-9))
        list(line.run(1, pulses=False, labels=False))
        assert k < 20 or line.clock.status().state == HOLDOVER
        stamped(line, line.k - 0.5)


@pytest.mark.parametrize("every", [2, 3])
def test_a_fix_with_gaps_locks(every: int) -> None:
    """Every second or third RMC is V, after half a minute without a fix."""
    line = Line(ClockOnPc())
    for k in range(100):
        line.clock.receive(rmc(UTC_S + k, fix=k > 30 and k % every > 0), line.tick_at(k + 0.1))
        list(line.run(1, labels=False))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(99.5)) <= 1


@pytest.mark.parametrize("gga_at", [0.08, 0.2])
def test_a_fix_of_rmc_overrules_gga(gga_at: float) -> None:
    """GGA says an estimate, before or after an RMC of its second that says a fix."""
    line = Line(ClockOnPc())
    for k in range(80):
        sentences = [(0.12, rmc(UTC_S + k, fix=k > 30)), (gga_at, gga(UTC_S + k, quality=6))]
        for at, sentence in sorted(sentences):
            line.clock.receive(sentence, line.tick_at(k + at))
        list(line.run(1, labels=False))
        assert k != 30 or line.clock.status().state == FREE
    assert line.clock.status().state == LOCKED and abs(line.error_ns(79.5)) <= 1


@pytest.mark.parametrize("kind", [NMEA, UBX, UBX_CONFIRMED])
@pytest.mark.parametrize("late_s", [0, 1, 2, 3, 4, 3600, 1024 * 604_800])
@pytest.mark.parametrize("before", [True, False])
def test_the_gateways_time_contradicts_every_label(kind: int, late_s: int, before: bool) -> None:
    """Labels by whole seconds late, with a gateway's time from the start on, or a minute later."""
    line = Line(ClockOnPc())
    weeks = late_s % (1024 * 604_800) == 0
    for k in range(150):
        if k >= (0 if before else 60):
            true_ns = (UTC_S + k) * SECOND_NS + SECOND_NS // 2
            line.clock.sync(line.tick_at(k + 0.5), true_ns, 20_000_000)
        list(line.run(1, label_error_s=-late_s, kind=kind))
        if before:
            stamped(line, k + 0.6)
    stamp, status = stamped(line, 149.9), line.clock.status()
    assert status.label_conflicts == (late_s > 0)
    if weeks:
        assert abs(line.error_ns(149.9)) <= 2 and stamp.source == SOURCE_GPS
        assert stamp.uncertainty_ns < 1000
    else:  # one of two that both know is wrong
        assert stamp.source == SOURCE_FREE
        assert stamp.uncertainty_ns // SECOND_NS == (late_s if late_s <= 4 else UNKNOWN_NS // SECOND_NS)
    for k in range(150, 200):  # both agree again
        true_ns = (UTC_S + k) * SECOND_NS + SECOND_NS // 2
        line.clock.sync(line.tick_at(k + 0.5), true_ns, 20_000_000)
        list(line.run(1, kind=kind))
    assert line.clock.stamp(line.tick_at(199.9)).source == SOURCE_GPS and abs(line.error_ns(199.9)) <= 2


def test_lost_weeks_are_found_without_a_gateway() -> None:
    for lost in (1024, 2048):
        line = Line(ClockOnPc())
        list(line.run(60, label_error_s=-lost * 604_800))
        assert abs(line.error_ns(59.5)) <= 2 and line.clock.status().label_conflicts == 1


def test_one_label_before_2016_moves_nothing() -> None:
    """Weeks are lost by what most labels say, also where the label that settles the second is a wrong one."""
    for wrong in range(6, 30):
        line = Line(ClockOnPc())
        for k in range(60):
            list(line.run(1, label_error_s=-1024 * 604_800 * (k == wrong)))
        assert abs(line.error_ns(59.5)) <= 2 and line.clock.status().label_conflicts == 0, wrong


def test_a_second_that_stands_still_locks_nothing() -> None:
    """wellenvogel/esp32-nmea2000 38: a fix at 00:00:00 of one day, each second."""
    line = Line(ClockOnPc())
    states = [state for k in range(200) for state in line.run(1, label_error_s=-k, kind=NMEA)]
    assert LOCKED not in states and line.clock.stamp(line.tick_at(199.5)).source == SOURCE_FREE


def test_a_stamp_once_given_is_given_again() -> None:
    line = locked(Line(ClockOnPc(), rate_hz=TICK_HZ + 2000))
    given = {}
    for _ in line.run(30):
        for tenth in range(10):
            tick = line.tick_at(line.k - 0.5 + tenth / 10)
            given[tick] = line.clock.stamp(tick)
        for tick, stamp in given.items():
            if line.tick_at(line.k) - tick < 6 * TICK_HZ:
                assert line.clock.stamp(tick) == stamp
    assert line.clock.stamp(line.tick_at(line.k - 60)).old


def test_the_gateways_time_stays_ntp() -> None:
    clock = ClockOnPc()
    for s in range(0, 600):
        if s % 20 == 0:
            clock.sync(s * TICK_HZ, (UTC_S + s) * SECOND_NS + (-1) ** (s // 20) * 1_000_000, 5_000_000)
        clock.tick(s * TICK_HZ + TICK_HZ // 2)
    stamp = clock.stamp(600 * TICK_HZ)
    assert abs(stamp.t_ns - (UTC_S + 600) * SECOND_NS) < 2_000_000
    assert stamp.source == SOURCE_NTP and 5_000_000 <= stamp.uncertainty_ns < 6_000_000
    assert clock.status().state == FREE


def test_an_unknowing_gateway_says_free() -> None:
    clock = ClockOnPc()
    clock.sync(0, UTC_S * SECOND_NS, UNKNOWN_NS - 1, SOURCE_FREE)
    clock.tick(TICK_HZ)
    assert clock.stamp(2 * TICK_HZ).source == SOURCE_FREE
    assert abs(clock.stamp(2 * TICK_HZ).t_ns - (UTC_S + 2) * SECOND_NS) < 1000


def test_pulses_alone_are_named_by_the_gateway() -> None:
    line = Line(ClockOnPc())
    for k in range(60):
        line.clock.sync(line.tick_at(k + 0.5), (UTC_S + k) * SECOND_NS + 490_000_000, 50_000_000)
        list(line.run(1, labels=False))
    assert line.clock.status().state == LOCKED and abs(line.error_ns(59.5)) <= 1


def test_gps_slews_small_errors() -> None:
    for error_ns in (300_000, 40_000_000):
        line = Line(ClockOnPc())
        line.clock.sync(
            line.tick_at(0.5) - TICK_HZ, UTC_S * SECOND_NS - SECOND_NS // 2 + error_ns, 50_000_000
        )
        last_ns = 0
        for _ in line.run(60):
            for tenth in range(10):
                stamp = line.clock.stamp(line.tick_at(line.k + 0.6 + tenth / 10))
                assert stamp.t_ns >= last_ns
                last_ns = stamp.t_ns
        assert abs(line.error_ns(59.5)) <= 1 and line.clock.status().steps_back == 0


def test_the_coefficient_is_learnt_and_serves_in_holdover() -> None:
    """0.1 ppm/K: +5 K in two locked hours, then 5 K more in an hour without pulses."""
    clock = ClockOnPc()
    ticks, t_c, sensor_c = 10_000.0, 25.0, 25.0
    for s in range(3 * 3600):
        locked_now = s < 2 * 3600
        t_c = 25.0 + 5.0 * min(s / 7200, 1.0) + 5.0 * max(s - 7200, 0) / 3600
        sensor_c += (t_c - sensor_c) / 60.0
        if locked_now:
            clock.pps(int(ticks))
            clock.label(UTC_S + s, int(ticks) + TICK_HZ // 8, kind=UBX_CONFIRMED)
        clock.temperature(int(ticks) + TICK_HZ // 3, sensor_c)
        clock.tick(int(ticks) + TICK_HZ // 2)
        if s == 7199:
            status = clock.status()
            assert status.learnt and abs(status.coefficient_pptk - 100_000) < 1000
        ticks += TICK_HZ * (1 + 1e-7 * (t_c - 25.0))
    stamp = clock.stamp(int(ticks))
    error_ns = abs(stamp.t_ns - (UTC_S + 3 * 3600) * SECOND_NS)
    assert error_ns < 10_000 and error_ns < stamp.uncertainty_ns
    assert clock.status().state == HOLDOVER


def test_a_delay_set_while_locked_is_slewed_to() -> None:
    line = locked(Line(ClockOnPc()))
    line.clock.configure(pulse_delay_ns=300)
    list(line.run(60))
    assert line.clock.status().state == LOCKED
    assert abs(line.error_ns(line.k - 0.5) - 300) <= 2
