"""Who vouches for a plug-in: an Ed25519 signature over the manifest's bytes, by one of the policy's keys.

`plugin.json.sig` holds the signature raw (64 bytes) or as base64; `opq-tools sign` writes the latter.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

from opq_proto.errors import PluginError

RAW_BYTES = 64


def signer(manifest: bytes, signature: bytes | None, keys: Sequence[Path]) -> str | None:
    """The fingerprint of the key that signed; None: not signed, or by nobody that is known."""
    if signature is None or not keys:
        return None
    from opq_proto.signing import SigningError, firmware_public_key  # extra "rules" brings cryptography

    raw = signature_bytes(signature)
    if raw is None:
        return None
    for path in keys:
        try:
            key = firmware_public_key(path)
        except SigningError as error:
            raise PluginError(f"key for plug-ins: {error}") from None
        if key.is_signed(raw, manifest):
            return key.fingerprint
    return None


def signature_bytes(file: bytes) -> bytes | None:
    """Of the file beside the manifest, or None: it holds none."""
    if len(file) == RAW_BYTES:
        return file
    try:
        raw = base64.b64decode(b"".join(file.split()), validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == RAW_BYTES else None
