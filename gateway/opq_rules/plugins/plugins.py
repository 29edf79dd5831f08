"""The one door to plug-ins: by type name to a factory; install, replace, delete, describe while all runs.

`kind` is "source", "sink", "function", "trigger" or "analysis"; "portable" means any.
Errors are RuleErrors: 404 where a name is unknown, 400 for all else.
"""

import functools
import importlib.metadata
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opq_proto.errors import PluginError
from opq_rules import sdk
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RULE, STREAM, RuleError
from opq_rules.plugins.active import Active, Pauses, Replaced
from opq_rules.plugins.built_in import CLASSES, module_of, types_of
from opq_rules.plugins.fetch import fetch
from opq_rules.plugins.install import Installer, check_version
from opq_rules.plugins.judging import PluginAnalysis, PluginTrigger
from opq_rules.plugins.package_manifest import FOLDERS, NAME, PackageManifest
from opq_rules.plugins.policy import Policy
from opq_rules.plugins.process import worker_uid
from opq_rules.plugins.properties import read_properties
from opq_rules.plugins.python_code import JUDGING
from opq_rules.plugins.register import Register
from opq_rules.plugins.report import Report
from opq_rules.plugins.runtime import InProcessRuntime, ProcessRuntime, Runtime, rehearse
from opq_rules.plugins.shelf import Shelf
from opq_rules.plugins.source_proxy import Maker
from opq_rules.plugins.store import Installed, Store


