"""The app's logic under real MicroPython with faked C modules: `micropython app_cases.py CASE`.

Each `case_...` runs in a process of its own; its name is the sentence that test_app.py shows. The whole
app runs (main.build and the supervisor), on a clock that sleeps move.
"""

import sys

import acquire
import board
import clock
import codes
import fake_time
import pipeline
import settings
import update


class End(BaseException):
    """The case's time is over."""


class Run:
    """The whole app until `ms` of fake time have passed; `at` calls a function then."""

    def __init__(self):
        self.at = []

    def later(self, ms, function):
        self.at.append((fake_time.now_ms + ms, function))

    def for_ms(self, ms):
        import main
        from journal import Journal
        from supervisor import Supervisor

        end_ms = fake_time.now_ms + ms
        journal = Journal()
        self.supervisor = Supervisor(journal)

        def watch():
            if fake_time.now_ms >= end_ms:
                raise End
            due = [entry for entry in self.at if entry[0] <= fake_time.now_ms]
            for entry in due:
                self.at.remove(entry)
                entry[1]()

        def build():
            if fake_time.now_ms >= end_ms:
                raise End  # nothing could be built
            steps = main.build(journal, self.supervisor)
            return [(watch, 0)] + steps

        try:
            self.supervisor.run(build)
        except End:
            pass
        return self


def command(operation, argument="", number=1):
    return lambda: pipeline.inbox.append((pipeline.COMMAND, number, operation, argument))


def logs(code):
    return [entry[1:] for entry in pipeline.named("log") if entry[0] == code]


def asked(operation, argument=""):
    """Status and detail of the answer to a command one second after the start."""
    run = Run()
    run.later(1000, command(operation, argument, 513))
    try:
        run.for_ms(2500)
    except board.Reset:
        pass
    answers = [entry[1:] for entry in pipeline.named("ack") if entry[0] == 513]
    assert len(answers) == 1, answers
    return answers[0]


def case_a_box_says_hello_each_second_until_it_is_commanded_and_each_five_then():
    run = Run()
    run.later(4500, command(codes.GET_SETTINGS))
    run.for_ms(19_900)
    hellos = len(pipeline.named("hello"))
    assert hellos == 5 + 3, hellos
    first = pipeline.named("hello")[0]
    assert first[0] == 1003 and first[2:] == (0.0078125, 120.0, 60.0, 13.5, "fake internal", "1.2.3"), first


def case_gps_and_health_come_once_a_second():
    Run().for_ms(10_050)
    assert len(pipeline.named("gps")) in (10, 11)
    assert len(pipeline.named("health")) in (10, 11)
    assert pipeline.named("gps")[0] == (9, 213069444, -1578583333)
    assert clock.temperatures[-1] == 25.0
    assert clock.polls > 500


def case_hello_is_acknowledged_and_answered_by_a_hello():
    assert asked(codes.HELLO) == (codes.DONE, "")
    kinds = [message[0] for message in pipeline.sent]
    assert "hello" in kinds[kinds.index("ack") :]


def case_settings_are_told_with_their_sequence():
    assert asked(codes.GET_SETTINGS) == (codes.DONE, "")
    sequence, items = pipeline.named("settings")[0]
    assert sequence == 0 and ("nominal_v", "120") in items


def case_a_setting_is_put_saved_logged_and_used():
    assert asked(codes.PUT_SETTING, "gain=1.25") == (codes.DONE, "")
    assert settings.saves == 1 and logs(codes.SETTINGS_SAVED) == [(1, 0)]
    assert pipeline.named("hello")[-1][2] == 0.0078125 * 1.25
    assert pipeline.features_set[-1][2] == 0.0078125 * 1.25
    assert len(acquire.starts) == 1


def case_an_offset_starts_the_sampling_anew_with_another_boot_id():
    boot_ids = [None]
    run = Run()
    run.later(900, lambda: boot_ids.append(pipeline.named("hello")[0][1]))
    run.later(1000, command(codes.PUT_SETTING, "offset_lsb=-12.4"))
    run.later(1100, command(codes.PUT_SETTING, "phase_ns=1500"))
    run.for_ms(3000)
    assert acquire.starts[-1] == ("board", 0, -12, 126), acquire.starts
    assert pipeline.restarts == 3
    assert pipeline.named("hello")[-1][1] == boot_ids[1] + 2


