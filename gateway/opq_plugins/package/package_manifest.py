"""What an installed plug-in says of itself: `plugin.json`, or the `<name>.json` of eKuiper's portable ones.

Source: reference/rules.md, F.2 and F.4.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from opq_plugins.package.manifest import API_VERSION
from opq_plugins.package.version import Version, parse_version
from opq_plugins.policy import Limits
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
    *(
        "sha256",
        "mode",
        "help",
        "sources",
        "sinks",
        "functions",
        "virtualEnvType",
        "env",
        "author",
        "license",
    ),
}


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
        lists = {FOLDERS[kind]: self.of_kind(kind) for kind in FOLDERS}
        return {
            "name": self.name,
            "version": str(self.version),
            "language": self.language,
            "executable": self.executable,
            **{
                key: names
                for key, names in lists.items()
                if names or key in ("sources", "sinks", "functions")
            },
        }


def parse_manifest(raw: bytes, file_name: str) -> PackageManifest:
    """`file_name`: plugin.json, or <name>.json for a portable one.

    Raises:
        PluginError: every problem.
    """
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        raise PluginError(f"{file_name} is no JSON") from None
    if not isinstance(told, dict):
        raise PluginError(f"{file_name} is {type(told).__name__}; want an object")
    portable = file_name != "plugin.json"
    problems: list[str] = []
    if not portable:
        problems += [f"{key!r} is unknown" for key in told if key not in KNOWN]
    name = _text(told, "name", file_name.removesuffix(".json") if portable else None, problems)
    if not NAME.fullmatch(name):
        problems.append(f"name is {name[:80]!r}; want letters, digits, _ and - only")
    elif portable and name != file_name.removesuffix(".json"):
        problems.append(f"name is {name!r}; want {file_name.removesuffix('.json')!r}, the name of the file")
    version = Version(0, 0, 0)
    try:
        version = parse_version(_text(told, "version", None, problems))
    except PluginError as error:
        problems.append(str(error))
    language = _text(told, "language", "python", problems)
    if language not in LANGUAGES:
        why = " (a Go plug-in is a program of eKuiper's; write it in Python or against the C ABI)"
        problems.append(
            f"language is {language[:80]!r}{why if language == 'go' else ''}; want {', '.join(LANGUAGES)}"
        )
    api = told.get("api", API_VERSION)
    if not isinstance(api, int) or isinstance(api, bool) or api != API_VERSION:
        problems.append(f"api is {api!r}; this host speaks {API_VERSION}")
    executable = _text(told, "executable", "", problems)
    if portable and not executable:
        problems.append("executable is missing: the Python file that calls plugin.start")
    manifest = PackageManifest(
        name=name,
        version=version,
        language=language,
        executable=executable,
        symbols=_symbols(told, name, problems),
        requires=_requirements(told, problems),
        limits=_limits(told.get("limits", {}), problems),
        sha256=_hashes(told.get("sha256", {}), problems),
        in_process=told.get("mode", "process") == "inproc",
        portable=portable,
        help=_text(told, "help", "", problems),
    )
    if told.get("mode", "process") not in ("process", "inproc"):
        problems.append(f"mode is {told['mode']!r}; want process or inproc")
    if problems:
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        told_of = "; ".join(problem[:300] for problem in problems[:MOST_TOLD])
        raise PluginError(f"{file_name}: {told_of}{more}")
    return manifest


def _symbols(told: Mapping[str, Any], name: str, problems: list[str]) -> dict[tuple[str, str], str]:
    given = told.get("symbols")
    kind = told.get("kind")
    if kind is not None and (not isinstance(kind, str) or kind not in FOLDERS):
        problems.append(f"kind is {kind!r}; want one of {', '.join(FOLDERS)}")
        return {}
    if given is None:
        given = {key: told[key] for key in FOLDERS.values() if key in told}
    if not given and isinstance(kind, str):
        given = {FOLDERS[kind]: {name: _text(told, "module", "", problems)}}
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


def _limits(told: Any, problems: list[str]) -> dict[str, int | float]:
    """Whole numbers where ours are: a half would become 0, which is no limit at all."""
    known = {each.name: type(each.default) for each in fields(Limits)}
    good: dict[str, int | float] = {}
    for key, value in told.items() if isinstance(told, dict) else [("limits", told)]:
        kinds = {int: (int,), float: (int, float)}.get(known.get(key, str), ())
        if isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < HIGHEST_LIMIT:
            good[key] = value
        else:
            problems.append(
                f"limits.{key} is {str(value)[:80]}; there are {', '.join(sorted(known))}, above 0, and all"
                " but those in s are whole numbers"
            )
    return good


def _hashes(told: Any, problems: list[str]) -> dict[str, str]:
    if isinstance(told, dict) and all(
        isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in told.values()
    ):
        return dict(told)
    problems.append("sha256: want an object of file names with 64 hex digits each")
    return {}


def _text(told: Mapping[str, Any], key: str, default: str | None, problems: list[str]) -> str:
    value = told.get(key, default)
    if isinstance(value, str):
        return value
    problems.append(f"{key} is missing" if value is None else f"{key} is {value!r}; want text")
    return ""


def _requirements(told: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    found = _texts(told, "requires", problems)
    if len(found) > MOST_REQUIREMENTS or any(len(each) > LONGEST_REQUIREMENT for each in found):
        problems.append(
            f"requires: want at most {MOST_REQUIREMENTS}, each of at most {LONGEST_REQUIREMENT} characters"
        )
        return ()
    return found


def _texts(told: Mapping[str, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    value = told.get(key, [])
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    problems.append(f"{key}: want a list of texts")
    return ()
