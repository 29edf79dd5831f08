"""Crossing limits: the Box watches its rms itself, at the limits of the gateway's configuration.

Told after every start of a Box and after each change of its settings (which puts its own limits
back), until it acknowledges. A Box that cannot is told of once per start.
"""

from collections.abc import Callable

from opq_gateway.commands.box_line import Answer
from opq_gateway.config import Measuring
from opq_gateway.serial_side.box_commands import BoxCommands
from opq_proto.link_messages import Hello, Operation, Status

TIMEOUT_S = 2.0


def limits(config: Measuring) -> str:
    """The command's argument: shares of nominal.

    >>> limits(Measuring())
    'dip=0.9,swell=1.1,interruption=0.1'
    """
    percent = {
        "dip": config.dip_percent,
        "swell": config.swell_percent,
        "interruption": config.interruption_percent,
    }
    return ",".join(f"{kind}={value / 100:.6g}" for kind, value in percent.items() if value > 0)


class CrossingLimits:
    """Keeps one Box's limits as configured; reader's thread."""

    def __init__(self, argument: str, commands: BoxCommands, refused: Callable[[str], None]) -> None:
        self._argument = argument
        self._commands = commands
        self._refused = refused
        self._known_boot: int | None = None  # the start of the Box for which they are settled
        self._asked = False
        commands.on_setting = self.forget

    def forget(self) -> None:
        """They may be others now; the next hello tells the Box again."""
        self._known_boot = None

    def lost(self) -> None:
        """The port is gone; on return another Box may be there."""
        self._known_boot = None

    def hello(self, hello: Hello) -> None:
        """The Box said who it is: tell it, unless it knows."""
        if not self._argument or self._asked or self._known_boot == hello.boot_id:
            return

        def done(answer: Answer) -> None:
            self._asked = False
            if answer.status is None:
                return  # with the next hello again
            self._known_boot = hello.boot_id
            if answer.status is not Status.DONE:
                self._refused(f"{answer.status.name.lower()} {answer.detail}".strip())

        self._asked = self._commands.ask(Operation.CROSSING_LIMITS, self._argument, TIMEOUT_S, done)
