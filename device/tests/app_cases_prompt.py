"""A prompt over the link: what is typed and printed, once each; how it ends; the app goes on (app_run.py)."""

from binascii import a2b_base64, b2a_base64

import codes
import fake_time
import remote_files  # noqa: F401 - here, since a session's file system hides this machine's
from app_run import Run, command, logs, play
from opq import board, pipeline, program, prompt


def say(run, at_ms, argument, number=1):
    run.later(at_ms, command(codes.PROMPT, argument, number))


def type_in(run, at_ms, typed, printed, data, number=1):
    say(run, at_ms, f"{typed} {printed} {b2a_base64(data)[:-1].decode()}", number)


def answers(number):
    return [entry[1:] for entry in pipeline.named("ack") if entry[0] == number]


def printed(number):
    (status, detail) = answers(number)[0]
    assert status == codes.DONE, detail
    words = detail.split(" ")
    return int(words[0]), int(words[1]), a2b_base64(words[2])


def case_a_prompt_types_and_prints_once():
    run = Run()
    say(run, 1000, "open 5")
    type_in(run, 1100, 0, 0, b"abc", 2)
    type_in(run, 1200, 3, 0, b"", 3)
    type_in(run, 1300, 3, 0, b"", 4)  # the answer was lost
    type_in(run, 1400, 0, 3, b"abcd", 5)  # and a command: only d is new
    type_in(run, 1500, 4, 3, b"", 6)
    run.for_ms(2000)
    assert printed(2) == (3, 0, b"")
    assert printed(3) == printed(4) == (3, 0, b"ABC")
    assert printed(5)[:2] == (4, 3)
    assert printed(6) == (4, 3, b"D"), printed(6)


def case_a_place_that_is_not_next_is_refused():
    run = Run()
    say(run, 1000, "open 5")
    type_in(run, 1100, 7, 0, b"abc", 2)
    type_in(run, 1200, 0, 1, b"", 3)
    say(run, 1300, "0 0", 4)
    run.for_ms(2000)
    assert [answers(number)[0][0] for number in (2, 3, 4)] == [codes.BAD_ARGUMENT] * 3


def case_a_second_prompt_waits_for_the_first():
    run = Run()
    say(run, 1000, "open 5")
    say(run, 1100, "open 5", 2)  # repeated
    say(run, 1200, "open 6", 3)
    say(run, 1300, "close", 4)
    type_in(run, 1400, 0, 0, b"", 5)
    say(run, 1500, "open 6", 6)
    run.for_ms(2000)
    assert [answers(number)[0][0] for number in (2, 3, 4, 5, 6)] == [
        codes.DONE,
        codes.BUSY,
        codes.DONE,
        codes.FAILED,
        codes.DONE,
    ]
    assert logs(codes.PROMPT_OPENED) == [(0, 0)] * 2 and logs(codes.PROMPT_CLOSED)[0] == (1, 0)


def case_a_soft_reset_ends_nothing_but_the_names():
    run = Run()
    say(run, 1000, "open 5")
    type_in(run, 1100, 0, 0, b"\x04", 2)
    type_in(run, 1200, 1, 0, b"x", 3)
    type_in(run, 1300, 2, 0, b"", 4)
    run.for_ms(2000)
    assert printed(4) == (2, 0, b"X") and prompt.runs == 2 and run.supervisor.restarts == 0


def case_a_silent_prompt_is_closed():
    run = Run()
    say(run, 1000, "open 5")
    run.for_ms(30_000)
    assert logs(codes.PROMPT_CLOSED) == [(2, 0)] and not prompt.is_open


def case_the_app_goes_on_at_a_prompt():
    run = Run()
    say(run, 1000, "open 5")
    for at_ms in range(2000, 20_000, 1000):
        type_in(run, at_ms, 0, 0, b"")
    open_at = []
    run.later(19_500, lambda: open_at.append(prompt.is_open))
    run.for_ms(20_000)
    assert open_at == [True] and run.supervisor.exceptions == 0
    assert board.fed_longest_ms <= 25 and board.fed_last_ms > fake_time.now_ms - 100
    assert len(pipeline.named("health")) >= 18


def case_an_app_that_is_built_again_ends_the_prompt():
    run = Run()
    say(run, 1000, "open 5")

    def fail():
        raise ValueError

    run.later(2000, lambda: setattr(program, "windows_lost", fail))
    run.for_ms(2500)
    assert run.supervisor.restarts >= 1 and not prompt.is_open
    assert logs(codes.PROMPT_CLOSED) == [(3, 0)]


def case_a_prompt_ends_where_no_command_is_read_any_more():
    run = Run()
    say(run, 1000, "open 5")

    def fail():
        raise ValueError

    run.later(2000, lambda: setattr(pipeline, "poll", fail))
    run.for_ms(2500)
    assert run.supervisor.restarts >= 1 and not prompt.is_open
    assert logs(codes.PROMPT_CLOSED) == [(3, 0)]


def case_the_link_waits_while_a_prompt_writes_box_py():
    from journal import Journal
    from user_files import UserFiles
    from user_program import UserProgram

    user = UserProgram(Journal())
    user.step()
    whole, said = program.write, []

    def write(offset, piece):
        said.append(user.command("put 4 0")[0])  # a round within
        return whole(offset, piece)

    program.write = write
    text = "def window(w): pass\n"
    with UserFiles(user).open("/box.py", "w") as file:
        file.write(text)
    assert said == [codes.BUSY] and program.stored == text.encode()
    assert user.command("put 4 0")[0] == codes.DONE


def case_a_prompt_writes_box_py_as_a_file():
    from journal import Journal
    from user_files import UserFiles
    from user_program import UserProgram

    user = UserProgram(Journal())
    user.step()
    files = UserFiles(user)
    assert list(files.ilistdir("/")) == []
    text = "def window(w):\n    pass\n" + "# long\n" * 60
    with files.open("/box.py", "w") as file:
        for at in range(0, len(text), 100):
            file.write(text[at : at + 100])
    assert program.stored == text.encode() and user.state == 1
    assert list(files.ilistdir("/")) == [("box.py", 0x8000, 0, len(text))]
    assert files.stat("/box.py")[6] == len(text) and files.stat("/")[0] == 0x4000
    assert files.open("/box.py", "rb").read() == text.encode() and files.open("/box.py", "r").read() == text
    try:
        with files.open("/box.py", "w") as file:
            file.write("def window(w)\n")
        raise AssertionError("it was taken")
    except ValueError:
        assert program.stored == text.encode() and user.state == 1  # the former one goes on
    for path, mode in (("/other.py", "w"), ("/box.py", "a"), ("/none.py", "r")):
        try:
            files.open(path, mode)
            raise AssertionError(path)
        except OSError:
            pass
    files.remove("/box.py")
    assert list(files.ilistdir("/")) == [] and program.stored == b""


if __name__ == "__main__":
    play(globals())
