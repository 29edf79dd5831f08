"""What another host has noted in its `installed.sqlite`, read while it writes there, never written."""

import sqlite3
from pathlib import Path

from opq_plugins.package.package_manifest import NAME
from opq_plugins.package.store import Installed
from opq_plugins.package.version import parse_version
from opq_proto.errors import PluginError

WAIT_S = 1.0
"""At most, while the other host writes."""
QUERY = """
SELECT current.name, current.version, manifest, sha256, signed_by, installed_ms
FROM current LEFT JOIN version USING (name, version) ORDER BY current.name"""


class Book:
    """One connection, held; opened anew when the file is another one, or could not be read."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def read(self) -> tuple[dict[str, Installed] | None, str]:
        """Name -> its current version, and what is wrong. None: not known, all stays as it is.

        No file, and never one: empty. About 20 us where nothing has changed.
        """
        try:
            told = self._path.stat()
            if self._db is None or self._file != (told.st_dev, told.st_ino):
                self.close()
                self._db = sqlite3.connect(
                    f"{self._path.absolute().as_uri()}?mode=ro",
                    uri=True,
                    timeout=WAIT_S,
                    check_same_thread=False,
                )
                self._file = (told.st_dev, told.st_ino)
            rows = self._db.execute(QUERY).fetchall()
            return {row[0]: _checked(row) for row in rows}, ""
        except FileNotFoundError:
            if self._file is None:
                return {}, ""
            return None, f"{self._path} is not there any more"
        except (sqlite3.Error, OSError, PluginError) as error:
            self.close()
            return None, f"{self._path} cannot be read: {error}"

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None


def _checked(row: tuple[object, ...]) -> Installed:
    """Names and versions are parts of paths. PluginError: they are none."""
    name, version, manifest, sha256, signed_by, installed_ms = row
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"a plug-in is called {str(name)[:80]!r}")
    if not isinstance(version, str) or str(parse_version(version)) != version:
        raise PluginError(f"{name} has the version {str(version)[:80]!r}")
    if not isinstance(manifest, str) or manifest not in ("plugin.json", f"{name}.json"):
        raise PluginError(f"{name} {version} has the manifest {str(manifest)[:80]!r}")
    if not isinstance(sha256, str) or not isinstance(installed_ms, int):
        raise PluginError(f"{name} {version} has no sum or no time")
    return Installed(
        name, version, manifest, sha256, signed_by if isinstance(signed_by, str) else None, installed_ms
    )
