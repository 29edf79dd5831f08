"""`opq-tools box prompt`: MicroPython's prompt of a Box, at this terminal or on a pty for mpremote."""

import os
import pty
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from opq_proto.errors import OpqError
from opq_proto.link.prompt import CLOSE, PromptStream
from opq_proto.wire.command_client import Read, UnansweredError
from opq_proto.wire.frames import PROMPT_PLUGIN
from opq_proto.wire.prompt_session import SessionKey

Order = Callable[[str, str, Read | None], str]
"""Sends a plug-in's message to the Box, and returns the answer, as it is read."""
AT_ONCE = 1024
"""Most bytes that are read from the terminal at once."""
LEAVE = b"\x1d"
"""Ctrl-]: ends the session at a terminal, as in mpremote."""
TRIES = 3
"""An exchange whose answer is lost may be sent again: the Box takes and sends each byte once."""
UNREAD_BYTES = 4096
"""Printed bytes that wait for a reader; while there are more, the Box keeps the next ones."""
UNTAKEN_BYTES = 65_536
"""Typed bytes that wait for the Box; while there are more, the terminal is not read."""
QUIET_S = 1.0
QUICK_S, SLOW_S = 0.02, 0.25
"""Pause between two exchanges that bring nothing: in QUIET_S after one that did, and later."""


class BoxPrompt:
    """A session at a Box's prompt, within a `with` block."""

    def __init__(self, order: Order, box_id: str) -> None:
        self._order = order
        self._stream = PromptStream()
        self._key = SessionKey(box_id)
        self.refused = 0
        """Messages of others that its gateway refused, known at the end."""

    def __enter__(self) -> Self:
        """Opens it. Raises OpqError: the Box refuses, or does not answer."""
        self._order(PROMPT_PLUGIN, self._key.opening(), None)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OpqError, ValueError):
            self.refused = int(self._signed(CLOSE))

    def _signed(self, argument: str) -> str:
        return self._order(PROMPT_PLUGIN, self._key.signed(argument), self._key.answer)

    @property
    def waiting(self) -> int:
        """Typed bytes that the Box has not taken."""
        return self._stream.waiting

    def exchange(self, typed: bytes, more: bool = True) -> bytes:
        """Types bytes, and returns what was printed; without `more` the Box keeps what it has not sent.

        Raises:
            UnansweredError: none of TRIES was answered.
            OpqError: the Box or its gateway refuses.
        """
        self._stream.put(typed)
        argument = self._stream.argument(more)
        for _ in range(TRIES - 1):
            with suppress(UnansweredError):
                return self._stream.accept(self._signed(argument))
        return self._stream.accept(self._signed(argument))


def relay(prompt: BoxPrompt, source: int, to: int, leave: bytes = b"", returns: bool = False) -> None:
    """Types what `source` has and writes what is printed to `to`.

    It ends when `leave` is typed, or when `source` has ended and nothing is printed for QUIET_S. With
    `returns` each newline is typed as the return key.
    """
    busy_s = time.monotonic()
    wait_s = 0.0
    ended = False
    unread = b""
    while True:
        typed = b""
        sources = [source] if prompt.waiting < UNTAKEN_BYTES and not ended else []
        readable, writable, _ = select.select(sources, [to] if unread else [], [], wait_s)
        if writable:
            with suppress(BlockingIOError):
                unread = unread[os.write(to, unread[:AT_ONCE]) :]
        if readable:
            typed = os.read(source, AT_ONCE)
            ended = not typed
            if leave and leave in typed:
                if last := typed[: typed.index(leave)]:
                    prompt.exchange(last)
                return
            if returns:
                typed = typed.replace(b"\n", b"\r")
        before = prompt.waiting + len(typed)
        printed = prompt.exchange(typed, more=len(unread) < UNREAD_BYTES)
        unread += printed
        quiet_s = time.monotonic() - busy_s
        took = prompt.waiting < before
        if took or printed or prompt.waiting:
            busy_s = time.monotonic()
        elif ended and not unread:
            if quiet_s > QUIET_S:
                return
            time.sleep(QUICK_S)
        wait_s = 0.0 if printed or took else QUICK_S if quiet_s < QUIET_S else SLOW_S


def at_terminal(prompt: BoxPrompt) -> None:
    """The prompt at this terminal, until Ctrl-]; with stdin from elsewhere, until it ends."""
    source, to = sys.stdin.fileno(), sys.stdout.fileno()
    with prompt:
        if not os.isatty(source):
            relay(prompt, source, to, returns=True)
            return
        former = termios.tcgetattr(source)
        tty.setraw(source)
        try:
            relay(prompt, source, to, LEAVE)
        finally:
            termios.tcsetattr(source, termios.TCSADRAIN, former)


def on_a_pty(prompt: BoxPrompt, show: Callable[[str], None]) -> None:
    """The prompt on a pty, whose path `show` gets, until the command is interrupted."""
    ours, theirs = pty.openpty()
    os.fchmod(theirs, 0o600)  # no other user may type
    os.set_blocking(ours, False)  # a client may not read
    tty.setraw(theirs)  # kept open: a client may come and go
    try:
        with prompt:
            show(os.ttyname(theirs))
            relay(prompt, ours, ours)
    finally:
        os.close(theirs)
        os.close(ours)
