"""The folders of the engine stand in one order: each imports only from those above it."""

import ast
from pathlib import Path

import opq_rules.engine

ENGINE = Path(opq_rules.engine.__file__).parent
ORDER = [
    "clock",
    "definitions",
    "types",
    "running",
    "state",
    "loop",
    "lifecycle",
    "stream_catalogue",
    "rehearsal",
    "views",
    "engine",
]
PREFIX = "opq_rules.engine."


def _imports(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {each.removeprefix(PREFIX).split(".")[0] for each in named if each.startswith(PREFIX)}


def test_folders_import_from_folders_above() -> None:
    seen = set()
    for file in ENGINE.rglob("*.py"):
        own = file.relative_to(ENGINE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        seen.add(own)
        below = {each for each in _imports(file) if ORDER.index(each) > ORDER.index(own)}
        assert not below, f"{file.relative_to(ENGINE)} imports from below: {sorted(below)}"
    assert seen == set(ORDER)


def test_a_folder_takes_part_by_its_imports() -> None:
    assert "state" in _imports(ENGINE / "loop.py")
    assert _imports(ENGINE / "clock.py") == set()


def test_the_page_names_every_file() -> None:
    page = (ENGINE.parents[2] / "docs/rules-inside.md").read_text(encoding="utf-8")
    names = {file.stem for file in ENGINE.rglob("*.py") if file.stem != "__init__"} - {"clock"}
    assert [name for name in sorted(names) if name not in page] == []
