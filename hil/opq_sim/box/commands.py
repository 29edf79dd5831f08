"""How a Box answers its gateway's commands: each Command gets exactly one Acknowledgement, then takes effect.

Crossings are off until the gateway sets limits (Command crossing limits:
`dip=0.9,swell=1.1,interruption=0.1`, shares of nominal). The rms of one nominal cycle is checked per block,
with a hysteresis of 2 % of nominal as in the contract.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from opq_proto.link import messages as link_messages
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    CrossingKind,
    Hello,
    LinkMessage,
    Operation,
    Status,
)

HYSTERESIS = 0.02
KINDS = {kind.name.lower(): kind for kind in CrossingKind}


def parse_limits(argument: str) -> dict[CrossingKind, float]:
    """Reads limits such as `dip=0.9,swell=1.1`, shares of nominal; an empty text sets none.

    Raises:
        ValueError: an unknown kind, or no share between 0 and 10.
    """
    limits = {}
    for part in argument.split(",") if argument else ():
        name, _, value = part.partition("=")
        if name not in KINDS:
            raise ValueError(f"want {', '.join(KINDS)}=share of nominal")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not 0 < share < 10:
            raise ValueError(f"{name}: want a share of nominal, above 0 and below 10")
        limits[KINDS[name]] = share
    return limits


LATEST_NS = 4 * 10**18
"""As device/app/commands.py: later times leave no room for arithmetic in 64 bits."""


def is_time(argument: str) -> bool:
    """Whether the firmware would take it: `t_ns,uncertainty_ns`, time and bound above 0."""
    found = re.fullmatch(r"(\d{1,20}),(\d{1,10})(,free)?", argument)
    return found is not None and 0 < int(found[1]) < LATEST_NS and 0 < int(found[2]) < 0xFFFFFFFF


class BoxCrossings:
    """The limits, and which of them the rms is beyond now."""

    def __init__(self, limits: dict[CrossingKind, float] | None = None) -> None:
        self.limits = limits or {}
        self._beyond: set[CrossingKind] = set()

    def crossed_by(self, share: float) -> Iterator[tuple[CrossingKind, bool, float]]:
        """(kind, entering, limit as a share) of every limit that an rms of `share` of nominal crosses now."""
        for kind, limit in self.limits.items():
            sign = 1 if kind == CrossingKind.SWELL else -1
            if kind not in self._beyond and sign * (share - limit) > 0:
                self._beyond.add(kind)
                yield kind, True, limit
            elif kind in self._beyond and sign * (share - limit) <= -HYSTERESIS:
                self._beyond.discard(kind)
                yield kind, False, limit


KEY = re.compile(r"[a-z][a-z0-9_.]{0,31}")
MAX_SETTINGS = 24
MAX_VALUE_BYTES = 23
"""As in the firmware; 24 settings of 32 + 23 bytes stay below a frame's 2048."""
NUMBER = re.compile("[0-9]{1,10}")
MAX_NUMBER = 2**31 - 1
"""Of the setting `box_id`; 0: the Box has no number."""
CALIBRATION = {"gain": (1.0, 0.5, 2.0), "offset_lsb": (0.0, -32768, 32767), "phase_ns": (0.0, -1e6, 1e6)}
"""Setting -> default, minimum, maximum, as in the firmware's table."""


class BoxSettings:
    """Settings of a simulated Box, held as long as it runs; `sequence` counts changes."""

    def __init__(self, **values: str) -> None:
        self.sequence = 0
        self._values = {key: f"{limits[0]:g}" for key, limits in CALIBRATION.items()} | values

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def number(self, key: str) -> float:
        """The value of one setting of CALIBRATION."""
        return float(self._values[key])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(sorted(self._values.items()))

    def assign(self, assignment: str) -> None:
        """Stores a setting given as `key=value`.

        Raises:
            ValueError: wrong form, too long, too many settings, or a wrong value for a known key.
        """
        key, equals, value = assignment.partition("=")
        if not equals or not KEY.fullmatch(key) or len(value.encode()) > MAX_VALUE_BYTES:
            raise ValueError(f"want key=value with at most {MAX_VALUE_BYTES} bytes of value")
        if key not in self._values and len(self._values) >= MAX_SETTINGS:
            raise ValueError(f"already {MAX_SETTINGS} settings")
        if key == "measurements" and value not in ("on", "off"):
            raise ValueError("measurements: want on or off")
        if key == "box_id" and not (NUMBER.fullmatch(value) and int(value) <= MAX_NUMBER):
            raise ValueError(f"box_id: want a whole number, {MAX_NUMBER} at most")
        if key in CALIBRATION:
            _, least, most = CALIBRATION[key]
            if not least <= float(value) <= most:
                raise ValueError(f"{key}: want {least:g} to {most:g}")
        self._values[key] = value
        self.sequence += 1


class CommandTarget(Protocol):
    """The part of a Box that a command may use."""

    settings: BoxSettings
    crossings: BoxCrossings

    def send(self, message: LinkMessage) -> None: ...

    def hello(self) -> Hello: ...

    def reset(self) -> None: ...


def answer(box: CommandTarget, command: Command) -> None:
    """Acknowledges a command and carries it out."""

    def acknowledge(status: Status, detail: str = "") -> None:
        box.send(Acknowledgement(command.command_id, status, detail))

    match command.operation:
        case Operation.HELLO:
            acknowledge(Status.DONE)
            box.send(box.hello())
        case Operation.GET_SETTINGS:
            acknowledge(Status.DONE)
            box.send(link_messages.Settings(box.settings.sequence, tuple(box.settings)))
        case Operation.PUT_SETTING:
            try:
                box.settings.assign(command.argument)
            except ValueError as error:
                acknowledge(Status.BAD_ARGUMENT, str(error))
            else:
                acknowledge(Status.DONE)
                box.send(box.hello())
        case Operation.RESET:
            acknowledge(Status.DONE)
            box.reset()
        case Operation.SYNC_TIME:
            if is_time(command.argument):
                acknowledge(Status.DONE, "kept: this Box's clock never jumps")
            else:
                acknowledge(Status.BAD_ARGUMENT, "want t_ns,uncertainty_ns")
        case Operation.CROSSING_LIMITS:
            try:
                box.crossings = BoxCrossings(parse_limits(command.argument))
            except ValueError as error:
                acknowledge(Status.BAD_ARGUMENT, str(error))
            else:
                acknowledge(Status.DONE)
        case Operation.UPDATE_BEGIN | Operation.UPDATE_END | Operation.REPL:
            acknowledge(Status.UNKNOWN, "a simulated Box has no firmware")
        case _:
            acknowledge(Status.UNKNOWN)
