"""The Python of an installed plug-in: its symbols as classes; two versions can be loaded without a mix-up.

A plug-in's folder becomes a package `opq_plugin_<name>@<version>`: `from ..shared import x` works between its
files. In a worker, which has one plug-in only, `import shared` works too.
"""

import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from opq_plugins.package.built_in import problems_of
from opq_plugins.package.manifest import FOLDERS, PackageManifest
from opq_proto.errors import PluginError

Factory = Callable[[], Any]
CLASSES = {"source": "Source", "sink": "Sink", "function": "Function"}
JUDGING = {"trigger": "TriggerModule", "analysis": "AnalysisModule"}
"""Kinds whose symbol is a module, and the class in `sdk.modules` that holds it; these import NumPy."""


def package_name(manifest: PackageManifest) -> str:
    """Unique for each name and version; dots are replaced, because they would separate packages."""
    return f"opq_plugin_{manifest.name}@{manifest.version}".replace(".", "_")


def load_python(
    folder: Path, manifest: PackageManifest, limits: Mapping[str, int] | None = None
) -> dict[tuple[str, str], Factory]:
    """(kind, name) -> factory of every symbol. `limits`: given in a worker. Raises PluginError."""
    try:
        return {
            (kind, name): _target(folder, manifest, kind, name, target, limits is not None)
            for (kind, name), target in manifest.symbols.items()
        }
    except PluginError:
        forget(folder, manifest)  # the next try of this version may have other code
        raise


def forget(folder: Path, manifest: PackageManifest) -> None:
    """Removes a version's modules from the interpreter's tables; they are freed with their last object."""
    package = package_name(manifest)
    for name in [each for each in list(sys.modules) if each == package or each.startswith(package + ".")]:
        del sys.modules[name]
    for path in [each for each in list(sys.path_importer_cache) if each.startswith(str(folder))]:
        sys.path_importer_cache.pop(path, None)


def _target(
    folder: Path, manifest: PackageManifest, kind: str, name: str, target: str, in_worker: bool
) -> Factory:
    module_name, _, class_name = target.partition(":")
    module_name = module_name or f"{FOLDERS[kind]}.{name}"
    where = f"{manifest.name} {manifest.version}: {kind} {name!r}"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", module_name):
        raise PluginError(f"{where}: {module_name!r} is not a name of a module")
    root = ModuleType(package_name(manifest))
    root.__path__ = [str(folder)]
    sys.modules.setdefault(root.__name__, root)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(f"{root.__name__}.{module_name}")
    except (Exception, SystemExit) as error:  # code of a plug-in: any error means that it does not load
        raise PluginError(f"{where} does not load: {type(error).__name__}: {error}") from error
    if kind in JUDGING:
        return _judging(module, kind, name, where, in_worker)
    factory = getattr(module, class_name or CLASSES[kind], None)
    if not callable(factory):
        raise PluginError(f"{where}: {module_name} has no class {class_name or CLASSES[kind]}")
    made: Factory = factory
    return made


def _judging(module: ModuleType, kind: str, name: str, where: str, in_worker: bool) -> Factory:
    if problems := problems_of(module, kind, name):
        raise PluginError(f"{where}: {'; '.join(problems)}")
    made_by = importlib.import_module("opq_plugins.sdk.modules")
    unchecked = {"check": _as_it_is} if in_worker and kind == "trigger" else {}  # the host checks it
    return functools.partial(getattr(made_by, JUDGING[kind]), module, **unchecked)


def _as_it_is(decision: object) -> object:
    return decision
