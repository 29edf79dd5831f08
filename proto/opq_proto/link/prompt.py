"""The client's end of a Box's prompt: the arguments of Operation.PROMPT, and what is printed in the answers.

device/app/prompt_session.py is the other end; proto/golden/README.md has the words.
"""

import base64
import binascii

from opq_proto.errors import OpqError

PIECE_BYTES = 168
"""Most bytes that are typed in one argument: with two places their base64 fits 255."""
CLOSE = "close"


class PromptAnswerError(OpqError):
    """A Box's answer is not one of its prompt; the text has the answer."""


def open_argument(number: int) -> str:
    """Begins the session of this number, which is at least 1; a repeated one changes nothing."""
    return f"open {number}"


class PromptStream:
    """What is typed goes out once and what is printed comes in once, though arguments may be sent twice."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._typed = 0  # taken by the Box
        self._printed = 0
        self._piece = 0  # place of the last answer's

    def put(self, data: bytes) -> None:
        """Types."""
        self._waiting += data

    @property
    def waiting(self) -> int:
        """Typed bytes that the Box has not taken."""
        return len(self._waiting)

    def argument(self, more: bool = True) -> str:
        """The next argument; it may be sent again until its answer has come.

        Without `more` the last piece is asked for again, so that no later one is fetched.
        """
        piece = base64.b64encode(self._waiting[:PIECE_BYTES]).decode()
        return f"{self._typed} {self._printed if more else self._piece} {piece}"

    def accept(self, detail: str) -> bytes:
        """The bytes that an answer brings. Raises PromptAnswerError."""
        try:
            typed, printed, encoded = detail.split(" ")
            if not all(each.isascii() and each.isdecimal() for each in (typed, printed)):
                raise ValueError(typed)
            taken = int(typed) - self._typed
            data = base64.b64decode(encoded, validate=True)
            known = self._printed - int(printed)
        except (ValueError, binascii.Error) as error:
            raise PromptAnswerError(f"{detail[:80]!r} is not the answer of a prompt") from error
        if not 0 <= taken <= len(self._waiting) or not 0 <= known <= PIECE_BYTES or len(data) > PIECE_BYTES:
            raise PromptAnswerError(f"{detail[:80]!r} is the answer to another prompt")
        del self._waiting[:taken]
        self._typed += taken
        fresh = data[known:]
        self._piece = int(printed)
        self._printed += len(fresh)
        return fresh
