"""What the gateway sets in a Box: its number, the limits of its rms, and the approximate time.

New firmware has the number 0, by which two Boxes on swapped ports could not be distinguished. Such a Box gets
the `id` that the configuration gives to its port, and keeps it in its flash. Its samples count at once,
before the answer, because they are of the Box on this port in either case.

The limits come from the gateway's configuration. They are sent after every start of a Box and after each
change of its settings (which restores its default limits), until the Box acknowledges them. A Box that
refuses them is logged once per start.

The time helps a receiver that is acquiring: such a receiver may report the next second instead of the last,
or be 1,024 weeks off, and the Box decides by the gateway's time, good to 250 ms
(device/cmodules/clock/README.md). A Box without a receiver does not get the time, because its samples are
stamped here (serial_clock.py) and one filter is better than two.
"""

from collections.abc import Callable

from opq_gateway.config import MeasuringSection
from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommands
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.link.messages import GpsState, GpsStatus, Hello, Operation, Status
from opq_proto.messages import TimeSource

SETTING_TIMEOUT_S = 2.0


def limits(config: MeasuringSection) -> str:
    """The command's argument: limits as shares of nominal.

    >>> limits(Measuring())
    'dip=0.9,swell=1.1,interruption=0.1'
    """
    percent = {
        "dip": config.dip_percent,
        "swell": config.swell_percent,
        "interruption": config.interruption_percent,
    }
    return ",".join(f"{kind}={value / 100:.6g}" for kind, value in percent.items() if value > 0)


class BoxNumber:
    """Gives a Box without a number the number of its port, once per start of the Box and opened port.

    A number that was set to 0 therefore stays 0 until the Box starts again or is on another port. Reader's
    thread.
    """

    def __init__(self, box_id: str, commands: BoxCommands, settled: Callable[[str], None]) -> None:
        """`settled` gets the reason why the Box did not take the number; empty: it took it."""
        self._box_id = box_id
        self._commands = commands
        self._settled = settled
        self._known_boot: int | None = None  # the start of the Box that has had a number here
        self._is_requested = False

    def lost(self) -> None:
        """The port has gone; another Box may be there later."""
        self._known_boot = None

    def hello(self, hello: Hello) -> None:
        """Handles a hello: sends the number to a Box without one."""
        if hello.box_id or self._box_id == "0":
            self._known_boot = hello.boot_id
        if self._is_requested or self._known_boot == hello.boot_id:
            return

        def done(answer: BoxAnswer) -> None:
            self._is_requested = False
            if answer.status is None:
                return  # tried again with the next hello
            self._known_boot = hello.boot_id
            taken = answer.status is Status.DONE
            self._settled("" if taken else f"{answer.status.name.lower()} {answer.detail}".strip())

        self._is_requested = self._commands.send_command(
            Operation.PUT_SETTING, f"box_id={self._box_id}", SETTING_TIMEOUT_S, done
        )


class CrossingLimits:
    """Sends one Box its configured limits; reader's thread."""

    def __init__(self, argument: str, commands: BoxCommands, refused: Callable[[str], None]) -> None:
        self._argument = argument
        self._commands = commands
        self._refused = refused
        self._known_boot: int | None = None  # the start of the Box for which the limits are settled
        self._is_requested = False
        commands.on_setting = self.invalidate

    def invalidate(self) -> None:
        """The Box's limits may have changed; it gets them again after the next hello."""
        self._known_boot = None

    def lost(self) -> None:
        """The port has gone; another Box may be there later."""
        self._known_boot = None

    def hello(self, hello: Hello) -> None:
        """Handles a hello: sends the limits, unless the Box has them."""
        if not self._argument or self._is_requested or self._known_boot == hello.boot_id:
            return

        def done(answer: BoxAnswer) -> None:
            self._is_requested = False
            if answer.status is None:
                return  # tried again with the next hello
            self._known_boot = hello.boot_id
            if answer.status is not Status.DONE:
                self._refused(f"{answer.status.name.lower()} {answer.detail}".strip())

        self._is_requested = self._commands.send_command(
            Operation.CROSSING_LIMITS, self._argument, SETTING_TIMEOUT_S, done
        )


ON_THE_WAY_NS = 30_000_000
"""Time for a round of the reader, the line and the Box's loop: part of the bound sent with the time."""
GOOD_NS = 250_000_000
TIME_TIMEOUT_S = 1.0


TIME_EACH_S = 60.0
"""The Box compares its receiver's seconds with a time that is at most 150 s old (cmodules/clock)."""


BELIEVED_AFTER = 3
"""The Box believes the third time that contradicts an earlier one (NET_REFUSED, cmodules/clock/clock.c)."""


def time_argument(t_ns: int, uncertainty_ns: int, source: TimeSource) -> str:
    """The argument of SYNC_TIME, as device/app/commands.py reads it."""
    return f"{t_ns},{uncertainty_ns}{',free' if source is TimeSource.FREE else ''}"


class TimeForGps:
    """Sends the time to one Box that has a receiver, each minute; reader's thread.

    A port behind a network may be late by seconds. A command without a time, which changes nothing, is
    answered first: the bound has its round trip. If the time itself then took longer, it is sent again.
    """

    def __init__(self, commands: BoxCommands, clocks: Clocks) -> None:
        self._commands = commands
        self._clocks = clocks
        self._due_s = 0.0
        self._refused = False
        self._sent_s = 0.0
        self._on_the_way_ns: int | None = None
        """Part of the next time's bound; None: the line is to be measured first."""
        self._owed = 0

    def restart(self) -> None:
        """The Box has started again and has lost the time."""
        self._due_s, self._refused, self._on_the_way_ns, self._owed = 0.0, False, None, 0

    def gps(self, status: GpsStatus) -> None:
        """Handles the report of the receiver's state, once a second."""
        now_s = self._clocks.monotonic_s()
        if self._refused or now_s < self._due_s or status.state is GpsState.FREE:
            return
        system = self._clocks.system()
        uncertainty_ns = system.uncertainty_ns + (self._on_the_way_ns or ON_THE_WAY_NS)
        if system.source is TimeSource.FREE or uncertainty_ns > GOOD_NS:
            if self._on_the_way_ns is not None:  # one slow answer may be why: the line is measured again
                self._on_the_way_ns, self._due_s = None, now_s + TIME_EACH_S
            return
        if self._commands.send_command(Operation.SYNC_TIME, self._argument, TIME_TIMEOUT_S, self._done):
            self._due_s = now_s + TIME_EACH_S

    def _argument(self) -> str:
        self._sent_s = self._clocks.monotonic_s()
        if self._on_the_way_ns is None:
            return ""
        system = self._clocks.system()
        return time_argument(
            self._clocks.now_ns(), system.uncertainty_ns + self._on_the_way_ns, system.source
        )

    def _done(self, answer: BoxAnswer) -> None:
        self._refused = answer.status is Status.UNKNOWN
        took_ns = round((self._clocks.monotonic_s() - self._sent_s) * 1e9)
        allowed_ns, self._on_the_way_ns = self._on_the_way_ns, None
        if answer.status is None:
            self._due_s = 0.0
        elif allowed_ns is None and took_ns + ON_THE_WAY_NS <= GOOD_NS:
            self._on_the_way_ns, self._due_s = took_ns + ON_THE_WAY_NS, 0.0
        if allowed_ns is None:
            return
        late = answer.status is None or took_ns > allowed_ns
        self._owed = BELIEVED_AFTER if late else max(0, self._owed - 1)
        if self._owed:
            self._due_s = 0.0
