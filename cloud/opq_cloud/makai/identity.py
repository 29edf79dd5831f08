"""Identities of data requests: `data_<token>_<instance>` (opq-interop A.6)."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits
TOKEN_LENGTH = 30
PREFIX = "data_"
"""What the event service subscribes to."""


def new_token() -> str:
    """30 random letters and digits: one per trigger, shared by all its Boxes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH))


def identity(token: str, instance: str) -> str:
    return f"{PREFIX}{token}_{instance}"


def parse(text: str) -> tuple[str, str] | None:
    """(token, instance); None when it has not exactly three parts, all filled."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "data" or not parts[1] or not parts[2]:
        return None
    return parts[1], parts[2]
