"""A private attribute that a test sets is read by a source: else the test has lost its point without a sign.

`object._name = value` succeeds on most objects, also when the source has long had another name.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("proto", "gateway", "cloud", "hil", "tools", "device")
SET_IN_A_TEST = re.compile(rb"\._\w+\W*[-+*/|&]?=[^=]|\bfor .*\._|\bas .*\._|\._\w+, ")
"""May set a private attribute: only such files are worth the parser's time."""


def files(of_tests: bool) -> Iterator[tuple[Path, bytes]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if "build" not in parts and ("tests" in parts) == of_tests:
                yield path, path.read_bytes()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def set_in_tests() -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for path, text in files(of_tests=True):
        for node in ast.walk(ast.parse(text)) if SET_IN_A_TEST.search(text) else ():
            if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)):
                continue
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if is_private(node.attr) and not of_itself:
                places.setdefault(node.attr, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return places


def test_a_set_private_attribute_is_read_somewhere() -> None:
    places = set_in_tests()
    assert len(places) > 10, "tests do set some"
    lost = dict(places)
    for _, text in files(of_tests=False):
        if not any(name.encode() in text for name in lost):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                lost.pop(node.attr if isinstance(node, ast.Attribute) else node.id, None)
    assert not lost, f"set by a test, and read by no source: {lost}"
