"""The toolkit's own sources, sinks and types of connections: a source or sink is one file, found by its name.

A type of connections is the class `Connection` in the file of a sink: its properties, which each of its users
has too, and `check(wait_s, access)`, which connects for real and disconnects. It raises OSError where there
is no answer or no access, ValueError for wrong properties.
"""

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any

PACKAGES = {"source": "opq_rules.sources", "sink": "opq_rules.sinks"}
CLASSES = {"source": "Source", "sink": "Sink"}
"""Kind -> name of the class in each file."""
KINDS = (*PACKAGES, "connection")
_HTTP = frozenset({("sources", "httppull"), ("sinks", "rest")})
CONNECTIONS = {
    "httppull": ("rest", _HTTP),  # eKuiper's users know rest by this name
    "mongo": ("mongo", frozenset({("sinks", "mongo")})),
    "mqtt": ("mqtt", frozenset({("sources", "mqtt"), ("sinks", "mqtt")})),
    "rest": ("rest", _HTTP),
    "sql": ("sql", frozenset({("sinks", "sql")})),
    "zmq": ("zmq", frozenset({("sinks", "zmq")})),
}
"""Type of connections -> the sink in whose file it is, and its possible users; none of them is imported."""


def module_of(kind: str, type_name: str) -> ModuleType | None:
    """The file of a source or sink; None: there is no such type."""
    if kind not in PACKAGES or type_name not in types_of(kind):
        return None
    return importlib.import_module(f"{PACKAGES[kind]}.{type_name}")


def connection_class(type_name: str) -> Any:
    """The dataclass of its properties, with `check`; None: there is no such type."""
    found = CONNECTIONS.get(type_name)
    return None if found is None else getattr(module_of("sink", found[0]), "Connection", None)


@functools.cache
def types_of(kind: str) -> tuple[str, ...]:
    """Sorted names of the types; none of them is imported."""
    if kind not in PACKAGES:
        return tuple(CONNECTIONS) if kind == "connection" else ()
    paths = importlib.import_module(PACKAGES[kind]).__path__
    return tuple(sorted(each.name for each in pkgutil.iter_modules(paths) if not each.name.startswith("_")))
