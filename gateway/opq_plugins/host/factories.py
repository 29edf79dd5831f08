"""By type name to a factory: of what is built in, and of what is installed and started by its first use."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.active import Active
from opq_plugins.host.actives import Actives
from opq_plugins.host.judging import PluginAnalysis, PluginTrigger
from opq_plugins.host.register import Register
from opq_plugins.host.runtime import Runtime
from opq_plugins.host.source_proxy import Maker
from opq_plugins.package.package_manifest import FOLDERS
from opq_plugins.package.properties import read_properties
from opq_plugins.package.shelf import Shelf
from opq_plugins.package.store import Store
from opq_proto.errors import PluginError


class UnknownTypeError(PluginError):
    """No plug-in has a symbol of this `kind` and name."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class NotInstalledError(PluginError):
    """There is no plug-in of this name."""


class Factories:
    """What the engine, Makai and Mauka ask. `_changing` is held by whoever starts or exchanges anything."""

    def __init__(self, store: Store, shelf: Shelf, register: Register, active: Actives) -> None:
        self._store, self._shelf, self._register, self._active = store, shelf, register, active
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
        if (found := self._register.function(name)) is None:
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
        return [*self._register.symbols(kind)]

    def functions(self) -> dict[str, str]:
        """SQL function -> the plug-in that has it (GET /plugins/udfs)."""
        return self._register.symbols("function")

    def properties(self, kind: str, type_name: str) -> dict[str, Any]:
        """Property -> {"type", "default", "required", "help"} as far as the plug-in says."""
        manifest = self._register.manifests.get(self._register.owner(kind, type_name) or "")
        if manifest is None:
            return {}
        folder = self._shelf.folder(manifest.name, str(manifest.version))
        with self._refusing():
            return read_properties(folder, FOLDERS[kind], type_name)

    # -- how

    def _factory(self, kind: str, type_name: str) -> Any:
        owner = self._register.owner(kind, type_name)
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
            return Maker(make, runtime.replays(type_name))

    def _make(self, owner: str, kind: str, symbol: str) -> Any:
        with self._refusing(), self._changing:
            active, _ = self._running(owner, kind)
            return active.make(kind, symbol)

    def _running(self, owner: str, kind: str) -> tuple[Active, Runtime]:
        """Started by its first use after a start of the server."""
        active = self._active.of(owner)
        if active.runtime is not None:
            return active, active.runtime
        manifest = self._register.manifests.get(owner)
        if manifest is None:
            raise NotInstalledError(f"{kind} plug-in {owner!r} is not found")
        installed = self._store.versions(owner)[str(manifest.version)]
        return active, self._active.start(manifest, installed)

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
