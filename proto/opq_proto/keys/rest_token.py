"""The token of a rule engine's REST, which engine, pages and commands need: three rooms, hence a file here.

The engine makes it at its first start, in its own folder, with mode 0600. Its refusals on this machine name
the file; a program that may read it uses it, so it need not be typed.
"""

import json
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from opq_proto.kit.whole_file import write_whole_file

NAME = "rest_token"
KEY = "token_file"
"""The key of a refusal that names the file."""
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


def named_token(refusal: bytes) -> str | None:
    """The token in the file that a refusal names; None where it names none, or this user may not read it.

    The caller has asked an address of this machine. Nothing but a token in such a file is ever returned.
    """
    try:
        path = Path(json.loads(refusal)[KEY])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not path.is_absolute() or (path.parent.name, path.name) != ("rules", NAME):
        return None
    return _read(path)


def _read(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            text = file.read(200).decode("ascii").strip() if plain else ""
        return text if _TOKEN.fullmatch(text) else None
    return None
