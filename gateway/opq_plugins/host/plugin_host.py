"""PluginHost runs the plug-ins that are installed in one folder, and exchanges their versions meanwhile."""

import functools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from opq_plugins import sdk
from opq_plugins.host.proxy import PluginAnalysis, PluginTrigger
from opq_plugins.host.running import Pauses, Replaced, RunningPlugin
from opq_plugins.host.source_proxy import SourceFactory
from opq_plugins.host.worker.runtime import InProcessRuntime, ProcessRuntime, Runtime, narrowed
from opq_plugins.host.worker.supervisor import UnconfinedError
from opq_plugins.package.archive import NotAllowedError, allowed_signer, signer
from opq_plugins.package.manifest import FOLDERS, MANIFEST, PACKAGE, PackageManifest
from opq_plugins.package.properties import Properties, read_properties
from opq_plugins.package.releases import Release, ReleaseFolder, ReleaseStore
from opq_plugins.policy import Policy
from opq_proto.errors import OpqError, PluginError


class UnknownTypeError(PluginError):
    """No plug-in has a symbol of this `kind` and name."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class NotInstalledError(PluginError):
    """There is no plug-in of this name."""


class SymbolTable:
    """The symbols of all plug-ins' current versions; any thread may read `manifests`."""

    def __init__(self) -> None:
        self.manifests: Mapping[str, PackageManifest] = {}

    def add(self, manifest: PackageManifest) -> None:
        """Adds a plug-in, or another version of it."""
        self.manifests = {**self.manifests, manifest.name: manifest}

    def drop(self, name: str) -> None:
        self.manifests = {its: each for its, each in self.manifests.items() if its != name}

    def symbols(self, kind: str) -> dict[str, str]:
        """Symbol -> the plug-in that has it, sorted by symbol."""
        found = {symbol: name for name, each in self.manifests.items() for symbol in each.of_kind(kind)}
        return dict(sorted(found.items()))

    def owner(self, kind: str, symbol: str) -> str | None:
        """The plug-in that has the symbol."""
        return self.symbols(kind).get(symbol)

    def function(self, name: str) -> tuple[str, str] | None:
        """Owner and symbol of a function of this SQL name (any case)."""
        for symbol, owner in self.symbols("function").items():
            if symbol.casefold() == name.casefold():
                return owner, symbol
        return None

    def check(
        self,
        kind: str,
        manifest: PackageManifest,
        functions: Sequence[str],
        reserved: Collection[tuple[str, str]],
    ) -> None:
        """Raises PluginError: a requested symbol is missing, or is another's. `kind` "package": any."""
        if kind != PACKAGE and not manifest.of_kind(kind):
            has = ", ".join(f"{its} {symbol}" for its, symbol in manifest.symbols)
            raise PluginError(f"{manifest.name} has no {kind}; its symbols: {has}")
        missing = sorted(set(functions) - set(manifest.of_kind("function")))
        if missing:
            raise PluginError(f"{manifest.name} has no function {', '.join(missing)}")
        for its, symbol in manifest.symbols:
            if (its, symbol) in reserved:
                raise PluginError(f"{its} {symbol!r} is built in; give yours another name")
            owner = self.owner(its, symbol) or manifest.name
            if its == "function":  # SQL function names ignore case
                owner, _ = self.function(symbol) or (owner, symbol)
            if owner != manifest.name:
                raise PluginError(f"{its} {symbol!r} belongs to plug-in {owner!r} already")


Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")
Host = TypeVar("Host", bound="PluginHost")


