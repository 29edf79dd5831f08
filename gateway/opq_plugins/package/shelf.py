"""Where versions stand on disk: `<name>/<version>/`, side by side. An `Installer` fills one."""

from pathlib import Path

from opq_plugins.package.package_manifest import PackageManifest, parse_manifest
from opq_plugins.package.store import Installed


class Shelf:
    """Of one folder `plugins/`, maybe another host's: nothing is written there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, name: str, version: str) -> Path:
        return self._folder / name / version

    def manifest(self, installed: Installed) -> PackageManifest:
        """Raises OSError, PluginError: it is not there, or none."""
        return parse_manifest(self.raw_manifest(installed), installed.manifest)

    def raw_manifest(self, installed: Installed) -> bytes:
        return (self.folder(installed.name, installed.version) / installed.manifest).read_bytes()

    def signature(self, installed: Installed) -> bytes | None:
        path = self.folder(installed.name, installed.version) / f"{installed.manifest}.sig"
        return path.read_bytes() if path.is_file() else None
