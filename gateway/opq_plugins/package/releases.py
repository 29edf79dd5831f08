"""The installed versions: their folders, and one SQLite file that records which one is current.

The folder of a version is complete before its row is written; the switch is one transaction.
"""

import sqlite3
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from opq_plugins.package.manifest import MANIFEST, NAME, PackageManifest, parse_manifest, parse_version
from opq_proto.errors import PluginError
from opq_proto.kit.sqlite_file import SqliteFile, reading_address

SCHEMA = """
CREATE TABLE version (
  name TEXT NOT NULL, version TEXT NOT NULL, sha256 TEXT NOT NULL,
  signed_by TEXT, installed_ms INTEGER NOT NULL, PRIMARY KEY (name, version)) WITHOUT ROWID;
CREATE TABLE current (
  name TEXT PRIMARY KEY, version TEXT NOT NULL, previous TEXT) WITHOUT ROWID;
"""
APPLICATION_ID = int.from_bytes(b"opqv")
CURRENT = """
SELECT current.name, current.version, sha256, signed_by, installed_ms
FROM current LEFT JOIN version USING (name, version) ORDER BY current.name"""
WAIT_S = 1.0
"""Longest wait while the other host writes."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version. `signed_by`: the key when it was installed. Each start checks the signature again."""

    name: str
    version: str
    sha256: str
    signed_by: str | None
    installed_ms: int


class ReleaseFolder:
    """The folders `<name>/<version>/` in one folder `plugins/`, which may be another host's: read only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, name: str, version: str) -> Path:
        return self._folder / name / version

    def manifest(self, release: Release) -> PackageManifest:
        """Raises OSError or PluginError where it is missing or not valid."""
        return parse_manifest(self.raw_manifest(release))

    def raw_manifest(self, release: Release) -> bytes:
        return (self.folder(release.name, release.version) / MANIFEST).read_bytes()

    def signature(self, release: Release) -> bytes | None:
        path = self.folder(release.name, release.version) / f"{MANIFEST}.sig"
        return path.read_bytes() if path.is_file() else None


class ReleaseStore:
    """The installed versions in SQLite. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, (SCHEMA,), application_id=APPLICATION_ID)

    def currents(self) -> dict[str, tuple[str, str | None]]:
        """Name -> (current version, the one before)."""
        rows = self._file.query("SELECT name, version, previous FROM current ORDER BY name")
        return {name: (version, previous) for name, version, previous in rows}

    def versions(self, name: str) -> dict[str, Release]:
        """Version -> release, in the order of their installation."""
        rows = self._file.query("SELECT * FROM version WHERE name = ? ORDER BY installed_ms", (name,))
        return {row[1]: Release(*row) for row in rows}

    def add(self, release: Release) -> None:
        """Adds a version that is on disk; it is not used yet."""
        self._file.execute("INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?, ?)", astuple(release))

    def switch(self, name: str, version: str, previous: str | None) -> None:
        self._file.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (name, version, previous))

    def drop_version(self, name: str, version: str) -> None:
        self._file.execute("DELETE FROM version WHERE name = ? AND version = ?", (name, version))

    def drop(self, name: str) -> None:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM current WHERE name = ?", (name,))
            connection.execute("DELETE FROM version WHERE name = ?", (name,))

    def close(self) -> None:
        self._file.close()


class ReleaseIndex:
    """The current versions in another host's file; it is only read, also while that host writes."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._found = False

    def read(self) -> tuple[dict[str, Release] | None, str]:
        """Returns name -> its current version, and what is wrong. None: unknown, so nothing should change.

        Empty if there has never been a file.
        """
        uri = reading_address(self._path)
        try:
            self._path.stat()
            self._found = True
            with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as database:
                rows = database.execute(CURRENT).fetchall()
            return {row[0]: _checked(row) for row in rows}, ""
        except FileNotFoundError:
            return (None, f"{self._path} has been removed") if self._found else ({}, "")
        except (sqlite3.Error, OSError, PluginError) as error:
            return None, f"{self._path} cannot be read: {error}"


def _checked(row: tuple[object, ...]) -> Release:
    """Checks a row, because names and versions become parts of paths. Raises PluginError."""
    name, version, sha256, signed_by, installed_ms = row
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"a plug-in is called {str(name)[:80]!r}")
    if not isinstance(version, str) or str(parse_version(version)) != version:
        raise PluginError(f"{name} has the version {str(version)[:80]!r}")
    if not isinstance(sha256, str) or not isinstance(installed_ms, int):
        raise PluginError(f"{name} {version} lacks its sum or time")
    signer = signed_by if isinstance(signed_by, str) else None
    return Release(name, version, sha256, signer, installed_ms)
