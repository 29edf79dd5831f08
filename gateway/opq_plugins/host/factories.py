"""From the name of a type to its factory: which plug-in has the symbol, started by its first use."""

import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.proxy import PluginAnalysis, PluginTrigger
from opq_plugins.host.running import RunningPlugin, RunningPlugins
from opq_plugins.host.runtime import Runtime
from opq_plugins.host.source_proxy import SourceFactory
from opq_plugins.package.manifest import FOLDERS, PackageManifest
from opq_plugins.package.properties import read_properties
from opq_plugins.package.releases import ReleaseFolder, ReleaseStore
from opq_proto.errors import PluginError


class UnknownTypeError(PluginError):
    """No plug-in has a symbol of this `kind` and name."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class NotInstalledError(PluginError):
    """There is no plug-in of this name."""


class SymbolTable:
    """Read by any thread, changed by one at a time. `manifests`: by name, of current versions."""

    def __init__(self) -> None:
        self.manifests: dict[str, PackageManifest] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def put(self, manifest: PackageManifest) -> None:
        """New, or another version."""
        others = {symbol: owner for symbol, owner in self._owners.items() if owner != manifest.name}
        self._owners = others | dict.fromkeys(manifest.symbols, manifest.name)
        self.manifests[manifest.name] = manifest

    def drop(self, name: str) -> None:
        self.manifests.pop(name, None)
        self._owners = {symbol: owner for symbol, owner in self._owners.items() if owner != name}

    def owner(self, kind: str, symbol: str) -> str | None:
        """The plug-in that has it."""
        return self._owners.get((kind, symbol))

    def function(self, name: str) -> tuple[str, str] | None:
        """Owner and symbol of a function of this SQL name (any case)."""
        for (kind, symbol), owner in self._owners.items():
            if kind == "function" and symbol.casefold() == name.casefold():
                return owner, symbol
        return None

    def symbols(self, kind: str) -> dict[str, str]:
        """Symbol -> its owner, by name."""
        return {symbol: owner for (its, symbol), owner in sorted(self._owners.items()) if its == kind}

    def check(
        self,
        kind: str,
        manifest: PackageManifest,
        functions: Sequence[str],
        reserved: Collection[tuple[str, str]],
    ) -> None:
        """PluginError: it lacks what was asked for, or has what is another's. `kind` "portable": any."""
        if kind != "portable" and not manifest.of_kind(kind):
            has = ", ".join(f"{its} {symbol}" for its, symbol in manifest.symbols)
            raise PluginError(f"{manifest.name} has no {kind}; its symbols: {has}")
        missing = sorted(set(functions) - set(manifest.of_kind("function")))
        if missing:
            raise PluginError(f"{manifest.name} has no function {', '.join(missing)}")
        for its, symbol in manifest.symbols:
            if (its, symbol) in reserved:
                raise PluginError(f"{its} {symbol!r} is built in; give yours another name")
            owner = self._owners.get((its, symbol), manifest.name)
            if its == "function":  # SQL calls it in any case
                owner, _ = self.function(symbol) or (owner, symbol)
            if owner != manifest.name:
                raise PluginError(f"{its} {symbol!r} is of plug-in {owner!r} already")


class Factories:
    """For the engine, Makai and Mauka. `_changing` is held by whoever starts or exchanges anything."""

    def __init__(
        self, store: ReleaseStore, releases: ReleaseFolder, symbols: SymbolTable, running: RunningPlugins
    ) -> None:
        self._store, self._releases, self._symbols, self._running_plugins = store, releases, symbols, running
        self._changing = threading.RLock()

    def source(self, type_name: str) -> Callable[[], sdk.Source]:
        """Makes sources of this type. UnknownTypeError that lists the types where there is none."""
        factory: Callable[[], sdk.Source] = self._factory("source", type_name)
        return factory

    def sink(self, type_name: str) -> Callable[[], sdk.Sink]:
        """Makes sinks of this type. UnknownTypeError that lists the types where there is none."""
        factory: Callable[[], sdk.Sink] = self._factory("sink", type_name)
        return factory

    def function(self, name: str) -> Callable[[], sdk.Function] | None:
        """Makes functions of this SQL name (any case), or None: no plug-in has it."""
        if (found := self._symbols.function(name)) is None:
            return None
        owner, symbol = found
        return functools.partial(self._make, owner, "function", symbol)

    def trigger(self, symbol: str) -> Callable[[], PluginTrigger]:
        """Makes triggers of this name, for Makai. UnknownTypeError: there is none."""
        factory: Callable[[], PluginTrigger] = self._factory("trigger", symbol)
        return factory

    def analysis(self, symbol: str) -> Callable[[], PluginAnalysis]:
        """Makes analyses of this name, for Mauka. UnknownTypeError: there is none."""
        factory: Callable[[], PluginAnalysis] = self._factory("analysis", symbol)
        return factory

    def types(self, kind: str) -> list[str]:
        """Every type (for functions: name) of `kind`, sorted."""
        return [*self._symbols.symbols(kind)]

    def functions(self) -> dict[str, str]:
        """SQL function -> the plug-in that has it (GET /plugins/udfs)."""
        return self._symbols.symbols("function")

    def properties(self, kind: str, type_name: str) -> dict[str, Any]:
        """Property -> {"type", "default", "required", "help"} as far as the plug-in says."""
        manifest = self._symbols.manifests.get(self._symbols.owner(kind, type_name) or "")
        if manifest is None:
            return {}
        folder = self._releases.folder(manifest.name, str(manifest.version))
        with self._refusing():
            return read_properties(folder, FOLDERS[kind], type_name)

    # -- how

    def _factory(self, kind: str, type_name: str) -> Any:
        owner = self._symbols.owner(kind, type_name)
        if owner is None:
            known = ", ".join(self.types(kind)) or "none"
            raise self.refused(
                UnknownTypeError(f"{kind} type {type_name!r} is not known; there are: {known}", kind)
            )
        make = functools.partial(self._make, owner, kind, type_name)
        if kind != "source":
            return make
        with self._refusing(), self._changing:
            _, runtime = self._running(owner, kind)
            return SourceFactory(make, runtime.replays(type_name))

    def _make(self, owner: str, kind: str, symbol: str) -> Any:
        with self._refusing(), self._changing:
            running, _ = self._running(owner, kind)
            return running.make(kind, symbol)

    def _running(self, owner: str, kind: str) -> tuple[RunningPlugin, Runtime]:
        """Started by its first use after a start of the server."""
        running = self._running_plugins.of(owner)
        if running.runtime is not None:
            return running, running.runtime
        manifest = self._symbols.manifests.get(owner)
        if manifest is None:
            raise NotInstalledError(f"{kind} plug-in {owner!r} is not found")
        installed = self._store.versions(owner)[str(manifest.version)]
        return running, self._running_plugins.start(manifest, installed)

    def refused(self, error: PluginError) -> Exception:
        """What is raised for it: a service around this host may have errors of its own."""
        return error

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except PluginError as error:
            refused = self.refused(error)
            if refused is error:
                raise
            raise refused from error
