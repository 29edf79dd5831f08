"""The toolkit's own sources and sinks: each is one file, found by its name."""

import functools
import importlib
import pkgutil
from types import ModuleType

PACKAGES = {"source": "opq_rules.sources", "sink": "opq_rules.sinks"}
CLASSES = {"source": "Source", "sink": "Sink"}
"""Kind -> name of the class in each file."""


def module_of(kind: str, type_name: str) -> ModuleType | None:
    """The file of a source or sink; None if the type does not exist."""
    if kind not in PACKAGES or type_name not in types_of(kind):
        return None
    return importlib.import_module(f"{PACKAGES[kind]}.{type_name}")


@functools.cache
def types_of(kind: str) -> tuple[str, ...]:
    """Sorted names of the types; none of them is imported."""
    if kind not in PACKAGES:
        return ()
    paths = importlib.import_module(PACKAGES[kind]).__path__
    return tuple(sorted(each.name for each in pkgutil.iter_modules(paths) if not each.name.startswith("_")))
