"""TimeForGps: tells a Box whose receiver is acquiring roughly what time it is, once per start.

A receiver may name the second to come instead of the last, or be 1,024 weeks off; the Box decides by
the gateway's time, good to 250 ms (device/cmodules/clock/README.md). A Box without a receiver is told
nothing: its samples get their time here (clock.py), and one filter is better than two in a row.
"""

from opq_gateway.commands.box_line import Answer
from opq_gateway.serial_side.box_commands import BoxCommands
from opq_gateway.serial_side.clock import Clocks
from opq_proto.link_messages import GpsState, GpsStatus, Operation, Status
from opq_proto.messages import TimeSource

ON_THE_WAY_NS = 30_000_000
"""A round of the reader, the line and the Box's loop: part of the bound that goes with the time."""
GOOD_NS = 250_000_000
TIMEOUT_S = 1.0


class TimeForGps:
    """Of one Box; reader's thread."""

    def __init__(self, commands: BoxCommands, clocks: Clocks) -> None:
        self._commands = commands
        self._clocks = clocks
        self._settled = False

    def restart(self) -> None:
        """Another start of the Box: it has forgotten."""
        self._settled = False

    def gps(self, status: GpsStatus) -> None:
        """The Box told of its receiver; each second."""
        if self._settled or status.state is not GpsState.ACQUIRING:
            return
        system = self._clocks.system()
        uncertainty_ns = system.uncertainty_ns + ON_THE_WAY_NS
        if system.source is TimeSource.FREE or uncertainty_ns > GOOD_NS:
            return
        argument = f"{self._clocks.now_ns()},{uncertainty_ns}"
        self._settled = self._commands.ask(Operation.SYNC_TIME, argument, TIMEOUT_S, self._done)

    def _done(self, answer: Answer) -> None:
        self._settled = answer.status is Status.DONE or answer.status is Status.UNKNOWN