def case_a_setting_that_does_not_exist_or_fit_is_a_bad_argument_and_nothing_is_saved():
    assert asked(codes.PUT_SETTING, "no_such=1") == (codes.BAD_ARGUMENT, "no setting no_such")
    assert settings.saves == 0


def case_a_value_that_is_refused_is_a_bad_argument():
    assert asked(codes.PUT_SETTING, "gain=much")[0] == codes.BAD_ARGUMENT


def case_an_argument_without_equals_is_a_bad_argument():
    assert asked(codes.PUT_SETTING, "gain")[0] == codes.BAD_ARGUMENT


def case_a_save_that_flash_refuses_is_a_failure_and_is_logged():
    settings.flash = settings.FLASH
    assert asked(codes.PUT_SETTING, "gain=1.1")[0] == codes.FAILED
    assert logs(codes.SETTINGS_FAILED) == [(settings.FLASH, 0)]


def case_a_reset_is_acknowledged_first():
    assert asked(codes.RESET) == (codes.DONE, "")
    assert board.resets == 1
    assert logs(codes.STOPPED) == [(codes.COMMANDED, 0)]


def case_time_of_the_gateway_reaches_the_clock():
    assert asked(codes.SYNC_TIME, "1700000000123456789,4000000") == (codes.DONE, "")
    assert clock.synced == [(1700000000123456789, 4000000, True)]


def case_time_of_the_gateway_is_not_needed_while_gps_is_locked():
    clock.state = clock.LOCKED
    assert asked(codes.SYNC_TIME, "1700000000123456789,4000000")[0] == codes.DONE
    assert clock.synced == []


def case_nonsense_is_no_time():
    assert asked(codes.SYNC_TIME, "yesterday")[0] == codes.BAD_ARGUMENT


def case_no_time_before_1970_and_no_certainty():
    assert asked(codes.SYNC_TIME, "1700000000123456789,0")[0] == codes.BAD_ARGUMENT


def case_crossing_limits_are_set_and_what_is_not_named_is_not_watched():
    assert asked(codes.CROSSING_LIMITS, "dip=0.85,swell=1.15") == (codes.DONE, "")
    assert pipeline.limits_set == [(0.85, 1.15, 0.0, 0.02)]


def case_no_limits_watch_nothing():
    assert asked(codes.CROSSING_LIMITS, "") == (codes.DONE, "")
    assert pipeline.limits_set == [(0.0, 0.0, 0.0, 0.02)]


def case_a_limit_of_nothing_known_is_a_bad_argument():
    assert asked(codes.CROSSING_LIMITS, "sag=0.9")[0] == codes.BAD_ARGUMENT
    assert pipeline.limits_set == []


def case_a_limit_that_is_no_number_is_a_bad_argument():
    assert asked(codes.CROSSING_LIMITS, "dip=low")[0] == codes.BAD_ARGUMENT


def case_an_operation_of_the_future_is_unknown():
    assert asked(10) == (codes.UNKNOWN, "")


def case_the_repl_command_ends_the_app_after_its_acknowledgement():
    run = Run()
    run.later(1000, command(codes.REPL_OPERATION, "", 513))
    run.for_ms(3000)
    assert run.supervisor.stop
    assert pipeline.named("ack") == [(513, codes.DONE, "")]
    assert logs(codes.REPL) == [(0, 0)]
    assert fake_time.now_ms < 3000


def case_main_hands_over_to_the_prompt_when_the_loop_ends():
    import main

    pipeline.inbox.append((pipeline.COMMAND, 5, codes.REPL_OPERATION, ""))
    try:
        main.start()
    except SystemExit:
        pass
    assert board.asked


def case_the_repl_pin_skips_the_app():
    import main

    board.wanted = True
    main.start()
    assert acquire.starts == [] and pipeline.sent == []


def case_a_start_tells_why_and_what_crashed_before():
    import main

    board.crashed = (2, 0x8020400, 0, 0, 0, 1)
    board.cause = 5
    board.clock = 1
    settings.source = settings.LOST
    pipeline.inbox.append((pipeline.COMMAND, 5, codes.REPL_OPERATION, ""))
    try:
        main.start()
    except SystemExit:
        pass
    assert logs(codes.STARTED) == [(77, 5)]
    assert logs(codes.CRASHED) == [(2, 0x8020400)]
    assert logs(codes.NO_HSE) == [(1, 0)]
    assert logs(codes.SETTINGS_DEFAULT) == [(settings.LOST, 0)]


