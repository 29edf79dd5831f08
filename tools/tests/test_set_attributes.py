"""A private attribute that a test sets is read by a source: else the test has lost its point without a sign.

`object._name = value` succeeds on most objects, also when the source has long had another name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("proto", "gateway", "cloud", "hil", "tools", "device")


def parsed() -> Iterator[tuple[Path, bool, ast.AST]]:
    """Each file, and whether it is a test."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "build" not in path.relative_to(ROOT).parts:
                yield path, "tests" in path.parts, ast.parse(path.read_bytes())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_a_private_attribute_that_a_test_sets_is_read_by_a_source() -> None:
    read: set[str] = set()
    places: dict[str, list[str]] = {}
    for path, is_test, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and not is_test:
                read.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not is_test:
                read.add(node.id)  # of a module
            elif is_test and isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if is_private(node.attr) and not of_itself:
                    places.setdefault(node.attr, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 10, "tests do set some"
    lost = {name: where for name, where in places.items() if name not in read}
    assert not lost, f"set by a test, and read by no source: {lost}"
