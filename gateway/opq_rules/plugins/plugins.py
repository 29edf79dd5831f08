"""The one door to plug-ins: by type name to a factory; install, replace, delete, describe while all runs.

`kind` is "source", "sink", "function", "trigger" or "analysis"; "portable" means any.
Errors are RuleErrors: 404 where a name is unknown, 400 for all else.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_rules import sdk
from opq_rules.errors import NOT_FOUND, RuleError
from opq_rules.plugins.policy import Policy

BUILT_IN = {"source": ("opq_rules.sources", "Source"), "sink": ("opq_rules.sinks", "Sink")}
"""Kind -> the package with one file per type, and the class in it."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replacement did. `pause_ms`: how long a rule's instance stood still, per instance."""

    name: str
    old: str
    new: str
    rules: int
    pause_p50_ms: float
    pause_max_ms: float

    def as_json(self) -> dict[str, Any]:
        """`{"name", "from", "to", "rules", "pause_ms": {"p50", "max"}}`."""
        return {
            "name": self.name,
            "from": self.old,
            "to": self.new,
            "rules": self.rules,
            "pause_ms": {"p50": self.pause_p50_ms, "max": self.pause_max_ms},
        }


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
        self._data_dir = data_dir
        self._policy = policy or Policy()
        self.used_by = used_by
        self.on_change = on_change

    # -- what the engine asks

    def source(self, type_name: str) -> Callable[[], sdk.Source]:
        """Makes sources of this type. RuleError 400 that lists the types where there is none."""
        factory: Callable[[], sdk.Source] = self._factory("source", type_name)
        return factory

    def lookup(self, type_name: str) -> Callable[[], sdk.LookupSource]:
        """Makes lookup tables of this type (`LookupSource` in the source's file)."""
        module = self._built_in("source", type_name)
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
        return None

    def types(self, kind: str) -> list[str]:
        """Every type (for functions: name) of `kind`, built-ins first, each list sorted."""
        package = BUILT_IN.get(kind)
        return _modules(package[0]) if package else []

    def folders(self, kind: str) -> list[Path]:
        """Folders with one-file plug-ins of `kind` (trigger, analysis) for `host.load`, current versions."""
        return []

    def properties(self, kind: str, type_name: str) -> dict[str, Any]:
        """Property -> {"type", "default", "required", "help"} as far as the plug-in says."""
        return {}

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
        raise RuleError("plug-ins cannot be installed yet")

    def replace(self, kind: str, name: str, file: str, *, downgrade: bool = False) -> Replaced | None:
        """As `create`; PUT in eKuiper's API. Installs where there is none."""
        return self.create(kind, name, file, downgrade=downgrade)

    def rollback(self, name: str) -> Replaced:
        """Back to the version before the current one, live."""
        raise self._unknown("portable", name)

    def delete(self, kind: str, name: str, *, force: bool = False) -> None:
        """All versions. RuleError 400 that names the rules which use it, unless `force`."""
        raise self._unknown(kind, name)

    def list(self, kind: str) -> Sequence[Any]:
        """Names of what is installed; for "portable" their manifests as JSON."""
        return []

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """`{"name", "version"}` as the tutorial shows it; built-ins have the toolkit's version."""
        raise self._unknown(kind, name)

    def status(self, name: str) -> dict[str, Any]:
        """`{"refCount", "status", "errMsg", "pid"}`; ours: version, versions, mode, protections, counters."""
        raise self._unknown("portable", name)

    def functions(self) -> dict[str, str]:
        """SQL function -> the plug-in that has it (GET /plugins/udfs)."""
        return {}

    def close(self) -> None:
        """End every worker, within 2 s."""

    # -- built-ins

    def _factory(self, kind: str, type_name: str) -> Any:
        module = self._built_in(kind, type_name)
        if module is None:
            known = ", ".join(self.types(kind)) or "none"
            raise RuleError(f"{kind} type {type_name!r} is not known; there are: {known}")
        return getattr(module, BUILT_IN[kind][1])

    def _built_in(self, kind: str, type_name: str) -> Any:
        package = BUILT_IN.get(kind)
        if package is None or type_name not in _modules(package[0]):
            return None
        return importlib.import_module(f"{package[0]}.{type_name}")

    def _unknown(self, kind: str, name: str) -> RuleError:
        return RuleError(f"{kind} plug-in {name!r} is not found", NOT_FOUND, 404)


def _modules(package: str) -> list[str]:
    try:
        paths: Mapping[str, Any] | Any = importlib.import_module(package).__path__
    except ModuleNotFoundError:
        return []
    return sorted(module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_"))
