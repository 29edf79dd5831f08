"""A store of a data folder that its configuration passes over, so that its history is not shown.

The file D/system/mongodb has the address of the MongoDB with which a service of the folder ran last, without
its password. Not part of `store/__init__.py`, which opens the store that is named.
"""

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from opq_cloud.store import FILE_NAME
from opq_proto.kit.sqlite_file import reading_address
from opq_proto.kit.system_record import FOLDER
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file

NOTE = "mongodb"
HISTORY = {"measurements", "segments", "parcels", "trends", "events", "incidents", "interval_blocks"}
"""Tables of which one has rows if the store has a history."""

_SECRET_OPTION = re.compile(r"(?i)([?&;](?:[^=&;]*pass(?:word|phrase)|authMechanismProperties)=)[^&;]*")
"""With `authMechanismProperties` an address may have the session token of AWS. Source: MongoDB's manual,
Connection String Options."""


@dataclass(frozen=True, slots=True)
class PassedOverStore:
    """A store that is not used."""

    text: str
    fix: str


def without_password(uri: str) -> str:
    """Returns an address with … in place of user and password, and of each secret among its options."""
    return _SECRET_OPTION.sub(r"\1…", re.sub(r"//.*@", "//…@", uri))


def note_store(mongo_uri: str | None, data_dir: Path) -> None:
    """Notes the MongoDB with which a folder is used. Raises OSError."""
    if mongo_uri is not None:
        path, address = private_folder(data_dir / FOLDER) / NOTE, without_password(mongo_uri)
        if _noted(path) != address:
            write_whole_file(path, [f"{address}\n".encode()], PRIVATE_MODE)


def passed_over_store(mongo_uri: str | None, store_dir: Path, data_dir: Path) -> PassedOverStore | None:
    """Returns the store in the folder, or the MongoDB with which it ran, if the configuration has another.

    Args:
        mongo_uri, store_dir: of the configuration.
    """
    used = without_password(mongo_uri) if mongo_uri is not None else str(store_dir)
    own, noted = data_dir / FILE_NAME, _noted(data_dir / FOLDER / NOTE)
    copies = "it copies into an empty store; end the services first, and afterwards"
    if (mongo_uri is not None or store_dir.resolve() != data_dir.resolve()) and _has_history(own):
        text = f"{own} has a history that is not shown: the configuration names {used} as the store"
        return PassedOverStore(
            text, f"opq-tools store copy --from {data_dir} --to '{used}' ({copies} move {own} away)"
        )
    if mongo_uri is None and noted:
        text = f"the services of {data_dir} ran with {noted} before, whose history is not shown: the "
        text += f"configuration names {used} as the store"
        away = f"delete {data_dir / FOLDER / NOTE}"
        return PassedOverStore(text, f"opq-tools store copy --from '{noted}' --to {used} ({copies} {away})")
    return None


def _noted(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()[:1000]
    return ""


def _has_history(path: Path) -> bool:
    """Whether a file has one; also if it cannot be read now, because that is not known then."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with contextlib.closing(sqlite3.connect(reading_address(path), uri=True, timeout=1)) as opened:
            rows = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            there = HISTORY & {name for (name,) in rows}
            return any(opened.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in there)
    except (OSError, sqlite3.Error):
        return True