def case_an_update_is_begun_written_and_tried_by_a_reset():
    run = Run()
    run.later(1000, command(codes.UPDATE_BEGIN, "200000", 1))
    run.later(1100, lambda: pipeline.inbox.append((pipeline.UPDATE_DATA, 2, 0, bytes(1024))))
    run.later(1200, lambda: pipeline.inbox.append((pipeline.UPDATE_DATA, 3, 1024, bytes(100))))
    run.later(1300, command(codes.UPDATE_END, "", 4))
    try:
        run.for_ms(5000)
    except board.Reset:
        pass
    assert pipeline.named("ack") == [(1, 0, "B"), (2, 0, "1024"), (3, 0, "1124"), (4, 0, "B")]
    assert board.resets == 1
    assert logs(codes.UPDATE_BEGUN) == [(200000, 1)]
    assert logs(codes.UPDATE_VERIFIED) == [(1124, 1)]


def case_while_the_slot_is_erased_pieces_are_busy_and_sectors_go_one_by_one_with_a_pause():
    def piece():
        update.answers[:] = [update.BUSY, update.BUSY, update.BUSY, update.OK]  # data, three sectors
        pipeline.inbox.append((pipeline.UPDATE_DATA, 2, 0, bytes(1024)))

    run = Run()
    run.later(1000, command(codes.UPDATE_BEGIN, "200000", 1))
    run.later(1100, piece)
    run.later(2000, lambda: told.append(update.sectors))  # the gateway fetches what piled up
    run.later(6500, lambda: pipeline.inbox.append((pipeline.UPDATE_DATA, 3, 0, bytes(1024))))
    told = []
    run.for_ms(8000)
    assert pipeline.named("ack")[1:] == [(2, codes.BUSY, "0"), (3, codes.DONE, "1024")]
    assert told == [1]
    assert update.sectors == 3


def case_a_bad_image_is_refused_with_the_verdict_and_nothing_resets():
    def piece():
        update.answers[:] = [update.BAD_IMAGE]
        pipeline.inbox.append((pipeline.UPDATE_DATA, 2, 512, bytes(1024)))

    run = Run()
    run.later(1000, command(codes.UPDATE_BEGIN, "200000", 1))
    run.later(1100, piece)
    run.for_ms(3000)
    assert pipeline.named("ack")[1] == (2, codes.FAILED, "verdict 8")
    assert logs(codes.UPDATE_REFUSED) == [(8, 0)]
    assert board.resets == 0


def case_an_update_of_no_number_is_a_bad_argument():
    assert asked(codes.UPDATE_BEGIN, "big")[0] == codes.BAD_ARGUMENT


def case_an_update_larger_than_a_slot_is_a_bad_argument():
    assert asked(codes.UPDATE_BEGIN, "9" * 200)[0] == codes.BAD_ARGUMENT


def case_a_command_that_raises_is_a_failure_for_who_asked_and_counted():
    def broken(key, value):
        raise OSError(5)

    settings.put = broken
    assert asked(codes.PUT_SETTING, "gain=1.1") == (codes.FAILED, "exception")
    assert len(logs(codes.EXCEPTION)) == 1


def case_a_time_beyond_2096_is_none():
    assert asked(codes.SYNC_TIME, "18446744073709551616,1")[0] == codes.BAD_ARGUMENT
    assert clock.synced == []


def case_no_update_while_the_running_image_is_on_trial():
    update.answers.append(update.ON_TRIAL)
    assert asked(codes.UPDATE_BEGIN, "1000")[0] == codes.BUSY


def case_a_trial_is_confirmed_after_ten_seconds_of_samples():
    update.trial = True
    run = Run()
    run.later(9000, lambda: None if update.confirms == 0 else 1 / 0)
    run.for_ms(12_000)
    assert update.confirms == 1
    assert logs(codes.UPDATE_CONFIRMED) == [(0, 0)]


def case_a_lost_sample_begins_the_trials_ten_seconds_anew():
    def lose():
        acquire.missing = 400

    update.trial = True
    run = Run()
    run.later(8000, lose)
    run.later(12_000, lambda: None if update.confirms == 0 else 1 / 0)
    run.for_ms(19_000)
    assert update.confirms == 1
    assert run.supervisor.exceptions == 0
    assert logs(codes.SAMPLES_MISSING) == [(400, 400)]


