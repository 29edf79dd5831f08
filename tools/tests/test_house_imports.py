"""The rooms import along the arrows of the design and no other way, and a file few of our modules."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "opq_proto": set(),
    "opq_measure": set(),
    "opq_recordings": {"opq_proto", "opq_measure"},
    "opq_analyze": {"opq_proto", "opq_measure", "opq_recordings"},
    "opq_plugins": {"opq_proto", "opq_measure"},
    "opq_rules": {"opq_proto", "opq_measure", "opq_plugins"},
    "opq_gateway": {"opq_proto", "opq_measure", "opq_plugins", "opq_rules"},
    "opq_cloud": {"opq_proto", "opq_measure", "opq_recordings", "opq_analyze", "opq_plugins", "opq_rules"},
    "opq_sim": {"opq_proto", "opq_measure", "opq_recordings", "opq_plugins", "opq_rules", "opq_gateway"},
    "opq_hil": {
        "opq_proto",
        "opq_measure",
        "opq_recordings",
        "opq_plugins",
        "opq_rules",
        "opq_gateway",
        "opq_sim",
    },
    "opq_tools": {
        "opq_proto",
        "opq_measure",
        "opq_recordings",
        "opq_analyze",
        "opq_plugins",
        "opq_rules",
        "opq_gateway",
        "opq_cloud",
        "opq_hil",
        "opq_sim",
        "bench",
    },
    "bench": {
        "opq_proto",
        "opq_measure",
        "opq_recordings",
        "opq_analyze",
        "opq_plugins",
        "opq_rules",
        "opq_gateway",
        "opq_cloud",
        "opq_hil",
        "opq_sim",
        "opq_tools",
    },
}
ROOMS = {
    "opq_proto": "proto",
    "opq_measure": "proto",
    "opq_recordings": "proto",
    "opq_analyze": "proto",
    "opq_plugins": "gateway",
    "opq_rules": "gateway",
    "opq_gateway": "gateway",
    "opq_cloud": "cloud",
    "opq_sim": "hil",
    "opq_hil": "hil",
    "opq_tools": "tools",
    "bench": "tools",
}
FROM_A_CLONE = {"opq_sim.faults": "tools/opq_tools/hil/faults.py", "bench": "tools/opq_tools/sim/bench.py"}
"""Packages that the wheel does not hold -> the command that plays them from a clone, the only one to import
them."""
PURE = {"opq_measure": {"numpy"}}
STANDARD_PURE = {
    "__future__",
    "bisect",
    "cmath",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "math",
    "typing",
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / ROOMS[package] / package).rglob("*.py"))


@cache
def import_statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """All of a file, lazy ones too."""
    return tuple(imports_in(ast.parse(path.read_bytes())))


def imports_in(block: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Those of a block and of all blocks within it; expressions, the most of a tree, hold none."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for node in getattr(block, name, ()):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node
            else:
                yield from imports_in(node)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level names of all modules that a file imports, lazy ones too."""
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif not node.level:
            yield (node.module or "").split(".")[0], node.lineno


def modules(path: Path) -> Iterator[str]:
    """Whole names of what a file imports, lazy ones too: of modules, and of what is taken out of them."""
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def test_every_package_is_where_the_design_puts_it() -> None:
    assert all(sources(package) for package in ALLOWED)


def test_imports_follow_the_arrows_of_the_design() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {package} imports {name}"
        for package, allowed in ALLOWED.items()
        for path in sources(package)
        for name, line in imported(path)
        if name in ALLOWED and name != package and name not in allowed
    ]
    assert wrong == []


def test_the_wheel_needs_nothing_that_it_leaves_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    left_out = [ROOT / each for each in wheel["exclude"]]
    held = [
        path
        for package in wheel["packages"]
        for path in (ROOT / package).rglob("*.py")
        if not any(path.is_relative_to(folder) for folder in left_out)
    ]
    for package, command in FROM_A_CLONE.items():
        folder = ROOT / ROOMS[package.partition(".")[0]] / package.replace(".", "/")
        assert folder.is_dir() and not [path for path in held if path.is_relative_to(folder)]
        users = {path for path in held for name in modules(path) if f"{name}.".startswith(f"{package}.")}
        assert users == {ROOT / command}


def test_the_measurement_core_knows_numpy_and_nothing_else() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for package, allowed in PURE.items()
        for path in sources(package)
        for name, line in imported(path)
        if name not in allowed | STANDARD_PURE | {package}
    ]
    assert wrong == []


