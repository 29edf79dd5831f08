"""A user's box.py: it sees each window, is replaced, and is stopped with its reason (app_run.py)."""

from binascii import b2a_base64, crc32

import codes
import user_program
from app_run import Run, command, logs, play
from opq import pipeline, program, update

GOOD = b"from opq import program\ndef window(w):\n    program.log(1, w)\n"
OTHER = b"from opq import program\n\ndef window(w):\n    program.log(2, w)\n"


def put(run, at_ms, text):
    """Puts a text in pieces, a command each 20 ms; its last command has the number of its time."""
    arguments = [f"put {len(text)} {crc32(text)}"]
    for at in range(0, len(text), 180):
        piece = b2a_base64(text[at : at + 180])[:-1].decode()
        arguments.append(f"{at} {piece}")
    for argument in arguments:
        run.later(at_ms, command(codes.PROGRAM, argument, 1))
        at_ms += 20
    run.later(at_ms, command(codes.PROGRAM, "end", 7))


def windows(run, at_ms, *found):
    run.later(at_ms, lambda: program.windows.extend(found))


def ended():
    return [entry[1:] for entry in pipeline.named("ack") if entry[0] == 7]


def report():
    return [entry[2] for entry in pipeline.named("ack") if entry[0] == 9]


def stopped_by(text, *outcomes):
    """Runs a program for one window; its report. The outcomes are of the calls that follow its start."""
    run = Run()
    put(run, 1000, text)
    run.later(1200, lambda: program.outcomes.extend(outcomes))
    windows(run, 1300, 120)
    run.later(1500, command(codes.PROGRAM, "", 9))
    run.for_ms(2000)
    assert ended() == [(codes.DONE, "")], ended()
    return report()[0].split(" ", 3)


def case_a_program_sees_each_window_and_a_new_one_replaces_it():
    run = Run()
    put(run, 1000, GOOD)
    windows(run, 1300, 10, 11)
    put(run, 1500, OTHER)
    windows(run, 1800, 12)
    run.for_ms(2500)
    assert program.said == [(1, 10), (1, 11), (2, 12)], program.said
    assert program.stored == OTHER and run.supervisor.exceptions == 0
    assert logs(codes.PROGRAM_STARTED) == [(len(GOOD), 0), (len(OTHER), 0)]


def case_a_text_that_is_refused_leaves_the_former_program_running():
    run = Run()
    put(run, 1000, GOOD)
    for number, text in enumerate((b"def window(w:\n", b"x = 1\n", b"raise ValueError('no')\n")):
        put(run, 1300 + 200 * number, text)
    windows(run, 2000, 10)
    run.for_ms(2500)
    assert ended()[0] == (codes.DONE, "")
    assert [status for status, _ in ended()[1:]] == [codes.FAILED] * 3
    assert ended()[1][1].startswith("SyntaxError") and ended()[2][1] == "it has no function window(w)"
    assert ended()[3][1] == "ValueError: no, line 2"
    assert program.said == [(1, 10)] and program.stored == GOOD


def case_a_program_that_raises_is_stopped_and_reported():
    state, length, _, reason = stopped_by(b"def window(w):\n    raise ValueError('too high')\n")
    assert int(state) == user_program.RAISED and reason == "ValueError: too high, line 2"
    assert int(length) == 48 and logs(codes.PROGRAM_STOPPED) == [(user_program.RAISED, 2)]


def case_a_program_over_its_time_is_stopped_and_reported():
    state, _, _, reason = stopped_by(GOOD, program.INTERRUPTED)
    assert int(state) == user_program.TOO_LONG and reason == "took more than 20 ms, line 2"
    assert program.said == []


def case_a_call_that_returns_late_is_stopped():
    state, _, _, reason = stopped_by(GOOD, program.RETURNS_LATE)
    assert int(state) == user_program.TOO_LONG and reason.startswith("took more than 20 ms")
    assert logs(codes.PROGRAM_STOPPED) == [(user_program.TOO_LONG, 2)] and not program.watched


def case_a_slow_text_is_refused():
    run = Run()
    put(run, 1000, GOOD)
    for number, outcomes in enumerate(([program.RETURNS_LATE], [program.IN_TIME, program.RETURNS_LATE])):
        at_ms = 1300 + 300 * number
        run.later(at_ms, lambda outcomes=outcomes: program.outcomes.extend(outcomes))
        put(run, at_ms, OTHER)
    windows(run, 2000, 10)
    run.for_ms(2500)
    assert ended()[1:] == [(codes.FAILED, "took more than 400 ms, line 2")] * 2, ended()
    assert program.said == [(1, 10)] and program.stored == GOOD


def case_words_of_an_exception_are_limited_ascii():
    text = "class Odd(Exception):\n    def __str__(self):\n        return '\u00fc' * 300\n"
    text += "def window(w):\n    raise Odd\n"
    state, _, _, reason = stopped_by(text.encode())
    assert int(state) == user_program.RAISED
    assert reason == "Odd: " + "?" * (user_program.REASON_BYTES - 5) + ", line 2", reason


def case_an_exceptions_own_words_have_limits():
    text = b"class Odd(Exception):\n    def __str__(self):\n        raise ValueError\n"
    text += b"def window(w):\n    raise Odd\n"
    assert stopped_by(text)[3] == "Odd, line 2"