def case_a_trial_without_samples_ends_in_a_reset():
    update.trial = True
    acquire.stalled = True
    try:
        Run().for_ms(200_000)
    except board.Reset:
        pass
    assert board.resets == 1 and update.confirms == 0
    assert 120_000 <= fake_time.now_ms < 125_000


def case_an_image_that_is_no_trial_is_never_confirmed():
    Run().for_ms(20_000)
    assert update.confirms == 0


def case_the_watchdog_is_fed_while_samples_come():
    Run().for_ms(10_000)
    assert board.fed_longest_ms <= 25 and board.fed_last_ms > 10_900


def case_the_watchdog_is_not_fed_when_samples_stay_away():
    run = Run()

    def stall():
        acquire.stalled = True

    run.later(5000, stall)
    run.for_ms(20_000)
    assert board.fed_last_ms < 1000 + 5000 + 4100, board.fed_last_ms
    assert len(logs(codes.SAMPLING_STALLED)) >= 5
    assert len(acquire.starts) >= 6


def case_a_converter_that_does_not_start_is_tried_each_second_and_told():
    acquire.status = acquire.NO_CLOCK
    Run().for_ms(5000)
    assert 4 <= len(acquire.starts) <= 7, acquire.starts
    assert logs(codes.CONVERTER_FAILED)[0] == (0, acquire.NO_CLOCK)
    assert pipeline.named("hello") == []


def case_an_exception_in_a_step_is_counted_told_and_the_rest_goes_on():
    def break_once():
        clock.poll = broken

    def repair():
        clock.poll = whole

    whole = clock.poll
    run = Run()

    def broken():
        clock.poll = whole
        raise OSError(5)

    run.later(2000, break_once)
    run.for_ms(5000)
    assert run.supervisor.exceptions == 1
    assert run.supervisor.restarts == 0
    assert logs(codes.EXCEPTION) == [(1, 3 * 100 + 2)], logs(codes.EXCEPTION)  # third: watch is first here
    assert len(pipeline.named("health")) == 5


def case_a_step_that_fails_on_and_on_makes_the_app_anew_and_the_watchdog_is_fed_on():
    def broken():
        raise ValueError("for ever")

    run = Run()

    def break_it():
        clock.poll = broken

    run.later(2000, break_it)
    run.for_ms(10_000)
    assert run.supervisor.restarts > 2
    assert run.supervisor.exceptions >= 5 * run.supervisor.restarts
    assert len(logs(codes.EXCEPTION)) <= 9  # told once a second
    assert board.fed_last_ms > 10_900
    assert logs(codes.LOOP_RESTARTED)[0] == (1, 0)
    assert len(acquire.starts) == 1  # the samples went on meanwhile
    assert len({hello[1] for hello in pipeline.named("hello")}) == 1


def case_an_app_that_cannot_be_built_is_tried_each_second():
    def broken(key):
        raise KeyError(key)

    whole = settings.get
    settings.get = broken
    tries = []

    import main
    from journal import Journal
    from supervisor import Supervisor

    supervisor = Supervisor(Journal())

    def build():
        tries.append(fake_time.now_ms)
        if len(tries) == 4:
            supervisor.stop = True
            settings.get = whole
        return main.build(Journal(), supervisor)

    supervisor.run(build)
    assert supervisor.exceptions == 3
    assert all(1000 <= tries[n + 1] - tries[n] <= 1100 for n in range(3)), tries


def case_a_stall_and_an_exception_a_week_after_the_last_are_met_as_the_first():
    """Ticks wrap after 2^30 ms: 7 days ago reads as 5 days ahead."""
    import time

    import main
    from sampler import Sampler

    week_ago = time.ticks_add(time.ticks_ms(), -7 * 86_400_000)
    made = []
    run = Run()

    class Kept(Sampler):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    main.Sampler = Kept

    def age():
        run.supervisor._told_ms = week_ago
        made[0]._tried_ms = week_ago
        acquire.stalled = True

    def broken():
        raise OSError(5)

    def fail():
        clock.poll = broken

    run.later(3000, age)
    run.later(3500, fail)
    run.for_ms(6000)
    assert logs(codes.SAMPLING_STALLED) and len(acquire.starts) > 1
    assert logs(codes.EXCEPTION)


