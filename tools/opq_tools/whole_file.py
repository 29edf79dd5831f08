"""A file that is there whole or not at all: written under another name, flushed, then renamed.

It stands apart from the commands because none of them owns it.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from opq_proto.errors import OpqError


class FileNotWrittenError(OpqError):
    """The file cannot be written; one that was there before is as it was."""


def write_whole_file(path: Path, pieces: Iterable[bytes]) -> int:
    """Writes the pieces; returns how many bytes. Raises as `whole_file`, and what `pieces` raises."""
    with whole_file(path) as file:
        return sum(file.write(piece) for piece in pieces)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the name `path` at the end; after an error nothing is left behind.

    Raises:
        FileNotWrittenError: no such folder, no room, no permission.
    """
    try:
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
    except OSError as error:
        raise FileNotWrittenError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(made).chmod(0o666 & ~umask)  # as any file; mkstemp makes it the owner's alone
        Path(made).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(made).unlink()
        if isinstance(error, OSError):
            raise FileNotWrittenError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise
