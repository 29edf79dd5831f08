"""The manifest, `plugin.json`. Source: docs/reference/rules.md, F.4."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import total_ordering
from pathlib import Path
from typing import Literal

from opq_plugins.policy import ProcessLimits
from opq_plugins.sdk import API_VERSION, Value
from opq_proto.config.settings import checked_config
from opq_proto.errors import PluginError

MANIFEST = "plugin.json"
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
PACKAGE = "package"
REST_KINDS = {**FOLDERS, PACKAGE: "packages"}
"""Kind -> its part of the engine's REST; package: a plug-in of any kind."""
PORTABLE = (
    "is a portable plug-in of eKuiper, which is not read; derive its classes from those of opq_plugins.sdk, "
    "and list them in plugin.json (opq-tools plugin new writes one)"
)
"""The error for eKuiper's form, whose manifest is `<name>.json`."""
HIGHEST_LIMIT = 1 << 40
MAX_SYMBOLS = 500
"""Symbols of one plug-in, of all kinds together."""
MAX_REQUIREMENTS = 200
"""Entries of `requirements`."""
LONGEST_REQUIREMENT = 200
"""Characters of one entry of `requirements`."""
MAX_SHOWN = 20
"""Problems of a manifest that one message names."""
FORM = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+[0-9A-Za-z.-]{1,64})?")
Symbols = Mapping[tuple[str, str], str]
"""(kind, symbol) -> `module:Class`, or "": the file of that name in the kind's folder."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """Semantic versioning 2.0: 1.0.0-rc.1 is below 1.0.0; anything after + is ignored."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) + (f"-{'.'.join(self.pre)}" if self.pre else "")

    def __lt__(self, other: "Version") -> bool:
        return self._rank() < other._rank()

    def _rank(self) -> tuple[object, ...]:
        parts = tuple((not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in self.pre)
        return self.numbers, not self.pre, parts


def parse_version(text: str) -> Version:
    """Raises PluginError where it is not a version."""
    match = FORM.fullmatch(text)
    if match is None or not text.isascii():
        raise PluginError(f"version {text[:80]!r}; want three numbers as in 1.0.0")
    pre = match[4]
    return Version((int(match[1]), int(match[2]), int(match[3])), tuple(pre.split(".")) if pre else ())


def _read_version(value: Value) -> Version:
    try:
        return parse_version(str(value))
    except PluginError:
        raise ValueError("want three numbers as in 1.0.0") from None


def _read_name(value: Value) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("want 1 to 64 letters, digits, _ and -")
    return value


def _read_api(value: Value) -> int:
    if value != API_VERSION or isinstance(value, bool):
        raise ValueError(f"this host speaks {API_VERSION}")
    return API_VERSION


def _read_symbols(given: Value) -> Symbols:
    kinds = {folder: kind for kind, folder in FOLDERS.items()}
    found: dict[tuple[str, str], str] = {}
    for folder, names in given.items() if isinstance(given, dict) else [("", None)]:
        if folder not in kinds or not isinstance(names, list | dict):
            raise ValueError(f"want lists of names under {', '.join(kinds)}")
        for symbol in names:
            target = names[symbol] if isinstance(names, dict) else ""
            if not isinstance(symbol, str) or not SYMBOL.fullmatch(symbol) or not isinstance(target, str):
                raise ValueError(f"{symbol!r} of {folder}: want a name of letters, digits, _ and -")
            found[kinds[folder], symbol] = target
    if not found:
        raise ValueError("want at least one source, sink, function, trigger or analysis")
    if len(found) > MAX_SYMBOLS:
        raise ValueError(f"{len(found)} symbols; want at most {MAX_SYMBOLS}")
    return found


def _read_requirements(value: Value) -> tuple[str, ...]:
    texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if not texts or len(value) > MAX_REQUIREMENTS or any(len(each) > LONGEST_REQUIREMENT for each in value):
        most = f"at most {MAX_REQUIREMENTS} texts of at most {LONGEST_REQUIREMENT} characters"
        raise ValueError(f"want a list of {most}")
    return tuple(value)


def _read_limits(value: Value) -> dict[str, int | float]:
    """Whole numbers where ProcessLimits has them, because 0.5 would become 0, which means no limit."""
    known = {each.name: type(each.default) for each in fields(ProcessLimits)}
    for key, limit in value.items() if isinstance(value, dict) else [("", None)]:
        kinds = {int: (int,), float: (int, float)}.get(known.get(key, str), ())
        if not isinstance(limit, kinds) or isinstance(limit, bool) or not 0 < limit < HIGHEST_LIMIT:
            names = ", ".join(sorted(known))
            raise ValueError(
                f"limits.{key}: want one of {names}, above 0; a whole number unless it ends with _s"
            )
    return dict(value)


def _read_sums(value: Value) -> dict[str, str]:
    digits = re.compile("[0-9a-f]{64}")
    good = isinstance(value, dict) and all(
        isinstance(each, str) and digits.fullmatch(each) for each in value.values()
    )
    if not good:
        raise ValueError("want an object of file names with 64 hex digits each")
    return dict(value)


@dataclass(frozen=True, kw_only=True)
class _Written:
    """The keys of the file. `kind`, `module`: for a plug-in with one symbol that has the plug-in's name."""

    name: str = field(metadata={"read": _read_name})
    version: Version = field(metadata={"read": _read_version})
    api: int = field(default=API_VERSION, metadata={"read": _read_api})
    kind: Literal["source", "sink", "function", "trigger", "analysis"] | None = None
    language: Literal["python", "c", "lua"] = "python"
    executable: str = ""
    module: str = ""
    symbols: Symbols = field(metadata={"read": _read_symbols})
    requires: tuple[str, ...] = field(default=(), metadata={"read": _read_requirements})
    limits: Mapping[str, int | float] = field(default_factory=dict, metadata={"read": _read_limits})
    sha256: Mapping[str, str] = field(default_factory=dict, metadata={"read": _read_sums})
    mode: Literal["process", "inproc"] = "process"
    """"inproc": it requests to run in the server's process; the policy decides."""
    help: str = ""
    author: object = None
    license: object = None


@dataclass(frozen=True, kw_only=True)
class PackageManifest(_Written):
    """A checked manifest."""

    def of_kind(self, kind: str) -> list[str]:
        return [name for its, name in self.symbols if its == kind]

    def as_json(self) -> dict[str, Value]:
        """The answer of GET /plugins/packages; `help` is ours, and present where the author wrote one."""
        always = ("source", "sink", "function")
        names = {
            FOLDERS[kind]: self.of_kind(kind) for kind in FOLDERS if kind in always or self.of_kind(kind)
        }
        facts = {"name": self.name, "version": str(self.version)}
        help_text: dict[str, Value] = {"help": self.help} if self.help else {}
        return {**facts, "language": self.language, "executable": self.executable, **names, **help_text}


def file_of_plugin(folder: Path, name: str) -> Path | None:
    """A file that the manifest names; None if it is missing, or not below the plug-in's `folder`."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def parse_manifest(raw: bytes) -> PackageManifest:
    """Reads plugin.json. Raises PluginError with every problem."""
    try:
        facts = json.loads(raw)
        if not isinstance(facts, dict):
            raise PluginError(f"{MANIFEST} is {type(facts).__name__}; want an object")
        written, problems = checked_config(_Written, _known(facts))
    except (ValueError, RecursionError):
        raise PluginError(f"{MANIFEST} is not JSON") from None
    problems += [f"{key!r} is unknown" for key in facts if key not in _KEYS]
    if facts.get("language") == "go":
        problems.append("a Go plug-in runs only in eKuiper; write it in Python or against the C ABI")
    if problems or written is None:
        more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        shown = "; ".join(problem[:300] for problem in problems[:MAX_SHOWN])
        raise PluginError(f"{MANIFEST}: {shown}{more}")
    return PackageManifest(**vars(written))


def _known(facts: Mapping[str, Value]) -> dict[str, Value]:
    """The keys of `_Written`; `symbols` is collected from lists by kind if it is not given."""
    given = {each.name: facts[each.name] for each in fields(_Written) if each.name in facts}
    lists = {folder: facts[folder] for folder in FOLDERS.values() if folder in facts}
    kind = given.get("kind")
    if not lists and isinstance(kind, str) and kind in FOLDERS:
        lists = {FOLDERS[kind]: {str(given.get("name")): given.get("module", "")}}
    return {"symbols": lists, **given}


_KEYS = {each.name for each in fields(_Written)} | set(FOLDERS.values())
