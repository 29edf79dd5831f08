"""Lean: keeps modules that libraries import and a gateway never uses, and threads' heaps, out of memory.

Our own code imports such modules where it uses them. These come with libraries, which offer no other way:
rich, greenlet and asyncio with structlog; ssl, html and mimetypes with http.server; secrets and zipfile with
pydantic; bz2 and lzma with zipfile; calendar and email.header with email; protobuf's Python half, msgspec's
schemas and NumPy's help with themselves. Together they take 12 MB of 65: asyncio 6, OpenSSL 4 (with ssl or
secrets), rich 3, each other less than 1. Only the process of the service does this, before it imports them;
tests, hil and tools have their modules as they are.
"""

import ctypes
import importlib
import sys
from types import ModuleType
from typing import Any

ABSENT = ("greenlet", "rich")
"""An import of these fails as if they were not installed, and the libraries do without."""
LATE = (
    "asyncio",
    "bz2",
    "calendar",
    "csv",
    "email.header",
    "google.protobuf.internal.python_message",
    "html",
    "lzma",
    "mimetypes",
    "msgspec.inspect",
    "numpy._core._add_newdocs",
    "numpy._core._add_newdocs_scalars",
    "secrets",
    "shutil",
    "ssl",
    "tempfile",
    "zipfile",
)
"""Imported at the first use of their contents, by MQTT or the set-up page."""
ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def lean() -> None:
    """Prepares the imports; modules that are already imported stay as they are."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # documented: its import fails
    for name in LATE:
        sys.modules.setdefault(name, _late(name))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
    if mallopt is not None:
        mallopt(ARENA_MAX, 1)  # otherwise one for each thread; Python's lock lets only one use it at once


def _late(name: str) -> ModuleType:
    """A stand-in for a module until it is used (PEP 562), from any thread."""
    stand_in = ModuleType(name)

    def first_use(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # a search through all modules is no use
            raise AttributeError(f"module {name!r} has no {attribute!r} yet")
        if sys.modules.get(name) is stand_in:
            sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = first_use  # type: ignore[method-assign]
    return stand_in
