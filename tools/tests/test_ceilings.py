"""Ceilings that keep the house small: how many of our modules a file may import."""

import ast
from functools import cache
from pathlib import Path

from test_house_imports import ROOMS, ROOT, sources

MOST_IMPORTS = 15
PUT_TOGETHER = {
    "cloud/opq_cloud/makai/acquisition_broker.py",
    "cloud/opq_cloud/makai/event_service.py",
    "cloud/opq_cloud/makai/triggering_service.py",
    "cloud/opq_cloud/mauka/service.py",
    "cloud/opq_cloud/serving.py",
    "cloud/opq_cloud/view/pages/routes.py",
    "gateway/opq_gateway/gateway.py",
    "gateway/opq_gateway/measuring/measuring.py",
    "gateway/opq_rules/engine/engine.py",
}
"""Files that put a room or a service together."""
STILL_ABOVE: dict[str, int] = {
    "tools/opq_tools/recordings/analyze/command.py": 16,
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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