def refusing(
    method: Callable[Concatenate[Host, Arguments], Answer],
) -> Callable[Concatenate[Host, Arguments], Answer]:
    """Raises a PluginError of the method as the error that `refused` makes of it."""

    @functools.wraps(method)
    def called(host: Host, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        try:
            return method(host, *arguments, **named)
        except PluginError as error:
            refused = host.refused(error)
            if refused is error:
                raise
            raise refused from error

    return called


class PluginHost:
    """Plug-ins for the engine, Makai and Mauka. Thread-safe. `close` ends every worker process.

    `on_change(kind, symbol)`: a type was added, removed or replaced. `between`: held while the versions of a
    plug-in are exchanged; a caller that holds it gets the same version for several calls.
    """

    def __init__(
        self,
        store: ReleaseStore,
        releases: ReleaseFolder,
        policy: Policy,
        on_change: Callable[[str, str], None],
        between: AbstractContextManager[object] | None,
    ) -> None:
        self.on_change = on_change
        self.reserved: frozenset[tuple[str, str]] = frozenset()
        """(kind, symbol) that the surrounding service provides itself."""
        self._store, self._releases, self._policy = store, releases, policy
        self._between = between or nullcontext()
        self._symbols = SymbolTable()
        self._running: dict[str, RunningPlugin] = {}
        """The plug-ins that were used since the start."""
        self._trouble: dict[str, str] = {}
        self._changing = threading.RLock()
        """Held while anything is started or exchanged."""
        self._ended = False
        self.unconfined_refused = 0
        """Starts that were refused because this machine cannot confine a plug-in."""
        self.unconfined: Mapping[str, str] = {}
        """Installed plug-ins that do not run for that reason -> the reason; any thread may read it."""

    def source(self, type_name: str) -> Callable[[], sdk.Source]:
        """The factory of sources of this type. Raises UnknownTypeError, which lists the known types."""
        return self._factory("source", type_name)

    def sink(self, type_name: str) -> Callable[[], sdk.Sink]:
        """The factory of sinks of this type. Raises UnknownTypeError, which lists the known types."""
        return self._factory("sink", type_name)

    def function(self, name: str) -> Callable[[], sdk.Function] | None:
        """The factory of functions of this SQL name (any case); None where no plug-in has it."""
        found = self._symbols.function(name)
        return None if found is None else functools.partial(self._make, found[0], "function", found[1])

    def trigger(self, symbol: str) -> Callable[[], PluginTrigger]:
        """The factory of triggers of this name, for Makai. Raises UnknownTypeError if no plug-in has it."""
        return self._factory("trigger", symbol)

    def analysis(self, symbol: str) -> Callable[[], PluginAnalysis]:
        """The factory of analyses of this name, for Mauka. Raises UnknownTypeError if no plug-in has it."""
        return self._factory("analysis", symbol)

    def types(self, kind: str) -> list[str]:
        """Every type (for functions: name) of `kind`, sorted."""
        return [*self._symbols.symbols(kind)]

    def functions(self) -> dict[str, str]:
        """SQL function -> the plug-in that has it (GET /plugins/udfs)."""
        return self._symbols.symbols("function")

    @refusing
    def properties(self, kind: str, type_name: str) -> Properties:
        """Property -> {"type", "default", "required", "help"}, as far as the plug-in declares them."""
        manifest = self._symbols.manifests.get(self._symbols.owner(kind, type_name) or "")
        if manifest is None:
            return {}
        folder = self._releases.folder(manifest.name, str(manifest.version))
        return read_properties(folder, FOLDERS[kind], type_name)

    @refusing
    def rollback(self, name: str) -> Replaced:
        """Switches back to the version before the current one, while the plug-in runs."""
        with self._changing:
            current, previous = self._store.currents().get(name, ("", None))
            if not current:
                raise NotInstalledError(f"plug-in {name!r} is not found")
            old = self._store.versions(name).get(previous or "")
            if old is None:
                raise PluginError(f"plug-in {name!r}: there is no version before {current}")
            manifest = self._releases.manifest(old)
            pauses = self._switch(manifest, old, on_trial=False)
            self._store.switch(name, old.version, None)
        self._notify(manifest)
        return self._replaced(manifest, current, pauses)

    def refused(self, error: PluginError) -> Exception:
        """The exception to raise for `error`; a surrounding service may override it with its own."""
        return error

    def close(self) -> None:
        """Ends every worker, all at once, within 2 s. Nothing is started any more."""
        with self._changing:
            self._ended = True
            runtimes = [running.runtime for running in self._running.values() if running.runtime is not None]
        enders = [threading.Thread(target=runtime.close) for runtime in runtimes]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        self._store.close()

    # -- for subclasses that install or follow; they hold `_changing`

    def _switch(self, manifest: PackageManifest, to: Release, on_trial: bool = True) -> Pauses:
        """Starts a version and lets all proxies take it over. PluginError: everything stays as it was."""
        running = self._running_plugin(manifest.name)
        pauses = running.switch(self._started(manifest, to, running), on_trial)
        self._forget_trouble(manifest.name)
        self._symbols.add(manifest)
        return pauses

    def _drop(self, name: str) -> None:
        """Stops and forgets a plug-in; its proxies do not work until it is installed again."""
        if (running := self._running.get(name)) is not None:
            running.stop()
        self._store.drop(name)
        self._symbols.drop(name)
        self._forget_trouble(name)

    def _forget_trouble(self, name: str) -> None:
        self._trouble.pop(name, None)
        self.unconfined = {its: why for its, why in self.unconfined.items() if its != name}

    def _users(self, manifest: PackageManifest) -> set[str]:
        """Names of the rules that use one of its symbols; the rule engine overrides this."""
        return set()

    def _replaced(self, manifest: PackageManifest, old: str, pauses: Pauses) -> Replaced:
        rules = max(pauses.rules, len(self._users(manifest)))
        return Replaced(manifest.name, old, str(manifest.version), rules, pauses.p50_ms, pauses.max_ms)

    def _notify(self, manifest: PackageManifest) -> None:
        for kind, symbol in manifest.symbols:
            self.on_change(kind, symbol)

    def _lost_trial(self, name: str, why: str) -> None:
        if self._ended:
            return
        try:
            back = self.rollback(name)
        except (OpqError, OSError) as error:  # another host's folder: the old version may have been pruned
            self._trouble[name] = f"fails ({why}), and the old version cannot take over: {error}"
        else:
            self._trouble[name] = f"{back.old} was taken back to {back.new}: {why}"

    # -- how

    @refusing
    def _factory(self, kind: str, type_name: str) -> Callable[[], Any]:
        owner = self._symbols.owner(kind, type_name)
        if owner is None:
            known = ", ".join(self.types(kind)) or "none"
            raise UnknownTypeError(f"{kind} type {type_name!r} is not known; there are: {known}", kind)
        make = functools.partial(self._make, owner, kind, type_name)
        if kind != "source":
            return make
        with self._changing:
            return SourceFactory(make, type_name in self._runtime(owner, kind).replaying)

    @refusing
    def _make(self, owner: str, kind: str, symbol: str) -> Any:
        with self._changing:
            self._runtime(owner, kind)
            return self._running[owner].make(kind, symbol)

    def _running_plugin(self, name: str) -> RunningPlugin:
        if name not in self._running:
            lost = functools.partial(self._lost_trial, name)
            self._running[name] = RunningPlugin(name, self._policy, lost, self._between)
        return self._running[name]

    def _runtime(self, owner: str, kind: str) -> Runtime:
        """The plug-in's runtime, started at its first use after a start of the server."""
        running = self._running_plugin(owner)
        if running.runtime is None:
            manifest = self._symbols.manifests.get(owner)
            if manifest is None:
                raise NotInstalledError(f"{kind} plug-in {owner!r} is not found")
            installed = self._store.versions(owner)[str(manifest.version)]
            running.replace(self._started(manifest, installed, running))
        assert running.runtime is not None
        return running.runtime

    def _started(self, manifest: PackageManifest, installed: Release, running: RunningPlugin) -> Runtime:
        if self._ended:
            raise PluginError(f"{installed.name} was not started: the host of plug-ins has ended")
        folder = self._releases.folder(installed.name, installed.version)
        trusted = self._allowed(installed) or installed.name in self._policy.trusted
        if manifest.mode == "inproc" and trusted:
            return InProcessRuntime(folder, manifest, narrowed(self._policy.limits, manifest.limits))
        try:
            return ProcessRuntime(folder, manifest, MANIFEST, self._policy, trusted, running.crashed)
        except UnconfinedError as error:
            self.unconfined_refused += 1
            if self._is_current(installed):
                self._trouble[manifest.name] = str(error)
                self.unconfined = {**self.unconfined, manifest.name: str(error)}
            raise

    def _allowed(self, installed: Release) -> bool:
        """Whether an allowed key has signed it, by our own policy of now. Raises NotAllowedError."""
        releases = self._releases
        try:
            raw, signature = releases.raw_manifest(installed), releases.signature(installed)
            return allowed_signer(raw, signature, self._policy) is not None
        except OSError as error:
            raise PluginError(f"{installed.name} {installed.version} cannot be read: {error}") from None
        except NotAllowedError as error:
            if self._is_current(installed):
                self._trouble[installed.name] = f"{installed.name} {installed.version} does not run: {error}"
            raise

    def _signer(self, installed: Release) -> str | None:
        """The fingerprint of the allowed key that signed it; None: none, or it cannot be read."""
        with suppress(OSError, PluginError):
            raw, signature = self._releases.raw_manifest(installed), self._releases.signature(installed)
            return signer(raw, signature, self._policy.keys)
        return None

    def _is_current(self, installed: Release) -> bool:
        return self._store.currents().get(installed.name, ("",))[0] == installed.version
