"""The engine's folder belongs to one engine."""

import fcntl
import os
from pathlib import Path

from opq_rules.errors import IO_ERROR, RuleError


def locked(data_dir: Path) -> int:
    """A file descriptor: the folder is taken as long as it is open."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = os.open(data_dir / "rules.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RuleError(f"{data_dir} cannot be used: {error.strerror or error}", IO_ERROR) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise RuleError(f"{data_dir} is used by another rule engine", IO_ERROR) from error
    return file
