"""Recordings in a zip, as `opq-tools export` writes several Boxes: unpacked while they are read."""

import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from opq_proto.errors import RecordingError

MOST_BYTES = 4 << 30
MOST_FILES = 1000
PIECE_BYTES = 1 << 20
COMPANION_SUFFIXES = (".json", ".dat", ".hdr", ".inf")
"""Files that belong to another of the same name."""
MACOS_FOLDER = "__MACOSX"


def is_of_system(parts: Sequence[str]) -> bool:
    """Whether an operating system added a file with this path, such as `.DS_Store` or `__MACOSX/._a.csv`."""
    return any(each == MACOS_FOLDER or each.startswith(".") for each in parts)


def member_path(name: str) -> PurePosixPath:
    """The path of an archive's member below its top, whatever it begins with and whichever way it leads."""
    parts = name.replace("\\", "/").replace("\0", "").split("/")
    return PurePosixPath(*(each.replace(":", "_") for each in parts if each not in ("", ".", "..")))


@contextmanager
def unpacked(
    path: Path, suffixes: Sequence[str], most_bytes: int = MOST_BYTES
) -> Iterator[list[Path] | None]:
    """The recordings inside a zip, one path each, sorted by name; None where the file is not a zip.

    A member is its whole path: two folders may have files of one name.

    Arrays that are mapped from these files stay valid when the folder is gone.

    Raises:
        RecordingError: broken, encrypted, too large, or without a recording.
    """
    if not zipfile.is_zipfile(path):
        if path.suffix.lower() in (".zip", ".npz"):
            raise RecordingError(f"{path}: is not a readable zip")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="opq-recording-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            found = _unpack(path, folder, suffixes, most_bytes)
        except (
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            NotImplementedError,
            EOFError,
            ValueError,
        ) as error:
            raise RecordingError(f"{path}: is not a readable zip, or it is encrypted") from error
        if not found:
            raise RecordingError(f"{path}: is a zip without recordings; want one of {', '.join(suffixes)}")
        try:
            yield found
        except RecordingError as error:
            raise RecordingError(str(error).replace(name, str(path), 1)) from error


def _unpack(path: Path, folder: Path, suffixes: Sequence[str], most_bytes: int) -> list[Path]:
    left = most_bytes
    made: list[Path] = []
    with zipfile.ZipFile(path) as packed:
        members = {}
        for member in packed.infolist():
            place = member_path(member.filename)
            if place.suffix.lower() not in (*suffixes, *COMPANION_SUFFIXES) or is_of_system(place.parts):
                continue
            if place in members:
                raise RecordingError(f"{path}: holds {str(place)!r} twice; want each path once")
            members[place] = member
        if len(members) > MOST_FILES:
            raise RecordingError(f"{path}: holds {len(members)} files, want at most {MOST_FILES}")
        for place, member in members.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, target.open("wb") as file:
                while part := source.read(PIECE_BYTES):
                    left -= len(part)
                    if left < 0:
                        raise RecordingError(f"{path}: unpacks to more than {most_bytes >> 20:,} MiB")
                    file.write(part)
            made.append(target)
    stems = {each.with_suffix("") for each in made if each.suffix.lower() not in COMPANION_SUFFIXES}
    return sorted(
        (
            each
            for each in made
            if each.suffix.lower() not in COMPANION_SUFFIXES
            or (each.suffix == ".json" and each.with_suffix("") not in stems)
        ),
        key=lambda each: (each.parent, len(each.name), each.name),
    )
