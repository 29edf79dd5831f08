"""The recordings below a folder: one path each, though a record of COMTRADE is two files or more."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_proto.visible_text import visible
from opq_recordings.forms import PACKED, READERS
from opq_recordings.packed import is_of_system

COMPANION_SUFFIXES = tuple(each for each in (*READERS, *PACKED) if each != ".json")


def recordings_of(paths: Iterable[Path]) -> list[Path]:
    """The files of these paths, and the recordings below each folder among them, sorted, each once.

    Raises:
        RecordingError: a path does not exist, or a folder without a recording.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise RecordingError(f"{path}: is not a file or folder")
            found[path] = None
            continue
        below = list(_below(path))
        if not below:
            raise RecordingError(
                f"{path}: has no recording below it; want files that end in {', '.join((*READERS, *PACKED))}"
            )
        found |= dict.fromkeys(below)
    return list(found)


def shown_path(path: Path) -> str:
    """The path for a line of text."""
    return visible(str(path))


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not is_of_system((each,)))
        here = {name.lower() for name in names}
        for name in sorted(names):
            path = Path(place, name)
            stem, suffix = path.stem.lower(), path.suffix.lower()
            if is_of_system((name,)) or suffix not in (*READERS, *PACKED):
                continue
            if suffix == ".dat" and stem + ".cfg" in here:
                continue  # the .cfg opens both
            if suffix == ".json" and any(stem + other in here for other in COMPANION_SUFFIXES):
                continue  # the facts of another recording
            yield path
