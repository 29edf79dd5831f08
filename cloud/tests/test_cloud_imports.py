"""Inside the cloud: the rooms meet on the wire or in the store, never by import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLOUD = Path(__file__).resolve().parents[1] / "opq_cloud"
STORE = "store"
ROOMS = {"makai", "mauka", "view", "health", "notifications", "update"}
DATABASES = {"sqlite3", "pymongo", "gridfs", "bson"}


def sources(room: str) -> list[Path]:
    return sorted((CLOUD / room).rglob("*.py"))


def named(text: str, path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a source imports, lazy ones too, and those it keeps in strings for importlib."""
    package = ["opq_cloud", *path.relative_to(CLOUD).parts[:-1]]
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                yield from ((alias.name, node.lineno) for alias in node.names)
            case ast.ImportFrom():
                base = package[: len(package) + 1 - node.level] if node.level else []
                stem = ".".join([*base, *([node.module] if node.module else [])])
                yield from ((f"{stem}.{alias.name}", node.lineno) for alias in node.names)
            case ast.Constant(value=str(value)) if value.startswith("opq_cloud.") and " " not in value:
                yield value, node.lineno


def wrong_in(room: str) -> list[str]:
    """What a room imports of another room of the cloud, other than the store."""
    others = (ROOMS | {STORE}) - {room} if room == STORE else ROOMS - {room}
    return [
        f"{path.relative_to(CLOUD)}:{line}: {room} imports {name}"
        for path in sources(room)
        for name, line in named(path.read_text(encoding="utf-8"), path)
        if name.startswith("opq_cloud.") and name.split(".")[1] in others
    ]


def test_every_room_that_there_is_has_sources() -> None:
    assert all(sources(room) for room in (STORE, "makai", "mauka", "view", "health", "notifications"))


def test_the_rooms_never_import_each_other() -> None:
    assert [wrong for room in sorted(ROOMS) for wrong in wrong_in(room)] == []


def test_the_store_imports_no_other_room() -> None:
    assert wrong_in(STORE) == []


def test_only_the_store_knows_a_database() -> None:
    wrong = [
        f"{path.relative_to(CLOUD)}:{line}: imports {name}"
        for path in sorted(CLOUD.rglob("*.py"))
        if path.relative_to(CLOUD).parts[0] != STORE
        for name, line in named(path.read_text(encoding="utf-8"), path)
        if name.split(".")[0] in DATABASES
    ]
    assert wrong == []


def test_the_check_sees_every_way_to_import() -> None:
    text = (
        "import opq_cloud.view.app\nfrom opq_cloud import view\nfrom opq_cloud.view import app\n"
        "from ..view import app\ndef f():\n    import opq_cloud.view\n    g('opq_cloud.view.view_service')\n"
    )
    found = list(named(text, CLOUD / "mauka" / "x.py"))
    assert [line for name, line in found if name.startswith("opq_cloud.view")] == [1, 2, 3, 4, 6, 7]


def test_view_starts_without_running_mauka() -> None:
    """It sends commands to Mauka's plug-ins; it does not load them."""
    named_mauka = (
        "print(*(name for name in sys.modules if name.startswith(('opq_cloud.mauka', 'opq_plugins'))))"
    )
    code = f"import sys, opq_cloud.view.view_service; {named_mauka}"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "opq_cloud.mauka.operating.manager_client" in loaded
    assert "opq_cloud.mauka.flow" not in loaded and "opq_plugins.host" not in loaded
