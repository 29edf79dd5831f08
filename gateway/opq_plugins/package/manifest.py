"""What a plug-in says of itself, and what a plug-in of each kind must have.

A built-in is one Python file in a folder; its manifest is read from the module: `name` (or
the file's name), `version` (default "0"), first line of the docstring. Names needed per kind
follow reference/rules.md F.4 (`kind` one of source, sink, function, trigger, analysis).
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

API_VERSION = 1
"""Of the contract between host and plug-in; a plug-in with another major is refused."""

KINDS: dict[str, tuple[str, ...]] = {
    "trigger": ("Config", "begin", "decide"),
    "analysis": ("Config", "takes", "gives", "analyse"),
    "source": ("Config",),
    "sink": ("Config",),
    "function": ("Config",),
}
"""Kind -> names that its module must have."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Name, kind, version, one line of help, and where the code is."""

    name: str
    kind: str
    version: str
    api: int
    help: str
    path: Path


def manifest_of(module: ModuleType, kind: str, path: Path) -> tuple[Manifest, list[str]]:
    """The manifest of a one-file plug-in, and what is wrong with it (empty: nothing)."""
    problems = [f"no `{need}`; a {kind} plug-in has one" for need in KINDS[kind] if not hasattr(module, need)]
    name = getattr(module, "name", path.stem)
    if name != path.stem:
        problems.append(f"its `name` is {name!r}; want {path.stem!r}, the name of its file")
    declared = getattr(module, "kind", kind)
    if declared != kind:
        problems.append(f"its `kind` is {declared!r}; want {kind!r}")
    api = getattr(module, "api", API_VERSION)
    if api != API_VERSION:
        problems.append(f"its `api` is {api!r}; this host speaks {API_VERSION}")
    first_line = (module.__doc__ or "").strip().partition("\n")[0]
    version = str(getattr(module, "version", "0"))
    return Manifest(str(name), kind, version, API_VERSION, first_line, path), problems
