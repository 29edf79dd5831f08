"""The administrator's pair of a system (Ed25519): proves the orders that `wire.order_proof` names.

The private file stays where the administrator works, as a rule in the cloud's key folder. Each gateway has
the public file next to the server's public key, and reads it for each proof: a new file holds at once.
"""

import os
from pathlib import Path

from opq_proto.errors import KeyFileError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.whole_file import write_whole_file


def check_absent(keys: KeyFolder) -> None:
    """Raises KeyFileError where a file of the pair exists."""
    both = (keys.administrator_secret, keys.administrator_public)
    there = ", ".join(str(path) for path in both if os.path.lexists(path))
    if there:
        raise KeyFileError(f"key files exist already, nothing was changed: {there}; use --force to replace")


def create_administrator(keys: KeyFolder) -> list[Path]:
    """Makes a new pair, also where there is one; returns the files written.

    Raises:
        KeyFileError, SigningError: a file cannot be made.
    """
    from opq_proto.keys.signing import new_key  # imports cryptography: only where wanted

    keys.make_folders()
    secret, public = keys.administrator_secret, keys.administrator_public
    secret.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    return [secret, new_key(secret, public)]


def ensure_administrator(keys: KeyFolder) -> list[Path]:
    """Makes what is missing; returns the files written.

    With a public file alone nothing is made: its administrator keeps the private one elsewhere.

    Raises:
        KeyFileError, SigningError: a file cannot be read or made.
    """
    from opq_proto.keys.signing import firmware_key, public_pem

    if keys.administrator_public.exists():
        return []
    if not keys.administrator_secret.exists():
        return create_administrator(keys)
    public = public_pem(firmware_key(keys.administrator_secret).public_key())
    write_whole_file(keys.administrator_public, [public], 0o644)
    return [keys.administrator_public]
