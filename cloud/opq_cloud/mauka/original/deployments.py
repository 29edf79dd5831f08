"""Folders with plug-ins of the original, as they were deployed: `<data>/mauka/plugins/<folder>/<number>/`.

A folder is copied to a temporary one and renamed in one step, under a number above all others of its name;
the highest is the current one. Whoever may write into Mauka's data folder may deploy, and no other.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opq_plugins.original.layout import listed_plugins, plugin_files
from opq_proto.errors import PluginError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
DEPLOYMENTS_KEPT = 3
"""Deployments of one folder kept on disk: the current one and two before."""


@dataclass(frozen=True, slots=True)
class PluginDeployment:
    """`plugins`: plug-in -> its path below the package `plugins`."""

    name: str
    number: int
    folder: Path
    plugins: dict[str, str]


class PluginDeployments:
    def __init__(self, folder: Path) -> None:
        """`folder`: <data>/mauka/plugins; created with the first deployment."""
        self.folder = folder

    def names(self) -> list[str]:
        """Returns the names of all folders that were ever deployed."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name for path in self.folder.iterdir() if NAME.fullmatch(path.name) and _numbers(path)
        )

    def current(self, name: str) -> PluginDeployment:
        """Returns the newest deployment of a folder.

        Raises:
            PluginError: no folder of that name is deployed, or it cannot be read.
        """
        numbers = _numbers(self.folder / name) if NAME.fullmatch(name) else []
        if not numbers:
            known = ", ".join(self.names()) or "none"
            raise PluginError(f"no folder {name!r} is deployed; there are: {known}")
        folder = self.folder / name / str(numbers[-1])
        return PluginDeployment(name, numbers[-1], folder, listed_plugins(folder))

    def with_plugin(self, plugin: str) -> PluginDeployment | None:
        """Returns the current deployment that lists the plug-in."""
        for name in self.names():
            try:
                found = self.current(name)
            except PluginError:
                continue
            if plugin in found.plugins:
                return found
        return None

    def add(self, source: Path, name: str | None = None) -> PluginDeployment:
        """Copies `source`.

        Raises PluginError where its layout is wrong, and OSError. A failed copy leaves nothing on the disk.
        """
        name = name or source.resolve().name
        if not NAME.fullmatch(name):
            raise PluginError(f"{name!r} is not a name of a folder of plug-ins; want letters, digits, _ . -")
        listed_plugins(source)
        place = self.folder / name
        for each in (self.folder, place):
            each.mkdir(parents=True, exist_ok=True, mode=0o755)  # workers of another user read it
        staged = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            for path in plugin_files(source):
                target = staged / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                target.chmod(0o644)
            for path in (staged, *(each for each in staged.rglob("*") if each.is_dir())):
                path.chmod(0o755)
            plugins = listed_plugins(staged)  # from the copy: the source may change meanwhile
            number = _moved(staged, place)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        for old in _numbers(place)[:-DEPLOYMENTS_KEPT]:
            shutil.rmtree(place / str(old), ignore_errors=True)
        return PluginDeployment(name, number, place / str(number), plugins)

    def remove(self, deployment: PluginDeployment) -> None:
        """Removes a deployment, so that the one before it is the current one."""
        shutil.rmtree(deployment.folder, ignore_errors=True)
        with suppress(OSError):  # others are there
            (self.folder / deployment.name).rmdir()


def _moved(staged: Path, place: Path) -> int:
    """Renames the folder to the next number; another process may take one at the same time."""
    while True:
        number = max(_numbers(place), default=0) + 1
        try:
            os.rename(staged, place / str(number))  # noqa: PTH104 - a folder that is there with files is refused
        except OSError:
            if not (place / str(number)).exists():
                raise
        else:
            return number


def _numbers(place: Path) -> list[int]:
    if not place.is_dir():
        return []
    return sorted(int(path.name) for path in place.iterdir() if path.name.isascii() and path.name.isdigit())
