"""What the gateway sets in a Box: the limits at which it watches its rms, and roughly what time it is.

Limits are those of the gateway's configuration, sent after every start of a Box and after each change of its
settings (which puts its own limits back), until it acknowledges; a Box that cannot is logged once per start.

The time is for a receiver that is acquiring: it may name the second to come instead of the last, or be 1,024
weeks off; the Box decides by the gateway's time, good to 250 ms (device/cmodules/clock/README.md). A Box
without a receiver is sent nothing: its samples get their time here (clock.py), and one filter is better than
two.
"""

from collections.abc import Callable

from opq_gateway.config import MeasuringSection
from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommands
from opq_gateway.serial_side.clock import Clocks
from opq_proto.link_messages import GpsState, GpsStatus, Hello, Operation, Status
from opq_proto.messages import TimeSource

LIMITS_TIMEOUT_S = 2.0


def limits(config: MeasuringSection) -> str:
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
        """They may be others now; after the next hello the Box gets them again."""
        self._known_boot = None

    def lost(self) -> None:
        """The port is gone; on return another Box may be there."""
        self._known_boot = None

    def hello(self, hello: Hello) -> None:
        """The Box said who it is: send them, unless it has them."""
        if not self._argument or self._asked or self._known_boot == hello.boot_id:
            return

        def done(answer: BoxAnswer) -> None:
            self._asked = False
            if answer.status is None:
                return  # with the next hello again
            self._known_boot = hello.boot_id
            if answer.status is not Status.DONE:
                self._refused(f"{answer.status.name.lower()} {answer.detail}".strip())

        self._asked = self._commands.send_command(
            Operation.CROSSING_LIMITS, self._argument, LIMITS_TIMEOUT_S, done
        )


ON_THE_WAY_NS = 30_000_000
"""A round of the reader, the line and the Box's loop: part of the bound that goes with the time."""
GOOD_NS = 250_000_000
TIME_TIMEOUT_S = 1.0


class TimeForGps:
    """Sends the time to one Box that looks for GPS; reader's thread."""

    def __init__(self, commands: BoxCommands, clocks: Clocks) -> None:
        self._commands = commands
        self._clocks = clocks
        self._settled = False

    def restart(self) -> None:
        """Another start of the Box: it has forgotten."""
        self._settled = False

    def gps(self, status: GpsStatus) -> None:
        """The Box reports its receiver's state, each second."""
        if self._settled or status.state is not GpsState.ACQUIRING:
            return
        system = self._clocks.system()
        uncertainty_ns = system.uncertainty_ns + ON_THE_WAY_NS
        if system.source is TimeSource.FREE or uncertainty_ns > GOOD_NS:
            return
        argument = f"{self._clocks.now_ns()},{uncertainty_ns}"
        self._settled = self._commands.send_command(Operation.SYNC_TIME, argument, TIME_TIMEOUT_S, self._done)

    def _done(self, answer: BoxAnswer) -> None:
        self._settled = answer.status is Status.DONE or answer.status is Status.UNKNOWN
