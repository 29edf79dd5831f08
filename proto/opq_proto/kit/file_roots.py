"""Files that others name, such as a rule's: only below folders that an operator names, never private ones.

A path is checked when it is named, and again at each opening, folder by folder and without following a
symbolic link: one that was swapped in meanwhile leads nowhere.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from opq_proto.errors import ConfigError, OpqError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PathRefusedError(OpqError, PermissionError, ValueError):
    """The path leads out of the allowed folders."""


class FileRoots:
    """Opens files below `roots`; may be used from any thread."""

    def __init__(
        self,
        roots: Sequence[Path],
        private: Sequence[Path] = (),
        own: Path | None = None,
        key: str = "file_roots",
    ) -> None:
        """Relative paths are below the first of `roots`.

        Args:
            private: folders with keys, rules, a store: nothing in them is opened, even below a root.
            own: the root that is in a private folder because it was made for this.
            key: the setting with the roots, for errors.
        Raises:
            ConfigError: another root is in a private folder.
        """
        self._key = key
        self._private = [_real(each) for each in private]
        self._roots = [_real(each) for each in roots]
        for root in self._roots:
            inside = any(root.is_relative_to(each) for each in self._private)
            if inside and (own is None or root != _real(own.parent) / own.name):  # a link is not an exception
                raise ConfigError(
                    f"{key} has {root}, which is in a data folder, beside keys, rules and store;"
                    " want a folder outside of it"
                )

    def checked(self, text: str) -> Path:
        """The path, absolute, with its links. Raises PathRefusedError: it leads out of the roots."""
        path = self._absolute(text)
        self._place(path)
        return path

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Opens a file below a root, and returns its descriptor. Raises PathRefusedError, OSError."""
        root, real = self._place(path)
        if real == root:
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        folder = _opened(root, real.parent, make=False)
        try:
            return os.open(real.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def folder(self, path: Path, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder, for calls with `dir_fd`; `make`: folders that are missing are made."""
        root, real = self._place(path)
        folder = _opened(root, real, make)
        try:
            yield folder
        finally:
            os.close(folder)

    def _absolute(self, text: str) -> Path:
        path = Path(text)
        if "\0" in text or ".." in path.parts:
            raise PathRefusedError(f"{text[:200]!r} is refused; write a path without '..'")
        if not self._roots:
            raise PathRefusedError(
                f"{text[:200]!r}: no folder for files is allowed here; {self._key} names them"
            )
        return path if path.is_absolute() else self._roots[0] / path

    def _place(self, path: Path) -> tuple[Path, Path]:
        """The root, and the path without links. It never reveals which files exist."""
        real = _real(path)
        for root in self._roots:
            hidden = (each for each in self._private if each.is_relative_to(root))
            if real.is_relative_to(root) and not any(real.is_relative_to(each) for each in hidden):
                return root, real
        roots = ", ".join(map(str, self._roots))
        raise PathRefusedError(
            f"{str(path)[:200]!r} is not below {roots or 'any folder'}, or it is private;"
            f" {self._key} names the folders of such files"
        )


def _opened(root: Path, real: Path, make: bool) -> int:
    """Opens `real` from `root` on, and follows no link on the way."""
    if root == real:
        return os.open(root, _FOLDER)
    folder = os.open(root, _FOLDER)
    for name in real.relative_to(root).parts:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=folder)
            below = os.open(name, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
