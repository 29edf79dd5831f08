"""Checks the administrator's proof of orders that give a Box away or change its firmware.

Each Box has one challenge at a time: it is made on request, works for one accepted order, and ends after
CHALLENGE_S. Requests do not replace it, so that they cannot make another client's proof stale. Owned by the
command handler's thread.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from opq_gateway.uplink.connection import UplinkPlaces
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.signing import PublicKey, firmware_public_key
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.wire.order_proof import STALE, ProofError, needs_proof, read_proved, signed_bytes

CHALLENGE_S = 60.0


def administrator_of(keys: KeyFolder, places: UplinkPlaces, box_id: str) -> PublicKey:
    """The key of the administrator of a Box's cloud: of the cloud that the Box was moved to, or the one in
    the gateway's key folder. Raises OpqError: there is none."""
    moved = places.of(box_id).administrator
    if moved:
        return PublicKey(bytes.fromhex(moved))
    if not keys.administrator_public.exists():
        raise ProofError(
            "this gateway has no administrator's key, so that it accepts neither another cloud nor firmware; "
            f"copy the cloud's public_keys/opqadministrator.pub to {keys.administrator_public} on its machine"
        )
    return firmware_public_key(keys.administrator_public)


def no_administrator(box_id: str) -> PublicKey:
    """For Boxes without a gateway of their own, such as simulated fleets. Raises ProofError."""
    raise ProofError(f"Box {box_id} has no administrator's key")


@dataclass(frozen=True, slots=True)
class _Challenge:
    text: str
    until_s: float


class OrderProofs:
    """Challenges of all Boxes of a gateway, and the check of proofs."""

    def __init__(
        self,
        administrator: Callable[[str], PublicKey] = no_administrator,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`administrator`: the public key of a Box's administrator; raises OpqError where there is none."""
        self._administrator = administrator
        self._monotonic_s = monotonic_s
        self._challenges: dict[str, _Challenge] = {}
        self._log = RateLimitedLog(log.get(service="gateway"))

    def challenge(self, box_id: str) -> str:
        """The challenge for the next order of a Box."""
        now_s = self._monotonic_s()
        challenge = self._challenges.get(box_id)
        if challenge is None or now_s >= challenge.until_s:
            challenge = _Challenge(secrets.token_hex(16), now_s + CHALLENGE_S)
            self._challenges[box_id] = challenge
        return challenge.text

    def checked(self, plugin: str, box_id: str, text: str) -> str:
        """The message of an order, without its proof; an order that needs no proof stays as it is.

        Raises:
            OpqError: it needs the administrator's proof and has none that is valid.
        """
        try:
            return self._checked(plugin, box_id, text)
        except OpqError as error:
            self._log.warning(
                "order.unproved", key=box_id, box_id=box_id, plugin=plugin[:40], reason=str(error)
            )
            raise

    def _checked(self, plugin: str, box_id: str, text: str) -> str:
        proved = read_proved(text)
        if not needs_proof(plugin, text if proved is None else proved.message):
            return text
        key = self._administrator(box_id)
        if proved is None:
            raise ProofError(
                f"{plugin} needs the administrator's proof (docs/boxes.md, The administrator's key)"
            )
        signed = signed_bytes(plugin, box_id, proved.challenge, proved.message)
        if not key.is_signed(proved.signature, signed):
            raise ProofError(
                f"the proof of {plugin} is not by the administrator's key {key.fingerprint} of this gateway, "
                "or not for this Box and message"
            )
        challenge = self._challenges.get(box_id)
        expired = challenge is None or self._monotonic_s() >= challenge.until_s
        if challenge is None or expired or challenge.text != proved.challenge:
            raise ProofError(f"the proof of {plugin} is not fresh: {STALE}")
        del self._challenges[box_id]
        return proved.message
