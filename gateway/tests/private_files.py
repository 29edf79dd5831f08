"""What is below a data folder, and open to other users."""

import stat
from pathlib import Path

FOR_OTHERS = ("curve", "curve/public_keys", "rules/plugins", "gateway/rules/plugins")
"""Folders that others may read: public keys, and plug-ins, whose processes have users of their own."""


def open_to_others(data_dir: Path) -> list[str]:
    """Every file and folder, also the data folder, with a mode that gives others more than it should."""
    found = []
    for path in (data_dir, *sorted(data_dir.rglob("*"))):
        place = path.relative_to(data_dir)
        mode = stat.S_IMODE(path.lstat().st_mode)
        readable = any(str(place) == each or str(place.parent) == each for each in FOR_OTHERS)
        if not path.is_symlink() and mode & (
            0o022 if readable and "private_keys" not in place.parts else 0o077
        ):
            found.append(f"{mode:o} {place}")
    return found
