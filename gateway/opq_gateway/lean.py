"""Lean: what libraries import for what a gateway never does, and heaps of threads, kept out of its memory.

structlog imports rich and greenlet, for tracebacks in colours (ours are plain) and threads that we have none
of, and asyncio, for loggers that are awaited; http.server a client of https, HTML's two thousand entities and
a table of file types; pydantic a way to compare passwords and one to look for plug-ins in archives; protobuf
itself once more in Python; msgspec JSON's schemas; NumPy its help. OpenSSL comes with three of them. Together
15 MB, a fifth of a gateway with one Box. Only the process of the service does this, before it imports them;
tests, hil and tools have their modules as they are.
"""

import ctypes
import importlib
import sys
from types import ModuleType
from typing import Any

ABSENT = ("greenlet", "rich")
"""Who looks for it does without."""
LATE = (
    "asyncio",
    "csv",
    "difflib",
    "google.protobuf.internal.python_message",
    "html",
    "mimetypes",
    "msgspec._json_schema",
    "msgspec.inspect",
    "numpy._core._add_newdocs",
    "numpy._core._add_newdocs_scalars",
    "secrets",
    "shutil",
    "ssl",
    "tempfile",
    "zipfile",
)
"""Imported when somebody takes something out of it: MQTT, the set-up page, a key that is misspelt."""
ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def lean() -> None:
    """What is imported already stays as it is."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # documented: its import fails
    for name in LATE:
        sys.modules.setdefault(name, _late(name))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        mallopt(ARENA_MAX, 1)  # else one for each thread; under Python's lock they never want it at once


def _late(name: str) -> ModuleType:
    """Stands in for a module until it is used (PEP 562), in whichever thread."""
    stand_in = ModuleType(name)

    def take(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # who looks over all modules is no user
            raise AttributeError(f"module {name!r} has no {attribute!r} yet")
        if sys.modules.get(name) is stand_in:
            sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = take  # type: ignore[method-assign]
    return stand_in
