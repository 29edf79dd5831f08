"""A session at a Box's prompt, whose exchanges are signed by a key of the session's own.

    client                                                      gateway
    "open <public key>" with the administrator's proof      ->  a session of this key
    "<number> <signature> <argument>"                       ->  checks both; the argument is for the Box
                                                            <-  "<number> <answer>"

The key (Ed25519) is made for the session, and its private half stays with the client: who reads commands
and answers cannot type. The signature covers Box, number and argument, and numbers rise: a copy is worth
nothing.
"""

import base64
import re

from opq_proto.keys.signing import PublicKey, new_private_key, public_of
from opq_proto.wire.order_proof import SESSION_MESSAGE, ProofError

OPEN = "open"
_OPEN = re.compile(rf"{OPEN} ([A-Za-z0-9+/]{{43}}=)")


def _signed_bytes(box_id: str, number: str, argument: str) -> bytes:
    return "\n".join(("opq prompt 1", box_id, number, argument)).encode()


class SessionKey:
    """The client's end."""

    def __init__(self, box_id: str) -> None:
        self._box_id = box_id
        self._key = new_private_key()
        self._number = 0

    def opening(self) -> str:
        """The message that opens the session."""
        return f"{OPEN} {base64.b64encode(public_of(self._key).raw).decode()}"

    def signed(self, argument: str) -> str:
        """The message of an argument. It is sent once: to send the argument again, sign it again."""
        self._number += 1
        signature = self._key.sign(_signed_bytes(self._box_id, str(self._number), argument))
        return f"{self._number} {base64.b64encode(signature).decode()} {argument}"

    def answer(self, detail: str) -> str | None:
        """What answers the last argument; None: it answers another message, maybe somebody else's."""
        number, _, answer = detail.partition(" ")
        return answer if number == str(self._number) else None


class SessionCheck:
    """The gateway's end."""

    def __init__(self, box_id: str, key: PublicKey) -> None:
        self._box_id = box_id
        self._key = key
        self._number = 0
        self.refused = 0
        """Messages that the session's client did not send, or sent before."""

    def argument(self, message: str) -> str:
        """The argument of a message, once. Raises ProofError: the session's client did not send it."""
        found = SESSION_MESSAGE.fullmatch(message)
        if found is None or not self._key.is_signed(
            base64.b64decode(found[2]), _signed_bytes(self._box_id, found[1], found[3])
        ):
            self.refused += 1
            raise ProofError("it is not signed by the key of the open prompt")
        if int(found[1]) <= self._number:
            self.refused += 1
            raise ProofError("this exchange with the prompt was sent before")
        self._number = int(found[1])
        return found[3]


def exchange_number(message: str) -> str:
    """The number of a message of a session, for its answer; empty: another message."""
    found = SESSION_MESSAGE.fullmatch(message)
    return found[1] if found else ""


def opening_key(message: str) -> PublicKey | None:
    """The key of a message that opens a session; None: another message."""
    found = _OPEN.fullmatch(message)
    return PublicKey(base64.b64decode(found[1])) if found else None
