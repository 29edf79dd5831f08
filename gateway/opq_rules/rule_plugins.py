"""The rule engine's plug-in host: built-in sources and sinks first, errors as RuleErrors."""

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from opq_plugins import sdk
from opq_plugins.host.plugin_host import NotInstalledError, UnknownTypeError
from opq_plugins.host.plugins import Plugins
from opq_plugins.package.manifest import PACKAGE
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError
from opq_rules.built_in import CLASSES, PACKAGES, module_of, types_of
from opq_rules.connections.access import NO_ACCESS, Access, Guarded
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RULE, STREAM, UNDEFINED, RuleError

CODES = {"sink": RULE, "source": STREAM}
"""Kind -> error code of an unknown type."""


class RulePlugins(Plugins):
    """Errors are RuleErrors: 404 if a plug-in is unknown, else 400."""

    def __init__(
        self,
        data_dir: Path,
        policy: Policy | None = None,
        own: Mapping[tuple[str, str], Callable[[], Any]] | None = None,
        access: Access = NO_ACCESS,
    ) -> None:
        """`own`: (kind, type) -> factory of a source or sink of the service that the engine is part of.

        `access`: the files and hosts that built-in sources and sinks may reach.
        """
        super().__init__(data_dir, policy)
        self.access = access
        self._own = own or {}
        self.reserved = frozenset((kind, name) for kind in PACKAGES for name in types_of(kind))

    def source(self, type_name: str) -> Callable[[], sdk.Source]:
        return self._built_in("source", type_name) or super().source(type_name)

    def lookup(self, type_name: str) -> Callable[[], sdk.LookupSource]:
        """The factory of lookup tables of this type (`LookupSource` in the source's file)."""
        made: type[sdk.LookupSource] | None = getattr(module_of("source", type_name), "LookupSource", None)
        if made is None:
            raise RuleError(f"source type {type_name!r} has no lookup tables")
        return made

    def sink(self, type_name: str) -> Callable[[], sdk.Sink]:
        return self._built_in("sink", type_name) or super().sink(type_name)

    def types(self, kind: str) -> list[str]:
        """Every type (for functions: name) of `kind`, built-ins first, each list sorted."""
        return [*types_of(kind), *super().types(kind)]

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """The description; built-in types have the toolkit's version."""
        if kind != PACKAGE and name in types_of(kind):
            return {"name": name, "version": importlib.metadata.version("opq-toolkit")}
        return super().describe(kind, name)

    def refused(self, error: PluginError) -> Exception:
        if isinstance(error, NotInstalledError):
            return RuleError(str(error), NOT_FOUND, 404)
        code = CODES.get(error.kind, CONFIGURATION) if isinstance(error, UnknownTypeError) else UNDEFINED
        return RuleError(str(error), code)

    def _built_in(self, kind: str, type_name: str) -> Any:
        module = module_of(kind, type_name)
        built_in = None if module is None else getattr(module, CLASSES[kind])
        if built_in is not None and issubclass(built_in, Guarded):
            built_in = partial(built_in, self.access)
        return self._own.get((kind, type_name), built_in)
