"""Built-in plug-ins: one Python file in a folder, trusted, run in the caller's process, named after its file.

This module imports only the standard library, and NumPy for an analysis.
"""

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from opq_plugins.sdk import API_VERSION, Value
from opq_proto.config.settings import checked_config
from opq_proto.errors import PluginError, problem_count

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""File names of plug-ins; also keeps a name from the config inside the folder."""
KINDS: dict[str, tuple[str, ...]] = {
    "trigger": ("Config", "begin", "decide"),
    "analysis": ("Config", "takes", "gives", "analyse"),
}
"""Kind -> names that its module must have."""
TAKEN_NOUNS = ("Measurement", "Trend", "Event", "Finding", "Incident", "History")
"""Nouns of `opq_proto.messages` that an analysis may take, in the order in which data flows."""
GIVEN_NOUNS = ("Finding", "Message")
NOUN_SOURCES = {
    "Measurement": "gateways make Measurements",
    "Trend": "Makai makes Trends from Measurements",
    "Event": "Makai makes Events; an analysis of Events may request more samples with `wants`",
    "Incident": "Incidents are made by joining Findings",
    "History": "Mauka reads it from the store",
    "Phenomenon": "an analysis of History gives Phenomena",
}
"""Noun that no analysis gives -> the reason."""


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
        raise PluginError(f"{kind!r} is not a kind of plug-in; want one of {', '.join(KINDS)}")
    files = available(folders)
    path = files.get(name)
    if path is None:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(files) or 'none'}"
        raise PluginError(f"{kind} plug-in {name!r} not found in {', '.join(map(str, folders))}; {hint}")
    module = _module(kind, name, path)
    problems = problems_of(module, kind, name, in_process=True)
    config = None
    if hasattr(module, "Config"):
        try:
            config, wrong = checked_config(module.Config, settings)
        except (TypeError, NameError) as error:
            wrong = [f"its Config cannot be used: {error}"]
        problems += wrong
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise PluginError(f"{kind} plug-in {name!r}: {problem_count(problems)}, it was not started{lines}")
    return Plugin(name, module, config)


def _module(kind: str, name: str, path: Path) -> ModuleType:
    full_name = f"opq_plugin_{kind}_{name}"
    spec = importlib.util.spec_from_file_location(full_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{kind} plug-in {name!r}: {path} is not a Python file")
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


def problems_of(module: ModuleType, kind: str, name: str, in_process: bool = False) -> list[str]:
    """Reasons why this module cannot be the trigger or analysis `name`.

    `in_process`: it is of a folder, and may judge batches; an installed trigger decides on one Measurement.
    """
    wanted = KINDS[kind]
    if in_process and hasattr(module, "judge"):
        wanted = tuple("judge" if need == "decide" else need for need in wanted)
    problems = [f"no `{need}`; a {kind} plug-in has one" for need in wanted if not hasattr(module, need)]
    for key, want in (("name", name), ("kind", kind), ("api", API_VERSION)):
        if (given := getattr(module, key, want)) != want:
            problems.append(f"its `{key}` is {given!r}; want {want!r}")
    if kind == "analysis" and not problems:
        problems = list(_wrong_nouns(module, name))
    return problems


def _wrong_nouns(module: ModuleType, name: str) -> Iterator[str]:
    """Yields what is wrong with the nouns that an analysis takes and gives."""
    takes, gives = _noun(module.takes), _noun(module.gives)
    if takes not in TAKEN_NOUNS:
        yield f"it takes {takes or repr(module.takes)}; an analysis takes {_any_of(TAKEN_NOUNS)}"
    allowed = {"Event": GIVEN_NOUNS[:1], "History": ("Phenomenon", *GIVEN_NOUNS)}.get(takes, GIVEN_NOUNS)
    if gives not in allowed:
        reason = NOUN_SOURCES.get(gives, "")
        if takes == "Event" and gives == "Message":
            reason = "let another analysis publish Messages about the Findings"
        yield (
            f"it gives {gives or repr(module.gives)}; an analysis of {takes or 'a noun'} gives "
            f"{_any_of(allowed)}" + (f" ({reason})" if reason else "")
        )
    if hasattr(module, "wants") and takes != "Event":
        yield f"it has `wants`, which is for an analysis of Events; it takes {takes or 'something else'}"
    if hasattr(module, "reads") is not (takes == "History"):
        has = "has" if hasattr(module, "reads") else "has no"
        yield f"it {has} `reads`, which an analysis of History has; it takes {takes or 'something else'}"


def _noun(given: object) -> str:
    """Returns the name of a noun of `opq_proto.messages`; "" for anything else."""
    name = getattr(given, "__name__", "")
    return name if given is getattr(importlib.import_module("opq_proto.messages"), name, None) else ""


def _any_of(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
