"""Built-in plug-ins: one Python file in a folder, trusted, run in the caller's process, named after its file.

Nothing here imports more than the standard library, and NumPy for an analysis.
"""

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from opq_plugins.sdk import API_VERSION, Value
from opq_proto.errors import PluginError
from opq_proto.settings import checked_config

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""File names of plug-ins; also keeps a name from the config inside the folder."""
KINDS: dict[str, tuple[str, ...]] = {
    "trigger": ("Config", "begin", "decide"),
    "analysis": ("Config", "takes", "gives", "analyse"),
}
"""Kind -> names that its module must have."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A loaded plug-in: the name, the module, its checked Config."""

    name: str
    module: ModuleType
    config: Any


def available(folders: Sequence[Path]) -> dict[str, Path]:
    """Name -> file of every one-file plug-in in `folders`; the first folder wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            if NAME.fullmatch(path.stem):
                found.setdefault(path.stem, path)
    return found


def load(kind: str, name: str, settings: Mapping[str, Value], folders: Sequence[Path]) -> Plugin:
    """The plug-in `name` of `kind` from the first of `folders`. PluginError has every problem."""
    if kind not in KINDS:
        raise PluginError(f"{kind!r} is no kind of plug-in; want one of {', '.join(KINDS)}")
    files = available(folders)
    path = files.get(name)
    if path is None:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(files) or 'none'}"
        raise PluginError(f"{kind} plug-in {name!r} not found in {', '.join(map(str, folders))}; {hint}")
    module = _module(kind, name, path)
    problems = problems_of(module, kind, name)
    config = None
    if hasattr(module, "Config"):
        try:
            config, wrong = checked_config(module.Config, settings)
        except (TypeError, NameError) as error:
            wrong = [f"its Config cannot be used: {error}"]
        problems += wrong
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise PluginError(f"{kind} plug-in {name!r}: {count}, it was not started{lines}")
    return Plugin(name, module, config)


def _module(kind: str, name: str, path: Path) -> ModuleType:
    full_name = f"opq_plugin_{kind}_{name}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{kind} plug-in {name!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # code of a plug-in: any error means that it does not load
        del sys.modules[full_name]
        raise PluginError(
            f"{kind} plug-in {name!r}: {path} does not load: {type(error).__name__}: {error}"
        ) from error
    return module


def problems_of(module: ModuleType, kind: str, name: str) -> list[str]:
    """Reasons why this module cannot be the trigger or analysis `name`."""
    problems = [f"no `{need}`; a {kind} plug-in has one" for need in KINDS[kind] if not hasattr(module, need)]
    for key, want in (("name", name), ("kind", kind), ("api", API_VERSION)):
        if (given := getattr(module, key, want)) != want:
            problems.append(f"its `{key}` is {given!r}; want {want!r}")
    if kind == "analysis" and not problems:
        nouns = importlib.import_module("opq_proto.messages")
        if (module.takes, module.gives) != (nouns.Event, nouns.Finding):
            problems = [f"it takes {module.takes!r} and gives {module.gives!r}; want Event and Finding"]
    return problems
