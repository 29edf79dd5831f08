"""Commands to one Box, each acknowledged: sent one after another, with a time-out, and repeated once.

`send_command` and `send_update_data` from any thread; the rest belongs to the reader's. The commands in ONCE
are not repeated, since only their acknowledgement may have been lost.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    LinkMessage,
    Operation,
    Settings,
    Status,
    UpdateData,
)


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """Result of a command to a Box."""

    status: Status | None
    """None: no answer in time."""
    detail: str = ""
    settings: tuple[tuple[str, str], ...] | None = None
    """The settings that followed GET_SETTINGS."""


Done = Callable[[BoxAnswer], None]
Argument = str | Callable[[], str]
"""A function is called when the command is sent: a time that has waited behind other commands is late."""


class BoxCommandLink(Protocol):
    """Commands with acknowledgement; `done` is called once for each accepted command, from another thread."""

    def send_command(self, operation: Operation, argument: Argument, timeout_s: float, done: Done) -> bool:
        """Queues a command; False: the port is not open, or too many commands wait."""
        ...

    def send_update_data(self, offset: int, data: bytes, timeout_s: float, done: Done) -> bool:
        """Queues a piece of a firmware image; False as above."""
        ...


COMMANDS_WAITING = 16
"""Most commands that wait; the Box's own inbox holds few."""
AGAIN_S = 1.0
"""A command without an answer for this long, or for half of the time-out, is sent once more."""
NEVER_REPEATED = (Operation.RESET, Operation.UPDATE_END, Operation.REPL, Operation.SYNC_TIME)
"""Commands that restart the Box, and the time, which would be a second old."""


@dataclass(slots=True)
class _QueuedCommand:
    """A command that waits for its answer; `operation` is None for a piece of an image."""

    operation: Operation | None
    argument: Argument
    offset: int
    data: bytes
    timeout_s: float
    done: Done
    command_id: int = 0
    sent_s: float = 0.0
    repeated: bool = False
    acknowledged: Acknowledgement | None = None


class BoxCommands:
    """Sends commands to one Box; calls `done` once for each accepted command."""

    def __init__(self, to_box: Callable[[LinkMessage], None], monotonic_s: Callable[[], float]) -> None:
        self._to_box = to_box
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._waiting: deque[_QueuedCommand] = deque()
        self._open = False
        self._current: _QueuedCommand | None = None
        self._command_id = 0
        self.on_setting: Callable[[], None] = lambda: None
        """Called in the reader's thread after a setting of the Box was changed."""

    def send_command(self, operation: Operation, argument: Argument, timeout_s: float, done: Done) -> bool:
        """Queues a command; False: the port is not open, or too many commands wait."""
        return self._queue_command(_QueuedCommand(operation, argument, 0, b"", timeout_s, done))

    def send_update_data(self, offset: int, data: bytes, timeout_s: float, done: Done) -> bool:
        """Queues a piece of a firmware image; False as above."""
        return self._queue_command(_QueuedCommand(None, "", offset, data, timeout_s, done))

    def send_unanswered(self, operation: Operation) -> None:
        """Sends a command at once, without waiting for an answer; reader's thread."""
        self._to_box(Command(self._next_id(), operation))

    def opened(self) -> None:
        """The port was opened."""
        with self._lock:
            self._open = True

    def lost(self) -> None:
        """The port has gone; ends all commands without an answer."""
        with self._lock:
            self._open = False
            left = list(self._waiting)
            self._waiting.clear()
        if self._current is not None:
            left.insert(0, self._current)
            self._current = None
        for command in left:
            command.done(BoxAnswer(None, "the port was lost"))

    def accept_answer(self, message: Acknowledgement | Settings) -> None:
        """Handles an answer of the Box; ignores late and unrequested answers."""
        current = self._current
        if current is None:
            return
        if isinstance(message, Settings):
            if current.acknowledged is not None:
                self._end(current.acknowledged, message.values)
        elif message.command_id == current.command_id:
            if current.operation == Operation.GET_SETTINGS and message.status == Status.DONE:
                current.acknowledged = message  # the settings follow in a second message
            else:
                self._end(message, None)

    def tick(self) -> None:
        """Sends the next command, repeats it, or gives it up, as due."""
        current = self._current
        if current is None:
            if self._waiting:
                self._send_next()
            return
        waited_s = self._monotonic_s() - current.sent_s
        if waited_s >= current.timeout_s:
            self._current = None
            current.done(BoxAnswer(None, f"no answer within {current.timeout_s:g} s"))
        elif not current.repeated and waited_s >= min(AGAIN_S, current.timeout_s / 2):
            current.repeated = True
            if current.operation not in NEVER_REPEATED:
                self._send(current)

    def _queue_command(self, command: _QueuedCommand) -> bool:
        with self._lock:
            if not self._open or len(self._waiting) >= COMMANDS_WAITING:
                return False
            self._waiting.append(command)
            return True

    def _send_next(self) -> None:
        with self._lock:
            command = self._waiting.popleft()
        command.command_id = self._next_id()
        command.sent_s = self._monotonic_s()
        self._current = command
        self._send(command)

    def _send(self, command: _QueuedCommand) -> None:
        if command.operation is None:
            self._to_box(UpdateData(command.command_id, command.offset, command.data))
        else:
            argument = command.argument if isinstance(command.argument, str) else command.argument()
            self._to_box(Command(command.command_id, command.operation, argument))

    def _end(self, acknowledged: Acknowledgement, settings: tuple[tuple[str, str], ...] | None) -> None:
        current, self._current = self._current, None
        assert current is not None
        if current.operation == Operation.PUT_SETTING:
            self.on_setting()
        current.done(BoxAnswer(acknowledged.status, acknowledged.detail, settings))

    def _next_id(self) -> int:
        self._command_id = (self._command_id + 1) & 0xFFFF
        return self._command_id