def folder_imports(root: Path) -> dict[str, set[str]]:
    """Folder of a package -> the neighbouring folders that its modules import, lazily too."""
    package = ".".join(root.relative_to(ROOT).parts[1:])
    folders = {path.name for path in root.iterdir() if (path / "__init__.py").exists()}
    found: dict[str, set[str]] = {folder: set() for folder in folders}
    for folder in folders:
        for path in (root / folder).rglob("*.py"):
            for node in import_statements(path):
                names = [alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{name}" for name in names]
                inner = [name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}.")]
                found[folder] |= {name.split(".")[0] for name in inner} & folders - {folder}
    return found


@pytest.mark.parametrize(
    "root", [*ROOMS, *(f"opq_cloud/{folder}" for folder in ("core", "makai", "mauka", "store", "view"))]
)
def test_package_folders_have_no_import_circle(root: str) -> None:
    """What two of them need lies in one of them or above both."""
    imports = folder_imports(ROOT / ROOMS[root.split("/")[0]] / root)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


VIEW = ROOT / "cloud" / "opq_cloud" / "view"
VIEW_ROOMS = ("web", "live", "pages", "api")
"""Each imports only those before it."""
VIEW_FLOORS = 6


@cache
def our_imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, as paths from `cloud`, `proto` and so on."""
    found: set[str] = set()
    for node in import_statements(path):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package = node.module.split(".")[0]
            for alias in node.names if package in ROOMS else ():
                inner = Path(ROOMS[package], *node.module.split("."), alias.name)
                found.add(str(inner if (ROOT / inner).with_suffix(".py").exists() else inner.parent))
    return found


def floors(place: Path) -> dict[str, int]:
    """File or folder of a place -> 1 more than the highest one there that it imports."""
    children: dict[str, set[str]] = {}
    for path in place.rglob("*.py"):
        child = path.relative_to(place).with_suffix("").parts[0]
        inside = (ROOT / name for name in our_imports(path))
        beside = {name.relative_to(place).parts[0] for name in inside if place in name.parents}
        children.setdefault(child, set()).update(beside - {child})
    levels: dict[str, int] = {}
    for child in TopologicalSorter(children).static_order():
        levels[child] = 1 + max((levels[name] for name in children.get(child, ())), default=0)
    return levels


def test_the_rooms_of_view_stand_on_one_another() -> None:
    levels = floors(VIEW)
    assert sorted(VIEW_ROOMS, key=lambda room: levels[room]) == list(VIEW_ROOMS)
    assert {name for name in levels if (VIEW / name).is_dir()} == set(VIEW_ROOMS)


PLACES = sorted(
    each.parent for package, room in ROOMS.items() for each in (ROOT / room / package).rglob("__init__.py")
)
MOST_FLOORS = 8


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(ROOT)))
def test_no_place_has_more_floors_than_agreed(place: Path) -> None:
    """A circle of a folder with a file beside it is an error of `floors`."""
    levels = floors(place)
    most = VIEW_FLOORS if place == VIEW or VIEW in place.parents else MOST_FLOORS
    assert max(levels.values(), default=0) <= most, levels


MOST_IMPORTS = 15
PUT_TOGETHER = {
    "cloud/opq_cloud/makai/acquisition_broker.py",
    "cloud/opq_cloud/makai/event_service.py",
    "cloud/opq_cloud/makai/triggering_service.py",
    "cloud/opq_cloud/mauka/mauka_service.py",
    "cloud/opq_cloud/serving.py",
    "cloud/opq_cloud/view/pages/routes.py",
    "gateway/opq_gateway/gateway.py",
    "gateway/opq_gateway/measuring/measuring.py",
    "gateway/opq_gateway/rules/edge_rules.py",
    "gateway/opq_rules/engine/engine.py",
}
"""Files that put a room or a service together."""
STILL_ABOVE: dict[str, int] = {
    "tools/opq_tools/recordings/analyze/analyze_command.py": 16,
    "tools/opq_tools/rules/backtest.py": 16,
}
"""Others that import more than they may. The list only gets shorter, and its numbers smaller."""


@cache
def is_module(name: str) -> bool:
    package, *rest = name.split(".")
    if package not in ROOMS:
        return False
    path = (ROOT / ROOMS[package] / package).joinpath(*rest)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def modules_of_ours(path: Path) -> set[str]:
    """Modules of the repository that a file imports, lazily too."""
    found = set()
    for node in import_statements(path):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names if is_module(alias.name)}
            case ast.ImportFrom(module=str(module), level=0) if is_module(module):
                inner = {f"{module}.{alias.name}" for alias in node.names}
                found |= {name if is_module(name) else module for name in inner}
    return found


def test_no_file_imports_more_than_it_may() -> None:
    paths = [path for package in ROOMS for path in sources(package)]
    count = {str(path.relative_to(ROOT)): len(modules_of_ours(path)) for path in paths}
    above = {name: number for name, number in count.items() if number > MOST_IMPORTS}
    assert {name: number for name, number in above.items() if name not in PUT_TOGETHER} == STILL_ABOVE
    assert above.keys() >= PUT_TOGETHER and len(PUT_TOGETHER) <= 10


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert [path for package in ALLOWED for path in sources(package) if path.stem in empty_names] == []


def test_the_page_of_the_architecture_shows_the_arrows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in ALLOWED:
            rows[cells[0].strip("`")] = (cells[1].strip("`/"), set(re.findall(r"`(\w+)`", cells[3])))
    wanted = {package: (ROOMS[package], allowed) for package, allowed in ALLOWED.items()}
    assert rows == wanted, "docs/architecture.md, Rooms: renew the rows that differ"
