"""Orders: actions of a Box itself, requested by Makai as commands to plug-ins that only our Boxes have.

    opq-reset      ""                     restart
    opq-time       "" or UTC in ms        take this time, or the gateway's; a Box with GPS keeps its own
    opq-settings   "" or key=value        all settings as a JSON object; or one of them changed, kept in flash
    opq-program    see box_program.py     the user's program on the Box
    opq-prompt     see box_prompt.py      MicroPython's prompt on the Box
    opq-update     see update.py          firmware, by pieces, with progress
    opq-update     look                   the gateway looks at its repository of releases now

The answer has `ok`, and in `detail` (field 1000) the Box's answer or the reason of a failure. One BoxOrders
per Box, owned by the command handler's thread: the Box's answers come back through `later`.
"""

import json
from collections.abc import Callable
from functools import partial

from opq_gateway.commands.box_program import BoxProgram
from opq_gateway.commands.box_prompt import BoxPrompt
from opq_gateway.commands.update import FirmwareUpdate
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.serial_side.box_commands import Argument, BoxAnswer, BoxCommandLink
from opq_gateway.serial_side.box_settings import ON_THE_WAY_NS, time_argument
from opq_proto.kit.clock import ClockState, system_clock
from opq_proto.link.messages import Operation, Status
from opq_proto.messages import TimeSource

Reply = Callable[[bool, str], None]
Later = Callable[[Callable[[], None]], bool]
ANSWER_S = 3.0
"""A Box answers in milliseconds, but the line may be busy with samples sent again."""
SAID_NS = 4_000_000_000
"""Bound of a time that somebody said, or that a clock without synchronisation has; 32 bits on the line."""
LONGEST_ARGUMENT = 80
LOOK = "look"
NO_UPDATES = "this gateway has no [update] url, so it looks at no repository"


class BoxOrders:
    """Carries out the orders for one Box."""

    def __init__(
        self,
        line: BoxCommandLink,
        later: Later,
        now_ns: Callable[[], int],
        status: BoxStatus,
        look_for_updates: Callable[[], tuple[bool, str]] = lambda: (False, NO_UPDATES),
        system: Callable[[], ClockState] = system_clock,
    ) -> None:
        """`later` runs a function in the handler's thread; it returns False when too many wait.

        `look_for_updates`: see `Updater.look_now`.
        """
        self._line = line
        self._later = later
        self._now_ns = now_ns
        self._system = system
        self._look_for_updates = look_for_updates
        self.update = FirmwareUpdate(line, later, status)
        self._program = BoxProgram(line, later)
        self._prompt = BoxPrompt(line, later, status.box_id)

    def execute(self, plugin: str, message: str, reply: Reply) -> bool:
        """Carries out an order; False where the order does not exist."""
        match plugin:
            case "opq-reset":
                self._send_command(Operation.RESET, "", reply)
            case "opq-time":
                self._time(message, reply)
            case "opq-settings":
                self._settings(message, reply)
            case "opq-program":
                self._program.execute(message, reply)
            case "opq-prompt":
                self._prompt.execute(message, reply)
            case "opq-update" if message == LOOK:
                reply(*self._look_for_updates())
            case "opq-update":
                reply(*self.update.execute(message))
            case _:
                return False
        return True

    def tick(self, now_s: float) -> bool:
        """Runs what is due at this monotonic time; True where an order under way needs the next tick soon."""
        return self.update.tick(now_s)

    def _time(self, message: str, reply: Reply) -> None:
        if message and not (message.isascii() and message.isdigit() and len(message) <= 16):
            reply(False, f"time is {message[:LONGEST_ARGUMENT]!r}; want UTC in ms since 1970, or nothing")
            return
        self._send_command(Operation.SYNC_TIME, partial(self._time_argument, message), reply)

    def _time_argument(self, message: str) -> str:
        system = self._system()
        uncertainty_ns = system.uncertainty_ns + ON_THE_WAY_NS
        if message or system.source is TimeSource.FREE or uncertainty_ns > SAID_NS:
            t_ns = int(message) * 1_000_000 if message else self._now_ns()
            return time_argument(t_ns, SAID_NS, TimeSource.FREE)
        return time_argument(self._now_ns(), uncertainty_ns, system.source)

    def _settings(self, message: str, reply: Reply) -> None:
        if not message:
            self._send_command(Operation.GET_SETTINGS, "", reply)
        elif "=" not in message or len(message) > LONGEST_ARGUMENT or not message.isprintable():
            reply(False, f"want key=value of at most {LONGEST_ARGUMENT} printable characters, or nothing")
        else:
            self._send_command(Operation.PUT_SETTING, message, reply)

    def _send_command(self, operation: Operation, argument: Argument, reply: Reply) -> None:
        def done(answer: BoxAnswer) -> None:
            self._later(partial(reply, *words(answer)))

        if not self._line.send_command(operation, argument, ANSWER_S, done):
            reply(False, "the Box's port is not open, or too many commands wait for it already")


def words(answer: BoxAnswer) -> tuple[bool, str]:
    """Whether the Box carried out the order, and its answer in words; settings as a JSON object."""
    if answer.status is None:
        return False, f"the Box did not answer within {ANSWER_S:g} s"
    if answer.status is not Status.DONE:
        name = answer.status.name.lower().replace("_", " ")
        return False, f"{name}: {answer.detail}" if answer.detail else name
    if answer.settings is not None:
        return True, json.dumps(dict(answer.settings))
    return True, answer.detail
