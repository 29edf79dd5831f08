"""main: the Box's app. Makes the objects; `supervisor` runs them for ever.

    settings -> sampler -> (interrupts: samples, features, line)      receiver -> clock
    commands <- line      health, journal -> line      power, leds      updater

Returns only when the REPL is requested (pin or command). The port then gives USART1 to it until a reset.
"""

import codes
from commands import Commands
from health import Health
from journal import Journal
from leds import Leds
from opq import board, pipeline, settings
from power import Power
from prompt_session import PromptSession
from receiver import Receiver
from sampler import Sampler
from supervisor import Supervisor
from updater import Updater
from user_program import UserProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start() -> None:
    """Runs the app, unless the REPL pin is low."""
    if board.repl_wanted():
        return
    journal = Journal()
    supervisor = Supervisor(journal)
    board.watchdog_start()
    source = settings.load()
    journal.put(codes.STARTED, board.boot_id(), board.reset_cause())
    crash = board.crash()
    if crash is not None:
        journal.put(codes.CRASHED, crash[0], crash[1])
    if board.clock_source() != 0:  # the crystal or TCXO did not start: 1 % off; 2: no sampling
        journal.put(codes.NO_HSE, board.clock_source())
    if source in (settings.BLANK, settings.SECOND_COPY, settings.LOST):
        journal.put(codes.SETTINGS_DEFAULT, source)
    supervisor.run(lambda: build(journal, supervisor))
    board.repl()


def build(journal: Journal, supervisor: Supervisor) -> "list[tuple[Callable[[], None], int]]":
    """Makes the objects; returns their steps with periods in ms, in the order of Log's `where`."""
    sampler = Sampler(journal)
    receiver = Receiver(journal)
    power = Power(journal, sampler, supervisor)
    updater = Updater(journal, sampler, supervisor)
    program = UserProgram(journal)
    prompt = PromptSession(journal, supervisor, program)
    commands = Commands(journal, sampler, receiver, updater, supervisor, program, prompt)
    health = Health(journal, power, program)
    leds = Leds(sampler, receiver, power, supervisor)
    supervisor.exempt = 0
    pipeline.hold(False)  # the app before this one may have ended during a probe of the supply
    receiver.configure()
    sampler.begin()
    return [
        (commands.poll, 0),
        (receiver.poll, 10),
        (receiver.second, 1000),
        (sampler.watch, 100),
        (sampler.hello, 100),
        (power.watch, 100),
        (updater.step, 5),
        (health.second, 1000),
        (leds.show, 50),
        (journal.flush, 20),
        (commands.second, 1000),
        (program.step, 20),
        (prompt.step, 20),
    ]


if __name__ == "__main__":
    start()
