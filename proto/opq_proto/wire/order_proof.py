"""The administrator's proof of an order that gives a Box away or changes its firmware.

    client                                                  gateway
    opq-challenge    ""                                 ->
                                                        <-  a challenge: 32 hexadecimal digits
    the order        "<challenge> <signature> <message>" ->  checks the proof, and uses up the challenge

The signature (Ed25519, base64) covers the order's name, the Box's number, the challenge and the message. So a
copy of it is worth nothing a second time, for another Box, or for another message.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from opq_proto.errors import OpqError
from opq_proto.wire.frames import (
    CHALLENGE_PLUGIN,
    NUMBER_SETTING,
    PROGRAM_PLUGIN,
    PROMPT_PLUGIN,
    SETTINGS_PLUGIN,
    UPDATE_PLUGIN,
    UPLINK_PLUGIN,
)

WITHOUT_PROOF = ("data", "status")
"""Words of `opq-update` that need no proof: `begin` has the SHA-256 of what `data` may bring."""
STALE = "its challenge is used up or too old; request another one"
"""End of the refusal of a proof after which the client requests another challenge."""
PROGRAM_WITHOUT_PROOF = ("", "show")
"""Messages of `opq-program` that change nothing."""
SESSION_MESSAGE = re.compile(r"([1-9][0-9]{0,15}) ([A-Za-z0-9+/]{86}==) (.*)", re.DOTALL)
"""A message of `opq-prompt` after a proved `open`: by that session's key (`prompt_session.SessionCheck`)."""
_PROVED = re.compile(r"([0-9a-f]{32}) ([A-Za-z0-9+/]{86}==) (.*)", re.DOTALL)
_CHALLENGE = re.compile(r"[0-9a-f]{32}")


class ProofError(OpqError):
    """An order has no valid proof of the administrator; the text says what to do."""


@dataclass(frozen=True, slots=True)
class ProvedMessage:
    """An order's message with its proof, not checked."""

    challenge: str
    signature: bytes
    message: str


def needs_proof(plugin: str, message: str) -> bool:
    """Whether an order gives a Box away, changes its firmware or program, or opens its prompt."""
    if plugin == UPDATE_PLUGIN:
        return message.partition(" ")[0] not in WITHOUT_PROOF
    if plugin == SETTINGS_PLUGIN:
        return message.partition("=")[0] == NUMBER_SETTING
    if plugin == PROGRAM_PLUGIN:
        return message not in PROGRAM_WITHOUT_PROOF
    if plugin == PROMPT_PLUGIN:
        return SESSION_MESSAGE.fullmatch(message) is None
    return plugin == UPLINK_PLUGIN


def signed_bytes(plugin: str, box_id: str, challenge: str, message: str) -> bytes:
    """What the signature covers."""
    return "\n".join(("opq order 1", plugin, box_id, challenge, message)).encode()


def prove(plugin: str, box_id: str, challenge: str, message: str, secret: Path) -> str:
    """The message with its proof by the administrator's private file.

    Raises:
        ProofError: the file is missing or not a key, or the answer was not a challenge.
    """
    try:
        from opq_proto.keys.signing import SigningError, firmware_key  # extra "signing"
    except ModuleNotFoundError as error:
        raise ProofError(f"{plugin} needs {error.name}: pip install 'opq-toolkit[signing]'") from error
    if not _CHALLENGE.fullmatch(challenge):
        raise ProofError(f"the answer to {CHALLENGE_PLUGIN} is not a challenge: {challenge[:80]!r}")
    try:
        signature = firmware_key(secret).sign(signed_bytes(plugin, box_id, challenge, message))
    except SigningError as error:
        raise ProofError(f"{plugin} needs the administrator's private key: {error}") from error
    return f"{challenge} {base64.b64encode(signature).decode()} {message}"


def read_proved(text: str) -> ProvedMessage | None:
    """The parts of a message with a proof; None where it has none."""
    found = _PROVED.fullmatch(text)
    if found is None:
        return None
    try:
        return ProvedMessage(found[1], base64.b64decode(found[2], validate=True), found[3])
    except binascii.Error:
        return None
