"""The toolkit's own sources, sinks and types of connections: one file per type, found by its name."""

import functools
import importlib
import pkgutil
from types import ModuleType

PACKAGES = {
    "source": "opq_rules.sources",
    "sink": "opq_rules.sinks",
    "connection": "opq_rules.connections",
}
CLASSES = {"source": "Source", "sink": "Sink"}
"""Kind -> the class in each of the files."""


def module_of(kind: str, type_name: str) -> ModuleType | None:
    """None: there is no such type."""
    if type_name not in types_of(kind):
        return None
    return importlib.import_module(f"{PACKAGES[kind]}.{type_name}")


@functools.cache
def types_of(kind: str) -> tuple[str, ...]:
    """Sorted; nothing of them is imported."""
    if kind not in PACKAGES:
        return ()
    paths = importlib.import_module(PACKAGES[kind]).__path__
    return tuple(sorted(each.name for each in pkgutil.iter_modules(paths) if not each.name.startswith("_")))
