"""A back-up's archive: a tar file with a manifest, whose last member it is, of every file's size and sum.

The archive is read back and compared with its manifest before it gets its name.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from opq_proto.errors import OpqError
from opq_proto.kit.archive_time import MADE_AT, MANIFEST, MAX_MANIFEST_BYTES

FORMAT = 1
PIECE_BYTES = 1 << 20
STORE_FILES = ("opq.db", "accounts.db")
"""Of an embedded store, in the data folder."""


class ArchiveError(OpqError):
    """An archive cannot be written, or is not whole."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of an archive."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds: files by their path in the data folder."""

    made_at: str
    """UTC, ISO 8601."""
    version: str
    """Of the toolkit that made it."""
    files: Mapping[str, ArchivedFile]

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files.values())

    def in_short(self) -> dict[str, str | int]:
        """What commands print with --json."""
        return {"made_at": self.made_at, "files": len(self.files), "bytes": self.bytes}


class _Summed:
    """A file that is read once, with its sum."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self.sum = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self.sum.update(piece)
        return piece


class ArchiveWriter:
    """Writes files into an archive; `close` ends it with its manifest, and an error abandons it."""

    def __init__(self, out: IO[bytes], made_at: str, version: str, compressed: bool = False) -> None:
        self._tar = tarfile.open(  # noqa: SIM115 - close() ends it
            fileobj=out,
            mode="w|gz" if compressed else "w|",
            format=tarfile.PAX_FORMAT,
            pax_headers={MADE_AT: made_at},
        )
        self._made_at, self._version = made_at, version
        self._files: dict[str, ArchivedFile] = {}

    def __enter__(self) -> "ArchiveWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # otherwise tarfile writes the rest when it is removed from memory, to a file that is closed
            setattr(self._tar.fileobj, "closed", True)  # noqa: B010 - it is missing in its type

    def add(self, name: str, path: Path) -> None:
        """Adds a file. Raises OSError; ArchiveError: it became shorter while it was read."""
        with path.open("rb") as source:
            status = os.fstat(source.fileno())
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = status.st_size, status.st_mode & 0o777, status.st_mtime
            summed = _Summed(source)
            try:
                self._tar.addfile(member, summed)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise ArchiveError(f"{name}: became shorter while it was copied") from error
        self._files[name] = ArchivedFile(member.size, summed.sum.hexdigest())

    def close(self) -> Manifest:
        """Writes the manifest and ends the archive."""
        manifest = Manifest(self._made_at, self._version, self._files)
        text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode()
        member = tarfile.TarInfo(MANIFEST)
        member.size, member.mode = len(text), 0o600
        self._tar.addfile(member, io.BytesIO(text))
        self._tar.close()
        return manifest


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r|*") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{path}: is not a whole archive of `opq-tools backup`: {error}") from error
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror or error}") from error


def read_archive(path: Path, take: Callable[[str, int, IO[bytes]], None] | None = None) -> Manifest:
    """Reads a whole archive and compares it with its manifest.

    Args:
        take: takes each file's path, mode and content, before its sum is compared.
    Raises:
        ArchiveError: a file is missing, surplus or other than the manifest says; it is named.
    """
    found: dict[str, ArchivedFile] = {}
    manifest: Manifest | None = None
    with _opened(path) as tar:
        for member in tar:
            if manifest is not None or not member.isfile() or not _is_inside(member.name):
                raise ArchiveError(f"{path}: {member.name!r:.200} is not a file of a back-up")
            content = tar.extractfile(member)
            assert content is not None
            if member.name == MANIFEST:
                manifest = _manifest(path, content.read(MAX_MANIFEST_BYTES))
                continue
            summed = _Summed(content)
            if take is not None:
                take(member.name, member.mode & 0o777, summed)  # type: ignore[arg-type]  # only read() is called
            while summed.read(PIECE_BYTES):
                pass
            found[member.name] = ArchivedFile(member.size, summed.sum.hexdigest())
    if manifest is None:
        raise ArchiveError(f"{path}: its end is missing; the copy was not finished")
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            raise ArchiveError(f"{path}: {name} is not what was copied; use another copy")
    return manifest


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        given: dict[str, Any] = json.loads(text)
        if given["format"] != FORMAT:
            raise ArchiveError(
                f"{path}: has format {given['format']!r:.20}; this version reads {FORMAT}: "
                f"use the toolkit {given.get('version', 'that made it')!r:.20}"
            )
        files = {
            str(name): ArchivedFile(int(of["bytes"]), str(of["sha256"]))
            for name, of in given["files"].items()
        }
        return Manifest(str(given["made_at"]), str(given["version"]), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path}: its manifest cannot be read") from error
