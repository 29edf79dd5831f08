"""MicroPython's prompt of a Box, passed on to an administrator while the Box samples.

    open                               begins a session; the answer is its key, 32 hexadecimal digits
    <key> <typed> <printed> <base64>   typed bytes go in, printed ones come out (opq_proto.link.prompt)
    <key> close

Only `open` needs the administrator's proof; the key, which its answer carries, stands for it afterwards.
A Box has one session at a time, and closes one in which nothing was sent for 15 s. Owned by the command
handler's thread.
"""

import re
import secrets
from collections.abc import Callable
from functools import partial

from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommandLink
from opq_proto.kit import log
from opq_proto.link.messages import Operation, Status
from opq_proto.link.prompt import CLOSE, open_argument

Reply = Callable[[bool, str], None]
ANSWER_S = 4.0
"""Longest wait for one answer; an erase takes about 1 s, and samples sent again delay it."""
MOST_BYTES = 255
"""Of an argument (proto/golden/README.md)."""
EXCHANGE = re.compile(r"[0-9]{1,10} [0-9]{1,10} [A-Za-z0-9+/]*={0,2}")
"""All that a key may send beside `close`: it opens no session."""


class BoxPrompt:
    """Carries out `opq-prompt` for one Box."""

    def __init__(
        self, line: BoxCommandLink, later: Callable[[Callable[[], None]], bool], box_id: str
    ) -> None:
        """`later` runs a function in the handler's thread."""
        self._line = line
        self._later = later
        self._key = ""
        self._log = log.get(service="gateway", box_id=box_id)

    def execute(self, message: str, reply: Reply) -> None:
        """Handles one of the messages above."""
        key, _, argument = message.partition(" ")
        if message == "open":
            self._open(reply)
        elif not self._key or not secrets.compare_digest(key.encode(), self._key.encode()):
            reply(False, "no prompt of this key is open")
        elif argument == CLOSE:
            self._send(argument, partial(self._closed, key, reply), reply)
        elif len(argument) > MOST_BYTES or not EXCHANGE.fullmatch(argument):
            reply(False, f"want <typed> <printed> <base64> of at most {MOST_BYTES} bytes, or {CLOSE}")
        else:
            self._send(argument, partial(self._exchanged, key, reply), reply)

    def _open(self, reply: Reply) -> None:
        key = secrets.token_hex(16)
        number = secrets.randbelow(2**30 - 1) + 1
        self._send(open_argument(number), partial(self._opened, key, reply), reply)

    def _opened(self, key: str, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.UNKNOWN:
            reply(False, "its firmware has no prompt over the line; update it")
        elif answer.status is Status.DONE:
            self._key = key
            self._log.info("prompt.opened")
            reply(True, key)
        else:
            if answer.status is None:  # it may have opened a session, which no former key is for
                self._key = ""
            self._answered(reply, answer)

    def _exchanged(self, key: str, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.FAILED and key == self._key:
            self._over()  # the Box has closed it
        self._answered(reply, answer)

    def _closed(self, key: str, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.DONE and key == self._key:
            self._over()
        self._exchanged(key, reply, answer)

    def _over(self) -> None:
        self._key = ""
        self._log.info("prompt.closed")

    def _answered(self, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is None:
            reply(False, f"the Box did not answer within {ANSWER_S:g} s; older firmware has no such prompt")
        else:
            reply(answer.status is Status.DONE, answer.detail or answer.status.name.lower())

    def _send(self, argument: str, answered: Callable[[BoxAnswer], None], reply: Reply) -> None:
        def done(answer: BoxAnswer) -> None:
            self._later(partial(answered, answer))

        if not self._line.send_command(Operation.PROMPT, argument, ANSWER_S, done):
            reply(False, "the Box's port is not open, or too many commands wait for it already")
