"""Lean: modules that libraries import for what a gateway never does, kept out of its memory.

structlog imports rich, for tracebacks in colours (ours are plain), and asyncio, for loggers that are
awaited; http.server a client of https, and HTML's two thousand entities; pydantic a way to compare
passwords; protobuf itself once more in Python. OpenSSL comes with three of them. Together
12 MB, a sixth of a gateway with one Box. Only the process of the service does this, before it imports
them; tests, hil and tools have their modules as they are.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

ABSENT = ("rich",)
"""Who looks for it does without."""
LATE = ("asyncio", "google.protobuf.internal.python_message", "html", "secrets", "ssl")
"""Imported when somebody takes something out of it: MQTT, the set-up page."""


def lean() -> None:
    """What is imported already stays as it is."""
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # documented: its import fails
    for name in LATE:
        sys.modules.setdefault(name, _late(name))


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
