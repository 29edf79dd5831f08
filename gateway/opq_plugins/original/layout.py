"""Lists the plug-ins of a folder that is laid out as in the original's guide; none of its code is run.

    DIR/OpqMauka.py            the list: `plugins.MyFancyPlugin`, or `register_plugin(plugins.my.MyPlugin)`
    DIR/plugins/__init__.py    from plugins import MyFancyPlugin
    DIR/plugins/MyFancyPlugin.py

Without OpqMauka.py (or opq_mauka.py, its later name) the list is what `plugins/__init__.py` imports; if that
imports nothing, every module of `plugins/` but the base.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from opq_plugins.package.manifest import SYMBOL
from opq_proto.errors import PluginError

LISTS = ("OpqMauka.py", "opq_mauka.py")
BASES = ("base", "base_plugin", "__init__")
SERVICES = frozenset({"broker", "manager", "mock", "history", "routes"})
"""Modules of the original's `plugins/` that are not plug-ins."""
MAX_FILES = 500
"""Files of one plug-in."""
MAX_BYTES = 16 << 20
"""Bytes of them together."""
MAX_PLUGINS = 100
"""Plug-ins of one list."""
BASE_AS_ARGUMENT = re.compile(r"\s*def\s+(\w+)\(\s*plugins\.base")


def listed_plugins(folder: Path) -> dict[str, str]:
    """Plug-in -> its path below `plugins`: "MyPlugin", or "my_plugin.MyPlugin". Raises PluginError."""
    package = folder / "plugins"
    if not package.is_dir():
        raise PluginError(f"{folder}: no folder `plugins`; want plugins/__init__.py and plugins/NAME.py")
    if not (package / "__init__.py").is_file():
        raise PluginError(f"{package}: no __init__.py; want one with `from plugins import NAME`")
    trees = {path: _parsed(path, folder) for path in plugin_files(folder) if path.suffix == ".py"}
    listing = next((folder / name for name in LISTS if folder / name in trees), None)
    if listing is not None:
        paths, where = list(_listed(trees[listing])), listing.name
    else:
        paths, where = list(_imported(trees[package / "__init__.py"])), "plugins/__init__.py"
        paths = paths or sorted(path.stem for path in package.glob("*.py"))
    found: dict[str, str] = {}
    for path in paths:
        first, *_, name = path.split(".") if "." in path else (path, path)
        if first in BASES or first in SERVICES:
            continue
        if not (package / f"{first}.py").is_file() and not (package / first / "__init__.py").is_file():
            raise PluginError(f"{where} lists plugins.{path}, and there is no plugins/{first}.py")
        if not SYMBOL.fullmatch(name):
            raise PluginError(f"{where}: {name!r} is not a name of a plug-in; want letters, digits and _")
        if name in found:
            raise PluginError(f"{where} lists {name} twice")
        found[name] = path
    if not found:
        raise PluginError(f"{folder}: {where} lists no plug-in; want e.g. [plugins.MyFancyPlugin]")
    if len(found) > MAX_PLUGINS:
        raise PluginError(f"{where} lists {len(found)} plug-ins; want at most {MAX_PLUGINS}")
    return found


def plugin_files(folder: Path) -> list[Path]:
    """The files to deploy, without hidden ones, links, caches, tests. PluginError: too many, or too large."""
    found, size = [], 0
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_symlink() or not path.is_file() or path.suffix == ".pyc":
            continue
        if any(part.startswith(".") or part in ("__pycache__", "venv", "tests") for part in parts):
            continue
        found.append(path)
        size += path.stat().st_size
        if len(found) > MAX_FILES or size > MAX_BYTES:
            raise PluginError(f"{folder}: more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB")
    return found


def _parsed(path: Path, folder: Path) -> ast.Module:
    where = path.relative_to(folder)
    try:
        text = path.read_text(encoding="utf-8")
        return ast.parse(text, str(where))
    except UnicodeDecodeError as error:
        raise PluginError(f"{where}: not UTF-8: {error}") from None
    except SyntaxError as error:
        line = text.splitlines()[error.lineno - 1] if error.lineno else ""
        misprint = BASE_AS_ARGUMENT.match(line)
        hint = f"; a plug-in is a class: `class {misprint[1]}(...)`" if misprint else ""
        raise PluginError(f"{where}, line {error.lineno}: {error.msg}: {line.strip()[:100]}{hint}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # the latter two: nested too deeply
        raise PluginError(f"{where}: cannot be read as Python: {error}") from None


def _listed(tree: ast.Module) -> Iterator[str]:
    """Yields `plugins.X` in lists, tuples and arguments of `register_plugin`, in the order of the file."""
    aliases = dict(_aliases(tree))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            found += node.elts
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "register_plugin":
            found += node.args[:1]
    for node in sorted(found, key=lambda each: (each.lineno, each.col_offset)):
        if (path := _path(node, aliases)) is not None:
            yield path


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields each imported name with its path below `plugins`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            head, _, rest = node.module.partition(".")
            if head == "plugins":
                for each in node.names:
                    yield each.asname or each.name, f"{rest}.{each.name}" if rest else each.name


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        head, _, rest = (node.module or "").partition(".")
        if node.level:
            rest = node.module or ""
        elif head != "plugins":
            continue
        for each in node.names:
            yield f"{rest}.{each.name}" if rest else each.name


def _path(node: ast.expr, aliases: dict[str, str]) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    if node.id == "plugins" and parts:
        return ".".join(reversed(parts))
    if node.id in aliases:
        return ".".join([aliases[node.id], *reversed(parts)])
    return None
