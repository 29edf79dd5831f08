"""A host that follows another one: it runs the versions that the other one has switched to.

The other host may be in this process or in any other; both read the same folder. This one installs nothing
and writes nothing there: its own release store is in memory, and holds what it runs.
"""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from opq_plugins.host.plugin_host import PluginHost
from opq_plugins.package.archive import NotAllowedError
from opq_plugins.package.manifest import PACKAGE, PackageManifest
from opq_plugins.package.releases import Release, ReleaseFolder, ReleaseIndex, ReleaseStore
from opq_plugins.policy import Policy
from opq_plugins.sdk import Value
from opq_proto.errors import OpqError, PluginError

AGAIN_S = 60.0
"""A refused version is tried again after this time, or at once when the other host has another version."""
LACKING_AGAIN_S = 10.0
"""The same where no older version keeps running."""


class Following(PluginHost):
    """Takes only plug-ins with symbols of `kinds`. Call `poll` about once a second, in one thread.

    `between`: a re-entrant lock, held while versions are exchanged or removed, not while one is started.
    """

    def __init__(
        self,
        data_dir: Path,
        kinds: Collection[str],
        policy: Policy | None = None,
        *,
        between: AbstractContextManager[object] | None = None,
        on_change: Callable[[str, str], None] = lambda kind, symbol: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        folder = data_dir / "plugins"
        store = ReleaseStore(Path(":memory:"))
        super().__init__(store, ReleaseFolder(folder), policy or Policy(), on_change, between)
        self._kinds = frozenset(kinds)
        self._now = monotonic_s
        self._index = ReleaseIndex(folder / "installed.sqlite")
        self._taken: dict[str, Release] = {}
        """Releases of the other host that run here, or that lack symbols of our kinds."""
        self._refused: dict[str, tuple[Release, float]] = {}
        self._barred: set[str] = set()
        self._never_read = True
        self.unreadable = 0
        """Polls that could not read the other host's file."""
        self.problem = ""
        """Why the last poll could not read it."""

    def poll(self) -> None:
        """Applies what the other host has changed. Failures are in `troubles`, and are tried again."""
        found, wrong = self._index.read()
        self.problem = wrong
        self.unreadable += bool(wrong)
        if found is None:
            return
        self._never_read = False
        for name in [known for known in self._taken | self._refused if known not in found]:
            self._give_up(name)
        for name, installed in found.items():
            if self._taken.get(name) == installed:
                if self._refused.pop(name, None):  # the other host has returned to the version that runs here
                    self._trouble.pop(name, None)
            elif self._due(name, installed):
                self._follow(name, installed)

    def troubles(self) -> Mapping[str, str]:
        """Plug-in -> why its current version does not run here, or why it was rolled back."""
        return dict(self._trouble)

    def lacking(self) -> list[str]:
        """Plug-ins that should run here and do not; the index where it was never read."""
        refused = [name for name in self._refused if name not in self._symbols.manifests]
        unknown = [self._index.name] if self.problem and self._never_read else []
        return unknown + [name for name in refused if name not in self._barred]

    def status_of(self, kind: str, symbol: str) -> dict[str, Value]:
        """Version, mode, pid, trouble and more of the symbol's plug-in; {} where it does not run."""
        owner = self._symbols.owner(kind, symbol)
        manifest, running = self._symbols.manifests.get(owner or ""), self._running.get(owner or "")
        runtime = running.runtime if running is not None else None
        if owner is None or manifest is None or running is None or runtime is None:
            return {}
        found = runtime.status()
        return {
            "version": str(manifest.version),
            "installed_ms": self._taken[owner].installed_ms if owner in self._taken else 0,
            "mode": runtime.mode,
            "calls": running.calls,
            "crashes": found["crashes"],
            "pid": found["pid"],
            "trouble": self._trouble.get(owner) or found["errMsg"],
        }

    def kill(self, kind: str, symbol: str) -> int:
        """Kills the process of the plug-in that has the symbol, which starts again; returns its pid, or 0."""
        running = self._running.get(self._symbols.owner(kind, symbol) or "")
        runtime = running.runtime if running is not None else None
        return runtime.kill() if runtime is not None else 0

    # -- how

    def _due(self, name: str, installed: Release) -> bool:
        refused = self._refused.get(name)
        return refused is None or refused[0] != installed or self._now() >= refused[1]

    def _follow(self, name: str, installed: Release) -> None:
        try:
            manifest = self._manifest_of(installed)
            if self._kinds.isdisjoint(kind for kind, _ in manifest.symbols):
                self._give_up(name)
            else:
                self._take_over(manifest, installed)
        except (OpqError, OSError, ValueError) as error:
            (self._barred.add if isinstance(error, NotAllowedError) else self._barred.discard)(name)
            running = self._store.currents().get(name)
            self._refused[name] = (installed, self._now() + (AGAIN_S if running else LACKING_AGAIN_S))
            rest = f"; {running[0]} goes on" if running else ""
            self._trouble[name] = f"{name} {installed.version} does not run: {error}{rest}"
        else:
            self._refused.pop(name, None)
            self._taken[name] = installed

    def _manifest_of(self, installed: Release) -> PackageManifest:
        manifest = self._releases.manifest(installed)
        if (manifest.name, str(manifest.version)) != (installed.name, installed.version):
            raise PluginError(
                f"its manifest is of {manifest.name} {manifest.version}; "
                f"want {installed.name} {installed.version}"
            )
        return manifest

    def _take_over(self, manifest: PackageManifest, installed: Release) -> None:
        with self._changing:
            name = manifest.name
            self._symbols.check(PACKAGE, manifest, (), self.reserved)
            current = self._store.currents().get(name, (None, None))[0]
            same = self._store.versions(name).get(installed.version)
            if current == installed.version and same is not None:
                if same.sha256 == installed.sha256:  # it was rolled back here, and now there, too
                    self._trouble.pop(name, None)
                    return
                self._give_up(name)  # deleted there and installed again: other code under the same number
                current = None
            self._store.add(installed)
            try:
                self._switch(manifest, installed)
            except BaseException:
                if installed.version != current:
                    self._store.drop_version(name, installed.version)
                raise
            self._store.switch(name, installed.version, current)
            for version in self._store.versions(name).keys() - {installed.version, current}:
                self._store.drop_version(name, version)
        self._notify(manifest)

    def _give_up(self, name: str) -> None:
        """Removes a plug-in that was deleted there. `between` is held until all users have been notified."""
        self._taken.pop(name, None)
        self._refused.pop(name, None)
        with self._changing, self._between:
            self._trouble.pop(name, None)
            if (manifest := self._symbols.manifests.get(name)) is not None:
                self._drop(name)
                self._notify(manifest)
                self._running.pop(name, None)  # a later plug-in of this name starts with new counters
