"""Lean: what libraries import and a gateway never uses, and the heaps of threads, stay out of its memory.

Our own code imports such modules where it uses them. These come with libraries, which offer no other way:
rich, greenlet and asyncio with structlog; ssl, html and mimetypes with http.server; secrets and zipfile with
pydantic; protobuf's Python half, msgspec's schemas and NumPy's help with themselves. Together they take 12 MB
of 66: asyncio 6, OpenSSL 4 (with ssl or secrets), rich 3, each other less than 1. Only the process of the
service does this, before it imports them; tests, hil and tools have their modules as they are.
"""

import ctypes
import importlib
import sys
from types import ModuleType
from typing import Any

ABSENT = ("greenlet", "rich")
"""Who imports it finds that it is not installed, and does without."""
LATE = (
    "asyncio",
    "csv",
    "google.protobuf.internal.python_message",
    "html",
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
"""Imported at the first use of something in it, by MQTT or the set-up page."""
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

    def first_use(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # who looks over all modules is no user
            raise AttributeError(f"module {name!r} has no {attribute!r} yet")
        if sys.modules.get(name) is stand_in:
            sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = first_use  # type: ignore[method-assign]
    return stand_in