class Plugins:
    """Built-ins, and what is installed below `data_dir`/plugins.

    `used_by(kind, symbol)`: ids of the rules and streams that use it, asked before a delete.
    `on_change(kind, symbol)`: a type came, went or has a new version.
    Thread-safe. `close` ends every worker process.
    """

    def __init__(
        self,
        data_dir: Path,
        policy: Policy | None = None,
        *,
        used_by: Callable[[str, str], Sequence[str]] = lambda kind, symbol: (),
        on_change: Callable[[str, str], None] = lambda kind, symbol: None,
    ) -> None:
        self.used_by = used_by
        self.on_change = on_change
        self.reserved: frozenset[tuple[str, str]] = frozenset()
        """(kind, symbol) that the service around us has itself."""
        self.uploads = data_dir / "uploads"
        """file:// is read below it."""
        self._policy = policy or Policy()
        self._changing = threading.RLock()
        self._closed = False
        self._store, self._shelf = self._opened(data_dir / "plugins")
        self._report = Report(data_dir / "plugins")
        self._register = Register()
        self._active: dict[str, Active] = {}
        self._trouble: dict[str, str] = {}
        for name, (version, _) in self._store.currents().items():
            installed = self._store.versions(name)[version]
            try:
                self._register.put(self._shelf.manifest(installed))
            except (OSError, PluginError) as error:
                self._trouble[name] = f"{name} {version} cannot be read: {error}"

    # -- what the engine asks

    def source(self, type_name: str) -> Callable[[], sdk.Source]:
        """Makes sources of this type. RuleError 400 that lists the types where there is none."""
        factory: Callable[[], sdk.Source] = self._factory("source", type_name)
        return factory

    def lookup(self, type_name: str) -> Callable[[], sdk.LookupSource]:
        """Makes lookup tables of this type (`LookupSource` in the source's file)."""
        module = module_of("source", type_name)
        made = getattr(module, "LookupSource", None) if module else None
        if made is None:
            raise RuleError(f"source type {type_name!r} has no lookup tables")
        factory: Callable[[], sdk.LookupSource] = made
        return factory

    def sink(self, type_name: str) -> Callable[[], sdk.Sink]:
        """Makes sinks of this type. RuleError 400 that lists the types where there is none."""
        factory: Callable[[], sdk.Sink] = self._factory("sink", type_name)
        return factory

    def function(self, name: str) -> Callable[[], sdk.Function] | None:
        """Makes functions of this SQL name (any case), or None: no plug-in has it."""
        if (found := self._register.function(name)) is None:
            return None
        owner, symbol = found
        return functools.partial(self._make, owner, "function", symbol)

    def trigger(self, symbol: str) -> Callable[[], PluginTrigger]:
        """Makes triggers of this name, for Makai. RuleError 400 that lists the names where there is none."""
        factory: Callable[[], PluginTrigger] = self._factory("trigger", symbol)
        return factory

    def analysis(self, symbol: str) -> Callable[[], PluginAnalysis]:
        """Makes analyses of this name, for Mauka. RuleError 400 that lists the names where there is none."""
        factory: Callable[[], PluginAnalysis] = self._factory("analysis", symbol)
        return factory

    def types(self, kind: str) -> list[str]:
        """Every type (for functions: name) of `kind`, built-ins first, each list sorted."""
        return [*types_of(kind), *self._register.symbols(kind)]

    def properties(self, kind: str, type_name: str) -> dict[str, Any]:
        """Property -> {"type", "default", "required", "help"} as far as the plug-in says."""
        manifest = self._register.manifests.get(self._register.owner(kind, type_name) or "")
        if manifest is None:
            return {}
        folder = self._shelf.folder(manifest.name, str(manifest.version))
        with self._refusing():
            return read_properties(folder, FOLDERS[kind], type_name)

    # -- what REST and CLI ask

    def create(
        self,
        kind: str,
        name: str,
        file: str,
        *,
        functions: Sequence[str] = (),
        shell_parameters: Sequence[str] = (),
        downgrade: bool = False,
    ) -> Replaced | None:
        """Install from a URL (http, https, file). A higher version of what is there replaces it live.

        None: it is new. RuleError 400: all that is wrong; nothing changed then.
        """
        if not NAME.fullmatch(name):
            raise RuleError(f"plug-in {name[:80]!r}: want letters, digits, _ and - only")
        with self._refusing():
            installer = self._installer()
            package, signed_by = installer.fetch(file, name)
            manifest = package.manifest
            with self._changing:
                current = self._store.currents().get(name, (None, None))[0]
                check_version(manifest, current, downgrade)
                self._register.check(kind, manifest, functions, self.reserved)
                former = self._store.versions(name).get(str(manifest.version))
                installed = installer.unpack(package, signed_by, shell_parameters)
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
                self._park(manifest)
                self._store.switch(name, installed.version, current)
                for version in installer.prune(
                    name, list(self._store.versions(name)), {installed.version, current or ""}
                ):
                    self._store.drop_version(name, version)
        self._tell(manifest)
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
                raise self._unknown("portable", name)
            old = self._store.versions(name).get(previous or "")
            if old is None:
                raise RuleError(f"plug-in {name!r}: there is no version before {current}")
            manifest = self._shelf.manifest(old)
            pauses = self._switch(manifest, old, on_trial=False)
            self._store.switch(name, old.version, None)
        self._tell(manifest)
        rules = self._rules_with(manifest, pauses)
        return Replaced(name, current, old.version, rules, pauses.p50_ms, pauses.max_ms)

    def delete(self, kind: str, name: str, *, force: bool = False) -> None:
        """All versions. RuleError 400 that names the rules which use it, unless `force`."""
        name = self._owner(kind, name)
        manifest = self._register.manifests.get(name)
        # asked without our lock: the engine has its own, and asks us for types while it holds it
        users = {user for symbol in (manifest.symbols if manifest else ()) for user in self.used_by(*symbol)}
        with self._refusing(), self._changing:
            active = self._active.get(name)
            users |= set(active.references()) if active else set()
            if users and not force:
                raise RuleError(
                    f"plug-in {name!r} is used by {', '.join(sorted(users)[:10])}; force=true deletes it"
                )
            if active is not None and active.runtime is not None:
                runtime = active.runtime
                active.replace(None)
                runtime.close()
            self._store.drop(name)
            if isinstance(self._shelf, Installer):
                self._shelf.remove(name)
            self._register.drop(name)
            self._trouble.pop(name, None)
        if manifest is not None:
            self._tell(manifest)

    def list(self, kind: str) -> Sequence[Any]:
        """Names of what is installed; for "portable" their manifests as JSON."""
        manifests = sorted(self._register.manifests.items())
        if kind == "portable":
            return [manifest.as_json() for _, manifest in manifests]
        return [name for name, manifest in manifests if manifest.of_kind(kind)]

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """`{"name", "version"}` as the tutorial shows it; built-ins have the toolkit's version.

        Of an analysis, `version` is what was installed last; `running`, `status`, `errMsg` are Mauka's.
        """
        if kind != "portable" and name in types_of(kind):
            return {"name": name, "version": importlib.metadata.version("opq-toolkit")}
        owner = self._owner(kind, name)
        manifest = self._register.manifests.get(owner)
        if manifest is None:
            if (current := self._store.currents().get(owner)) is None:
                raise self._unknown(kind, name)
            return {"name": owner, "version": current[0]}
        if kind == "portable":
            return manifest.as_json()
        told: dict[str, Any] = {"name": name, "version": str(manifest.version)}
        if kind == "analysis":
            told |= self._report.of(manifest)
        return told

    def status(self, name: str) -> dict[str, Any]:
        """`{"refCount", "status", "errMsg", "pid"}`; ours: version, versions, mode, protections, counters.

        An analysis is asked by nobody here: `running`, `status` and `errMsg` are what Mauka has told of it.
        `status` installed: Mauka has told nothing.
        """
        current, versions = self._store.currents().get(name), self._store.versions(name)
        if current is None or current[0] not in versions:  # it may be just being deleted
            raise self._unknown("portable", name)
        active = self._active.get(name)
        runtime = active.runtime if active else None
        manifest = self._register.manifests.get(name)
        elsewhere = manifest is not None and all(kind in JUDGING for kind, _ in manifest.symbols)
        idle = {"status": "installed" if elsewhere else "initializing", "errMsg": "", "pid": 0}
        told: dict[str, Any] = runtime.status() if runtime is not None else idle
        told |= {
            "refCount": self._rules_of(name) | (active.references() if active else {}),
            "name": name,
            "version": current[0],
            "previous": current[1],
            "versions": list(versions),
            "signed_by": versions[current[0]].signed_by,
            "mode": runtime.mode if runtime is not None else None,
            "calls": active.calls if active else 0,
            "failures": active.failures if active else 0,
        }
        if manifest is not None and manifest.of_kind("analysis"):
            there = self._report.of(manifest)
            told |= there if runtime is None else {"running": there["running"]}
            if there["status"] == "error":  # else the rest of it runs, where there is no Mauka
                told["errMsg"] = told["errMsg"] or there["errMsg"]
        if trouble := self._trouble.get(name):
            told["errMsg"] = trouble
            told["status"] = told["status"] if runtime is not None else "error"
        return told

    def fetched(self, url: str, most_bytes: int) -> bytes:
        """A file by http, https or file, from where packages come too. RuleError 400: it cannot be had."""
        policy = replace(self._policy, max_zip_bytes=min(most_bytes, self._policy.max_zip_bytes))
        with self._refusing(), tempfile.TemporaryDirectory(prefix="opq-fetched-") as folder:
            target = Path(folder) / "file"
            fetch(url, target, policy, [self.uploads, *policy.file_roots])
            return target.read_bytes()

    def functions(self) -> dict[str, str]:
        """SQL function -> the plug-in that has it (GET /plugins/udfs)."""
        return self._register.symbols("function")

    def worker_uids(self) -> set[int]:
        """Users of the plug-ins' processes; none where they are the server's own."""
        if os.geteuid():
            return set()
        if self._policy.worker_uid is not None:
            return {self._policy.worker_uid}
        return {worker_uid(name) for name in [*self._register.manifests, *self._active]}

    def close(self) -> None:
        """End every worker, all at once, within 2 s."""
        with self._changing:
            self._closed = True
            runtimes = [active.runtime for active in self._active.values() if active.runtime is not None]
        enders = [threading.Thread(target=runtime.close) for runtime in runtimes]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        self._store.close()

    # -- how

    def _opened(self, folder: Path) -> tuple[Store, Shelf]:
        installer = Installer(folder, self.uploads, self._policy)
        return Store(folder / "installed.sqlite"), installer

    def _installer(self) -> Installer:
        if not isinstance(self._shelf, Installer):
            raise PluginError("plug-ins are installed at the host that is followed")
        return self._shelf

    def _factory(self, kind: str, type_name: str) -> Any:
        module = module_of(kind, type_name)
        if module is not None:
            return getattr(module, CLASSES[kind])
        owner = self._register.owner(kind, type_name)
        if owner is None:
            known = ", ".join(self.types(kind)) or "none"
            code = {"sink": RULE, "source": STREAM}.get(kind, CONFIGURATION)
            raise RuleError(f"{kind} type {type_name!r} is not known; there are: {known}", code)
        make = functools.partial(self._make, owner, kind, type_name)
        if kind != "source":
            return make
        with self._refusing(), self._changing:
            _, runtime = self._running(owner, kind)
            return Maker(make, runtime.replays(type_name))

    def _make(self, owner: str, kind: str, symbol: str) -> Any:
        with self._refusing(), self._changing:
            active, _ = self._running(owner, kind)
            return active.make(kind, symbol)

    def _running(self, owner: str, kind: str) -> tuple[Active, Runtime]:
        """Started by its first use after a start of the server."""
        active = self._active_of(owner)
        if active.runtime is None:
            manifest = self._register.manifests.get(owner)
            if manifest is None:
                raise self._unknown(kind, owner)
            installed = self._store.versions(owner)[str(manifest.version)]
            active.replace(runtime := self._start(manifest, installed, active))
            return active, runtime
        return active, active.runtime

    def _switch(self, manifest: PackageManifest, to: Installed, on_trial: bool = True) -> Pauses:
        """Start it, let all take over, end the old one. PluginError: all is as it was."""
        active = self._active_of(manifest.name)
        old = active.runtime
        runtime = self._start(manifest, to, active)
        try:
            if old is None:
                rehearse(runtime)
            pauses = active.replace(runtime)
        except BaseException:
            runtime.close()
            raise
        if old is not None:
            if on_trial:
                active.try_out()
            old.close()
        self._trouble.pop(manifest.name, None)
        self._register.put(manifest)
        return pauses

    def _park(self, manifest: PackageManifest) -> None:
        """What only judges and is asked by nobody here (Mauka has a host of its own) needs no process."""
        active = self._active[manifest.name]
        if active.runtime is None or active.proxies():
            return
        if all(kind in JUDGING for kind, _ in manifest.symbols):
            runtime = active.runtime
            active.replace(None)
            runtime.close()

    def _start(self, manifest: PackageManifest, installed: Installed, active: Active) -> Runtime:
        if self._closed:
            raise PluginError(f"{installed.name} is not started: the host of plug-ins has ended")
        folder = self._shelf.folder(installed.name, installed.version)
        trusted = installed.signed_by is not None or installed.name in self._policy.trusted
        if manifest.in_process and trusted:
            return InProcessRuntime(folder, manifest)
        return ProcessRuntime(folder, manifest, installed.manifest, self._policy, active.crashed)

    def _active_of(self, name: str) -> Active:
        if name not in self._active:
            lost = functools.partial(self._lost_trial, name)
            self._active[name] = Active(name, self._policy, lost)
        return self._active[name]

    def _lost_trial(self, name: str, why: str) -> None:
        if self._closed:
            return
        try:
            back = self.rollback(name)
        except RuleError as error:
            self._trouble[name] = f"fails ({why}), and the old version does not take over: {error}"
        else:
            self._trouble[name] = f"{back.old} was taken back to {back.new}: {why}"

    def _rules_with(self, manifest: PackageManifest, pauses: Pauses) -> int:
        """Rules that share an instance have none of their own: the engine knows them all."""
        users = {user for symbol in manifest.symbols for user in self.used_by(*symbol)}
        return max(pauses.rules, len(users))

    def _rules_of(self, name: str) -> dict[str, int]:
        """Also those whose sink has had nothing to do yet."""
        manifest = self._register.manifests.get(name)
        symbols = manifest.symbols if manifest else ()
        return {
            user: 1 for kind, symbol in symbols if kind != "source" for user in self.used_by(kind, symbol)
        }

    def _tell(self, manifest: PackageManifest) -> None:
        for kind, symbol in manifest.symbols:
            self.on_change(kind, symbol)

    def _owner(self, kind: str, name: str) -> str:
        """The plug-in called `name`, or that has the symbol."""
        manifest = self._register.manifests.get(name)
        if manifest is not None and (kind == "portable" or manifest.of_kind(kind)):
            return name
        owner = self._register.owner(kind, name) or (name if name in self._trouble else None)
        if owner is None or (manifest is None and owner not in self._store.currents()):
            raise self._unknown(kind, name)
        return owner

    def _unknown(self, kind: str, name: str) -> RuleError:
        return RuleError(f"{kind} plug-in {name!r} is not found", NOT_FOUND, 404)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except PluginError as error:
            raise RuleError(str(error)) from error
