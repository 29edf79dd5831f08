"""Backends by name; a new one is a module with a class like `backend.Backend`, and a line here."""

import importlib
from collections.abc import Mapping

from opq_hil.backends.backend import Backend, BackendError

BACKENDS: Mapping[str, tuple[str, str]] = {
    "qemu": ("opq_hil.backends.qemu", "Qemu"),
    "renode": ("opq_hil.backends.renode", "Renode"),
    "board": ("opq_hil.backends.board", "Board"),
}
"""Name -> module and class. Imported when asked for: what one needs, the others do not."""


def backend(name: str, port: str = "", board: str = "opqbox") -> Backend:
    """The backend of a name; `port` and `board` say where and what the board on the bench is.

    Raises:
        BackendError: no such backend, or it cannot run here; says why.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r}: unknown; there are {', '.join(BACKENDS)}")
    module, kind = BACKENDS[name]
    make = getattr(importlib.import_module(module), kind)
    found: Backend = make(port, board) if name == "board" else make()
    why = found.why_not(None)
    if why:
        raise BackendError(f"backend {name} cannot run here: {why}")
    return found
