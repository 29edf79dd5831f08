"""encryption aes: AES-GCM of each payload. What goes out: nonce (12 bytes), ciphertext, tag (16).

The key is in a file: 16, 24 or 32 bytes, or as many in hexadecimal. It is read when the sink begins.
Source: NIST SP 800-38D; with random nonces a key is good for 2**32 payloads.
"""

import os
from collections.abc import Callable
from pathlib import Path

NONCE_BYTES = 12
_SIZES = (16, 24, 32)


def encryptor(key_file: str) -> Callable[[bytes], bytes]:
    """Raises ValueError: the file cannot be read or holds no key, or the package is missing."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ValueError("encryption aes needs the package cryptography") from error
    cipher = AESGCM(_key(key_file))

    def encrypt(content: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, content, None)

    return encrypt


def _key(key_file: str) -> bytes:
    try:
        with Path(key_file).open("rb") as file:
            content = file.read(4096)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"encryptionKeyFile  {key_file[:200]}: {reason}") from None
    try:
        as_text = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        as_text = b""
    for key in (as_text, content):
        if len(key) in _SIZES:
            return key
    raise ValueError(f"encryptionKeyFile  {key_file[:200]}: want 16, 24 or 32 bytes, or their hexadecimal")
