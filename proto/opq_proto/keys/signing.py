"""Ed25519 keys and signatures (RFC 8032) by the `cryptography` package; keys are PEM files (RFC 8410).

`openssl pkey` and `openssl pkeyutl -rawin` read and write the same files.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from opq_proto.errors import OpqError
from opq_proto.kit.whole_file import write_whole_file

PEM = serialization.Encoding.PEM


class SigningError(OpqError):
    """A key cannot be read, made or used; nothing was signed."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Ed25519, 32 bytes."""

    raw: bytes

    def is_signed(self, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @property
    def fingerprint(self) -> str:
        """16 hex digits for people; the first of the key's SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


def read_private(path: Path) -> PrivateKeyTypes:
    """Reads a private key of any kind from PEM without a password.

    Raises:
        SigningError: it cannot be read; the text says why.
    """
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
    except TypeError:
        raise SigningError(
            f"{path} is encrypted; remove the password first: openssl pkey -in … -out …"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(
            f"{path} is not a private key in PEM (opq-tools release sign --new-key makes one)"
        ) from None


def read_public(path: Path) -> PublicKeyTypes:
    """Reads a public key of any kind from PEM; a private key's file gives its public half.

    Raises:
        SigningError: it says why.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror}") from None
    if b"PRIVATE KEY" in data:
        return read_private(path).public_key()
    try:
        return serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(f"{path} is not a public key in PEM") from None


def firmware_key(path: Path) -> Ed25519PrivateKey:
    """The private key of `path`, for firmware.

    Raises:
        SigningError: not there, or not Ed25519.
    """
    key = read_private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: firmware is signed with an Ed25519 key, but this key is of another kind")
    return key


def new_private_key() -> Ed25519PrivateKey:
    """A key that no file has, such as one of a session."""
    return Ed25519PrivateKey.generate()


def public_of(key: Ed25519PrivateKey | Ed25519PublicKey) -> PublicKey:
    """Returns the public half of a key as bytes."""
    return PublicKey((key.public_key() if isinstance(key, Ed25519PrivateKey) else key).public_bytes_raw())


def firmware_public_key(path: Path) -> PublicKey:
    """The Ed25519 public key of `path` (or the public half of a private one).

    Raises:
        SigningError: not there, or not Ed25519.
    """
    key = read_public(path)
    if not isinstance(key, Ed25519PublicKey):
        raise SigningError(f"{path}: firmware is signed with an Ed25519 key, but this key is of another kind")
    return public_of(key)


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The PEM file of a public key."""
    return key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def new_key(path: Path, public_path: Path | None = None) -> Path:
    """Makes a new Ed25519 pair: `path`, readable only by its owner, and a public file, which is returned.

    `public_path`: None: `path`.pub.

    Raises:
        SigningError: one of them exists already; nothing is changed.
    """
    public_path = public_path or path.with_name(path.name + ".pub")
    existing = [str(file) for file in (path, public_path) if file.exists()]
    if existing:
        raise SigningError(f"{' and '.join(existing)} exist already; nothing was changed")
    key = new_private_key()
    secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        write_whole_file(public_path, [public_pem(key.public_key())], 0o644)
    except OSError as error:
        raise SigningError(f"{error.filename}: {error.strerror}") from None
    return public_path


def development_key_path(data_folder: Path) -> Path:
    """File of this machine's own signing key, which may not exist yet."""
    return data_folder / "firmware" / "development.pem"


def development_key(data_folder: Path) -> Path:
    """Returns this machine's own signing key, made once; Boxes that trust it accept no other firmware."""
    path = development_key_path(data_folder)
    if not path.exists():
        new_key(path)
    return path
