"""The token of a rule engine's REST, and of a gateway's orders, which they, pages and commands need: three
rooms, hence a file here.

The engine makes it at its first start, in its own folder, with mode 0600, and so does a gateway. Their
refusals on this machine name the file; a program that may read it uses it, so it need not be typed.

Any user's program may listen at a port of this machine while the engine is down. So a client first sends a
challenge, with neither token nor request, and goes on only where the refusal has a proof: an HMAC-SHA256
(RFC 2104) over challenge and port, whose key is the token's SHA-256. With the port in it, a program cannot
pass on the proof of an engine at another port.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from opq_proto.errors import OpqError
from opq_proto.kit.whole_file import write_whole_file

NAME = "rest_token"
FOLDERS = ("rules", "gateway")
"""Names of the folders that have such a file."""
KEY = "token_file"
"""The key of a refusal that names the file."""
CHALLENGE = "Opq-Challenge"
"""HTTP header: 32 hexadecimal digits that the refusal's proofs are about."""
PROOFS = "proofs"
"""The key of a refusal that has a proof for each token of the engine."""
_CHALLENGE = re.compile(r"[0-9a-f]{32}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,100}")


def made_token(folder: Path) -> str:
    """The token of the engine in this folder; it is made where there is none. Raises OSError."""
    path = folder / NAME
    found = _read(path)
    if found is None:
        found = secrets.token_urlsafe(32)
        write_whole_file(path, [f"{found}\n".encode()], 0o600)
    path.chmod(0o600)
    return found


class UnprovedError(OpqError):
    """The program at the engine's port does not prove that it has the token."""


def new_challenge() -> str:
    """A challenge for one request."""
    return secrets.token_hex(16)


def proofs_of(sums: Iterable[str], challenge: str, port: int) -> list[str]:
    """The proofs for tokens with these SHA-256 sums (hexadecimal); none for what is not a challenge."""
    if not _CHALLENGE.fullmatch(challenge):
        return []
    message = f"opq rule engine 1\n{challenge}\n{port}".encode()
    return [hmac.new(each.encode(), message, "sha256").hexdigest() for each in sums]


def proved_token(refusal: bytes, challenge: str, port: int, given: str | None = None) -> str | None:
    """The token for the program that refuses: `given`, or the one in the file that it names; None: no token.

    Raises:
        UnprovedError: it has no proof for that token.
    """
    token = named_token(refusal) if given is None else given
    if token is None:
        return None
    wanted = proofs_of([hashlib.sha256(token.encode()).hexdigest()], challenge, port)[0]
    try:
        found = [str(each).encode() for each in json.loads(refusal)[PROOFS]]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = []
    if not any(hmac.compare_digest(wanted.encode(), each) for each in found):
        raise UnprovedError(
            f"the program at port {port} does not prove that it has the token that is known here, so it got "
            "neither token nor request"
        )
    return token


def named_token(refusal: bytes) -> str | None:
    """The token in the file that a refusal names; None where it names none, or this user may not read it.

    The caller has asked an address of this machine. Nothing but a token in such a file is ever returned.
    """
    try:
        path = Path(json.loads(refusal)[KEY])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not path.is_absolute() or path.parent.name not in FOLDERS or path.name != NAME:
        return None
    return _read(path)


def _read(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            text = file.read(200).decode("ascii").strip() if plain else ""
        return text if _TOKEN.fullmatch(text) else None
    return None
