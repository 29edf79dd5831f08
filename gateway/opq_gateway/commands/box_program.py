"""A user's program of a Box (`box.py`), put, shown and removed over the line while the Box samples.

    ""                  {"state": ..., "bytes": ..., "crc32": ..., "reason": ...}
    show                the same with "text"
    put <base64>        compiled and started in place of the former one, which goes on if this one is refused
    remove              there is no program any more

A chain of commands to the Box, each sent after the answer to the one before. One chain at a time; owned by
the command handler's thread.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from functools import partial

from opq_gateway.serial_side.box_commands import BoxAnswer, BoxCommandLink
from opq_proto.link.messages import Operation, Status
from opq_proto.link.user_program import ProgramReport, put_arguments, read_report, why_not

Reply = Callable[[bool, str], None]
ANSWER_S = 5.0
"""Longest wait for one answer; an erase takes about 1 s, and samples sent again delay it."""
CLOSED = "the Box's port is not open, or too many commands wait for it already"


class BoxProgram:
    """Carries out `opq-program` for one Box."""

    def __init__(self, line: BoxCommandLink, later: Callable[[Callable[[], None]], bool]) -> None:
        """`later` runs a function in the handler's thread."""
        self._line = line
        self._later = later
        self._busy = False

    def execute(self, message: str, reply: Reply) -> None:
        """Handles one of the messages above."""
        word, _, rest = message.partition(" ")
        if self._busy:
            reply(False, "another request for its program is under way")
        elif word == "put":
            self._put(rest, reply)
        elif message == "remove":
            self._send("remove", reply, lambda detail: self._end(reply, True, detail))
        elif message in ("", "show"):
            self._send("", reply, partial(self._report, message == "show", reply))
        else:
            reply(False, f"{word[:40]!r} is unknown; want put, show, remove or nothing")

    def _put(self, encoded: str, reply: Reply) -> None:
        try:
            text = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            reply(False, f"the program is not base64: {error}")
            return
        if reason := why_not(text):
            reply(False, reason)
            return
        self._next(put_arguments(text), reply, "")

    def _next(self, arguments: Iterator[str], reply: Reply, detail: str) -> None:
        """Sends the next argument; the answer to the last one is the reply."""
        argument = next(arguments, None)
        if argument is None:
            self._end(reply, True, detail)
        else:
            self._send(argument, reply, partial(self._next, arguments, reply))

    def _report(self, with_text: bool, reply: Reply, detail: str) -> None:
        report = read_report(detail)
        if report is None:
            self._end(reply, False, f"the Box's answer is not a report: {detail[:80]!r}")
        elif with_text:
            self._read(report, b"", reply)
        else:
            self._end(reply, True, _facts(report, None))

    def _read(self, report: ProgramReport, text: bytes, reply: Reply) -> None:
        if len(text) >= report.bytes:
            self._end(reply, True, _facts(report, text))
        else:
            self._send(f"get {len(text)}", reply, partial(self._piece, report, text, reply))

    def _piece(self, report: ProgramReport, text: bytes, reply: Reply, detail: str) -> None:
        try:
            piece = base64.b64decode(detail, validate=True)
        except binascii.Error:
            piece = b""
        if piece:
            self._read(report, text + piece, reply)
        else:
            self._end(reply, False, f"byte {len(text)} of the program was not answered")

    def _send(self, argument: str, reply: Reply, done: Callable[[str], None]) -> None:
        """Sends one command; `done` gets the detail of DONE, `reply` the reason of a failure."""
        self._busy = True
        answered = partial(self._answered, reply, done)
        if not self._line.send_command(
            Operation.PROGRAM, argument, ANSWER_S, lambda answer: self._hand_over(answered, answer)
        ):
            self._end(reply, False, CLOSED)

    def _hand_over(self, answered: Callable[[BoxAnswer], None], answer: BoxAnswer) -> None:
        if not self._later(partial(answered, answer)):
            self._busy = False  # the handler is overloaded; the client asks again

    def _answered(self, reply: Reply, done: Callable[[str], None], answer: BoxAnswer) -> None:
        if answer.status is Status.DONE:
            done(answer.detail)
        elif answer.status is None:
            self._end(reply, False, f"the Box did not answer within {ANSWER_S:g} s")
        elif answer.status is Status.UNKNOWN:
            self._end(reply, False, "its firmware takes no program; update it")
        else:
            self._end(reply, False, answer.detail or answer.status.name.lower())

    def _end(self, reply: Reply, ok: bool, detail: str) -> None:
        self._busy = False
        reply(ok, detail)


def _facts(report: ProgramReport, text: bytes | None) -> str:
    facts: dict[str, object] = {"state": report.state}
    if report.bytes:
        facts |= {"bytes": report.bytes, "crc32": f"{report.crc32:08x}"}
    if report.reason:
        facts["reason"] = report.reason
    if text:
        facts["text"] = text.decode(errors="replace")
    return json.dumps(facts)
