"""HostProgram: a user's `box.py` on this machine, with an `opq.program` that notes what a Box would send.

The Box's are device/cmodules/program/module.c and device/app/user_program.py. Limits of time and heap are not
kept here.
"""

import __future__

import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from math import inf
from operator import index
from types import ModuleType, TracebackType
from typing import Self

from opq_proto.link.messages import CrossingKind
from opq_proto.link.user_program import MESSAGES_PER_CALL
from opq_proto.measurement.own_channels import kept_key, own_key

NAME = "box.py"
KINDS = tuple(kind.name.lower() for kind in CrossingKind)


class ProgramStoppedError(Exception):
    """The program is refused or stopped; the text has the exception and the line, as the Box reports them."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A `program.log`: two 32-bit integers."""

    a: int
    b: int

    @property
    def words(self) -> str:
        return f"log {self.a} {self.b}"


@dataclass(frozen=True, slots=True)
class SentCrossing:
    """A `program.crossing`, after which the gateway sends at once."""

    kind: str
    entering: bool
    rms_v: float
    limit_v: float

    @property
    def words(self) -> str:
        way = "entering" if self.entering else "leaving"
        return f"crossing {self.kind} {way}, {self.rms_v:.5g} V, limit {self.limit_v:.5g} V"


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """A `program.channel`: the window's value of a channel."""

    name: str
    unit: str
    value: float

    @property
    def words(self) -> str:
        return f"channel {self.name} {self.value:.7g} {self.unit}"


Message = LogLine | SentCrossing | ChannelMessage


class HostProgram:
    """A context, within which the program finds `opq`.

    Attributes:
        sent: the messages, in order.
        not_sent: number of messages beyond those allowed in one call.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.not_sent = 0
        self._left = 0
        self._has_window = False
        self._former: dict[str, ModuleType | None] = {}
        self._function: Callable[[object], object] | None = None

    def __enter__(self) -> Self:
        program = ModuleType("opq.program")
        for name, sends in (("log", self._log), ("crossing", self._crossing), ("channel", self._channel)):
            setattr(program, name, sends)
        package = ModuleType("opq")
        package.program = program  # type: ignore[attr-defined]
        for name, module in (("opq", package), ("opq.program", program)):
            self._former[name] = sys.modules.get(name)
            sys.modules[name] = module
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for name, module in self._former.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module

    def load(self, text: str) -> None:
        """Compiles a text and runs its body. Raises ProgramStoppedError with the reason of the refusal."""
        names: dict[str, object] = {}
        self._has_window = False
        # MicroPython evaluates no annotations
        flags = __future__.annotations.compiler_flag
        self._run(lambda: exec(compile(text, NAME, "exec", flags, dont_inherit=True), names))
        function = names.get("window")
        if not callable(function):
            raise ProgramStoppedError("it has no function window(w)")
        self._function = function

    def call(self, window: object) -> None:
        """Calls its function. Raises ProgramStoppedError."""
        function = self._function
        assert function is not None
        self._has_window = True
        self._run(lambda: function(window))

    def _run(self, step: Callable[[], object]) -> None:
        self._left = MESSAGES_PER_CALL
        try:
            with redirect_stdout(sys.stderr):  # stdout is the command's result
                step()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ProgramStoppedError(_reason(error)) from error
        finally:
            self._left = 0

    def _log(self, a: int, b: int, /) -> bool:
        return self._send(LogLine(_int32(a), _int32(b)))

    def _crossing(self, kind: str, entering: bool, rms_v: float, limit_v: float, /) -> bool:
        found = SentCrossing(kind, bool(entering), _number(rms_v), _number(limit_v))
        if kind not in KINDS:
            raise ValueError(f"want {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        return self._has_window and self._send(found)

    def _channel(self, name: str, unit: str, value: float | None, /) -> bool:
        if not (isinstance(name, str) and isinstance(unit, str)) or own_key(name, unit) is None:
            raise ValueError("want a name of 16 a-z 0-9 _ and a unit of 8 a-z 0-9")
        if value is None or kept_key(name, unit, found := _number(value)) is None:
            return False
        return self._has_window and self._send(ChannelMessage(name, unit, found))

    def _send(self, message: Message) -> bool:
        if self._left == 0:
            self.not_sent += 1
            return False
        self._left -= 1
        self.sent.append(message)
        return True


def _int32(value: int) -> int:
    """The low 32 bits as the link carries them; a float is refused, as on the Box."""
    return (index(value) + 2**31) % 2**32 - 2**31


def _number(value: float) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"can't convert {type(value).__name__} to float")
    try:
        return float(value)
    except OverflowError:  # as MicroPython
        return inf if value > 0 else -inf


def _reason(error: BaseException) -> str:
    """The exception and the innermost line of box.py."""
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == NAME
    ]
    text = str(error)
    if isinstance(error, SyntaxError) and not lines:
        text, lines = error.msg, [error.lineno or 0]
    place = f", line {lines[-1]}" if lines and lines[-1] else ""
    return f"{type(error).__name__}: {text}{place}"
