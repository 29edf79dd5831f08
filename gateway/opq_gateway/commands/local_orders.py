"""What a person of this machine orders at the health port: claim codes of Boxes, links to the set-up page.

Every user's program and a plug-in may reach the port. So an order needs the token in this gateway's folder,
which only its user and root can read; a program of another user at the port does not get it (`rest_token`).
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from opq_gateway.commands.claim_codes import ClaimCode, ClaimCodes
from opq_gateway.commands.setup_links import SetupLinks
from opq_proto.keys.rest_token import CHALLENGE, KEY, NAME, PROOFS, made_token, proofs_of
from opq_proto.kit import log
from opq_proto.kit.http_server import Reply

Query = Mapping[str, list[str]]
CLAIM_CODES = "/claim-codes"
SETUP_LINKS = "/setup-links"


class LocalOrders:
    """The orders of one gateway; may be called from any thread."""

    def __init__(self, folder: Path, claims: ClaimCodes) -> None:
        """`folder`: the gateway's own, with the token."""
        self._file = folder.absolute() / NAME
        self._problem = ""
        try:
            token = made_token(folder)
        except OSError as error:  # the disk is full: it serves without orders
            log.get(service="gateway").warning("orders.no_token", file=str(self._file), error=str(error))
            why = error.strerror or error
            self._problem = f"this gateway could not write {self._file} at its start ({why})"
            token = secrets.token_urlsafe(32)
        self._sum = hashlib.sha256(token.encode()).hexdigest()
        self.claims = claims
        self.links = SetupLinks(token)

    def action(self, method: str, path: str) -> Callable[[Query], Reply] | None:
        """What a request to this path does; None: nothing is ordered there."""
        actions: Mapping[tuple[str, str], Callable[[Query], Reply]] = {
            ("GET", CLAIM_CODES): self._open_codes,
            ("POST", CLAIM_CODES): self._new_code,
            ("POST", SETUP_LINKS): self._new_link,
        }
        return actions.get((method, path))

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the token; names of headers in lower case."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        found = hashlib.sha256(token.strip().encode()).hexdigest()
        return kind.lower() == "bearer" and hmac.compare_digest(found, self._sum)

    def refusal(self, headers: Mapping[str, str], port: int) -> Reply:
        """The answer to a program of this machine without the token; it proves that this gateway has it."""
        if self._problem:
            text = f"{self._problem}, so it takes no orders; remove the cause and restart it"
            return _json(401, {"error": text})
        text = f"want the token of {self._file}; run the command as this gateway's user or with sudo"
        proofs = proofs_of([self._sum], headers.get(CHALLENGE.lower(), ""), port)
        return _json(401, {"error": text, KEY: str(self._file), PROOFS: proofs})

    def _open_codes(self, _: Query) -> Reply:
        return _json(200, [_shown(each) for each in self.claims.open_codes()])

    def _new_code(self, query: Query) -> Reply:
        box_id = (query.get("box") or [""])[0]
        try:
            return _json(201, _shown(self.claims.make(box_id)))
        except KeyError:
            known = ", ".join(self.claims.box_ids)
            return _json(404, {"error": f"Box {box_id[:20]!r} is not at this gateway; there are {known}"})

    def _new_link(self, _: Query) -> Reply:
        url = self.links.make()
        if url is None:
            return _json(404, {"error": "this gateway has no set-up page: setup.endpoint is not configured"})
        return _json(201, {"url": url})


def _shown(code: ClaimCode) -> dict[str, object]:
    return {"box_id": code.box_id, "code": code.code, "valid_s": round(code.left_s)}


def _json(status: int, document: object) -> Reply:
    return status, "application/json", json.dumps(document).encode()
