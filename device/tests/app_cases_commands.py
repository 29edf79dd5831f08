"""Commands of the gateway, each answered once (app_run.py)."""

import codes
import fake_time
from app_run import Run, acknowledgement, command, logs, play
from opq import acquire, board, clock, pipeline, settings


def case_hello_is_acknowledged_and_answered_by_a_hello():
    assert acknowledgement(codes.HELLO) == (codes.DONE, "")
    kinds = [message[0] for message in pipeline.sent]
    assert "hello" in kinds[kinds.index("ack") :]


def case_settings_are_reported_with_their_sequence():
    assert acknowledgement(codes.GET_SETTINGS) == (codes.DONE, "")
    sequence, items = pipeline.named("settings")[0]
    assert sequence == 0 and ("nominal_v", "120") in items


def case_a_setting_is_put_saved_logged_and_used():
    assert acknowledgement(codes.PUT_SETTING, "gain=1.25") == (codes.DONE, "")
    assert settings.saves == 1 and logs(codes.SETTINGS_SAVED) == [(1, 0)]
    assert pipeline.named("hello")[-1][2] == 0.0078125 * 1.25
    assert pipeline.features_set[-1][2] == 0.0078125 * 1.25
    assert len(acquire.starts) == 1


def case_an_offset_starts_the_sampling_again_with_another_boot_id():
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
    assert acknowledgement(codes.PUT_SETTING, "no_such=1") == (codes.BAD_ARGUMENT, "no setting no_such")
    assert settings.saves == 0


def case_a_value_that_is_refused_is_a_bad_argument():
    assert acknowledgement(codes.PUT_SETTING, "gain=much")[0] == codes.BAD_ARGUMENT


def case_a_value_that_the_converter_does_not_start_with_is_refused_and_never_kept():
    assert acknowledgement(codes.PUT_SETTING, "oversampling=3")[0] == codes.BAD_ARGUMENT
    assert settings.values["oversampling"] == "0" and settings.saves == 0
    assert acquire.starts[-1][:2] == ("board", 0) and acquire.started_ms is not None


def case_a_converter_that_the_settings_in_flash_cannot_have_gives_way_to_the_boards_own():
    settings.values["oversampling"] = "3"
    run = Run()
    run.for_ms(10_000)
    assert acquire.starts == [("board", 3, 0, 0), ("board", 0, 0, 0)], acquire.starts
    assert logs(codes.CONVERTER_FAILED) == [(0, acquire.BAD_OVERSAMPLING)]
    assert board.fed_last_ms > 10_900


def case_a_setting_that_is_neither_the_features_nor_the_clocks_leaves_them_alone():
    features, configured = [], []
    run = Run()
    run.later(900, lambda: features.append(len(pipeline.features_set)))
    run.later(900, lambda: configured.append(len(clock.configured)))
    run.later(1000, command(codes.PUT_SETTING, "led_percent=0"))
    run.later(1500, lambda: features.append(len(pipeline.features_set)))
    run.later(1500, lambda: configured.append(len(clock.configured)))
    run.later(2000, command(codes.PUT_SETTING, "cable_delay_ns=50"))
    run.for_ms(3000)
    assert features == [1, 1] and len(pipeline.features_set) == 1, features
    assert configured == [1, 1] and len(clock.configured) == 2, configured


def case_the_receivers_label_offset_is_told_to_the_clock():
    run = Run()
    run.later(1000, command(codes.PUT_SETTING, "label_offset_s=-1"))
    run.for_ms(2000)
    assert [facts[-1] for facts in clock.configured] == [0, -1]


def case_an_argument_without_equals_is_a_bad_argument():
    assert acknowledgement(codes.PUT_SETTING, "gain")[0] == codes.BAD_ARGUMENT


def case_a_save_that_flash_refuses_is_a_failure_and_is_logged():
    settings.flash = settings.FLASH
    assert acknowledgement(codes.PUT_SETTING, "gain=1.1")[0] == codes.FAILED
    assert logs(codes.SETTINGS_FAILED) == [(settings.FLASH, 0)]
    assert settings.values["gain"] == "1" and pipeline.features_set[-1][2] == 0.0078125


