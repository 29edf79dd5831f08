"""Writes a file whole or not at all: under another name, flushed to the disk, then renamed; private folders.

A device, a pipe or a socket is written directly, because a rename would put a file in its place.
"""

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from opq_proto.errors import OpqError


class FileNotWrittenError(OpqError, OSError):
    """The file cannot be written; an existing one is unchanged."""


PRIVATE_MODE = 0o600
"""Mode of what a service writes into its data folder, whatever the process's umask is; folders: 0700."""
_OTHERS = 0o077


def private_folder(path: Path, ours: bool = True) -> Path:
    """Makes a folder, and the missing ones above it, with mode 0700. Raises OSError.

    `ours`: an existing one gets that mode too; one of its operator or of another user stays as it is.
    """
    if not path.parent.is_dir():
        private_folder(path.parent, ours=False)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        now = path.stat()
        if ours and now.st_mode & _OTHERS and now.st_uid == os.geteuid():
            path.chmod(0o700)
    return path


def link_problem(folder: Path) -> str:
    """What is wrong with a folder that is a link to nothing, as to a disk that is not mounted; else empty."""
    try:
        folder.stat()
    except FileNotFoundError:
        if folder.is_symlink():
            there = folder.readlink()
            return f"{folder} is a link to {there}, which is not there; mount its disk, or make that folder"
    except OSError:
        pass  # whoever uses it says why
    return ""


def open_private(path: Path | str, flags: int) -> int:
    """Opens a file that only its owner may read, also an existing one. Raises OSError."""
    file = os.open(path, flags | os.O_CLOEXEC, PRIVATE_MODE)
    now = os.fstat(file)
    if now.st_mode & _OTHERS and now.st_uid == os.geteuid():
        os.fchmod(file, PRIVATE_MODE)
    return file


def flush_to_disk(path: Path | str) -> None:
    """Flushes a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole_file(path: Path, pieces: Iterable[bytes], mode: int = 0o666) -> int:
    """Writes the pieces; returns how many bytes. Raises as `whole_file`, and what `pieces` raises."""
    with whole_file(path, mode) as file:
        return sum(file.write(piece) for piece in pieces)


@contextlib.contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the name `path` at the end; after an error nothing is left behind.

    Args:
        mode: its permissions, less those that the process's umask takes away.
    Raises:
        FileNotWrittenError: no such folder, no room, no permission.
    """
    if not path.name:
        raise FileNotWrittenError("a file without a name cannot be written; want e.g. out.csv")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                yield device
        else:
            with _renamed_at_the_end(path, mode) as file:
                yield file
    except OSError as error:
        raise FileNotWrittenError(f"{path}: cannot be written: {error.strerror or error}") from error


def remove_unfinished(path: Path) -> None:
    """Removes what writers of this file left that were killed; no other may be writing it. Raises OSError."""
    for left in path.parent.glob(glob.escape(f".{path.name[:64]}.") + "*.part"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def _renamed_at_the_end(path: Path, mode: int) -> Iterator[IO[bytes]]:
    beside = path.with_name(f".{path.name[:64]}.{os.urandom(6).hex()}.part")
    try:
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
