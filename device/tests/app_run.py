"""The whole app under real MicroPython with faked C modules, on a clock that sleeps move.

`micropython app_cases_<noun>.py CASE` runs one `case_...` in its own process; its name is the sentence
that test_app.py shows.
"""

import sys

import fake_time
from opq import board, pipeline


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


def acknowledgement(operation, argument=""):
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


def play(cases):
    """The case that the command line names."""
    cases["case_" + sys.argv[1]]()
    print("ok")
