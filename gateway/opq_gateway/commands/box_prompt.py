"""MicroPython's prompt of a Box, passed on to an administrator while the Box samples.

    open <public key>                                   begins a session
    <number> <signature> <typed> <printed> <base64>     typed bytes go in, printed ones come out
    <number> <signature> close                          ends it; answered by how many others were refused

An answer to the session's client begins with the number, a refusal of what another one sent does not.

Only `open` needs the administrator's proof; what follows is signed by its key
(`opq_proto.wire.prompt_session`). The Box does not check it again, because its line has no key
(docs/decisions/18-serial-line-without-a-key.md): who could type there could open a session as well.
A Box has one session at a time, and closes one in which nothing was sent for 15 s. Owned by the command
handler's thread.
"""

import re
import secrets
from collections.abc import Callable
from functools import partial

from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommandLink
from opq_proto.keys.signing import PublicKey
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.link.messages import Operation, Status
from opq_proto.link.prompt import CLOSE, open_argument
from opq_proto.wire.order_proof import ProofError
from opq_proto.wire.prompt_session import OPEN, SessionCheck, exchange_number, opening_key

Reply = Callable[[bool, str], None]
ANSWER_S = 4.0
"""Longest wait for one answer; an erase takes about 1 s, and samples sent again delay it."""
OPEN_S = 1.5
"""Longest wait for each of two answers to `open` and for a hello: the client waits 5 s for all."""
MOST_BYTES = 255
"""Of an argument (proto/golden/README.md)."""
EXCHANGE = re.compile(r"[0-9]{1,10} [0-9]{1,10} [A-Za-z0-9+/]*={0,2}")
"""All that a session may send beside `close`: it opens no other."""
NO_PROMPT = "its firmware has no prompt over the line; update it"
OPENING = "a prompt is being opened"


class BoxPrompt:
    """Carries out `opq-prompt` for one Box."""

    def __init__(
        self, line: BoxCommandLink, later: Callable[[Callable[[], None]], bool], box_id: str
    ) -> None:
        """`later` runs a function in the handler's thread."""
        self._line = line
        self._later = later
        self._box_id = box_id
        self._session: SessionCheck | None = None
        self._is_opening = False
        self._log = log.get(service="gateway", box_id=box_id)
        self._refusals = RateLimitedLog(self._log)

    def execute(self, message: str, reply: Reply) -> None:
        """Handles one of the messages above. Raises ProofError: it is not of the open session."""
        if number := exchange_number(message):
            reply = partial(_numbered, number, reply)
        is_open = message.partition(" ")[0] == OPEN
        key = opening_key(message) if is_open else None
        if is_open and key is None:
            reply(False, f"want {OPEN} <public key>")
        elif self._is_opening:  # a former session's exchange could be typed in the new one
            reply(False, OPENING)
        elif key is not None:
            self._open(key, reply)
        else:
            self._pass_on(message, reply)

    def _pass_on(self, message: str, reply: Reply) -> None:
        argument = self._argument(message)
        session = self._session
        assert session is not None
        if argument == CLOSE:
            self._send(Operation.PROMPT, argument, partial(self._closed, session, reply), reply)
        elif len(argument) > MOST_BYTES or not EXCHANGE.fullmatch(argument):
            reply(False, f"want <typed> <printed> <base64> of at most {MOST_BYTES} bytes, or {CLOSE}")
        else:
            self._send(Operation.PROMPT, argument, partial(self._exchanged, session, reply), reply)

    def _argument(self, message: str) -> str:
        if self._session is None:
            raise ProofError(f"{exchange_number(message)} no prompt is open".lstrip())
        try:
            return self._session.argument(message)
        except ProofError as error:
            self._refusals.warning("prompt.refused", reason=str(error), refused=self._session.refused)
            raise

    def _open(self, key: PublicKey, reply: Reply) -> None:
        def ended(ok: bool, detail: str) -> None:
            self._is_opening = False
            reply(ok, detail)

        self._is_opening = True
        argument = open_argument(secrets.randbelow(2**30 - 1) + 1)
        opened = partial(self._opened, key, ended)

        def again(answer: BoxAnswer) -> None:
            """Its answer may be lost: the Box takes the same number twice."""
            if answer.status is None:
                self._send(Operation.PROMPT, argument, opened, ended, OPEN_S)
            else:
                opened(answer)

        self._send(Operation.PROMPT, argument, again, ended, OPEN_S)

    def _opened(self, key: PublicKey, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.UNKNOWN:
            reply(False, NO_PROMPT)
        elif answer.status is Status.DONE:
            self._over(self._session)  # the Box has closed it
            self._session = SessionCheck(self._box_id, key)
            self._log.info("prompt.opened")
            reply(True, "opened")
        elif answer.status is None:
            self._over(self._session)  # the Box may have opened another one
            self._send(Operation.HELLO, "", partial(self._unopened, reply), reply, OPEN_S)
        else:
            self._answered(reply, answer)

    def _unopened(self, reply: Reply, hello: BoxAnswer) -> None:
        """Firmware before the prompt answers nothing to it, and everything else."""
        if hello.status is None:
            reply(False, f"the Box did not answer within {3 * OPEN_S:g} s")
        else:
            reply(False, f"{NO_PROMPT} (it answers other commands, and not this one)")

    def _exchanged(self, session: SessionCheck, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.FAILED:
            self._over(session)  # the Box has closed it
        self._answered(reply, answer)

    def _closed(self, session: SessionCheck, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is Status.DONE:
            self._over(session)
            reply(True, str(session.refused))
        else:
            self._exchanged(session, reply, answer)

    def _over(self, session: SessionCheck | None) -> None:
        if session is not None and session is self._session:
            self._session = None
            self._log.info("prompt.closed", refused=session.refused)

    def _answered(self, reply: Reply, answer: BoxAnswer) -> None:
        if answer.status is None:
            reply(False, f"the Box did not answer within {ANSWER_S:g} s")
        else:
            reply(answer.status is Status.DONE, answer.detail or answer.status.name.lower())

    def _send(
        self,
        operation: Operation,
        argument: str,
        answered: Callable[[BoxAnswer], None],
        reply: Reply,
        most_s: float = ANSWER_S,
    ) -> None:
        def done(answer: BoxAnswer) -> None:
            if not self._later(partial(answered, answer)):
                self._is_opening = False  # its answer is lost

        if not self._line.send_command(operation, argument, most_s, done):
            reply(False, "the Box's port is not open, or too many commands wait for it already")


def _numbered(number: str, reply: Reply, ok: bool, detail: str) -> None:
    reply(ok, f"{number} {detail}")
