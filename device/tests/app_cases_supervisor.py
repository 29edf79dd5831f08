"""Start, watchdog, exceptions, heap: the loop that runs the rest (app_run.py)."""

import codes
import fake_time
from app_run import Run, logs, play
from opq import acquire, board, clock, pipeline, settings


def case_main_hands_over_to_the_prompt_when_the_loop_ends():
    import main

    pipeline.inbox.append((pipeline.COMMAND, 5, codes.REPL_OPERATION, ""))
    try:
        main.start()
    except SystemExit:
        pass
    assert board.repl_requested


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


def case_an_exception_in_a_step_is_counted_reported_and_the_rest_goes_on():
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


def case_a_step_that_fails_on_and_on_builds_the_app_again_and_the_watchdog_is_fed_on():
    def broken():
        raise ValueError("for ever")

    run = Run()

    def break_it():
        clock.poll = broken

    run.later(2000, break_it)
    run.for_ms(10_000)
    assert run.supervisor.restarts > 2
    assert run.supervisor.exceptions >= 5 * run.supervisor.restarts
    assert len(logs(codes.EXCEPTION)) <= 9  # logged once a second
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
        run.supervisor._logged_ms = week_ago
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


if __name__ == "__main__":
    play(globals())
