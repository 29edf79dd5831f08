"""Updates over the link, and the trial of the running image (app_run.py)."""

import codes
import fake_time
from app_run import Run, acknowledgement, command, logs, play
from opq import acquire, board, pipeline, update


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
    run.later(2000, lambda: reported.append(update.sectors))  # the gateway fetches what piled up
    run.later(6500, lambda: pipeline.inbox.append((pipeline.UPDATE_DATA, 3, 0, bytes(1024))))
    reported = []
    run.for_ms(8000)
    assert pipeline.named("ack")[1:] == [(2, codes.BUSY, "0"), (3, codes.DONE, "1024")]
    assert reported == [1]
    assert update.sectors == 3


def case_a_piece_out_of_nowhere_does_not_excuse_a_converter_that_stands_still():
    def stall():
        acquire.stalled = True

    def piece():
        update.answers[:] = [update.NOT_BEGUN]
        pipeline.inbox.append((pipeline.UPDATE_DATA, 2, 512, bytes(10)))

    run = Run()
    run.later(5000, stall)
    for ms in range(4000, 20_000, 1000):
        run.later(ms, piece)
    run.for_ms(20_000)
    assert board.fed_last_ms < 1000 + 5000 + 4100, board.fed_last_ms
    assert pipeline.named("ack")[0] == (2, codes.FAILED, f"status {update.NOT_BEGUN}")


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


def case_a_refusal_is_logged_once_per_update_however_many_pieces_follow():
    def pieces():
        update.answers[:] = [update.BAD_IMAGE] * 5
        pipeline.inbox.extend((pipeline.UPDATE_DATA, 2 + i, 512, bytes(1024)) for i in range(5))

    run = Run()
    run.later(1000, command(codes.UPDATE_BEGIN, "200000", 1))
    run.later(1100, pieces)
    run.later(2000, command(codes.UPDATE_BEGIN, "200000", 8))
    run.later(2100, pieces)
    run.for_ms(3000)
    assert len([ack for ack in pipeline.named("ack") if ack[1] == codes.FAILED]) == 10
    assert logs(codes.UPDATE_REFUSED) == [(8, 0)] * 2


def case_an_update_of_no_number_is_a_bad_argument():
    assert acknowledgement(codes.UPDATE_BEGIN, "big")[0] == codes.BAD_ARGUMENT


def case_an_update_larger_than_a_slot_is_a_bad_argument():
    assert acknowledgement(codes.UPDATE_BEGIN, "9" * 200)[0] == codes.BAD_ARGUMENT


def case_no_update_while_the_running_image_is_on_trial():
    update.answers.append(update.ON_TRIAL)
    assert acknowledgement(codes.UPDATE_BEGIN, "1000")[0] == codes.BUSY


def case_a_trial_is_confirmed_after_ten_seconds_of_samples():
    update.trial = True
    run = Run()
    run.later(9000, lambda: None if update.confirms == 0 else 1 / 0)
    run.for_ms(12_000)
    assert update.confirms == 1
    assert logs(codes.UPDATE_CONFIRMED) == [(0, 0)]


def case_a_lost_sample_begins_the_trials_ten_seconds_again():
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


def case_ten_seconds_of_samples_end_the_count_of_watchdog_resets_of_a_confirmed_image():
    update.watchdog_resets = 3
    run = Run()
    run.later(9000, lambda: None if update.confirms == 0 else 1 / 0)
    run.for_ms(20_000)
    assert update.confirms == 1 and run.supervisor.exceptions == 0
    assert not logs(codes.UPDATE_CONFIRMED)


def case_a_confirmed_image_after_watchdog_resets_is_not_reset_for_want_of_samples():
    update.watchdog_resets = 3
    acquire.stalled = True
    Run().for_ms(130_000)
    assert board.resets == 0 and update.confirms == 0


def case_an_image_that_is_no_trial_is_never_confirmed():
    Run().for_ms(20_000)
    assert update.confirms == 0


if __name__ == "__main__":
    play(globals())
