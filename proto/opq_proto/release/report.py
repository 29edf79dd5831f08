"""Reports of gateways about their updates: JSON, authenticated by the CURVE keys of Box and server.

Both sides compute the same secret (X25519, RFC 7748) from their own private and the other's public key, so a
report needs no further key: HMAC-SHA256 (RFC 2104) with a hash of that secret.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from zmq.utils import z85

from opq_proto.release.plan import ReleaseError

HEADER = "Opq-Report"
"""HTTP header: the Box's number, a blank, and the HMAC in hexadecimal digits."""
STATES = ("well", "waiting", "trying", "failed")
MAX_BYTES = 16_384
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Report:
    """How one gateway is; a gateway is named by the number of its first Box."""

    gateway: str
    version: str
    """The one that runs."""
    at_ms: int
    state: str = "well"
    wanted: str = ""
    """The version that `state` is about; empty: none."""
    group: str = ""
    reason: str = ""
    firmware: dict[str, str] = field(default_factory=dict)
    """Box -> how its last update of firmware ended: `1.4.0 confirmed`, `1.4.0 failed: …`."""


def report_key(secret: bytes, public: bytes) -> bytes:
    """The key of the HMAC, from Z85 keys of CURVE: one side's secret and the other's public key."""
    private = X25519PrivateKey.from_private_bytes(z85.decode(secret))
    shared = private.exchange(X25519PublicKey.from_public_bytes(z85.decode(public)))
    return hashlib.sha256(b"opq update report 1" + shared).digest()


def seal(report: Report, key: bytes) -> tuple[bytes, str]:
    """The body of a report, and its header."""
    body = json.dumps(asdict(report)).encode()
    return body, f"{report.gateway} {hmac.new(key, body, 'sha256').hexdigest()}"


def unseal(body: bytes, header: str, key: bytes) -> Report:
    """The report of a body and its header. Raises ReleaseError: not by this key, or not a report."""
    gateway, _, code = header.partition(" ")
    if not hmac.compare_digest(code, hmac.new(key, body, "sha256").hexdigest()):
        raise ReleaseError(f"the report is not signed with the key of Box {gateway[:12]}")
    try:
        report = _read(json.loads(body))
    except (ValueError, TypeError, RecursionError) as error:
        raise ReleaseError(f"it is not a report: {error}") from None
    if report.gateway != gateway:
        raise ReleaseError("the report is of another gateway than its key")
    return report


def _read(document: Any) -> Report:
    names = {each.name for each in fields(Report)}
    report = Report(**{name: value for name, value in dict(document).items() if name in names})
    texts = (report.gateway, report.version, report.state, report.wanted, report.group, report.reason)
    pairs = [*report.firmware.keys(), *report.firmware.values()]
    if not all(isinstance(each, str) and len(each) <= MAX_TEXT for each in (*texts, *pairs)):
        raise ValueError(f"want texts of at most {MAX_TEXT} characters")
    if report.state not in STATES or type(report.at_ms) is not int:
        raise ValueError(
            f"state is {report.state!r}, at_ms {report.at_ms!r}; want one of {', '.join(STATES)}, and ms"
        )
    return report
