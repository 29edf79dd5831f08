"""The plug-in host: install, replace, roll back, delete, describe, while everything runs.

`kind` is "source", "sink", "function", "trigger" or "analysis"; "portable" means any.
Errors are PluginErrors; NotInstalledError where a name is unknown.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_plugins.host.factories import Factories, NotInstalledError, SymbolTable
from opq_plugins.host.report import Descriptions, FollowerReport
from opq_plugins.host.running import Pauses, Replaced, RunningPlugins, close_all
from opq_plugins.package.fetch import fetch
from opq_plugins.package.install import Installer, check_version
from opq_plugins.package.manifest import NAME, PackageManifest
from opq_plugins.package.releases import Release, ReleaseFolder, ReleaseStore
from opq_plugins.policy import Policy, worker_uid
from opq_proto.errors import OpqError, PluginError


class Plugins(Factories):
    """What is installed below `data_dir`/plugins.

    `used_by(kind, symbol)`: ids of the rules and streams that use it, asked before a delete.
    `on_change(kind, symbol)`: a type came, went or has a new version.
    `between`: held while the versions of a plug-in are exchanged.
    Thread-safe. `close` ends every worker process.
    """

    def __init__(
        self,
        data_dir: Path,
        policy: Policy | None = None,
        *,
        used_by: Callable[[str, str], Sequence[str]] = lambda kind, symbol: (),
        on_change: Callable[[str, str], None] = lambda kind, symbol: None,
        between: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.used_by = used_by
        self.on_change = on_change
        self.reserved: frozenset[tuple[str, str]] = frozenset()
        """(kind, symbol) that the service around us has itself."""
        self.uploads = data_dir / "uploads"
        """file:// is read below it."""
        self._policy = policy or Policy()
        store, releases = self._opened(data_dir / "plugins")
        running = RunningPlugins(releases, self._policy, self._lost_trial, between)
        super().__init__(store, releases, SymbolTable(), running)
        self._trouble: dict[str, str] = {}
        report = FollowerReport(data_dir / "plugins")
        self._descriptions = Descriptions(store, self._symbols, running, report, self._trouble)
        for name, (version, _) in self._store.currents().items():
            installed = self._store.versions(name)[version]
            try:
                self._symbols.put(self._releases.manifest(installed))
            except (OSError, PluginError) as error:
                self._trouble[name] = f"{name} {version} cannot be read: {error}"

    # -- for REST and CLI

    def create(
        self,
        kind: str,
        name: str,
        file: str,
        *,
        functions: Sequence[str] = (),
        downgrade: bool = False,
    ) -> Replaced | None:
        """Install from a URL (http, https, file). A higher version of what is there replaces it live.

        None: it is new. PluginError: all that is wrong; nothing changed then.
        """
        if not NAME.fullmatch(name):
            wrong = PluginError(f"plug-in {name[:80]!r}: want letters, digits, _ and - only")
            raise self.refused(wrong)
        with self._refusing():
            installer = self._installer()
            package, signed_by = installer.fetch(file, name)
            manifest = package.manifest
            with self._changing:
                current = self._store.currents().get(name, (None, None))[0]
                check_version(manifest, current, downgrade)
                self._symbols.check(kind, manifest, functions, self.reserved)
                former = self._store.versions(name).get(str(manifest.version))
                installed = installer.unpack(package, signed_by)
                self._store.add(installed)
                try:
                    pauses = self._switch(manifest, installed)
                except BaseException:
                    installer.take_back(installed)
                    self._store.drop_version(name, installed.version)
                    if former is not None:
                        self._store.add(former)
                    raise
                installer.keep()
                self._running_plugins.park(manifest)
                self._store.switch(name, installed.version, current)
                for version in installer.prune(
                    name, list(self._store.versions(name)), {installed.version, current or ""}
                ):
                    self._store.drop_version(name, version)
        self._notify(manifest)
        if current is None:
            return None
        rules = self._rules_with(manifest, pauses)
        return Replaced(name, current, installed.version, rules, pauses.p50_ms, pauses.max_ms)

    def replace(self, kind: str, name: str, file: str, *, downgrade: bool = False) -> Replaced | None:
        """As `create`; PUT in eKuiper's API. Installs where there is none."""
        return self.create(kind, name, file, downgrade=downgrade)

    def rollback(self, name: str) -> Replaced:
        """Back to the version before the current one, live."""
        with self._refusing(), self._changing:
            current, previous = self._store.currents().get(name, ("", None))
            if not current:
                raise NotInstalledError(f"portable plug-in {name!r} is not found")
            old = self._store.versions(name).get(previous or "")
            if old is None:
                raise PluginError(f"plug-in {name!r}: there is no version before {current}")
            manifest = self._releases.manifest(old)
            pauses = self._switch(manifest, old, on_trial=False)
            self._store.switch(name, old.version, None)
        self._notify(manifest)
        rules = self._rules_with(manifest, pauses)
        return Replaced(name, current, old.version, rules, pauses.p50_ms, pauses.max_ms)

    def delete(self, kind: str, name: str, *, force: bool = False) -> None:
        """All versions. PluginError that names the rules which use it, unless `force`."""
        name = self._owner(kind, name)
        manifest = self._symbols.manifests.get(name)
        # without our lock: the engine has its own, and asks us for types while it holds it
        users = {user for symbol in (manifest.symbols if manifest else ()) for user in self.used_by(*symbol)}
        with self._refusing(), self._changing:
            running = self._running_plugins.get(name)
            users |= set(running.references()) if running else set()
            if users and not force:
                raise PluginError(
                    f"plug-in {name!r} is used by {', '.join(sorted(users)[:10])}; force=true deletes it"
                )
            self._running_plugins.stop(name)
            self._store.drop(name)
            if isinstance(self._releases, Installer):
                self._releases.remove(name)
            self._symbols.drop(name)
            self._trouble.pop(name, None)
        if manifest is not None:
            self._notify(manifest)

    def list(self, kind: str) -> Sequence[Any]:
        """Names of what is installed; for "portable" their manifests as JSON."""
        manifests = sorted(self._symbols.manifests.items())
        if kind == "portable":
            return [manifest.as_json() for _, manifest in manifests]
        return [name for name, manifest in manifests if manifest.of_kind(kind)]

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """`{"name", "version"}` as the tutorial shows it.

        The `version` of an analysis is what was installed last; `running`, `status`, `errMsg` are Mauka's.
        """
        facts = self._descriptions.description(kind, self._owner(kind, name), name)
        if facts is None:
            raise self._unknown(kind, name)
        return facts

    def status(self, name: str) -> dict[str, Any]:
        """`{"refCount", "status", "errMsg", "pid"}`; ours: version, versions, mode, protections, counters.

        No analysis runs here: `running`, `status` and `errMsg` are what Mauka has reported.
        `status` installed: Mauka has reported nothing.
        """
        facts = self._descriptions.status(name, self.used_by)
        if facts is None:
            raise self._unknown("portable", name)
        return facts

    def fetched(self, url: str, most_bytes: int) -> bytes:
        """A file by http, https or file, from where packages come too. PluginError: it cannot be had."""
        policy = replace(self._policy, max_zip_bytes=min(most_bytes, self._policy.max_zip_bytes))
        with self._refusing(), tempfile.TemporaryDirectory(prefix="opq-fetched-") as folder:
            target = Path(folder) / "file"
            fetch(url, target, policy, [self.uploads, *policy.file_roots])
            return target.read_bytes()

    def worker_uids(self) -> set[int]:
        """Users of the plug-ins' processes; none where they are the server's own."""
        if os.geteuid():
            return set()
        if self._policy.worker_uid is not None:
            return {self._policy.worker_uid}
        return {worker_uid(name) for name in [*self._symbols.manifests, *self._running_plugins.names()]}

    def close(self) -> None:
        """End every worker, all at once, within 2 s."""
        with self._changing:
            running = self._running_plugins.end()
        close_all(running)
        self._store.close()

    # -- how

    def _opened(self, folder: Path) -> tuple[ReleaseStore, ReleaseFolder]:
        installer = Installer(folder, self.uploads, self._policy)
        return ReleaseStore(folder / "installed.sqlite"), installer

    def _installer(self) -> Installer:
        if not isinstance(self._releases, Installer):
            raise PluginError("plug-ins are installed at the host that is followed")
        return self._releases

    def _switch(self, manifest: PackageManifest, to: Release, on_trial: bool = True) -> Pauses:
        """What runs, and then what is said of it. PluginError: all is as it was."""
        pauses = self._running_plugins.switch(manifest, to, on_trial)
        self._trouble.pop(manifest.name, None)
        self._symbols.put(manifest)
        return pauses

    def _lost_trial(self, name: str, why: str) -> None:
        if self._running_plugins.ended:
            return
        try:
            back = self.rollback(name)
        except OpqError as error:
            self._trouble[name] = f"fails ({why}), and the old version does not take over: {error}"
        else:
            self._trouble[name] = f"{back.old} was taken back to {back.new}: {why}"

    def _rules_with(self, manifest: PackageManifest, pauses: Pauses) -> int:
        """Rules that share an instance have none of their own: the engine knows them all."""
        users = {user for symbol in manifest.symbols for user in self.used_by(*symbol)}
        return max(pauses.rules, len(users))

    def _notify(self, manifest: PackageManifest) -> None:
        for kind, symbol in manifest.symbols:
            self.on_change(kind, symbol)

    def _unknown(self, kind: str, name: str) -> Exception:
        return self.refused(NotInstalledError(f"{kind} plug-in {name!r} is not found"))

    def _owner(self, kind: str, name: str) -> str:
        """The plug-in called `name`, or that has the symbol."""
        manifest = self._symbols.manifests.get(name)
        if manifest is not None and (kind == "portable" or manifest.of_kind(kind)):
            return name
        owner = self._symbols.owner(kind, name) or (name if name in self._trouble else None)
        if owner is None or (manifest is None and owner not in self._store.currents()):
            raise self._unknown(kind, name)
        return owner
