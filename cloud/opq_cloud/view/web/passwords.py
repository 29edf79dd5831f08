"""Makes, stores and compares passwords, one-time codes and secrets.

Passwords are stored by argon2id with the parameters of OWASP's Password Storage Cheat Sheet (19 MiB, two
passes); a user of the original's View has bcrypt of the SHA-256 of the password (Meteor), which is accepted
once.
"""

import functools
import hashlib
import hmac
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from opq_cloud.store.records.accounts.account_records import secret_hash as secret_hash

MIN_CHARACTERS = 12
MAX_CHARACTERS = 256
HASHERS = ThreadPoolExecutor(2, thread_name_prefix="passwords")
"""Each hash takes 19 MiB and a core for some 30 ms: a flood of sign-ins waits instead of filling the memory.

The threads are separate from those of pages, because glibc keeps those 19 MiB for each thread that ever used
them: 330 MB with the threads of pages.
"""
TOTP_STEP_S = 30
TOTP_DRIFT = 1
"""Steps before and after the present one that are accepted (RFC 6238, 5.2)."""
RECOVERY_CODES = 8


@functools.cache
def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@functools.cache
def _nobodys_hash() -> str:
    """Compared where there is no account, so that the answer takes as long."""
    return hash_password(secrets.token_urlsafe(16))


def password_problem(password: str, email: str = "") -> str | None:
    """Why a password cannot be used; None where it can."""
    if len(password) < MIN_CHARACTERS:
        return f"The password has {len(password)} characters; want {MIN_CHARACTERS} or more."
    if len(password) > MAX_CHARACTERS:
        return f"The password has {len(password)} characters; want {MAX_CHARACTERS} or fewer."
    if len(set(password)) < 4:
        return "The password repeats the same few characters; want one that is hard to guess."
    if email and password.lower() in (email.lower(), email.partition("@")[0].lower()):
        return "The password is the e-mail; want one that is hard to guess."
    return None


def hash_password(password: str) -> str:
    return str(HASHERS.submit(_hasher().hash, password).result())


def password_fits(stored: str | None, password: str) -> bool:
    """Whether the password is right. Without an account (`stored` is None), False takes equally long."""
    with_account = stored or _nobodys_hash()
    compared = HASHERS.submit(_hasher().verify, with_account, password[: MAX_CHARACTERS + 1])
    try:
        return bool(compared.result()) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _nobodys_bcrypt() -> str:
    """As `_nobodys_hash`, with Meteor's ten rounds."""
    return bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10)).decode()


def original_password_fits(stored: str | None, password: str) -> bool:
    """Whether a password of Meteor is right: bcrypt of the hexadecimal SHA-256 of the password.

    Without a user (`stored` is None), False takes equally long.
    """
    digest = hashlib.sha256(password.encode()).hexdigest().encode()
    compared = HASHERS.submit(bcrypt.checkpw, digest, (stored or _nobodys_bcrypt()).encode())
    try:
        return bool(compared.result()) and stored is not None
    except ValueError:  # the stored text is not a bcrypt hash
        return False


def new_secret() -> str:
    """256 random bits for a cookie or a link."""
    return secrets.token_urlsafe(32)


def new_totp_secret() -> str:
    return str(pyotp.random_base32())


def totp_address(secret: str, email: str) -> str:
    """`otpauth://…`, the address that an authenticator reads from a QR code."""
    return str(pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="OPQ View"))


def totp_step_of(secret: str, code: str, after_step: int, now_s: float | None = None) -> int | None:
    """The step whose code this is, if it is later than `after_step`; None where the code is not accepted.

    Source: RFC 6238, 5.2: a code is accepted once, and in a window of TOTP_DRIFT steps.
    """
    totp = pyotp.TOTP(secret)
    present = int(time.time() if now_s is None else now_s) // TOTP_STEP_S
    found = None
    for step in range(present - TOTP_DRIFT, present + TOTP_DRIFT + 1):
        if hmac.compare_digest(str(totp.generate_otp(step)).encode(), code.encode()) and step > after_step:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes for a lost telephone; each is accepted once."""
    return [f"{secrets.token_hex(3)}-{secrets.token_hex(3)}" for _ in range(RECOVERY_CODES)]


def same_fingerprint(first: str, second: str) -> bool:
    """Whether two fingerprints are the same; case and separators do not count."""
    plain = ("".join(c for c in text.lower() if c.isalnum()) for text in (first, second))
    return hmac.compare_digest(*(text.encode() for text in plain))
