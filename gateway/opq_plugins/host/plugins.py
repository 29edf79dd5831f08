"""The plug-in host: install, replace, roll back, delete, describe, while everything runs.

`kind` is "source", "sink", "function", "trigger" or "analysis"; "package" means any.
Errors are PluginErrors; NotInstalledError where a name is unknown.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_plugins.host.plugin_host import NotInstalledError, PluginHost, refusing
from opq_plugins.host.report import FollowerReport
from opq_plugins.host.running import Replaced
from opq_plugins.package.fetch import fetch
from opq_plugins.package.install import Installer, check_version
from opq_plugins.package.manifest import NAME, PACKAGE, PackageManifest
from opq_plugins.package.releases import ReleaseStore
from opq_plugins.policy import Policy, worker_uid
from opq_plugins.sdk import Value
from opq_plugins.worker.python_code import JUDGING
from opq_proto.errors import PluginError


class Plugins(PluginHost):
    """The plug-ins that are installed below `data_dir`/plugins.

    `used_by(kind, symbol)`: ids of the rules and streams that use it, checked before a delete.
    """

    def __init__(
        self,
        data_dir: Path,
        policy: Policy | None = None,
        *,
        used_by: Callable[[str, str], Sequence[str]] = lambda kind, symbol: (),
        on_change: Callable[[str, str], None] = lambda kind, symbol: None,
        between: AbstractContextManager[object] | None = None,
    ) -> None:
        self.used_by = used_by
        self.uploads = data_dir / "uploads"
        """file:// may read files below it."""
        folder, policy = data_dir / "plugins", policy or Policy()
        self._installer = Installer(folder, self.uploads, policy)
        store = ReleaseStore(folder / "installed.sqlite")
        super().__init__(store, self._installer, policy, on_change, between)
        self._report = FollowerReport(folder)
        for name, (version, _) in store.currents().items():
            try:
                self._symbols.add(self._releases.manifest(store.versions(name)[version]))
            except (OSError, PluginError) as error:
                self._trouble[name] = f"{name} {version} cannot be read: {error}"

    @refusing
    def create(
        self, kind: str, name: str, file: str, *, functions: Sequence[str] = (), downgrade: bool = False
    ) -> Replaced | None:
        """Installs a plug-in from a URL; a higher version replaces the installed one while it runs.

        Returns None for a new plug-in. PluginError has every problem; then nothing has changed.
        """
        if not NAME.fullmatch(name):
            raise PluginError(f"plug-in {name[:80]!r}: want letters, digits, _ and - only")
        package, signed_by = self._installer.fetch(file, name)
        manifest = package.manifest
        with self._changing:
            current = self._store.currents().get(name, (None, None))[0]
            check_version(manifest, current, downgrade)
            self._symbols.check(kind, manifest, functions, self.reserved)
            former = self._store.versions(name).get(str(manifest.version))
            installed = self._installer.unpack(package, signed_by)
            self._store.add(installed)
            try:
                pauses = self._switch(manifest, installed)
            except BaseException:
                self._installer.take_back(installed)
                self._store.drop_version(name, installed.version)
                if former is not None:
                    self._store.add(former)
                raise
            self._installer.commit()
            if all(symbol[0] in JUDGING for symbol in manifest.symbols):
                self._running[name].park()
            self._store.switch(name, installed.version, current)
            kept = {installed.version, current or ""}
            for version in self._installer.prune(name, list(self._store.versions(name)), kept):
                self._store.drop_version(name, version)
        self._notify(manifest)
        return None if current is None else self._replaced(manifest, current, pauses)

    @refusing
    def delete(self, kind: str, name: str, *, force: bool = False) -> None:
        """Deletes all versions. PluginError names the rules that use it, unless `force`."""
        name = self._owner(kind, name)
        manifest = self._symbols.manifests.get(name)
        # without our lock: the engine has its own, and requests types from us while it holds it
        users = self._users(manifest) if manifest else set()
        with self._changing:
            running = self._running.get(name)
            users |= set(running.references()) if running else set()
            if users and not force:
                named = ", ".join(sorted(users)[:10])
                raise PluginError(f"plug-in {name!r} is used by {named}; --force or ?force=true deletes it")
            self._drop(name)
            self._installer.remove(name)
        if manifest is not None:
            self._notify(manifest)

    def list(self, kind: str) -> Sequence[Any]:
        """Names of the installed plug-ins; for "package" their manifests as JSON."""
        manifests = sorted(self._symbols.manifests.items())
        if kind == PACKAGE:
            return [manifest.as_json() for _, manifest in manifests]
        return [name for name, manifest in manifests if manifest.of_kind(kind)]

    @refusing
    def describe(self, kind: str, name: str) -> dict[str, Value]:
        """`{"name", "version"}`; of an analysis also `running`, `status`, `errMsg` by Mauka's report."""
        owner = self._owner(kind, name)
        manifest = self._symbols.manifests.get(owner)
        if manifest is None:
            current = self._store.currents().get(owner)
            if current is None:
                raise _not_found(kind, name)
            return {"name": owner, "version": current[0]}
        if kind == PACKAGE:
            return manifest.as_json()
        facts: dict[str, Value] = {"name": name, "version": str(manifest.version)}
        return facts | self._report.of(manifest) if kind == "analysis" else facts

    @refusing
    def status(self, name: str) -> dict[str, Value]:
        """`{"refCount", "status", "errMsg", "pid"}`; ours: version, versions, mode, protections, counters.

        Triggers and analyses that run elsewhere have no pid, mode and counters. For an analysis, `running`,
        `status` and `errMsg` are Mauka's report; "installed" means that Mauka has not reported. Readers do
        not wait for an installation.
        """
        current, versions = self._store.currents().get(name), self._store.versions(name)
        if current is None or current[0] not in versions:  # it is perhaps being deleted
            raise _not_found(PACKAGE, name)
        running, manifest = self._running.get(name), self._symbols.manifests.get(name)
        runtime = running.runtime if running else None
        symbols = manifest.symbols if manifest else ()
        elsewhere = manifest is not None and all(kind in JUDGING for kind, _ in symbols)
        # also rules whose sink has had nothing to do yet
        rules = {
            user: 1 for kind, symbol in symbols if kind != "source" for user in self.used_by(kind, symbol)
        }
        facts: dict[str, Value] = {
            "status": "installed" if elsewhere else "initializing",
            "errMsg": "",
            "refCount": rules | (running.references() if running else {}),
            "name": name,
            "version": current[0],
            "previous": current[1],
            "versions": list(versions),
            "signed_by": self._signer(versions[current[0]]),
        }
        if runtime is not None or not elsewhere:  # Makai and Mauka count their own calls
            facts |= {
                "pid": 0,
                **(runtime.status() if runtime is not None else {}),
                "mode": runtime.mode if runtime is not None else None,
                "calls": running.calls if running else 0,
                "failures": running.failures if running else 0,
            }
        if manifest is not None and manifest.of_kind("analysis"):
            there = self._report.of(manifest)
            facts |= there if runtime is None else {"running": there["running"]}
            if there["status"] == "error":  # else its other symbols run, even without Mauka
                facts["errMsg"] = facts["errMsg"] or there["errMsg"]
        if trouble := self._trouble.get(name):
            facts["errMsg"] = trouble
            facts["status"] = facts["status"] if runtime is not None else "error"
        return facts

    @refusing
    def fetched(self, url: str, most_bytes: int) -> bytes:
        """A file by http, https or file, under the limits of packages. PluginError: it cannot be read."""
        policy = replace(self._policy, max_zip_bytes=min(most_bytes, self._policy.max_zip_bytes))
        with tempfile.TemporaryDirectory(prefix="opq-fetched-") as folder:
            target = Path(folder) / "file"
            fetch(url, target, policy, [self.uploads, *policy.file_roots])
            return target.read_bytes()

    def worker_uids(self) -> set[int]:
        """User ids of the plug-ins' processes; empty where they run as the server's own user."""
        if os.geteuid():
            return set()
        if self._policy.worker_uid is not None:
            return {self._policy.worker_uid}
        return {worker_uid(name) for name in [*self._symbols.manifests, *self._running]}

    def _users(self, manifest: PackageManifest) -> set[str]:
        return {user for symbol in manifest.symbols for user in self.used_by(*symbol)}

    def _owner(self, kind: str, name: str) -> str:
        """Name of the plug-in that is called `name`, or that has this symbol."""
        manifest = self._symbols.manifests.get(name)
        if manifest is not None and (kind == PACKAGE or manifest.of_kind(kind)):
            return name
        owner = self._symbols.owner(kind, name) or (name if name in self._trouble else None)
        if owner is None or (manifest is None and owner not in self._store.currents()):
            raise _not_found(kind, name)
        return owner


def _not_found(kind: str, name: str) -> NotInstalledError:
    return NotInstalledError(f"{'' if kind == PACKAGE else kind + ' '}plug-in {name!r} is not found")