def case_a_silent_gateway_changes_nothing():
    run = Run()
    run.later(1000, command(codes.HELLO))
    run.later(299_000, command(codes.GET_SETTINGS, "", 513))
    run.for_ms(300_000)
    assert run.supervisor.exceptions == 0
    assert len(acquire.starts) == 1
    assert 290 <= len(pipeline.named("health")) <= 301
    assert pipeline.named("ack")[-1] == (513, codes.DONE, "")


def case_a_line_that_takes_nothing_loses_nothing_but_what_is_too_old():
    def jam():
        pipeline.room = len(pipeline.sent)

    def free():
        pipeline.room = 100_000

    def trouble():
        acquire.missing += 1

    run = Run()
    run.later(1000, jam)
    for ms in range(2000, 12_000, 500):
        run.later(ms, trouble)
    run.later(20_000, free)
    run.for_ms(22_000)
    assert run.supervisor.exceptions == 0
    told = logs(codes.SAMPLES_MISSING)
    assert told == [(1, number) for number in range(1, 17)], told
    assert logs(codes.LOG_LOST) == [(4, 0)]


def case_the_clocks_states_are_told_at_their_edges_only():
    run = Run()

    def become(state):
        def change():
            clock.state = state

        return change

    run.later(2500, become(clock.ACQUIRING))
    run.later(4500, become(clock.LOCKED))
    run.later(8500, become(clock.HOLDOVER))
    run.for_ms(12_000)
    assert logs(codes.CLOCK_STATE) == [(0, 1), (1, 2), (2, 3)]


def case_a_wrong_second_label_is_told_with_its_count():
    run = Run()

    def mislead():
        clock.wrong = 3

    run.later(2500, mislead)
    run.for_ms(5000)
    assert logs(codes.CLOCK_LABEL_WRONG) == [(3, 3)]


def case_what_is_learnt_of_the_crystal_is_kept_once_an_hour():
    clock.learnt_value = (87.5, 4.0)
    run = Run()

    def better():
        clock.learnt_value = (95.0, 1.0)

    run.later(10_000, better)
    run.for_ms(60_000)
    assert settings.values["tcxo_ppb_per_k"] == "87.500"
    assert settings.values["tcxo_ppb_per_k_sigma"] == "4.000"
    assert settings.saves == 1


def supply(volts):
    def change():
        acquire.slow_values[1] = volts

    return change


def cell(volts):
    def change():
        acquire.slow_values[2] = volts

    return change


def case_a_lost_supply_is_told_and_its_return_too():
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


def case_an_empty_battery_is_an_orderly_stop_and_the_supply_begins_anew():
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
    assert board.fed_longest_ms <= 25  # stopped on purpose is no hang


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


def case_leds_say_what_they_should():
    seen = {}

    def look(name):
        def take():
            seen[name] = tuple(board.leds)

        return take

    def become(state):
        def change():
            clock.state = state

        return change

    run = Run()
    run.later(5510, command(codes.HELLO))
    run.later(6000, become(clock.LOCKED))
    run.later(8000 - 950, look("locked, commanded"))
    run.later(8500, look("still"))
    run.for_ms(10_000)
    assert seen["still"] == (True, True, False), seen


def case_leds_stay_dark_at_night():
    settings.values["led_percent"] = "0"
    clock.state = clock.LOCKED
    run = Run()
    run.later(1000, command(codes.HELLO))
    run.for_ms(5000)
    assert board.leds == [False, False, False]


def case_the_heap_does_not_creep():
    import gc

    pipeline.room = 0
    run = Run()
    free = [0] * 11

    def look(at):
        def take():
            gc.collect()
            free[at] = gc.mem_free()

        return take

    for at in range(11):
        run.later(10_000 + at * 5000, look(at))
    run.for_ms(62_000)
    assert max(free) - min(free) < 2048, free  # the cases' own closures are freed one by one
    assert free[-1] >= free[0], free


def case_a_flood_of_commands_is_answered_and_starves_nobody():
    run = Run()

    def flood():
        for number in range(500):
            pipeline.inbox.append((pipeline.COMMAND, number, codes.HELLO, ""))

    pipeline.room = 100_000
    run.later(2000, flood)
    run.for_ms(6000)
    assert len(pipeline.named("ack")) == 500
    assert board.fed_longest_ms <= 25


if __name__ == "__main__":
    globals()["case_" + sys.argv[1]]()
    print("ok")
