"""Supply, battery, VDD (app_run.py)."""

import codes
from app_run import Run, command, logs, play
from opq import acquire, board, clock, pipeline, settings, update


def supply(volts):
    def change():
        acquire.slow_values[1] = volts

    return change


def cell(volts):
    def change():
        acquire.slow_values[2] = volts

    return change


def case_a_lost_supply_is_reported_and_its_return_too():
    run = Run()
    run.later(2000, supply(0.3))
    run.later(12_000, supply(5.0))
    run.for_ms(20_000)
    assert logs(codes.ON_BATTERY) == [(300, 3900)]
    assert logs(codes.SUPPLY_BACK) == [(5000, 9)], logs(codes.SUPPLY_BACK)
    assert len(acquire.starts) == 1 and logs(codes.STOPPED) == []


def case_a_dip_of_the_supply_is_no_switch_to_battery():
    run = Run()
    run.later(2000, supply(0.3))
    run.later(2150, supply(5.0))
    run.for_ms(5000)
    assert logs(codes.ON_BATTERY) == []


def case_an_empty_battery_is_an_orderly_stop_and_the_supply_starts_again():
    run = Run()
    run.later(2000, supply(0.3))
    run.later(5000, cell(3.3))
    run.later(30_000, supply(5.0))
    run.later(30_000, cell(3.5))
    run.for_ms(60_000)
    assert logs(codes.BATTERY_LOW) == [(300, 3300)]
    assert logs(codes.STOPPED) == [(codes.BATTERY, 0)]
    assert len(logs(codes.CONVERTER_STARTED)) == 2
    assert acquire.started_ms is not None and not pipeline.held
    assert run.supervisor.exceptions == 0
    assert board.fed_longest_ms <= 25  # stopped on purpose is not a hang


def case_a_stopped_box_says_nothing_of_the_samples_that_it_takes_to_see_its_supply():
    run = Run()
    run.later(2000, supply(0.3))
    run.later(5000, cell(3.3))
    holds = []
    run.later(10_800, lambda: holds.append(pipeline.held))
    run.for_ms(20_000)
    assert holds == [True], holds
    assert 3 <= len(acquire.starts) <= 5
    assert len(logs(codes.CONVERTER_STARTED)) == 1


def case_a_battery_that_gets_empty_during_a_trial_is_not_the_images_fault():
    update.trial = True
    run = Run()
    run.later(2000, supply(0.3))
    run.later(5000, cell(3.3))
    run.later(300_000, supply(5.0))
    run.later(300_000, cell(3.9))
    run.for_ms(320_000)
    assert board.resets == 0 and update.confirms == 1


def case_a_setting_for_the_converter_put_while_stopped_waits_for_the_next_start():
    run = Run()
    run.later(2000, supply(0.3))
    run.later(5000, cell(3.3))
    run.later(7000, command(codes.PUT_SETTING, "offset_lsb=5"))
    running = []
    run.later(8000, lambda: running.append(acquire.started_ms))
    run.later(20_000, supply(5.0))
    run.later(20_000, cell(3.9))
    run.for_ms(40_000)
    assert pipeline.named("ack") == [(1, codes.DONE, "")]
    assert running == [None]
    assert acquire.starts[-1][2] == 5 and acquire.started_ms is not None


def case_an_update_that_ends_while_stopped_leaves_the_box_excused_from_samples():
    def refuse():
        update.answers[:] = [update.BAD_IMAGE]
        pipeline.inbox.append((pipeline.UPDATE_DATA, 2, 512, bytes(1024)))

    run = Run()
    run.later(2000, supply(0.3))
    run.later(5000, cell(3.3))
    run.later(7000, command(codes.UPDATE_BEGIN, "200000"))
    run.later(8000, refuse)
    run.for_ms(40_000)
    assert board.fed_longest_ms <= 25 and board.fed_last_ms > 40_900


def case_an_app_built_again_while_the_line_was_held_speaks():
    run = Run()

    def broken():
        if run.supervisor.restarts == 0:
            pipeline.hold(True)  # as a probe of the supply has it
            raise ValueError("again and again")

    def break_it():
        clock.poll = broken

    run.later(2000, break_it)
    run.for_ms(8000)
    assert run.supervisor.restarts == 1
    assert not pipeline.held


def case_a_box_without_a_battery_runs_and_says_so_when_the_supply_is_low():
    acquire.slow_values[2] = 0.02
    run = Run()
    run.later(3000, supply(4.1))
    run.for_ms(10_000)
    assert logs(codes.NO_BATTERY) == [(4100, 0)]
    assert logs(codes.ON_BATTERY) == [] and acquire.started_ms is not None
    assert pipeline.named("health")[-1][2] != pipeline.named("health")[-1][2]  # NaN: no battery
    assert abs(pipeline.named("health")[-1][1] - 4.1) < 1e-6


def case_a_box_that_senses_neither_says_nothing():
    acquire.slow_values[1:3] = [0.01, 0.02]
    Run().for_ms(10_000)
    for code in (codes.NO_BATTERY, codes.ON_BATTERY, codes.STOPPED):
        assert logs(code) == []


def case_a_falling_vdd_stops_the_sampling_at_once_and_comes_back():
    def low(is_low):
        def change():
            board.low = is_low

        return change

    run = Run()
    run.later(2000, low(True))
    run.later(4000, low(False))
    run.for_ms(6000)
    assert logs(codes.STOPPED) == [(codes.SUPPLY_LOW, 0)]
    assert len(acquire.starts) == 2 and acquire.started_ms > 4000
    assert settings.saves == 0


if __name__ == "__main__":
    play(globals())