def case_slow_words_of_an_exception_are_left_out():
    text = b"def window(w):\n    raise ValueError('too high')\n"
    state, _, _, reason = stopped_by(text, program.IN_TIME, program.RETURNS_LATE)
    assert int(state) == user_program.RAISED and reason == "ValueError, line 2"


def case_a_detail_that_does_not_fit_is_dropped():
    user_program.UserProgram.command = lambda self, argument: (codes.FAILED, "x" * 256)
    run = Run()
    run.later(1000, command(codes.PROGRAM, "", 7))
    run.for_ms(1500)
    assert ended() == [(codes.FAILED, "")], ended()


def case_a_program_that_fills_the_heap_is_stopped_and_reported():
    state, _, _, reason = stopped_by(b"def window(w):\n    raise MemoryError\n")
    assert int(state) == user_program.HEAP and reason == "MemoryError: , line 2"


def case_a_program_that_keeps_too_much_is_stopped_and_reported():
    state, _, _, reason = stopped_by(b"kept = []\ndef window(w):\n    kept.append(bytearray(12000))\n")
    assert int(state) == user_program.HEAP and reason == "keeps more than 8192 bytes"


def case_three_resets_during_its_calls_end_a_program():
    program.stored, program.crashes, program.was_reset_in = GOOD, 2, crc32(GOOD)
    run = Run()
    windows(run, 1000, 10)
    run.for_ms(2000)
    assert program.crashes == 3 and program.said == []
    assert logs(codes.PROGRAM_STOPPED) == [(user_program.CRASHED, 0)]


def case_a_reset_during_another_text_is_not_counted():
    program.stored, program.crashes, program.was_reset_in = GOOD, 2, crc32(OTHER)
    run = Run()
    windows(run, 1000, 10)
    put(run, 1200, b"raise ValueError\n")
    windows(run, 1500, 11)
    run.for_ms(2000)
    assert program.crashes == 2 and program.said == [(1, 10), (1, 11)]
    good, refused = crc32(GOOD), crc32(b"raise ValueError\n")
    assert program.called == [good] * 3 + [refused] * 3 + [good], program.called


def case_a_text_that_is_not_kept_does_not_run():
    run = Run()
    put(run, 1000, GOOD)
    put(run, 1300, OTHER)
    run.later(1330, lambda: setattr(program, "flash_status", 4))
    run.later(1500, command(codes.PROGRAM, "", 9))
    windows(run, 1600, 10)
    run.for_ms(2000)
    assert ended() == [(codes.DONE, ""), (codes.FAILED, "not kept: flash status 4")], ended()
    assert report() == [f"{user_program.RUNS} {len(GOOD)} {crc32(GOOD)} "], report()
    assert program.said == [(1, 10)] and program.stored == GOOD


def case_a_crossing_needs_a_window():
    text = b"from opq import program\nprogram.crossing('dip', True, 1.0, 2.0)\ndef window(w):\n"
    text += b"    program.crossing('swell', True, 3.0, 2.0)\n"
    run = Run()
    put(run, 1000, text)
    windows(run, 1300, 10)
    put(run, 1500, text)
    run.for_ms(2000)
    assert ended() == [(codes.DONE, "")] * 2 and program.crossings == [("swell", 10)], program.crossings


def case_heap_lost_by_a_refused_text_is_allowed():
    run = Run()
    put(run, 1000, GOOD)
    put(run, 1300, b"from opq import program\nprogram.said.append(bytearray(16000))\nraise ValueError\n")
    windows(run, 1600, 10, 11)
    run.for_ms(2000)
    assert program.said[1:] == [(1, 10), (1, 11)] and logs(codes.PROGRAM_STOPPED) == []


def case_windows_that_were_lost_are_reported():
    run = Run()
    put(run, 1000, GOOD)
    run.later(1300, lambda: setattr(program, "lost", 3))
    run.later(1500, lambda: setattr(program, "lost", 5))
    run.for_ms(2000)
    assert logs(codes.PROGRAM_WINDOWS_LOST) == [(3, 3), (2, 5)]


def case_a_stored_program_starts_with_the_box_but_not_on_trial():
    program.stored = GOOD
    update.trial = True
    run = Run()
    run.later(500, lambda: program.windows.append(9))
    put(run, 600, OTHER)
    run.later(1000, lambda: setattr(update, "trial", False))
    windows(run, 1500, 10)
    run.for_ms(2000)
    assert ended() == [(codes.BUSY, "its firmware is on trial; try again in 10 s")]
    assert program.said == [(1, 9), (1, 10)], program.said


def case_a_removed_program_is_gone():
    program.stored = GOOD
    run = Run()
    run.later(1000, command(codes.PROGRAM, "remove", 7))
    run.later(1200, command(codes.PROGRAM, "", 9))
    windows(run, 1300, 10)
    run.for_ms(2000)
    assert ended() == [(codes.DONE, "")] and report() == ["0 0 0 "]
    assert program.stored == b"" and program.said == []


def case_words_without_a_meaning_are_a_bad_argument():
    run = Run()
    for argument in ("put", "put 0 1", "put 5000 1", "get x", "start", "8 AAAA", "\n"):
        run.later(1000, command(codes.PROGRAM, argument, 7))
    run.for_ms(2000)
    assert [status for status, _ in ended()] == [codes.BAD_ARGUMENT] * 7, ended()


if __name__ == "__main__":
    play(globals())
