"""What the Box sends by itself: Hello, status, log, LEDs (app_run.py)."""

import codes
from app_run import Run, command, logs, play
from opq import acquire, board, clock, pipeline, settings


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


def case_what_is_lost_is_reported_at_the_start_each_minute_and_when_it_rises():
    reported = []

    def trouble():
        clock.damaged_messages = 7

    def look():
        reported.append(pipeline.named("losses"))

    run = Run()
    run.later(30_500, trouble)
    for at_ms in (29_000, 32_500, 89_000):
        run.later(at_ms, look)
    run.for_ms(93_000)
    look()
    assert reported == [[(0,)], [(0,), (7,)], [(0,), (7,), (7,)], [(0,), (7,), (7,)]], reported
    assert len(pipeline.named("facts")) == len(pipeline.named("crash")) == 2


def case_a_converter_that_does_not_start_is_tried_each_second_and_reported():
    acquire.status = acquire.NO_CLOCK
    Run().for_ms(5000)
    assert 4 <= len(acquire.starts) <= 7, acquire.starts
    assert logs(codes.CONVERTER_FAILED)[0] == (0, acquire.NO_CLOCK)
    assert pipeline.named("hello") == []


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
    reported = logs(codes.SAMPLES_MISSING)
    assert reported == [(1, number) for number in range(1, 17)], reported
    assert logs(codes.LOG_LOST) == [(4, 0)]


def case_the_clocks_states_are_reported_at_their_edges_only():
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


def case_a_wrong_second_label_is_reported_with_its_count():
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


if __name__ == "__main__":
    play(globals())
