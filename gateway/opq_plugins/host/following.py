"""A host that follows another one: what that one has switched to is taken over here, live.

The other host may be in this process or in any other; both read the same folder. This one installs nothing
and writes nothing there: its own books are in memory, and say what it runs.
"""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_plugins.host.plugins import Plugins
from opq_plugins.package.book import Book
from opq_plugins.package.package_manifest import PackageManifest
from opq_plugins.package.shelf import Shelf
from opq_plugins.package.signature import signer
from opq_plugins.package.store import Installed, Store
from opq_plugins.policy import Policy
from opq_proto.errors import OpqError, PluginError

AGAIN_S = 60.0
"""A version that did not take over is tried again after this, or at once when the other host has another."""
LACKING_AGAIN_S = 10.0
"""The same where there is no old version that goes on."""


class NotAllowedError(PluginError):
    """Our own policy does not let it run."""


class Following(Plugins):
    """`kinds`: only plug-ins with symbols of these are taken. Call `look` about once a second, in one thread.

    `between`: re-entrant; held while versions are exchanged or taken away, not while one is started.
    """

    def __init__(
        self,
        data_dir: Path,
        kinds: Collection[str],
        policy: Policy | None = None,
        *,
        between: AbstractContextManager[Any] | None = None,
        on_change: Callable[[str, str], None] = lambda kind, symbol: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = frozenset(kinds)
        self._between = between or nullcontext()
        self._now = monotonic_s
        self._book = Book(data_dir / "plugins" / "installed.sqlite")
        self._told: dict[str, Installed] = {}
        """What the other host has, as far as it was taken, or is none of ours."""
        self._refused: dict[str, tuple[Installed, float]] = {}
        self._barred: set[str] = set()
        self._never_read = True
        self.unreadable = 0
        """Looks that found a book they could not read."""
        self.problem = ""
        """Why the last look could not read it."""
        super().__init__(data_dir, policy, on_change=on_change, between=self._between)

    def look(self) -> None:
        """Take over what the other host has changed. What fails is in `troubles`, and tried again."""
        told, wrong = self._book.read()
        self.problem = wrong
        self.unreadable += bool(wrong)
        if told is None:
            return
        self._never_read = False
        for name in [known for known in self._told | self._refused if known not in told]:
            self._give_up(name)
        for name, installed in told.items():
            if self._told.get(name) == installed:
                if self._refused.pop(name, None):  # the other host is back at what runs here
                    self._trouble.pop(name, None)
            elif self._due(name, installed):
                self._follow(name, installed)

    def troubles(self) -> Mapping[str, str]:
        """Plug-in -> why its current version does not run here, or what became of it."""
        return dict(self._trouble)

    def lacking(self) -> list[str]:
        """Plug-ins of which no version runs here, though one should; the book where nothing is known yet."""
        refused = [name for name in self._refused if name not in self._register.manifests]
        unknown = [self._book.name] if self.problem and self._never_read else []
        return unknown + [name for name in refused if name not in self._barred]

    def status_of(self, kind: str, symbol: str) -> dict[str, Any]:
        """Of the plug-in that has the symbol: version, installed_ms, mode, calls, crashes, trouble.

        Empty: it does not run. Also after `close`.
        """
        owner = self._register.owner(kind, symbol)
        manifest, active = self._register.manifests.get(owner or ""), self._active.get(owner or "")
        runtime = active.runtime if active is not None else None
        if owner is None or manifest is None or active is None or runtime is None:
            return {}
        told = runtime.status()
        return {
            "version": str(manifest.version),
            "installed_ms": self._told[owner].installed_ms if owner in self._told else 0,
            "mode": runtime.mode,
            "calls": active.calls,
            "crashes": told["crashes"],
            "trouble": self._trouble.get(owner) or told["errMsg"],
        }

    def close(self) -> None:
        super().close()
        self._book.close()

    # -- how

    def _opened(self, folder: Path) -> tuple[Store, Shelf]:
        return Store(Path(":memory:")), Shelf(folder)

    def _lost_trial(self, name: str, why: str) -> None:
        try:
            super()._lost_trial(name, why)
        except OSError as error:  # the other host has pruned it
            self._trouble[name] = f"fails ({why}), and the old version is not there any more: {error}"

    def _due(self, name: str, installed: Installed) -> bool:
        refused = self._refused.get(name)
        return refused is None or refused[0] != installed or self._now() >= refused[1]

    def _follow(self, name: str, installed: Installed) -> None:
        try:
            manifest = self._manifest_of(installed)
            if self._kinds.isdisjoint(kind for kind, _ in manifest.symbols):
                self._give_up(name)
            else:
                self._take(manifest, installed)
        except (OpqError, OSError, ValueError) as error:
            (self._barred.add if isinstance(error, NotAllowedError) else self._barred.discard)(name)
            running = self._store.currents().get(name)
            self._refused[name] = (installed, self._now() + (AGAIN_S if running else LACKING_AGAIN_S))
            rest = f"; {running[0]} goes on" if running else ""
            self._trouble[name] = f"{name} {installed.version} does not run: {error}{rest}"
        else:
            self._refused.pop(name, None)
            self._told[name] = installed

    def _manifest_of(self, installed: Installed) -> PackageManifest:
        manifest = self._shelf.manifest(installed)
        if (manifest.name, str(manifest.version)) != (installed.name, installed.version):
            raise PluginError(f"its manifest is of {manifest.name} {manifest.version}")
        return manifest

    def _vouched(self, installed: Installed) -> Installed:
        """Signed by a key of our own policy, not of the other host's. NotAllowedError: ours wants one."""
        signed_by = signer(
            self._shelf.raw_manifest(installed), self._shelf.signature(installed), self._policy.keys
        )
        if signed_by is None and self._policy.require_signature:
            raise NotAllowedError("it is signed by none of the allowed keys, and the policy wants one")
        return replace(installed, signed_by=signed_by)

    def _take(self, manifest: PackageManifest, installed: Installed) -> None:
        with self._changing:
            name = manifest.name
            vouched = self._vouched(installed)
            self._register.check("portable", manifest, (), self.reserved)
            current = self._store.currents().get(name, (None, None))[0]
            same = self._store.versions(name).get(installed.version)
            if current == installed.version and same is not None:
                if same.sha256 == installed.sha256:  # it was taken back here, and now there too
                    self._trouble.pop(name, None)
                    return
                self._give_up(name)  # deleted there and installed anew: another code of the same number
                current = None
            self._store.add(vouched)
            try:
                self._switch(manifest, vouched)
            except BaseException:
                if installed.version != current:
                    self._store.drop_version(name, installed.version)
                raise
            self._store.switch(name, installed.version, current)
            for version in self._store.versions(name).keys() - {installed.version, current}:
                self._store.drop_version(name, version)
        self._tell(manifest)

    def _give_up(self, name: str) -> None:
        """Deleted there. Who is told of it holds `between` from before it stops until he knows."""
        self._told.pop(name, None)
        self._refused.pop(name, None)
        with self._changing, self._between:
            self._trouble.pop(name, None)
            if name in self._register.manifests:
                self.delete("portable", name, force=True)
                self._active.forget(name)
