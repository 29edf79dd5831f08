"""Signatures beside a file, in the original's form: FILE.sig is base64 in lines of 64 columns.

RSA, EC and DSA keys sign as `openssl dgst -sha256 -sign KEY` does (opq-interop F.2); Ed25519 keys sign the
file itself (RFC 8032), as `openssl pkeyutl -sign -rawin` does. Either side reads what the other wrote.
"""

import base64
import binascii
import textwrap

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256

from opq_proto.signing import SigningError

COLUMNS = 64


def sign(key: PrivateKeyTypes, data: bytes) -> bytes:
    """The signature's bytes.

    Raises:
        SigningError: a kind of key that does not sign.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())  # what openssl dgst does unless told otherwise
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, dsa.DSAPrivateKey):
        return key.sign(data, SHA256())
    raise SigningError("this kind of key signs nothing here; want Ed25519, RSA, EC or DSA")


def is_signed(key: PublicKeyTypes, data: bytes, signature: bytes) -> bool:
    """Whether the signature is of this data, by this key's other half.

    Raises:
        SigningError: a kind of key that does not sign.
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(SHA256()))
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(signature, data, SHA256())
        else:
            raise SigningError("this kind of key signs nothing here; want Ed25519, RSA, EC or DSA")
    except InvalidSignature:
        return False
    return True


def to_text(signature: bytes) -> str:
    """As `openssl base64` writes it."""
    return "\n".join(textwrap.wrap(base64.b64encode(signature).decode(), COLUMNS)) + "\n"


def from_text(data: bytes) -> bytes:
    """The signature in a .sig file; bytes that are no base64 are taken for the signature itself."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return data
