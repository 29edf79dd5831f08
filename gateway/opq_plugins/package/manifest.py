"""What an installed plug-in says of itself: `plugin.json`, or the `<name>.json` of eKuiper's portable ones.

Source: reference/rules.md, F.2 and F.4.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import total_ordering
from typing import Any

from opq_plugins.policy import ProcessLimits
from opq_proto.errors import PluginError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
FOLDERS = {
    "source": "sources",
    "sink": "sinks",
    "function": "functions",
    "trigger": "triggers",
    "analysis": "analyses",
}
"""Kind -> the key in `symbols`, and the folder with its files."""
HIGHEST_LIMIT = 1 << 40
MOST_SYMBOLS, MOST_REQUIREMENTS, LONGEST_REQUIREMENT, MOST_TOLD = 500, 200, 200, 20
LANGUAGES = ("python", "c", "lua")
KNOWN = {
    *("name", "version", "kind", "api", "language", "executable", "module", "symbols", "requires", "limits"),
    *("sha256", "mode", "help", "sources", "sinks", "functions"),
    *("virtualEnvType", "env", "author", "license"),
}
API_VERSION = 1
"""The version of the contract between host and plug-in; a plug-in with another major is refused."""
FORM = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+[0-9A-Za-z.-]{1,64})?")


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """Semantic versioning 2.0: 1.0.0-rc.1 is below 1.0.0; what stands after + does not count."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) + (f"-{'.'.join(self.pre)}" if self.pre else "")

    def __lt__(self, other: "Version") -> bool:
        return self._rank() < other._rank()

    def _rank(self) -> tuple[Any, ...]:
        parts = tuple((not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in self.pre)
        return self.numbers, not self.pre, parts


def parse_version(text: str) -> Version:
    """Raises PluginError for what is no version."""
    match = FORM.fullmatch(text)
    if match is None or not text.isascii():
        raise PluginError(f"version {text[:80]!r}; want three numbers as in 1.0.0")
    pre = match[4]
    return Version((int(match[1]), int(match[2]), int(match[3])), tuple(pre.split(".")) if pre else ())


@dataclass(frozen=True, slots=True)
class PackageManifest:
    """`symbols`: (kind, name) -> `module:Class`, or "": the file of that name in the kind's folder.

    `in_process`: it asks to run in the server's process; whether it may is the policy's.
    `portable`: has the form of eKuiper; `executable` registers the symbols when it is run.
    """

    name: str
    version: Version
    language: str
    executable: str
    symbols: Mapping[tuple[str, str], str]
    requires: tuple[str, ...]
    limits: Mapping[str, int | float]
    sha256: Mapping[str, str]
    in_process: bool
    portable: bool
    help: str

    def of_kind(self, kind: str) -> list[str]:
        return [name for its, name in self.symbols if its == kind]

    def as_json(self) -> dict[str, Any]:
        """As GET /plugins/portables shows it."""
        always = ("source", "sink", "function")
        names = {
            FOLDERS[kind]: self.of_kind(kind) for kind in FOLDERS if kind in always or self.of_kind(kind)
        }
        facts = {"name": self.name, "version": str(self.version)}
        return {**facts, "language": self.language, "executable": self.executable, **names}


def parse_manifest(raw: bytes, file_name: str) -> PackageManifest:
    """`file_name`: plugin.json, or <name>.json for a portable one.

    Raises:
        PluginError: every problem.
    """
    try:
        facts = json.loads(raw)
    except (ValueError, RecursionError):
        raise PluginError(f"{file_name} is no JSON") from None
    if not isinstance(facts, dict):
        raise PluginError(f"{file_name} is {type(facts).__name__}; want an object")
    portable = file_name != "plugin.json"
    problems: list[str] = []
    if not portable:
        problems += [f"{key!r} is unknown" for key in facts if key not in KNOWN]
    name = _text(facts, "name", file_name.removesuffix(".json") if portable else None, problems)
    if not NAME.fullmatch(name):
        problems.append(f"name is {name[:80]!r}; want letters, digits, _ and - only")
    elif portable and name != file_name.removesuffix(".json"):
        problems.append(f"name is {name!r}; want {file_name.removesuffix('.json')!r}, the name of the file")
    version = Version((0, 0, 0))
    try:
        version = parse_version(_text(facts, "version", None, problems))
    except PluginError as error:
        problems.append(str(error))
    language = _text(facts, "language", "python", problems)
    if language not in LANGUAGES:
        why = " (a Go plug-in is a program of eKuiper's; write it in Python or against the C ABI)"
        problems.append(
            f"language is {language[:80]!r}{why if language == 'go' else ''}; want {', '.join(LANGUAGES)}"
        )
    api = facts.get("api", API_VERSION)
    if not isinstance(api, int) or isinstance(api, bool) or api != API_VERSION:
        problems.append(f"api is {api!r}; this host speaks {API_VERSION}")
    executable = _text(facts, "executable", "", problems)
    if portable and not executable:
        problems.append("executable is missing: the Python file that calls plugin.start")
    manifest = PackageManifest(
        name=name,
        version=version,
        language=language,
        executable=executable,
        symbols=_symbols(facts, name, problems),
        requires=_requirements(facts, problems),
        limits=_limits(facts.get("limits", {}), problems),
        sha256=_hashes(facts.get("sha256", {}), problems),
        in_process=facts.get("mode", "process") == "inproc",
        portable=portable,
        help=_text(facts, "help", "", problems),
    )
    if facts.get("mode", "process") not in ("process", "inproc"):
        problems.append(f"mode is {facts['mode']!r}; want process or inproc")
    if problems:
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        told_of = "; ".join(problem[:300] for problem in problems[:MOST_TOLD])
        raise PluginError(f"{file_name}: {told_of}{more}")
    return manifest


def _symbols(facts: Mapping[str, Any], name: str, problems: list[str]) -> dict[tuple[str, str], str]:
    given = facts.get("symbols")
    kind = facts.get("kind")
    if kind is not None and (not isinstance(kind, str) or kind not in FOLDERS):
        problems.append(f"kind is {kind!r}; want one of {', '.join(FOLDERS)}")
        return {}
    if given is None:
        given = {key: facts[key] for key in FOLDERS.values() if key in facts}
    if not given and isinstance(kind, str):
        given = {FOLDERS[kind]: {name: _text(facts, "module", "", problems)}}
    if not isinstance(given, dict):
        problems.append("symbols: want an object of kinds, e.g. {'sinks': ['mysql']}")
        return {}
    found: dict[tuple[str, str], str] = {}
    kinds = {folder: kind for kind, folder in FOLDERS.items()}
    for folder, names in given.items():
        if folder not in kinds or not isinstance(names, list | dict):
            problems.append(f"symbols.{folder}: want a list of names under one of {', '.join(kinds)}")
            continue
        for symbol in names:
            target = names[symbol] if isinstance(names, dict) else ""
            if not isinstance(symbol, str) or not SYMBOL.fullmatch(symbol) or not isinstance(target, str):
                problems.append(f"symbols.{folder}: {symbol!r} is no name of letters, digits, _ and -")
            else:
                found[kinds[folder], symbol] = target
    if len(found) > MOST_SYMBOLS:
        problems.append(f"{len(found)} symbols; want at most {MOST_SYMBOLS}")
    if not found and not problems:
        problems.append("no symbol; want at least one source, sink, function, trigger or analysis")
    return found


def _limits(facts: Any, problems: list[str]) -> dict[str, int | float]:
    """Whole numbers where ours are: a half would become 0, which is no limit at all."""
    known = {each.name: type(each.default) for each in fields(ProcessLimits)}
    good: dict[str, int | float] = {}
    for key, value in facts.items() if isinstance(facts, dict) else [("limits", facts)]:
        kinds = {int: (int,), float: (int, float)}.get(known.get(key, str), ())
        if isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < HIGHEST_LIMIT:
            good[key] = value
        else:
            problems.append(
                f"limits.{key} is {str(value)[:80]}; there are {', '.join(sorted(known))}, above 0, and all"
                " but those in s are whole numbers"
            )
    return good


def _hashes(facts: Any, problems: list[str]) -> dict[str, str]:
    if isinstance(facts, dict) and all(
        isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in facts.values()
    ):
        return dict(facts)
    problems.append("sha256: want an object of file names with 64 hex digits each")
    return {}


def _text(facts: Mapping[str, Any], key: str, default: str | None, problems: list[str]) -> str:
    value = facts.get(key, default)
    if isinstance(value, str):
        return value
    problems.append(f"{key} is missing" if value is None else f"{key} is {value!r}; want text")
    return ""


def _requirements(facts: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    found = _texts(facts, "requires", problems)
    if len(found) > MOST_REQUIREMENTS or any(len(each) > LONGEST_REQUIREMENT for each in found):
        problems.append(
            f"requires: want at most {MOST_REQUIREMENTS}, each of at most {LONGEST_REQUIREMENT} characters"
        )
        return ()
    return found


def _texts(facts: Mapping[str, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    value = facts.get(key, [])
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    problems.append(f"{key}: want a list of texts")
    return ()
