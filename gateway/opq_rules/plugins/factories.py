"""By type name to a factory: of what is built in, and of what is installed and started by its first use."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opq_proto.errors import PluginError
from opq_rules import sdk
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RULE, STREAM, RuleError
from opq_rules.plugins.active import Active
from opq_rules.plugins.actives import Actives
from opq_rules.plugins.built_in import CLASSES, module_of, types_of
from opq_rules.plugins.judging import PluginAnalysis, PluginTrigger
from opq_rules.plugins.package_manifest import FOLDERS
from opq_rules.plugins.properties import read_properties
from opq_rules.plugins.register import Register
from opq_rules.plugins.runtime import Runtime
from opq_rules.plugins.shelf import Shelf
from opq_rules.plugins.source_proxy import Maker
from opq_rules.plugins.store import Store


class Factories:
    """What the engine, Makai and Mauka ask. `_changing` is held by whoever starts or exchanges anything."""

    def __init__(self, store: Store, shelf: Shelf, register: Register, active: Actives) -> None:
        self._store, self._shelf, self._register, self._active = store, shelf, register, active
        self._changing = threading.RLock()

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
        active = self._active.of(owner)
        if active.runtime is not None:
            return active, active.runtime
        manifest = self._register.manifests.get(owner)
        if manifest is None:
            raise self._unknown(kind, owner)
        installed = self._store.versions(owner)[str(manifest.version)]
        return active, self._active.start(manifest, installed)

    def _unknown(self, kind: str, name: str) -> RuleError:
        return RuleError(f"{kind} plug-in {name!r} is not found", NOT_FOUND, 404)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except PluginError as error:
            raise RuleError(str(error)) from error