def case_a_reset_is_acknowledged_first():
    assert acknowledgement(codes.RESET) == (codes.DONE, "")
    assert board.resets == 1
    assert logs(codes.STOPPED) == [(codes.COMMANDED, 0)]


def case_time_of_the_gateway_reaches_the_clock():
    assert acknowledgement(codes.SYNC_TIME, "1700000000123456789,4000000") == (codes.DONE, "")
    assert clock.synced == [(1700000000123456789, 4000000, True)]


def case_a_locked_clock_gets_the_gateways_time_to_compare():
    clock.state = clock.LOCKED
    run = Run()
    run.later(2000, command(codes.SYNC_TIME, "1700000000123456789,4000000"))
    run.for_ms(4000)
    assert clock.synced == [(1700000000123456789, 4000000, True)]
    assert logs(codes.TIME_SET) == []


def case_nonsense_is_no_time():
    assert acknowledgement(codes.SYNC_TIME, "yesterday")[0] == codes.BAD_ARGUMENT


def case_no_time_before_1970_and_no_certainty():
    assert acknowledgement(codes.SYNC_TIME, "1700000000123456789,0")[0] == codes.BAD_ARGUMENT


def case_crossing_limits_are_set_and_what_is_not_named_is_not_watched():
    assert acknowledgement(codes.CROSSING_LIMITS, "dip=0.85,swell=1.15") == (codes.DONE, "")
    assert pipeline.limits_set == [(0.85, 1.15, 0.0, 0.02)]


def case_no_limits_watch_nothing():
    assert acknowledgement(codes.CROSSING_LIMITS, "") == (codes.DONE, "")
    assert pipeline.limits_set == [(0.0, 0.0, 0.0, 0.02)]


def case_a_limit_of_nothing_known_is_a_bad_argument():
    assert acknowledgement(codes.CROSSING_LIMITS, "sag=0.9")[0] == codes.BAD_ARGUMENT
    assert pipeline.limits_set == []


def case_a_limit_that_is_no_number_is_a_bad_argument():
    assert acknowledgement(codes.CROSSING_LIMITS, "dip=low")[0] == codes.BAD_ARGUMENT


def case_protection_is_reported():
    board.options = (0, 2)
    assert acknowledgement(codes.PROTECT) == (codes.DONE, "0 2")


def case_protection_is_set_and_read_back():
    assert acknowledgement(codes.PROTECT, "3 3") == (codes.DONE, "3 3")
    assert board.options == (3, 3)


def case_protection_that_the_chip_refuses_is_a_failure():
    assert acknowledgement(codes.PROTECT, "3 32") == (codes.FAILED, "not set")
    assert board.options == (0, 0)


def case_half_a_protection_is_a_bad_argument():
    assert acknowledgement(codes.PROTECT, "3") == (codes.BAD_ARGUMENT, "want <level> <sectors>")


def case_an_operation_of_the_future_is_unknown():
    assert acknowledgement(200) == (codes.UNKNOWN, "")


def case_the_repl_command_ends_the_app_after_its_acknowledgement():
    run = Run()
    run.later(1000, command(codes.REPL_OPERATION, "", 513))
    run.for_ms(3000)
    assert run.supervisor.stop
    assert pipeline.named("ack") == [(513, codes.DONE, "")]
    assert logs(codes.REPL) == [(0, 0)]
    assert fake_time.now_ms < 3000


def case_a_command_that_raises_is_a_failure_for_who_asked_and_counted():
    def broken(key, value):
        raise OSError(5)

    settings.put = broken
    assert acknowledgement(codes.PUT_SETTING, "gain=1.1") == (codes.FAILED, "exception")
    assert len(logs(codes.EXCEPTION)) == 1


def case_a_time_beyond_2096_is_none():
    assert acknowledgement(codes.SYNC_TIME, "18446744073709551616,1")[0] == codes.BAD_ARGUMENT
    assert clock.synced == []


def case_commands_that_found_no_place_are_reported_once_a_second_with_their_count():
    def flood():
        pipeline.refused += 7

    run = Run()
    for ms in (1300, 1400, 3500):
        run.later(ms, flood)
    run.for_ms(6000)
    assert logs(codes.COMMANDS_LOST) == [(14, 14), (7, 21)], logs(codes.COMMANDS_LOST)


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
    play(globals())
